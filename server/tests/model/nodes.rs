//! The nodes under test: what they hold, what they account for, and how one follows another.

use std::collections::{BTreeMap, VecDeque};

use torc_server::effect::{EffectWriter, effects, record};
use torc_server::effect_apply;
use torc_server::exec::testing::Harness;
use torc_server::node::Node;
use torc_server::replication::apply::{self, Filter};
use torc_server::replication::digest::{DigestKey, Digester, Digests, Parts};
use torc_server::replication::settle::Settling;
use torc_server::settings::Settings;
use torc_server::store::value::stream::StreamId;
use torc_server::store::value::{Member, StreamValue};
use torc_server::store::{Limits, PackedLimits, STRIPES, ValueRef};

use super::map::{Run, Value};
use super::step::Step;
use super::stream_state::{Consumer, Group, Pending, Stream};
use super::words::Bytes;

/// Collections leave their packed form early, so that both forms are met.
const LIMITS: PackedLimits = PackedLimits { entries: 6, value_bytes: 20 };

pub fn settings() -> Settings {
    let limits = Limits {
        hash: LIMITS,
        set: LIMITS,
        sorted_set: LIMITS,
        set_intset_entries: 5,
        list_node_size: 4,
        stream_node_entries: 3,
        hll_sparse_bytes: 300,
        ..Limits::default()
    };
    Settings { limits, ..Settings::default() }
}

pub fn primary(settings: Settings) -> Harness {
    let mut t = Harness::primary();
    let old = t.node.settings.load_full();
    assert!(t.node.replace_settings(&old, settings));
    t.through_proxy();
    t
}

pub fn execute(t: &mut Harness, step: &Step) -> Bytes {
    match step {
        Step::Advance(ms) => t.advance(*ms),
        Step::Select(db) => t.session.db = *db,
        Step::Sweep => t.sweep(),
        _ => {
            let request = step.request();
            return if request.is_empty() { Bytes::new() } else { t.run_args(request) };
        }
    }
    Bytes::new()
}

/// An entry as far as a replica must have it: value, expiry, flags, version, and what the model leaves out.
pub type Row = (Value, Option<u64>, u32, u32, Vec<i64>);

fn id(id: StreamId) -> (u64, u64) {
    (id.ms, id.seq)
}

fn stream(found: &StreamValue) -> Stream {
    let mut entries = BTreeMap::new();
    found.log.each(StreamId::MIN, StreamId::MAX, None, |entry| {
        let mut items = Vec::new();
        let next = entry
            .each(|field, value| items.extend([field, value].map(|piece| piece.with_bytes(<[u8]>::to_vec))));
        entries.insert(id(entry.id), items);
        (next, true)
    });
    let groups = found.groups.iter().map(|group| {
        let name = |consumer| group.consumer(consumer).map(|found| found.name().to_vec()).unwrap_or_default();
        let pending = group.pending().iter().map(|(at, found)| {
            let consumer = name(found.consumer);
            (id(at), Pending { consumer, time_ms: found.time_ms, count: found.count })
        });
        let consumers = group.consumers().map(|found| {
            (found.name().to_vec(), Consumer { seen_ms: found.seen_ms, active_ms: found.active_ms })
        });
        let (pending, consumers) = (pending.collect(), consumers.collect());
        (group.name().to_vec(), Group { last: id(group.last_id), pending, consumers })
    });
    Stream {
        entries,
        last: id(found.log.last_id()),
        max_deleted: id(found.log.max_deleted_id()),
        added: found.log.entries_added(),
        groups: groups.collect(),
    }
}

/// The elements that a HyperLogLog counts are not to be had from it.
pub fn is_counter(text: &[u8]) -> bool {
    text.starts_with(b"HYLL")
}

pub fn dump(node: &Node) -> BTreeMap<(u8, Bytes), Row> {
    let mut rows = BTreeMap::new();
    for index in 0..STRIPES as u16 {
        let stripe = node.store.stripe(index);
        for db in stripe.databases() {
            for entry in stripe.iter(db) {
                let mut more = Vec::new();
                let value = match entry.value() {
                    ValueRef::String(bytes) => Value::Text(bytes.to_vec()),
                    ValueRef::Hash(hash) => {
                        Value::Hash(hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect())
                    }
                    ValueRef::Set(set) => Value::Set(set.iter().map(Member::to_vec).collect()),
                    ValueRef::List(list) => {
                        Value::List(list.iter().map(|element| element.into_cow().into_owned()).collect())
                    }
                    ValueRef::SortedSet(set) => {
                        Value::Sorted(set.iter().map(|(member, score)| (member.to_vec(), score)).collect())
                    }
                    ValueRef::Stream(found) => {
                        more = found.groups.iter().map(|group| group.reads).collect();
                        Value::Stream(stream(found))
                    }
                };
                let row = (value, entry.expire_ms(), entry.mc_flags(), entry.version(), more);
                rows.insert((db, entry.key().to_vec()), row);
            }
        }
    }
    rows
}

pub fn check_account(node: &Node) {
    let mut total = 0;
    for index in 0..STRIPES as u16 {
        let stripe = node.store.stripe(index);
        assert_eq!((stripe.used_bytes(), stripe.expiring()), stripe.recount(), "stripe {index}");
        total += stripe.used_bytes();
    }
    assert_eq!(node.store.used_bytes(), total, "the sum");
}

