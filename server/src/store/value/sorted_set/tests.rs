use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::store::hash::DEFAULT_SEED;

/// The simplest sorted set: members in order of (score, member).
fn sorted(model: &HashMap<Vec<u8>, f64>) -> Vec<(Vec<u8>, f64)> {
    let mut all: Vec<_> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
    all.sort_by(|(am, a), (bm, b)| a.total_cmp(b).then(am.cmp(bm)));
    all
}

fn owned<'a>(elements: impl Iterator<Item = (&'a [u8], f64)>) -> Vec<(Vec<u8>, f64)> {
    elements.map(|(m, s)| (m.to_vec(), s)).collect()
}

fn check(set: &SortedSetValue, model: &HashMap<Vec<u8>, f64>) {
    if let SortedSetValue::Indexed(indexed) = set {
        indexed.check();
    }
    let all = sorted(model);
    assert_eq!(set.len(), all.len());
    assert_eq!(owned(set.iter()), all);
    let mut back = all.clone();
    back.reverse();
    assert_eq!(owned(set.range(0, all.len(), true)), back);
    for (rank, (member, score)) in all.iter().enumerate() {
        assert_eq!(set.rank(member), Some((rank, *score)));
        assert_eq!(set.score(member), Some(*score));
        assert_eq!(set.at(rank), Some((&member[..], *score)));
    }
    assert_eq!(set.at(all.len()), None);
}

fn member(n: u16) -> Vec<u8> {
    // Of many sizes, some too long for a page.
    let mut member = n.to_string().into_bytes();
    match n % 7 {
        0 => member.resize(member.len() + usize::from(n % 300), b'x'),
        1 => member.push(b'y'),
        _ => {}
    }
    member
}

fn limits() -> PackedLimits {
    PackedLimits { entries: 16, value_bytes: 300 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_sorted_map(
        ops in prop::collection::vec((0u8..4, 0u16..400, -3i8..4), 0..900),
        distinct in any::<bool>(),
    ) {
        let hasher = KeyHasher::new(DEFAULT_SEED);
        let mut model = HashMap::new();
        let mut set = SortedSetValue::default();
        for (index, (op, n, score)) in ops.into_iter().enumerate() {
            let member = member(n);
            let score = if distinct { f64::from(n) * f64::from(score) } else { f64::from(score) };
            if op > 0 {
                prop_assert_eq!(set.set(&member, score, &limits(), hasher), model.insert(member, score));
            } else {
                prop_assert_eq!(set.remove(&member), model.remove(&member));
            }
            if index % 64 == 0 {
                check(&set, &model);
            }
        }
        check(&set, &model);
        check(&set.clone(), &model);
        let all = sorted(&model);
        for (min, max) in [(-2.0, 2.0), (0.0, 0.0), (3.0, -3.0), (-1000.0, 1000.0)] {
            for (min_open, max_open) in [(false, false), (true, false), (false, true), (true, true)] {
                let range = ScoreRange { min, min_open, max, max_open };
                let (start, end) = set.by_score(&range);
                let wanted: Vec<_> = all
                    .iter()
                    .filter(|(_, s)| !range.is_above(*s) && range.reaches(*s))
                    .cloned()
                    .collect();
                prop_assert_eq!(owned(set.range(start, end - start, false)), wanted);
            }
        }
        for (member, _) in all {
            prop_assert!(set.remove(&member).is_some());
            if set.len() % 50 == 0 {
                model.retain(|m, _| set.score(m).is_some());
                check(&set, &model);
            }
        }
        prop_assert!(set.is_empty());
    }
}

#[test]
fn grows_and_shrinks_through_several_levels() {
    let hasher = KeyHasher::new(DEFAULT_SEED);
    let mut set = SortedSetValue::default();
    let mut random = 1u64;
    let mut model = BTreeMap::new();
    for _ in 0..60_000 {
        let r = torc_runtime::random::split_mix(&mut random);
        let member = format!("m:{:012}", r % 100_000).into_bytes();
        let score = (r >> 32) as f64;
        set.set(&member, score, &limits(), hasher);
        model.insert(member, score);
    }
    let SortedSetValue::Indexed(indexed) = &set else { panic!("packed") };
    indexed.check();
    assert_eq!(set.len(), model.len());
    let mut by_score: Vec<_> = model.iter().map(|(m, s)| (*s, m.clone())).collect();
    by_score.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for (rank, (score, member)) in by_score.iter().enumerate().step_by(97) {
        assert_eq!(set.rank(member), Some((rank, *score)));
        assert_eq!(set.range(rank, 1, false).next(), Some((&member[..], *score)));
    }
    let before = set.heap_bytes();
    // What is left takes the room of what is left, whatever the order in which the others went.
    for (_, member) in by_score.iter().filter(|(score, _)| !(*score as u64).is_multiple_of(16)) {
        assert!(set.remove(member).is_some());
    }
    let SortedSetValue::Indexed(indexed) = &set else { panic!("packed") };
    indexed.check();
    assert!(set.heap_bytes() < before / 4, "{} of {before}", set.heap_bytes());
}

#[test]
fn what_comes_in_order_fills_its_leaves() {
    let hasher = KeyHasher::new(DEFAULT_SEED);
    for sign in [1.0, -1.0] {
        let mut set = SortedSetValue::default();
        for n in 0..50_000u32 {
            set.set(format!("member:{n:08}").as_bytes(), sign * f64::from(n), &limits(), hasher);
        }
        let SortedSetValue::Indexed(indexed) = &set else { panic!("packed") };
        indexed.check();
        let bytes = set.heap_bytes() / set.len();
        assert!(bytes < 52, "{bytes} bytes for a member");
    }
}

#[test]
fn changes_come_back_as_they_went() {
    let mut body = Vec::new();
    SortedSetChange::put_set(&mut body, [(&b"a"[..], 1.5), (b"b", f64::NEG_INFINITY)].into_iter());
    let env = Env { limits: Default::default(), hasher: KeyHasher::new(DEFAULT_SEED) };
    let mut set = SortedSetValue::default();
    assert!(set.replay(&body, &env).is_ok());
    assert_eq!(owned(set.iter()), [(b"b".to_vec(), f64::NEG_INFINITY), (b"a".to_vec(), 1.5)]);
    for len in 1..body.len() {
        if len != 14 {
            assert!(SortedSetValue::default().replay(&body[..len], &env).is_err() || len == 1);
        }
    }
    body.clear();
    SortedSetChange::put_remove(&mut body, [&b"a"[..]].into_iter());
    assert!(set.replay(&body, &env).is_ok());
    assert_eq!(set.len(), 1);
    assert_eq!(set.replay(&[9], &env), Err(DecodeError::Unknown(9)));
}
