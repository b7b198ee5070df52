use proptest::prelude::*;

use super::*;

const MAX_BYTES: usize = 3000;

fn filled(elements: u32, max_bytes: usize) -> Vec<u8> {
    let mut hll = empty();
    for n in 0..elements {
        let (index, value) = place(&n.to_le_bytes());
        raise(&mut hll, index, value, max_bytes).unwrap();
    }
    hll
}

#[test]
fn both_encodings_count_the_same() {
    for elements in [0, 1, 10, 100, 1000, 100_000] {
        let sparse = filled(elements, 100_000);
        let mut dense = sparse.clone();
        make_dense(&mut dense).unwrap();
        assert!(is_valid(&dense) && is_dense(&dense));
        let estimate = count(&dense).unwrap();
        assert_eq!(count(&sparse), Ok(estimate));
        let mut merged = Registers::default();
        merged.merge(&sparse).unwrap();
        assert_eq!(merged.estimate(), estimate);
        let error = estimate.abs_diff(u64::from(elements)) as f64;
        assert!(error <= f64::from(elements) * 0.03, "{estimate} instead of {elements}");
    }
    assert!(is_dense(&filled(3000, MAX_BYTES)));
}

#[test]
fn what_a_redis_made_is_made_again() {
    // PFADD k a b c; GET k
    let mut hll = empty();
    for element in [b"a", b"b", b"c"] {
        let (index, value) = place(element);
        assert_eq!(raise(&mut hll, index, value, MAX_BYTES), Ok(true));
    }
    let redis = b"HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80`\xf3\x80P\xb1\x84K\xfb\x80BZ";
    assert_eq!(hll.escape_ascii().to_string(), redis.escape_ascii().to_string());
    assert_eq!(count(&hll), Ok(3));
}

#[test]
fn the_cache_has_its_place() {
    let mut hll = empty();
    assert_eq!(cached(&hll), Some(0));
    invalidate(&mut hll);
    assert_eq!(cached(&hll), None);
    set_cached(&mut hll, 77);
    assert_eq!(cached(&hll), Some(77));
}

#[test]
fn damage_is_found() {
    let mut hll = empty();
    hll.truncate(HEADER);
    assert_eq!(count(&hll), Err(Corrupted));
    assert_eq!(raise(&mut hll, 5, 3, MAX_BYTES), Err(Corrupted));
    assert_eq!(make_dense(&mut hll), Err(Corrupted));
    hll.extend_from_slice(&[0x7f, 0xff, 0x83]);
    assert_eq!(count(&hll), Err(Corrupted));
    assert!(!is_valid(b"HYLL"));
    assert!(!is_valid(&[b"HYLL\x00", &[0; 100][..]].concat()));
    assert!(!is_valid(&[b"HYLL\x02", &[0; 100][..]].concat()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn registers_hold_what_they_were_raised_to(
        steps in prop::collection::vec((0usize..200, 1u8..40), 0..300),
        stride in 1usize..80,
        max_bytes in 18usize..400,
    ) {
        let mut model = vec![0u8; REGISTERS];
        let mut hll = empty();
        for (index, value) in steps {
            let index = index * stride;
            prop_assert_eq!(raise(&mut hll, index, value, max_bytes), Ok(model[index] < value));
            model[index] = model[index].max(value);
            prop_assert!(is_dense(&hll) || hll.len() <= max_bytes);
        }
        let mut registers = Registers::default();
        prop_assert_eq!(registers.merge(&hll), Ok(()));
        prop_assert!(registers.iter().eq(model.iter().copied()));
        let mut dense = hll.clone();
        prop_assert_eq!(make_dense(&mut dense), Ok(()));
        for (index, value) in model.iter().enumerate() {
            prop_assert_eq!(dense::get(&dense[HEADER..], index), *value);
        }
        // Raised in order in an empty one: the same string as written in one go.
        let mut ordered = empty();
        for (index, value) in model.iter().enumerate().filter(|(_, value)| **value > 0) {
            prop_assert!(raise(&mut ordered, index, *value, max_bytes).is_ok());
        }
        invalidate(&mut ordered);
        if let Some(whole) = sparse_of(&registers, max_bytes) {
            prop_assert_eq!(whole, ordered);
        }
    }

    #[test]
    fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..60), index in 0usize..REGISTERS, value in 1u8..52) {
        let mut hll = [b"HYLL\x01", &[0; 11][..], &tail].concat();
        let _ = count(&hll);
        let _ = Registers::default().merge(&hll);
        let _ = raise(&mut hll, index, value, MAX_BYTES);
        let _ = make_dense(&mut hll);
    }
}
