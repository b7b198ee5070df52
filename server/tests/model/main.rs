//! Random commands of every type against the simplest store that could be right, and against a replica.
//!
//! Compared are each reply and the whole state with a map of maps ([`map::Model`]); the memory account with a recount
//! of everything; and the state that a replica has after it applied the records, by themselves or on top of a full
//! copy, or during a full sync whose chunks come between them, with the primary's, down to expiry, flags and version.
//! Once with room for all, once with keys being evicted.
//! Fields that expire have a model of their own, in `field_expiry.rs`, trims that stop at nodes one in `streams.rs`.

mod counters;
mod generic;
mod hashes;
mod lists;
mod map;
mod nodes;
mod reply;
mod sets;
mod sides;
mod sorted_sets;
mod step;
mod stream_state;
mod streams;
mod strings;
mod words;

use std::collections::BTreeMap;

use proptest::prelude::*;
use torc_protocol::command::{Flags, resolve};
use torc_protocol::resp::OwnedArgs;
use torc_server::exec::testing::{Harness, START_MS};
use torc_server::node::Node;
use torc_server::replication::apply::{Filter, chunk};
use torc_server::settings::{EvictionPolicy, Settings};
use torc_server::store::STRIPES;

use self::map::{Model, Run, Value};
use self::nodes::{
    Resync, apply_records, apply_while_syncing, check_account, copy_all, digests, dump, execute, is_counter,
    primary, settings, sync_stripe,
};
use self::reply::agrees;
use self::sides::{locks, sides};
use self::step::{Step, steps};
use self::words::{Bytes, key};

/// Names the last chunk of a full sync (`replication::stream`).
const END_OF_SYNC: u16 = u16::MAX;

/// Room for data in the runs with evictions.
const ROOM_BYTES: u64 = 12_000;

/// Attempts to make room, each of which looks at random stripes, before a store counts as full.
const ATTEMPTS: usize = 40;

/// What a store or a model holds, as far as both know it: value and expiry.
fn held(
    rows: impl IntoIterator<Item = ((u8, Bytes), (Value, Option<u64>))>,
) -> BTreeMap<(u8, Bytes), (Value, Option<u64>)> {
    let known = |value| match value {
        Value::Text(text) if is_counter(&text) => Value::Counter(Default::default()),
        Value::Counter(_) => Value::Counter(Default::default()),
        other => other,
    };
    rows.into_iter().map(|(place, (value, at))| (place, (known(value), at))).collect()
}

/// What a node holds that is not due.
fn live(node: &Node, now_ms: u64) -> BTreeMap<(u8, Bytes), (Value, Option<u64>)> {
    let rows = dump(node).into_iter().map(|(place, (value, at, ..))| (place, (value, at)));
    held(rows.filter(|(_, (_, at))| at.is_none_or(|at| at > now_ms)))
}

/// Runs a step in both; says what is wrong.
fn run_both(t: &mut Harness, model: &mut Model, step: &Step) -> Result<(), String> {
    if step.is_open(model) {
        return Ok(());
    }
    let expected = step.run(model).unwrap_or_else(|error| error);
    let got = execute(t, step);
    if let Step::Set(step) = step {
        step.popped(model, &got);
    }
    let shown = String::from_utf8_lossy(&got);
    agrees(&got, &expected)
        .then_some(())
        .ok_or_else(|| format!("{step:?}: {shown:?} instead of {expected:?}"))
}

/// Has the store evict until there is room; false when it is full and nothing may go.
fn make_room(t: &mut Harness) -> bool {
    let limit = t.node.settings.load().maxmemory;
    for _ in 0..ATTEMPTS {
        if t.node.used_bytes() < limit {
            return true;
        }
        // Needs room, and changes nothing.
        t.run_args([&b"SETRANGE"[..], &key(3), b"0", b""]);
    }
    t.node.used_bytes() < limit
}