pub fn apply_records(node: &Node, mut bytes: &[u8]) {
    while let Ok(Some((found, len))) = record(bytes) {
        for effect in effects(found.body) {
            match effect {
                Ok(effect) => effect_apply::apply(node, &effect, 0),
                Err(error) => panic!("the primary's record does not decode: {error}"),
            }
        }
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty(), "half a record");
}

/// Gives one stripe to a replica in a full sync; `last` is the offset of the last record.
pub fn sync_stripe(from: &Node, to: &Node, filter: &mut Filter, index: u16, last: u64) {
    let mut writer = EffectWriter::new(true);
    effect_apply::snapshot_stripe(from, &from.store.stripe(index), index, &mut writer, 0);
    apply::chunk(to, filter, index, last, &writer.take_bytes(), 0).expect("a chunk");
}

/// Applies records to the stripes that have come before them, as in a full sync; the last offset.
pub fn apply_while_syncing(node: &Node, filter: &Filter, mut bytes: &[u8]) -> Option<u64> {
    let mut last = None;
    while let Ok(Some((found, len))) = record(bytes) {
        apply::record(node, &found, Some(filter), 0).expect("a record");
        last = Some(found.offset);
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty(), "half a record");
    last
}

/// The whole state of a node, digest by digest.
pub fn digests(node: &Node) -> Vec<Digests> {
    let mut digester = Digester::new(&DIGEST_KEY);
    (0..STRIPES as u16).map(|index| digester.stripe(&node.store.stripe(index))).collect()
}

/// The key of the tests' resyncs.
pub const DIGEST_KEY: DigestKey = [5; 16];

/// A replica that comes back by slots, as its primary feeds it: each piece goes behind the records that it holds.
pub struct Resync {
    settling: Settling,
    wanted: VecDeque<(u16, Parts)>,
    /// Slots whose content was sent.
    pub sent: u32,
}

impl Resync {
    /// Begins with what the primary's backlog still has of the records that the replica missed.
    pub fn begin(from: &Node, to: &Node, missed: &[u8]) -> Resync {
        to.memcached.set(0, None);
        let mut writer = EffectWriter::new(true);
        from.snapshot_common(&mut writer);
        apply::effects_of(to, &writer.take_bytes(), 0).expect("what belongs to no stripe");
        let mut resync = Resync { settling: Settling::new(&DIGEST_KEY), wanted: VecDeque::new(), sent: 0 };
        resync.records(to, missed);
        resync
    }

    /// Compares a stripe; the records up to here are applied.
    pub fn compare(&mut self, from: &Node, to: &Node, index: u16) {
        let digests = Digester::new(&DIGEST_KEY).stripe(&from.store.stripe(index));
        let ours =
            self.settling.digester(index).expect("not compared before").stripe(&to.store.stripe(index));
        let parts = self.settling.compare(to, index, &ours, &digests).expect("not compared before");
        self.content(from, to, index, Parts::LOCKS);
        if !parts.is_empty() {
            self.wanted.push_back((index, parts));
        }
        self.sent += parts.slots();
        assert!(self.settling.digester(index).is_err(), "once");
        assert!(self.settling.compare(to, index, &ours, &digests).is_err(), "once");
    }

    /// Sends a stripe that was not compared.
    pub fn whole(&mut self, from: &Node, to: &Node, index: u16) {
        self.content(from, to, index, Parts::ALL);
    }

    /// Sends up to so many stripes' worth of what is wanted.
    pub fn send(&mut self, from: &Node, to: &Node, count: usize) {
        for _ in 0..count {
            let Some((index, parts)) = self.wanted.pop_front() else { break };
            self.content(from, to, index, parts);
        }
    }

    fn content(&mut self, from: &Node, to: &Node, index: u16, parts: Parts) {
        let mut writer = EffectWriter::new(true);
        let stripe = from.store.stripe(index);
        effect_apply::snapshot_parts(from, &stripe, index, parts, &mut writer, 0);
        drop(stripe);
        self.settling.content(to, index, parts, &writer.take_bytes(), 0).expect("wanted");
    }

    pub fn records(&mut self, to: &Node, mut bytes: &[u8]) {
        while let Ok(Some((found, len))) = record(bytes) {
            self.settling.record(to, &found, 0).expect("a record");
            bytes = &bytes[len..];
        }
        assert!(bytes.is_empty(), "half a record");
    }

    /// Whether all is settled once the primary has said that it sent all.
    pub fn end(&mut self) -> bool {
        assert!(!self.settling.is_done(), "the end has not come");
        self.settling.end();
        self.settling.is_done()
    }
}

/// Copies everything as a full sync does.
pub fn copy_all(from: &Node, to: &Node) {
    for index in 0..STRIPES as u16 {
        let mut writer = EffectWriter::new(true);
        effect_apply::snapshot_stripe(from, &from.store.stripe(index), index, &mut writer, 0);
        for effect in effects(&writer.take_bytes()).flatten() {
            effect_apply::apply(to, &effect, 0);
        }
    }
}
