//! What digests tell apart, and what they do not.

use proptest::prelude::*;

use super::*;
use crate::exec::testing::Harness;
use crate::store::STRIPES;

const KEY: DigestKey = *b"a key of a sync!";

/// The digests of all stripes that hold something.
fn digests(t: &Harness) -> Vec<(u16, Digests)> {
    let mut digester = Digester::new(&KEY);
    let all = (0..STRIPES as u16).map(|index| (index, digester.stripe(&t.node.store.stripe(index))));
    all.filter(|(_, digests)| !Parts::filled(digests).is_empty()).collect()
}

fn after(lines: &[&str]) -> Vec<(u16, Digests)> {
    let mut t = Harness::new();
    for line in lines {
        let reply = t.run(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    digests(&t)
}

#[test]
fn it_is_known_to_all_nodes_of_a_version() {
    // Another form needs another version of the internal protocol.
    let found = after(&["SET k v"]);
    assert_eq!(found.len(), 1);
    let (index, digests) = found[0];
    let place = usize::from(key_slot(b"k")) % SLOTS_PER_STRIPE;
    assert_eq!(
        (index, Parts::filled(&digests).bits()),
        (key_slot(b"k") / SLOTS_PER_STRIPE as u16, 1 << place)
    );
    assert_eq!(digests[place], 0x2fb1_df11_b4b5_ba09_3da7_4cae_1cf8_3a30);
    // The first vector of SipHash's authors for 128 bits.
    let key: DigestKey = std::array::from_fn(|n| n as u8);
    let vector = 0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293_u128;
    assert_eq!(Digester::new(&key).hash(b"").to_le_bytes(), vector.to_be_bytes());
}

#[test]
fn no_order_and_no_form_matters() {
    for (one, other) in [
        (&["SADD s a b c"][..], &["SADD s c b a"][..]),
        (&["SADD s 1 2 3"], &["SADD s 3 1 2"]),
        (&["HSET h a 1 b 2"], &["HSET h b 2 a 1"]),
        (&["ZADD z 1 a 2 b 1 c"], &["ZADD z 1 c 2 b 1 a"]),
        (&["SET a{t} 1", "SET b{t} 2", "SET c{x} 3"], &["SET c{x} 3", "SET a{t} 1", "SET b{t} 2"]),
        // What a read leaves is the node's own.
        (&["SET k v"], &["SET k v", "GET k", "TOUCH k"]),
    ] {
        assert_eq!(after(one), after(other), "{one:?} {other:?}");
    }
    let members: Vec<String> = (0..2_000).map(|n| format!("member:{n}")).collect();
    let ordered = format!("SADD s {}", members.join(" "));
    let mut members = members;
    members.reverse();
    members.rotate_left(77);
    assert_eq!(after(&[&ordered]), after(&[&format!("SADD s {}", members.join(" "))]));
}

#[test]
fn every_difference_is_one_of_its_own_slot() {
    let base = ["SET k v", "HSET h{k} f 1", "RPUSH l{k} a b", "ZADD z{k} 1 m", "XADD x{k} 1-1 f v"];
    let base_digests = after(&base);
    let mut seen = vec![base_digests.clone()];
    for more in [
        "SET k w",
        "SET other{k} v",
        "DEL k",
        "PEXPIREAT k 9999999999999",
        "HSET h{k} f 2",
        "HPEXPIREAT h{k} 9999999999999 FIELDS 1 f",
        "HDEL h{k} f",
        "LSET l{k} 0 b",
        "RPUSH l{k} a",
        "ZADD z{k} 2 m",
        "XGROUP CREATE x{k} g 0",
        "XDEL x{k} 1-1",
        "XADD x{k} 1-2 f v",
        "APPEND k w",
    ] {
        let changed = after(&[&base[..], &[more]].concat());
        let [(index, ours)] = base_digests[..] else { panic!("one stripe") };
        let theirs =
            changed.iter().find(|(of, _)| *of == index).map_or([0; DIGESTS], |(_, digests)| *digests);
        let differing = Parts::differing(&ours, &theirs);
        assert_eq!((differing.slots(), differing.has_slot(key_slot(b"k"))), (1, true), "{more}");
        assert!(!seen.contains(&changed), "{more}");
        seen.push(changed);
    }
    // The same key elsewhere, and of another database.
    assert_ne!(after(&["SET k v"]), after(&["SELECT 1", "SET k v"]));
    assert_ne!(after(&["SET k v"]), after(&["SET k v", "SET k v"]), "the CAS value is another");
    // Another key, another digest.
    let mut t = Harness::new();
    t.run("SET k v");
    let index = key_slot(b"k") / SLOTS_PER_STRIPE as u16;
    let other = Digester::new(&[0; 16]).stripe(&t.node.store.stripe(index));
    assert_ne!(digests(&t), [(index, other)]);
}

#[test]
fn registers_and_replies_stand_beside_the_slots() {
    let index = key_slot(b"k") / SLOTS_PER_STRIPE as u16;
    let with = |change: &dyn Fn(&mut Stripe)| {
        let mut t = Harness::new();
        t.run("SET k v");
        let mut stripe = t.node.store.stripe(index);
        change(&mut stripe);
        Digester::new(&KEY).stripe(&stripe)
    };
    let slot = key_slot(b"k");
    let id = |seq| torc_protocol::context::RequestId { origin: 7, seq, settled: 0 };
    let raise = |token| FenceEffect::Raise { key: b"k".to_vec(), token: torc_cluster::lock::Token(token) };
    let floor = FenceEffect::Floor { token: torc_cluster::lock::Token(3) };
    let all = [
        with(&|_| {}),
        with(&|stripe| stripe.fences_mut(slot).apply(raise(5), 1)),
        with(&|stripe| stripe.fences_mut(slot).apply(raise(6), 1)),
        with(&|stripe| stripe.fences_mut(slot).apply(floor.clone(), 1)),
        with(&|stripe| stripe.remembered_mut().keep(slot, id(1), b"+OK\r\n", 1)),
        with(&|stripe| stripe.remembered_mut().keep(slot, id(2), b"+OK\r\n", 1)),
        with(&|stripe| stripe.remembered_mut().keep(slot, id(1), b":1\r\n", 1)),
        with(&|stripe| stripe.remembered_mut().raise_floor(7, 1, 1)),
    ];
    for (n, one) in all.iter().enumerate() {
        for other in &all[..n] {
            assert_eq!(Parts::differing(one, other), Parts::SIDES);
        }
    }
    // When they came is not compared.
    assert_eq!(with(&|stripe| stripe.fences_mut(slot).apply(raise(5), 99)), all[1]);
}

proptest! {
    #[test]
    fn bytes_in_pieces_are_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100), cut in 0usize..100) {
        let digester = Digester::new(&KEY);
        let mut hasher = digester.keyed;
        let (one, other) = bytes.split_at(cut.min(bytes.len()));
        hasher.write(one);
        hasher.write(other);
        prop_assert_eq!(hasher.finish128().as_u128(), digester.hash(&bytes));
    }

    #[test]
    fn random_bytes_are_digests_or_none(bytes in prop::collection::vec(any::<u8>(), 0..DIGEST_BYTES + 2)) {
        prop_assert_eq!(read_digests(&bytes).is_some(), bytes.len() == DIGEST_BYTES);
    }
}