/// Forgets what has been evicted; says which of it may not go.
fn forget_evicted(model: &mut Model, node: &Node, policy: EvictionPolicy) -> Vec<Bytes> {
    model.expire();
    let there = dump(node);
    let gone: Vec<_> = model.keys.extract_if(|place, _| !there.contains_key(place)).collect();
    let only_volatile = policy.name().starts_with("volatile");
    gone.into_iter().filter(|(_, (_, at))| only_volatile && at.is_none()).map(|((_, key), _)| key).collect()
}

/// Whether a step is refused by a full store.
fn needs_room(step: &Step) -> bool {
    let request = OwnedArgs::new(step.request());
    resolve(&request.view()).is_ok_and(|command| command.spec().flags.contains(Flags::DENYOOM))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map_of_maps(steps in steps(250)) {
        let mut t = Harness::with_settings(settings());
        let mut model = Model { now_ms: START_MS, ..Model::default() };
        for step in &steps {
            run_both(&mut t, &mut model, step).map_err(TestCaseError::fail)?;
        }
        model.expire();
        prop_assert_eq!(live(&t.node, t.now.unix_ms), held(model.keys));
        check_account(&t.node);
    }

    #[test]
    fn evicted_keys_go_whole(
        steps in steps(250),
        policy in prop::sample::select(EvictionPolicy::NAMES.map(|(_, policy)| policy).to_vec()),
    ) {
        let mut t = primary(settings());
        let old = t.node.settings.load_full();
        let maxmemory = t.node.used_bytes() + ROOM_BYTES;
        let limited = Settings { maxmemory, maxmemory_policy: policy, ..settings() };
        prop_assert!(t.node.replace_settings(&old, limited));
        let follower = Harness::with_settings(settings());
        let mut model = Model { now_ms: START_MS, ..Model::default() };
        for step in &steps {
            let has_room = make_room(&mut t);
            let wrong = forget_evicted(&mut model, &t.node, policy);
            prop_assert!(wrong.is_empty(), "{wrong:?} went under {policy:?}");
            if has_room || !needs_room(step) {
                run_both(&mut t, &mut model, step).map_err(TestCaseError::fail)?;
            }
            apply_records(&follower.node, &t.records());
        }
        model.expire();
        prop_assert_eq!(live(&t.node, t.now.unix_ms), held(model.keys));
        prop_assert_eq!(dump(&t.node), dump(&follower.node));
        check_account(&t.node);
        check_account(&follower.node);
    }

    #[test]
    fn a_replica_follows(steps in steps(250), copied_at in 0usize..250) {
        let mut t = primary(settings());
        let (follower, late) = (Harness::with_settings(settings()), Harness::with_settings(settings()));
        for (n, step) in steps.iter().enumerate() {
            if n == copied_at {
                apply_records(&follower.node, &t.records());
                copy_all(&t.node, &late.node);
            }
            execute(&mut t, step);
            let records = t.records();
            apply_records(&follower.node, &records);
            if n >= copied_at {
                apply_records(&late.node, &records);
            }
        }
        let rows = dump(&t.node);
        prop_assert_eq!(&rows, &dump(&follower.node));
        if copied_at < steps.len() {
            prop_assert_eq!(&rows, &dump(&late.node));
        }
        for node in [&t.node, &follower.node, &late.node] {
            check_account(node);
        }
    }

    /// Each record goes to those stripes alone whose chunk came before it: once, whatever the type, also when it
    /// touches several stripes or all.
    #[test]
    fn a_replica_syncs_while_records_come(
        steps in steps(250),
        begins in 0usize..150,
        at_once in 4usize..40,
        stride in (0u16..512).prop_map(|half| 2 * half + 1),
    ) {
        let mut t = primary(settings());
        let fresh = Harness::with_settings(settings());
        let (mut filter, mut last) = (Filter::default(), 0);
        let mut chunks = (0..STRIPES as u16).map(|n| n.wrapping_mul(stride) % STRIPES as u16);
        for (n, step) in steps.iter().enumerate() {
            if n >= begins {
                chunks.by_ref().take(at_once).for_each(|index| {
                    sync_stripe(&t.node, &fresh.node, &mut filter, index, last);
                });
            }
            execute(&mut t, step);
            last = apply_while_syncing(&fresh.node, &filter, &t.records()).unwrap_or(last);
        }
        chunks.for_each(|index| sync_stripe(&t.node, &fresh.node, &mut filter, index, last));
        prop_assert!(!filter.is_complete(last), "the end has not come");
        prop_assert!(chunk(&fresh.node, &mut filter, END_OF_SYNC, last, &[], 0).is_ok());
        prop_assert!(filter.is_complete(last));
        prop_assert_eq!(dump(&t.node), dump(&fresh.node));
        prop_assert_eq!(digests(&t.node), digests(&fresh.node));
        check_account(&fresh.node);
    }

    /// A replica that followed for a while, then missed records or went on by itself (or both), is compared while further
    /// records come; of some stripes nothing is compared.
    #[test]
    fn a_replica_comes_back_by_slots(
        steps in steps(250),
        tail in prop::option::of(steps(40)),
        parted_at in 0usize..120,
        begins in 0usize..200,
        hears_all in any::<bool>(),
        sides in sides(),
        tail_sides in sides(),
        at_once in 4usize..40,
        sends in 0usize..4,
        uncompared in prop::option::of(0u16..STRIPES as u16),
        stride in (0u16..512).prop_map(|half| 2 * half + 1),
    ) {
        let mut t = primary(settings());
        let mut back = primary(settings());
        // What it misses, if it was only cut off: the backlog of its primary has it from where they parted on.
        let begins = begins.max(parted_at);
        let mut stripes = (0..STRIPES as u16).map(|n| n.wrapping_mul(stride) % STRIPES as u16);
        let mut resync = None;
        let mut missed = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            if n == parted_at {
                for step in tail.iter().flatten() {
                    execute(&mut back, step);
                }
                if tail.is_some() {
                    tail_sides.iter().for_each(|(_, side)| drop(side.run(&back.node)));
                }
                back.records();
            }
            if n == begins {
                let heard = if hears_all { &missed[..] } else { &[] };
                resync = Some(Resync::begin(&t.node, &back.node, heard));
            }
            if let Some(resync) = &mut resync {
                stripes.by_ref().take(at_once).for_each(|index| match uncompared {
                    Some(first) if index >= first => resync.whole(&t.node, &back.node, index),
                    _ => resync.compare(&t.node, &back.node, index),
                });
                resync.send(&t.node, &back.node, sends);
            }
            execute(&mut t, step);
            let mut records = t.records();
            sides.iter().filter(|(at, _)| *at == n).for_each(|(_, side)| records.extend(side.run(&t.node)));
            match &mut resync {
                Some(resync) => resync.records(&back.node, &records),
                None if n < parted_at => apply_records(&back.node, &records),
                None => missed.extend_from_slice(&records),
            }
        }
        let heard = if hears_all { &missed[..] } else { &[] };
        let mut resync = resync.unwrap_or_else(|| Resync::begin(&t.node, &back.node, heard));
        stripes.for_each(|index| resync.compare(&t.node, &back.node, index));
        resync.send(&t.node, &back.node, STRIPES);
        prop_assert!(resync.end());
        prop_assert_eq!(dump(&t.node), dump(&back.node));
        prop_assert_eq!(digests(&t.node), digests(&back.node));
        prop_assert_eq!(t.node.memcached.get(), back.node.memcached.get());
        prop_assert_eq!(locks(&t.node), locks(&back.node));
        check_account(&back.node);
        if tail.is_none() && uncompared.is_none() && hears_all {
            prop_assert_eq!(resync.sent, 0, "records alone made it equal");
        }
    }
}
