use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::store::hash::DEFAULT_SEED;
use crate::store::{KeyHasher, Limits, PackedLimits};

fn env() -> Env {
    let set = PackedLimits { entries: 8, value_bytes: 10 };
    let limits = Limits { set, set_intset_entries: 6, ..Limits::default() };
    Env { limits, hasher: KeyHasher::new(DEFAULT_SEED) }
}

fn set_of(members: &[&str]) -> SetValue {
    let mut set = SetValue::default();
    set.expect(members[0].as_bytes(), 1, &env());
    members.iter().for_each(|member| assert!(set.add(member.as_bytes(), &env())));
    set
}

#[test]
fn forms_follow_the_limits() {
    for (members, encoding) in [
        (&["1", "2", "70000", "-5000000000"][..], "intset"),
        (&["1", "2", "x"], "listpack"),
        (&["1", "2", "3", "4", "5", "6", "7"], "hashtable"),
        (&["1", "2", "a member that is long"], "hashtable"),
        (&["12345678901", "x"], "hashtable"),
        (&["x", "2", "3", "4", "5", "6", "7", "8"], "listpack"),
        (&["x", "2", "3", "4", "5", "6", "7", "8", "9"], "hashtable"),
        (&["01"], "listpack"),
    ] {
        let set = set_of(members);
        assert_eq!((set.encoding(), set.len()), (encoding, members.len()), "{members:?}");
        assert!(members.iter().all(|member| set.contains(member.as_bytes())));
    }
    assert_eq!(SetValue::for_members(b"1", 7, &env()).encoding(), "listpack");
    assert_eq!(SetValue::for_members(b"1", 9, &env()).encoding(), "hashtable");
    let mut set = set_of(&["x", "2"]);
    set.expect(b"", 9, &env());
    assert_eq!((set.encoding(), set.len()), ("hashtable", 2));
    set.remove(b"x");
    set.make_ints(&env());
    assert_eq!(set.encoding(), "intset");
}

#[test]
fn integers_keep_their_order_in_every_width() {
    let set = set_of(&["40000", "-3", "7", "5000000000", "6"]);
    let all: Vec<_> = set.iter().collect();
    assert_eq!(all, [-3, 6, 7, 40_000, 5_000_000_000].map(Member::Int));
}

proptest! {
    #[test]
    fn behaves_as_a_set(
        ops in prop::collection::vec((any::<bool>(), 0u8..60), 0..300),
        kind in 0u8..3,
    ) {
        let spell = |n: u8| match (kind, n % 4) {
            (0, _) => (i64::from(n) * 3001 - 50_000).to_string().into_bytes(),
            (1, 0) => vec![b'z'; 256 + usize::from(n)],
            _ => format!("m{n}").into_bytes(),
        };
        let env = env();
        let mut model: BTreeSet<Vec<u8>> = BTreeSet::new();
        let (mut set, mut replica) = (SetValue::default(), SetValue::default());
        for (add, n) in ops {
            let member = spell(n);
            let mut body = Vec::new();
            if add {
                set.expect(&member, 1, &env);
                prop_assert_eq!(set.add(&member, &env), model.insert(member.clone()));
                SetChange::put_add(&mut body, 1, [&member[..]].into_iter());
            } else {
                prop_assert_eq!(set.remove(&member), model.remove(&member));
                let rebuild = n % 5 == 0;
                if rebuild {
                    set.rebuild(&env);
                }
                SetChange::put_remove(&mut body, rebuild, [&member[..]].into_iter());
            }
            prop_assert!(replica.replay(&body, &env).is_ok());
            prop_assert_eq!(set.len(), model.len());
        }
        prop_assert_eq!(set.encoding(), replica.encoding());
        for set in [&set, &replica] {
            let all: BTreeSet<Vec<u8>> = set.iter().map(Member::to_vec).collect();
            prop_assert_eq!(&all, &model);
            prop_assert!(model.iter().all(|member| set.contains(member)));
            let mut walked = BTreeSet::new();
            let mut from = Some(0);
            while let Some(cursor) = from {
                from = set.scan(cursor, 3, |member| { walked.insert(member.to_vec()); });
            }
            prop_assert_eq!(&walked, &model);
            prop_assert_eq!(set.sample(77).map(|m| model.contains(&m.to_vec())), (!model.is_empty()).then_some(true));
        }
    }
}
