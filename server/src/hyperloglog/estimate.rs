//! From registers to a number.

use super::{REGISTERS, RUN_BITS};

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How many registers have each value.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u32; 64],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [0; 64] }
    }
}

impl Histogram {
    /// `times` more registers have this value.
    #[inline]
    pub fn add(&mut self, value: u8, times: u32) {
        self.counts[usize::from(value & 63)] += times;
    }

    /// Counts one register per byte.
    pub fn count_bytes(&mut self, registers: &[u8; REGISTERS]) {
        // Equal neighbours would wait for each other's count; four rows keep them apart.
        let mut rows = [[0u32; 64]; 4];
        let (groups, _) = registers.as_chunks::<4>();
        for group in groups {
            for (row, value) in rows.iter_mut().zip(group) {
                row[usize::from(value & 63)] += 1;
            }
        }
        for (value, count) in self.counts.iter_mut().enumerate() {
            *count += rows.iter().map(|row| row[value]).sum::<u32>();
        }
    }

    /// Ertl's improved estimate, to the nearest whole number.
    pub fn estimate(&self) -> u64 {
        let m = REGISTERS as f64;
        let highest = RUN_BITS as usize;
        let mut z = m * tau((m - f64::from(self.counts[highest + 1])) / m);
        for count in self.counts[1..=highest].iter().rev() {
            z = (z + f64::from(*count)) * 0.5;
        }
        z += m * sigma(f64::from(self.counts[0]) / m);
        (ALPHA * m * m / z).round() as u64
    }
}

/// x + x² + 2 x⁴ + 4 x⁸ …
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut weight) = (x, 1.0);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// (1 - x - (1 - √x)²/2 - (1 - ⁴√x)²/4 …) / 3
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut sum, mut weight) = (1.0 - x, 1.0);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}
