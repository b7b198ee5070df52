//! Which keys are asked for most: a space-saving summary (Metwally, Agrawal, El Abbadi: "Efficient Computation of
//! Frequent and Top-k Elements in Data Streams", ICDT 2005) of sampled requests, whose counts fade.
//!
//! Memory is constant: [`KEYS`] places. A key that has no place takes that of the smallest count and inherits it; what it
//! inherited is its possible error, so a key's true count is between `count - error` and `count`. All counts halve in
//! [`HALF_LIFE_S`], and so does the time over which they were counted: their quotient is the rate of late.

use ahash::RandomState;

/// Keys that have a place.
pub const KEYS: usize = 256;
/// Bytes of a key's name that are kept for showing it.
pub const SHOWN_KEY_BYTES: usize = 128;
/// Seconds in which half of what was counted is forgotten.
const HALF_LIFE_S: f64 = 5.0;
/// Rates are worked out over at least so many seconds: a few samples at the start say little.
const LEAST_SECONDS: f64 = 1.0;
/// A key is worth a place in a report from so many samples on, errors taken off.
const LEAST_SAMPLES: f64 = 2.0;

/// A key with its counts, in samples.
#[derive(Clone, Debug)]
struct Place {
    db: u8,
    key: Box<[u8]>,
    /// Bytes of the whole key.
    key_bytes: usize,
    count: f64,
    /// How much of `count` may be other keys'.
    error: f64,
    writes: f64,
}

/// A key that is asked for much.
#[derive(Clone, Debug, PartialEq)]
pub struct Heavy {
    /// Its database.
    pub db: u8,
    /// Its name, at most [`SHOWN_KEY_BYTES`] of it.
    pub key: Box<[u8]>,
    /// How long the whole name is.
    pub key_bytes: usize,
    /// Requests in a second, sampled ones.
    pub per_second: f64,
    /// How many of them may be other keys'.
    pub error_per_second: f64,
    /// Writes among them.
    pub writes_per_second: f64,
}

/// See the module's text.
#[derive(Debug)]
pub struct Sketch {
    hasher: RandomState,
    /// Of the keys in `places`, by the same index: looked through from front to back.
    hashes: Vec<u64>,
    places: Vec<Place>,
    /// All samples.
    total: f64,
    /// Seconds over which they were counted.
    seconds: f64,
}

impl Default for Sketch {
    fn default() -> Self {
        Sketch {
            hasher: RandomState::new(),
            hashes: Vec::new(),
            places: Vec::new(),
            total: 0.0,
            seconds: 0.0,
        }
    }
}

impl Sketch {
    /// Counts a request. Answers how many samples the key has, errors taken off.
    pub fn add(&mut self, db: u8, key: &[u8], write: bool) -> f64 {
        self.total += 1.0;
        let hash = self.hasher.hash_one((db, key));
        let at = match self.hashes.iter().position(|known| *known == hash) {
            Some(at) => at,
            None => self.admit(hash, db, key),
        };
        let Some(place) = self.places.get_mut(at) else { return 0.0 };
        place.count += 1.0;
        if write {
            place.writes += 1.0;
        }
        place.count - place.error
    }

    /// Gives a key a place: a free one, or that of the smallest count.
    fn admit(&mut self, hash: u64, db: u8, key: &[u8]) -> usize {
        let shown = key.get(..SHOWN_KEY_BYTES).unwrap_or(key);
        let mut place =
            Place { db, key: shown.into(), key_bytes: key.len(), count: 0.0, error: 0.0, writes: 0.0 };
        if self.places.len() < KEYS {
            self.hashes.push(hash);
            self.places.push(place);
            return self.places.len() - 1;
        }
        let least = (0..self.places.len()).min_by(|a, b| {
            let count = |at: &usize| self.places.get(*at).map_or(0.0, |place| place.count);
            count(a).total_cmp(&count(b))
        });
        let at = least.unwrap_or(0);
        if let (Some(known), Some(old)) = (self.hashes.get_mut(at), self.places.get_mut(at)) {
            (place.count, place.error) = (old.count, old.count);
            (*known, *old) = (hash, place);
        }
        at
    }

    /// So many seconds have passed.
    pub fn pass(&mut self, seconds: f64) {
        let fade = (-seconds / HALF_LIFE_S).exp2();
        self.seconds = (self.seconds + seconds) * fade;
        self.total *= fade;
        for place in &mut self.places {
            place.count *= fade;
            place.error *= fade;
            place.writes *= fade;
        }
    }

    /// So many samples in a second are the rate of a key with `samples`, `since` seconds after the last
    /// [`Sketch::pass`].
    pub fn rate(&self, samples: f64, since: f64) -> f64 {
        samples / (self.seconds + since).max(LEAST_SECONDS)
    }

