use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::store::hash::DEFAULT_SEED;

proptest! {
    #[test]
    fn behaves_as_a_map(ops in prop::collection::vec((any::<bool>(), 0u8..40, prop::collection::vec(any::<u8>(), 0..20)), 0..200)) {
        let limits = PackedLimits { entries: 16, value_bytes: 16 };
        let hasher = KeyHasher::new(DEFAULT_SEED);
        let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut hash = HashValue::default();
        for (set, field, value) in ops {
            let field = vec![field; usize::from(field % 5)];
            if set {
                prop_assert_eq!(hash.set(&field, &value, &limits, hasher), model.insert(field, value).is_none());
            } else {
                prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
            }
            prop_assert_eq!(hash.len(), model.len());
        }
        for (field, value) in &model {
            prop_assert_eq!(hash.get(field), Some(&value[..]));
        }
        prop_assert_eq!(hash.view().iter().count(), model.len());
    }
}

#[test]
fn the_forms_take_no_room_from_one_another() {
    assert_eq!(size_of::<Form>(), size_of::<Records<Field>>());
    assert_eq!(size_of::<HashValue>(), size_of::<Packed>());
}

proptest! {
    #[test]
    fn times_are_a_map_with_a_minimum(ops in prop::collection::vec((0u8..7, 0u8..30, 1u64..50), 0..300)) {
        let limits = PackedLimits { entries: 16, value_bytes: 16 };
        let hasher = KeyHasher::new(DEFAULT_SEED);
        let mut model: BTreeMap<Vec<u8>, Option<u64>> = BTreeMap::new();
        let mut hash = HashValue::default();
        for (op, n, at) in ops {
            let field = vec![n; 1 + usize::from(n % 3)];
            match op {
                0 | 1 => {
                    hash.set(&field, b"v", &limits, hasher);
                    model.insert(field, None);
                }
                2 => {
                    hash.set_value(&field, b"w", &limits, hasher);
                    model.entry(field).or_insert(None);
                }
                3 => prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                4 | 5 => {
                    let known = model.get_mut(&field).map(|old| *old = Some(at)).is_some();
                    prop_assert_eq!(hash.set_expiry(&field, at, hasher), known);
                }
                _ => {
                    let at = at / 4;
                    let due = model.values().filter(|t| t.is_some_and(|t| t <= at)).count();
                    hash.hide(at);
                    prop_assert_eq!(hash.view().shown(), model.len() - due);
                    prop_assert_eq!(hash.view().iter().count(), hash.view().shown());
                    hash.hide(0);
                    model.retain(|_, t| t.is_none_or(|t| t > at));
                    prop_assert_eq!(hash.remove_due(at, usize::MAX).len(), due);
                }
            }
            prop_assert_eq!(hash.next_expiry(), model.values().flatten().min().copied());
            let mut all: Vec<_> = hash.view().iter_timed().map(|(f, _, at)| (f.to_vec(), at)).collect();
            all.sort();
            prop_assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(hash.len(), model.len());
        }
    }
}
