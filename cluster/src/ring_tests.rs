//! Golden vectors and properties of the ring.

use super::*;
use proptest::prelude::*;

fn even(count: u16) -> Vec<(ShardId, u32)> {
    (0..count).map(|shard| (ShardId(shard), 1)).collect()
}

fn weight_of(shards: &[(ShardId, u32)], shard: ShardId) -> u32 {
    shards.iter().find(|(id, _)| *id == shard).map_or(0, |(_, weight)| *weight)
}

/// Slots that have to move from one set of shards to the other at least: what the shards that grow gain, by
/// their fair shares.
fn share(before: &[(ShardId, u32)], after: &[(ShardId, u32)]) -> f64 {
    let fair = |shards: &[(ShardId, u32)], shard: ShardId| {
        let all: u32 = shards.iter().map(|(_, weight)| weight).sum();
        f64::from(SLOTS) * f64::from(weight_of(shards, shard)) / f64::from(all.max(1))
    };
    after.iter().map(|(shard, _)| (fair(after, *shard) - fair(before, *shard)).max(0.0)).sum()
}

/// What a change may move: its share by a tenth more, and 3 % of all slots (shares are even by 6 % or so, and
/// where a shard is at its bound the next one takes over).
fn allowed(before: &[(ShardId, u32)], after: &[(ShardId, u32)]) -> usize {
    (share(before, after) * 1.1 + f64::from(SLOTS) * 0.03) as usize
}

fn assert_bounded(shards: &[(ShardId, u32)], table: &SlotTable) {
    let all: u64 = shards.iter().map(|(_, weight)| u64::from(*weight)).sum();
    assert_eq!(table.assigned(), usize::from(SLOTS));
    for (shard, weight) in shards {
        let (held, most) = (table.count_of(*shard), bound(*weight, all, DEFAULT_EPSILON));
        assert!(held <= most, "{shard} holds {held} of at most {most}");
    }
}

#[test]
fn the_hash_is_fixed() {
    let hash = |value: u64| {
        let mut hasher = RingHashBuilder.build_hasher();
        hasher.write(&value.to_le_bytes());
        hasher.finish()
    };
    assert_eq!(RingHashBuilder.build_hasher().finish(), HASHES[0]);
    assert_eq!((hash(0), hash(1), hash(u64::MAX)), (HASHES[1], HASHES[2], HASHES[3]));
}

/// Of no bytes, and of 0, 1 and 2^64 - 1 in little-endian; computed apart from this code.
const HASHES: [u64; 4] =
    [0xefd0_1f60_ba99_2926, 0x7bd3_144f_29c0_cc9e, 0x4a3a_3a4b_a652_3826, 0x6a92_c022_8678_c02e];

/// `cluster/vectors/ring-*.txt`: a letter, shard and weight a line, then the owner's letter of each slot. A
/// difference means that a release would move slots: with TORC_UPDATE_VECTORS=1 the files are written anew, which
/// is a breaking change.
#[test]
fn slots_lie_where_the_vectors_say() {
    let cases: [(&str, Vec<(ShardId, u32)>); 5] = [
        ("ring-1", even(1)),
        ("ring-3", even(3)),
        ("ring-4", even(4)),
        ("ring-16", even(16)),
        ("ring-weights", vec![(ShardId(0), 1), (ShardId(7), 2), (ShardId(300), 5)]),
    ];
    for (name, shards) in cases {
        let letters: Vec<(ShardId, char)> = shards.iter().map(|(id, _)| *id).zip('a'..).collect();
        let mut text = String::new();
        for ((shard, weight), (_, letter)) in shards.iter().zip(&letters) {
            text.push_str(&format!("{letter} {} {weight}\n", shard.0));
        }
        let table = assign(&shards, DEFAULT_EPSILON);
        for slot in 0..SLOTS {
            let owner = letters.iter().find(|(id, _)| Some(*id) == table.owner(slot));
            text.push(owner.map_or('-', |(_, letter)| *letter));
            if slot % 128 == 127 {
                text.push('\n');
            }
        }
        let path = format!("{}/vectors/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("TORC_UPDATE_VECTORS").is_some() {
            std::fs::write(&path, &text).expect("writable");
        }
        let golden = std::fs::read_to_string(&path).expect("a vector file");
        assert!(golden == text, "the ring differs from {path}");
    }
}

#[test]
fn a_shard_more_or_less_moves_about_its_share() {
    for count in [1, 2, 3, 4, 6, 8, 16, 31] {
        let (few, many) = (even(count), even(count + 1));
        let (a, b) = (assign(&few, DEFAULT_EPSILON), assign(&many, DEFAULT_EPSILON));
        assert_bounded(&few, &a);
        let moved = a.moved(&b);
        assert!(moved <= allowed(&few, &many), "{count} + 1: {moved} of {}", allowed(&few, &many));
        // And back: what is left goes to the others.
        let back: usize = usize::from(SLOTS) / usize::from(count + 1);
        assert!(moved <= back + back / 10 + usize::from(SLOTS) * 3 / 100);
    }
}

#[test]
fn nobody_owns_slots_without_shards() {
    assert_eq!(assign(&[], DEFAULT_EPSILON).assigned(), 0);
    assert_eq!(assign(&[(ShardId(1), 0)], DEFAULT_EPSILON).assigned(), 0);
}

fn shards() -> impl Strategy<Value = Vec<(ShardId, u32)>> {
    proptest::collection::btree_map(0u16..500, 1u32..5, 1..9)
        .prop_map(|shards| shards.into_iter().map(|(id, weight)| (ShardId(id), weight)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nobody_is_above_the_bound_in_any_order(shards in shards(), turn in 0usize..8) {
        let table = assign(&shards, DEFAULT_EPSILON);
        assert_bounded(&shards, &table);
        let mut other = shards.clone();
        other.reverse();
        let len = other.len();
        other.rotate_left(turn % len);
        prop_assert_eq!(assign(&other, DEFAULT_EPSILON), table);
    }

    #[test]
    fn a_change_moves_little(shards in shards(), new in 500u16..600, weight in 1u32..5, at in 0usize..8) {
        let before = assign(&shards, DEFAULT_EPSILON);
        // One comes.
        let mut more = shards.clone();
        more.push((ShardId(new), weight));
        let moved = before.moved(&assign(&more, DEFAULT_EPSILON));
        prop_assert!(moved <= allowed(&shards, &more), "comes: {} of {}", moved, allowed(&shards, &more));
        // One changes its weight.
        let mut changed = shards.clone();
        let at = at % changed.len();
        changed[at].1 = weight;
        let moved = before.moved(&assign(&changed, DEFAULT_EPSILON));
        prop_assert!(moved <= allowed(&shards, &changed), "weight: {} of {}", moved, allowed(&shards, &changed));
        // One goes.
        if shards.len() > 1 {
            let mut fewer = shards.clone();
            fewer.remove(at);
            let moved = before.moved(&assign(&fewer, DEFAULT_EPSILON));
            prop_assert!(moved <= allowed(&shards, &fewer), "goes: {} of {}", moved, allowed(&shards, &fewer));
        }
    }
}