    /// All samples in a second.
    pub fn total_rate(&self) -> f64 {
        self.rate(self.total, 0.0)
    }

    /// The keys with the most samples, at most `count` of them, the most asked for first.
    pub fn heaviest(&self, count: usize) -> Vec<Heavy> {
        let mut places: Vec<&Place> =
            self.places.iter().filter(|place| place.count - place.error >= LEAST_SAMPLES).collect();
        places.sort_by(|a, b| b.count.total_cmp(&a.count));
        places
            .into_iter()
            .take(count)
            .map(|place| Heavy {
                db: place.db,
                key: place.key.clone(),
                key_bytes: place.key_bytes,
                per_second: self.rate(place.count, 0.0),
                error_per_second: self.rate(place.error, 0.0),
                writes_per_second: self.rate(place.writes, 0.0),
            })
            .collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Sketch { hasher: self.hasher.clone(), ..Sketch::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// Draws ranks from 0 with probability proportional to `1 / (rank + 1)`.
    fn zipf(rng: &mut SmallRng, sums: &[f64]) -> usize {
        let at = rng.random::<f64>() * sums.last().copied().unwrap_or(0.0);
        sums.partition_point(|sum| *sum <= at)
    }

    fn sums(keys: usize) -> Vec<f64> {
        (1..=keys)
            .scan(0.0, |sum, rank| {
                *sum += 1.0 / rank as f64;
                Some(*sum)
            })
            .collect()
    }

    #[test]
    fn the_most_asked_for_keys_are_found_among_many() {
        let (mut sketch, mut rng, sums) = (Sketch::default(), SmallRng::seed_from_u64(7), sums(100_000));
        for _ in 0..10 {
            for _ in 0..10_000 {
                let key = zipf(&mut rng, &sums);
                sketch.add(0, format!("key:{key}").as_bytes(), false);
            }
            sketch.pass(1.0);
        }
        let heaviest = sketch.heaviest(64);
        let names: Vec<&[u8]> = heaviest.iter().take(10).map(|heavy| &*heavy.key).collect();
        for rank in 0..5 {
            assert!(names.contains(&format!("key:{rank}").as_bytes()), "{rank} is missing");
        }
        // The first one has about one in 12.1 of 10,000 samples in a second.
        let first = &heaviest[0];
        assert_eq!(&*first.key, b"key:0");
        assert!((first.per_second - 827.0).abs() < 80.0, "{first:?}");
        assert!(first.error_per_second < 100.0, "{first:?}");
        assert!((sketch.total_rate() - 10_000.0).abs() < 1.0);
        assert_eq!(sketch.places.len(), KEYS);
    }

    #[test]
    fn what_was_hot_cools_down() {
        let mut sketch = Sketch::default();
        for _ in 0..30 {
            (0..100).for_each(|_| {
                sketch.add(3, b"old", true);
            });
            sketch.pass(1.0);
        }
        assert!((sketch.heaviest(1)[0].writes_per_second - 100.0).abs() < 1.0);
        sketch.pass(HALF_LIFE_S);
        let rate = sketch.heaviest(1)[0].per_second;
        assert!((30.0..70.0).contains(&rate), "{rate}");
        sketch.pass(20.0 * HALF_LIFE_S);
        assert_eq!(sketch.heaviest(1), []);
    }

    #[test]
    fn databases_are_told_apart_and_long_names_cut() {
        let mut sketch = Sketch::default();
        let long = [b'x'; 1000];
        for _ in 0..3 {
            sketch.add(0, &long, false);
            sketch.add(1, &long, false);
        }
        sketch.pass(1.0);
        let heaviest = sketch.heaviest(9);
        assert_eq!(heaviest.len(), 2);
        assert_eq!((heaviest[0].key.len(), heaviest[0].key_bytes), (SHOWN_KEY_BYTES, 1000));
        sketch.clear();
        assert_eq!(sketch.heaviest(9), []);
    }

    #[test]
    fn a_count_is_never_below_the_truth_and_never_more_than_its_error_above() {
        let (mut sketch, mut rng, sums) = (Sketch::default(), SmallRng::seed_from_u64(9), sums(5_000));
        let mut truth = vec![0.0; 5_000];
        for _ in 0..50_000 {
            let key = zipf(&mut rng, &sums);
            truth[key] += 1.0;
            sketch.add(0, &key.to_le_bytes(), false);
        }
        for place in &sketch.places {
            let key = usize::from_le_bytes(place.key[..].try_into().expect("eight bytes"));
            assert!(place.count >= truth[key] && place.count - place.error <= truth[key], "{place:?}");
        }
    }
}
