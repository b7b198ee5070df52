//! Which key a request is about: drawing key numbers, and their text.
//!
//! Zipf's law is drawn by rejection from the inverted integral of its hull (W. Hörmann, G. Derflinger:
//! "Rejection-inversion to generate variates from monotone discrete distributions", ACM TOMACS 6(3),
//! 1996): no tables, any exponent above 0.

use rand::Rng;
use rand::rngs::SmallRng;

use super::args::{Distribution, KEY_PREFIX};

/// Draws key numbers from 0 up to a bound.
#[derive(Debug)]
pub struct Picker {
    keys: u64,
    zipf: Option<Zipf>,
    stride: u64,
}

impl Picker {
    /// For numbers below `keys` (at least 1).
    pub fn new(keys: u64, distribution: Distribution) -> Self {
        let zipf = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipf(theta) => Some(Zipf::new(keys, theta)),
        };
        Self { keys, zipf, stride: stride(keys) }
    }

    /// The next key number.
    pub fn pick(&self, rng: &mut SmallRng) -> u64 {
        match &self.zipf {
            None => rng.random_range(0..self.keys),
            Some(zipf) => {
                // The popular keys are spread over the key space.
                let rank = u128::from(zipf.sample(rng) - 1);
                (rank * u128::from(self.stride) % u128::from(self.keys)) as u64
            }
        }
    }
}

/// A step that visits each number below `keys` once before it comes round.
fn stride(keys: u64) -> u64 {
    let coprime = |step: &u64| {
        let (mut a, mut b) = (*step, keys);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    (2_654_435_761_u64..).find(coprime).unwrap_or(1)
}

#[derive(Debug)]
struct Zipf {
    ranks: f64,
    theta: f64,
    low: f64,
    high: f64,
    accept: f64,
}

impl Zipf {
    fn new(ranks: u64, theta: f64) -> Self {
        let ranks = ranks as f64;
        let low = integral(1.5, theta) - 1.0;
        let high = integral(ranks + 0.5, theta);
        let accept = 2.0 - integral_inverse(integral(2.5, theta) - 2_f64.powf(-theta), theta);
        Self { ranks, theta, low, high, accept }
    }

    /// A rank from 1.
    fn sample(&self, rng: &mut SmallRng) -> u64 {
        loop {
            let u = self.high + rng.random::<f64>() * (self.low - self.high);
            let x = integral_inverse(u, self.theta);
            let rank = x.round().clamp(1.0, self.ranks);
            if rank - x <= self.accept || u >= integral(rank + 0.5, self.theta) - rank.powf(-self.theta) {
                return rank as u64;
            }
        }
    }
}

/// The integral of x^-theta up to a constant.
fn integral(x: f64, theta: f64) -> f64 {
    let log = x.ln();
    if (1.0 - theta).abs() < 1e-9 { log } else { ((1.0 - theta) * log).exp_m1() / (1.0 - theta) }
}

fn integral_inverse(y: f64, theta: f64) -> f64 {
    if (1.0 - theta).abs() < 1e-9 {
        y.exp()
    } else {
        (((1.0 - theta) * y).max(-1.0).ln_1p() / (1.0 - theta)).exp()
    }
}

/// Writes the text of a key number: the prefix, then digits with leading zeros, `key_bytes` in all.
pub fn write_key(out: &mut Vec<u8>, mut number: u64, key_bytes: usize) {
    let start = out.len();
    out.extend_from_slice(KEY_PREFIX);
    out.resize(start + key_bytes, b'0');
    for digit in out[start + KEY_PREFIX.len()..].iter_mut().rev() {
        if number == 0 {
            break;
        }
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn keys_have_their_length_and_number() {
        let mut out = b"GET ".to_vec();
        write_key(&mut out, 1203, 9);
        assert_eq!(out, b"GET k00001203");
    }

    #[test]
    fn zipf_follows_its_law() {
        let (ranks, theta, draws) = (1000_u64, 0.99, 200_000);
        let zipf = Zipf::new(ranks, theta);
        let mut rng = SmallRng::seed_from_u64(3);
        let mut counts = vec![0_u32; ranks as usize + 1];
        for _ in 0..draws {
            counts[zipf.sample(&mut rng) as usize] += 1;
        }
        let total: f64 = (1..=ranks).map(|rank| (rank as f64).powf(-theta)).sum();
        for rank in [1, 2, 3, 10, 100] {
            let expected = f64::from(draws) * (rank as f64).powf(-theta) / total;
            let found = f64::from(counts[rank as usize]);
            // Six standard deviations.
            assert!((found - expected).abs() < 6.0 * expected.sqrt(), "rank {rank}: {found}, not {expected}");
        }
    }

    #[test]
    fn every_distribution_stays_within_the_keys() {
        let mut rng = SmallRng::seed_from_u64(4);
        for keys in [1, 2, 10, 1_000_000] {
            for theta in [0.5, 0.99, 1.0, 1.5, 5.0] {
                let picker = Picker::new(keys, Distribution::Zipf(theta));
                assert!((0..2000).all(|_| picker.pick(&mut rng) < keys));
            }
        }
    }

    #[test]
    fn the_stride_reaches_every_key() {
        for keys in [1_u64, 2, 7, 10, 999, 1000] {
            let mut seen: Vec<_> = (0..keys).map(|rank| rank * stride(keys) % keys).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..keys));
        }
    }
}
