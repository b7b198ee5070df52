//! Random numbers that are cheap and follow from a seed. Nothing that must not be guessed may come from here:
//! [`crate::datadir::random_bytes`] is for that.

/// The next number of SplitMix64, a generator whose whole state is one number (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", 2014).
#[inline]
pub fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that other implementations publish for this seed.
    #[test]
    fn the_published_numbers() {
        let mut state = 1_234_567;
        for wanted in [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ] {
            assert_eq!(split_mix(&mut state), wanted);
        }
    }
}
