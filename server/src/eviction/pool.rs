//! The best candidates for eviction that samples have shown so far, as Redis keeps them: with a memory of earlier
//! samples a few looks at each eviction come close to the best of all keys.

/// Candidates that are kept.
const SIZE: usize = 16;

/// A key that may go.
#[derive(Debug)]
pub struct Candidate {
    /// Where it lives.
    pub stripe: u16,
    /// Its database.
    pub db: u8,
    /// The key.
    pub key: Box<[u8]>,
    /// The higher, the sooner it goes.
    pub score: u64,
}

/// See the module's text: at most [`SIZE`] candidates, the best last.
#[derive(Debug, Default)]
pub struct Pool(Vec<Candidate>);

impl Pool {
    /// Whether a candidate of this score would be kept.
    pub fn wants(&self, score: u64) -> bool {
        self.0.len() < SIZE || self.0.first().is_some_and(|worst| score > worst.score)
    }

    /// Keeps a candidate, in place of the worst where there is no room; one that is known gets its new score.
    pub fn add(&mut self, candidate: Candidate) {
        self.0.retain(|known| known.db != candidate.db || known.key != candidate.key);
        if self.0.len() == SIZE {
            self.0.remove(0);
        }
        let place = self.0.partition_point(|known| known.score <= candidate.score);
        self.0.insert(place, candidate);
    }

    /// Takes the best.
    pub fn pop(&mut self) -> Option<Candidate> {
        self.0.pop()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(key: u8, score: u64) -> Candidate {
        Candidate { stripe: 0, db: 0, key: [key].into(), score }
    }

    #[test]
    fn keeps_the_best_of_many_samples() {
        let mut pool = Pool::default();
        for n in 0..200u64 {
            let score = n * 77 % 200;
            if pool.wants(score) {
                pool.add(candidate(n as u8, score));
            }
        }
        assert!(!pool.wants(3));
        let scores: Vec<u64> = std::iter::from_fn(|| pool.pop()).map(|c| c.score).collect();
        assert_eq!(scores, (184..200).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_key_is_kept_once_with_its_last_score() {
        let mut pool = Pool::default();
        for score in [5, 9, 2] {
            pool.add(candidate(1, score));
            pool.add(candidate(2, 4));
        }
        assert_eq!(pool.pop().map(|c| (c.key[0], c.score)), Some((2, 4)));
        assert_eq!(pool.pop().map(|c| (c.key[0], c.score)), Some((1, 2)));
        assert!(pool.is_empty());
    }
}
