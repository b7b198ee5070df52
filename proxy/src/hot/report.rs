//! What the workers of a proxy say of their hot keys, and the sum of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sketch::Heavy;
use crate::shared::Shared;

/// Keys that a worker tells of.
pub const TOLD_KEYS: usize = 64;

/// What one worker says, as of its latest round (about a second). Rates are in requests of one key: `MGET a b` counts as
/// two.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// All requests in a second.
    pub per_second: f64,
    /// The heaviest keys, the first ones first.
    pub keys: Vec<Heavy>,
}

/// The sum over the workers. A key that some workers do not tell of may have more requests than it says: what is below
/// their least one.
pub fn merged(shared: &Shared) -> Told {
    let told: Vec<Arc<Told>> = shared.hot.iter().map(|place| Arc::clone(&place.lock())).collect();
    merge(told.iter().map(|told| &**told))
}

fn merge<'a>(all: impl Iterator<Item = &'a Told>) -> Told {
    let mut sum = Told::default();
    let mut keys: BTreeMap<(u8, &[u8], usize), Heavy> = BTreeMap::new();
    for told in all {
        sum.per_second += told.per_second;
        for heavy in &told.keys {
            let known = keys.entry((heavy.db, &heavy.key, heavy.key_bytes)).or_insert_with(|| Heavy {
                per_second: 0.0,
                error_per_second: 0.0,
                writes_per_second: 0.0,
                ..heavy.clone()
            });
            known.per_second += heavy.per_second;
            known.error_per_second += heavy.error_per_second;
            known.writes_per_second += heavy.writes_per_second;
        }
    }
    sum.keys = keys.into_values().collect();
    sum.keys.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(keys: &[(&str, f64)]) -> Told {
        let heavy = |(name, rate): &(&str, f64)| Heavy {
            db: 0,
            key: name.as_bytes().into(),
            key_bytes: name.len(),
            per_second: *rate,
            error_per_second: 1.0,
            writes_per_second: rate / 2.0,
        };
        Told { per_second: 100.0, keys: keys.iter().map(heavy).collect() }
    }

    #[test]
    fn the_keys_of_all_workers_are_added_up() {
        let (first, second) = (told(&[("a", 10.0), ("b", 6.0)]), told(&[("b", 6.0), ("c", 1.0)]));
        let sum = merge([&first, &second].into_iter());
        let rates: Vec<(&[u8], f64, f64)> =
            sum.keys.iter().map(|heavy| (&*heavy.key, heavy.per_second, heavy.error_per_second)).collect();
        assert_eq!(rates, [(&b"b"[..], 12.0, 2.0), (b"a", 10.0, 1.0), (b"c", 1.0, 1.0)]);
        assert_eq!(sum.per_second, 200.0);
    }
}
