//! Random changes of a stream against the simplest one that could be right; the memory account against a recount; what
//! replicas do with what was recorded; dumps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::rdb;
use crate::store::hash::{DEFAULT_SEED, KeyHasher};
use crate::store::{Limits, Value, ValueRef};

type Items = Vec<Vec<u8>>;

#[derive(Clone, Debug)]
enum Op {
    Add { ms: u64, fields: u8, size: u8 },
    Delete(u16),
    Trim { keep: u8, by_id: bool, whole: bool },
    Facts(u8),
    CreateGroup(u8),
    DestroyGroup(u8),
    Read { group: u8, consumer: u8, count: u8 },
    Ack { group: u8, nth: u8, count: u8 },
    Claim { group: u8, consumer: u8, nth: u8 },
    DeleteConsumer { group: u8, consumer: u8 },
    Copy,
}

fn op() -> impl Strategy<Value = Op> {
    let (group, consumer) = (|| 0u8..3, || 0u8..5);
    prop_oneof![
        12 => (0u64..3, 0u8..4, any::<u8>()).prop_map(|(ms, fields, size)| Op::Add { ms, fields, size }),
        4 => any::<u16>().prop_map(Op::Delete),
        2 => (any::<u8>(), any::<bool>(), any::<bool>()).prop_map(|(keep, by_id, whole)| Op::Trim { keep, by_id, whole }),
        1 => any::<u8>().prop_map(Op::Facts),
        2 => group().prop_map(Op::CreateGroup),
        1 => prop::bool::weighted(0.2).prop_flat_map(move |_| group().prop_map(Op::DestroyGroup)),
        8 => (group(), consumer(), 1u8..9).prop_map(|(group, consumer, count)| Op::Read { group, consumer, count }),
        4 => (group(), any::<u8>(), 1u8..9).prop_map(|(group, nth, count)| Op::Ack { group, nth, count }),
        3 => (group(), consumer(), any::<u8>()).prop_map(|(group, consumer, nth)| Op::Claim { group, consumer, nth }),
        1 => (group(), consumer()).prop_map(|(group, consumer)| Op::DeleteConsumer { group, consumer }),
        1 => Just(Op::Copy),
    ]
}

fn items(fields: u8, size: u8, n: u64) -> Items {
    let value = match size % 4 {
        0 => n.to_string().into_bytes(),
        1 => vec![b'v'; usize::from(size)],
        2 => (-(n as i64) * 77_777).to_string().into_bytes(),
        _ => vec![size; usize::from(size) % 7],
    };
    match fields {
        0 => vec![b"a".to_vec(), value],
        1 => vec![b"a".to_vec(), value.clone(), b"12".to_vec(), value],
        2 => vec![b"a".to_vec(), value, b"12".to_vec(), Vec::new()],
        _ => vec![Vec::new(), value],
    }
}

/// Entries with their fields, forward.
fn entries(stream: &StreamValue) -> BTreeMap<StreamId, Items> {
    let mut all = BTreeMap::new();
    stream.log.each(StreamId::MIN, StreamId::MAX, None, |entry| {
        let mut items = Items::new();
        let next = entry.each(|name, value| {
            items.extend([name.with_bytes(<[u8]>::to_vec), value.with_bytes(<[u8]>::to_vec)]);
        });
        all.insert(entry.id, items);
        (next, true)
    });
    all
}

/// All there is to know of a stream, apart from its nodes.
fn shown(stream: &StreamValue) -> String {
    let log = &stream.log;
    let mut text = format!(
        "{:?} {} {} {} {} {}",
        entries(stream),
        log.len(),
        log.last_id(),
        log.first_id(),
        log.max_deleted_id(),
        log.entries_added()
    );
    for group in stream.groups.iter() {
        text += &format!("\n{:?} {} {}", group.name(), group.last_id, group.reads);
        for consumer in group.consumers() {
            text += &format!("\n  {:?} {} {}", consumer.name(), consumer.seen_ms, consumer.active_ms);
            for (id, ()) in consumer.pending().iter() {
                let pending = group.pending().get(id).expect("in both lists");
                text += &format!(" {id} {} {}", pending.time_ms, pending.count);
                assert_eq!(group.consumer(pending.consumer).map(Consumer::name), Some(consumer.name()));
            }
        }
        let total: usize = group.consumers().map(|c| c.pending().len()).sum();
        assert_eq!(total, group.pending().len());
    }
    text
}

/// A stream, the model of its entries, and the records since the start.
struct World {
    stream: StreamValue,
    model: BTreeMap<StreamId, Items>,
    records: Vec<Vec<u8>>,
    env: Env,
    now_ms: u64,
}

impl World {
    fn record(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.records.push(out);
    }

    fn run(&mut self, op: &Op) {
        self.now_ms += 1;
        let now = self.now_ms as i64;
        let name = |n: u8| vec![b'g', n];
        match *op {
            Op::Add { ms, fields, size } => {
                let last = self.stream.log.last_id();
                let wanted = if ms == 0 { WantedId::Auto } else { WantedId::Within(last.ms + ms - 1) };
                let id = self.stream.log.next_id(wanted, last.ms + u64::from(size % 2)).expect("an ID");
                let items = items(fields, size, id.seq);
                let refs = || items.iter().map(Vec::as_slice);
                self.stream.log.add(id, refs(), &self.env.limits).expect("added");
                self.record(|out| put_add(out, id, refs(), 0));
                self.model.insert(id, items);
            }
            Op::Delete(n) => {
                let ids: Vec<_> = self.model.keys().copied().collect();
                let Some(&id) = ids.get(usize::from(n) % ids.len().max(1)) else { return };
                assert!(self.stream.log.delete(id) && !self.stream.log.delete(id));
                self.model.remove(&id);
                self.record(|out| put_delete(out, &[id]));
            }
            Op::Trim { keep, by_id, whole } => {
                let from = self.model.keys().nth(usize::from(keep)).copied();
                let from = from.unwrap_or(self.stream.log.last_id());
                let keep = if by_id { Keep::From(from) } else { Keep::Newest(u64::from(keep)) };
                let gone = self.stream.log.trim(&Trim { keep, whole_nodes: whole, limit: 0 });
                (0..gone).for_each(|_| {
                    self.model.pop_first();
                });
                if !whole {
                    match keep {
                        Keep::From(from) => assert!(self.model.keys().next().is_none_or(|id| *id >= from)),
                        Keep::Newest(count) => assert!(self.model.len() as u64 <= count),
                    }
                }
                self.record(|out| put_trim(out, gone));
            }
            Op::Facts(n) => {
                let log = &mut self.stream.log;
                let last = StreamId::new(log.last_id().ms + u64::from(n), 0).max(log.last_id());
                let (deleted, added) = (log.max_deleted_id(), log.entries_added() + u64::from(n));
                log.set_facts(last, deleted, added);
                self.record(|out| put_facts(out, last, deleted, added));
            }
            Op::CreateGroup(n) => {
                if self.stream.groups.add(Group::new(&name(n), StreamId::MIN, 0)) {
                    self.record(|out| put_create_group(out, &name(n), StreamId::MIN, 0));
                }
            }
            Op::DestroyGroup(n) => {
                if self.stream.groups.remove(&name(n)) {
                    self.record(|out| put_destroy_group(out, &name(n)));
                }
            }
            Op::Read { group, consumer, count } => self.read(&name(group), &[consumer], u64::from(count)),
            Op::Ack { group, nth, count } => {
                let groups = &mut self.stream.groups;
                let dropped = groups.change(&name(group), |group| {
                    let ids: Vec<_> = group.pending().iter().map(|(id, _)| id).collect();
                    let skip = usize::from(nth) % ids.len().max(1);
                    let ids: Vec<_> = ids.into_iter().skip(skip).take(count.into()).collect();
                    assert!(ids.iter().all(|id| group.forget(*id)));
                    ids
                });
                let Some(dropped) = dropped else { return };
                self.record(|out| GroupChange { dropped, ..GroupChange::default() }.put(out, &name(group)));
            }
            Op::Claim { group, consumer, nth } => {
                let who = [consumer];
                let assigned = self.stream.groups.change(&name(group), |group| {
                    let id = group.pending().iter().map(|(id, _)| id).nth(nth.into())?;
                    let (consumer, _) = group.find_or_create(&who, now);
                    group.note(consumer, now, Some(now));
                    group.assign(id, Pending { time_ms: now, count: 7, consumer });
                    Some(Assigned { id, time_ms: now, count: 7 })
                });
                let Some(Some(assigned)) = assigned else { return };
                let consumer = Some(Noted { name: &who, seen_ms: now, active_ms: Some(now) });
                let change = GroupChange { consumer, assigned: vec![assigned], ..GroupChange::default() };
                self.record(|out| change.put(out, &name(group)));
            }
            Op::DeleteConsumer { group, consumer } => {
                let gone = self.stream.groups.change(&name(group), |g| g.remove_consumer(&[consumer]));
                if gone.flatten().is_some() {
                    self.record(|out| put_delete_consumer(out, &name(group), &[consumer]));
                }
            }
            Op::Copy => self.stream = self.stream.clone(),
        }
    }

    /// Gives the next entries to a consumer, by the cursor that the group keeps.
    fn read(&mut self, name: &[u8], who: &[u8], count: u64) {
        let (now, StreamValue { log, groups }) = (self.now_ms as i64, &mut self.stream);
        let Some((change, given)) = groups.change(name, |group| {
            let (consumer, _) = group.find_or_create(who, now);
            group.note(consumer, now, None);
            let (mut assigned, from) = (Vec::new(), group.last_id);
            let start = from.next().expect("not the last ID");
            let cursor = log.each(start, StreamId::MAX, group.cursor, |entry| {
                group.reads = log.reads_after(group.reads, entry.id);
                group.last_id = entry.id;
                group.assign(entry.id, Pending { time_ms: now, count: 1, consumer });
                assigned.push(Assigned { id: entry.id, time_ms: now, count: 1 });
                (entry.skip(), (assigned.len() as u64) < count)
            });
            group.cursor = cursor;
            let given: Vec<_> = assigned.iter().map(|a| a.id).collect();
            let consumer = Some(Noted { name: who, seen_ms: now, active_ms: None });
            let progress = Some((group.last_id, group.reads));
            (GroupChange { progress, consumer, assigned, ..GroupChange::default() }, (from, given))
        }) else {
            return;
        };
        let (from, given) = given;
        let right: Vec<_> = self.model.keys().copied().filter(|id| *id > from).take(count as usize).collect();
        assert_eq!(given, right);
        self.record(|out| change.put(out, name));
    }

    fn check(&self) {
        assert_eq!(entries(&self.stream), self.model);
        let log = &self.stream.log;
        assert_eq!(log.len(), self.model.len() as u64);
        assert_eq!(log.first_id(), self.model.keys().next().copied().unwrap_or_default());
        assert_eq!(log.last_entry(), self.model.keys().next_back().copied());
        let mut back = Vec::new();
        log.each_back(StreamId::MIN, StreamId::MAX, |entry| {
            back.push(entry.id);
            true
        });
        assert!(back.iter().eq(self.model.keys().rev()));
        assert_eq!(self.stream.heap_bytes(), log.recount() + self.stream.groups.recount());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model_and_so_do_replicas(
        ops in prop::collection::vec(op(), 1..300),
        node_entries in 1usize..12,
        node_bytes in 0usize..200,
        copied_at in 0usize..300,
    ) {
        let limits = Limits { stream_node_entries: node_entries, stream_node_bytes: node_bytes, ..Limits::default() };
        let env = Env { limits, hasher: KeyHasher::new(DEFAULT_SEED) };
        let mut world = World {
            stream: StreamValue::default(), model: BTreeMap::new(), records: Vec::new(), env, now_ms: 1000,
        };
        world.stream.groups.add(Group::new(b"g\0", StreamId::MIN, 0));
        let mut follower = world.stream.clone();
        let mut late = StreamValue::default();
        for (n, op) in ops.iter().enumerate() {
            if n == copied_at {
                let mut dump = Vec::new();
                rdb::write_value(ValueRef::Stream(&world.stream), &mut dump);
                let Ok(Value::Stream(copy)) = rdb::read_value(&dump, &env) else { panic!("the dump is damaged") };
                prop_assert_eq!(shown(&copy), shown(&world.stream));
                late = *copy;
            }
            world.run(op);
            world.check();
            for record in world.records.drain(..) {
                follower.replay(&record, &env).expect("replayed");
                if n >= copied_at {
                    late.replay(&record, &env).expect("replayed");
                }
            }
        }
        prop_assert_eq!(shown(&follower), shown(&world.stream));
        prop_assert_eq!(follower.log.node_count(), world.stream.log.node_count());
        prop_assert_eq!(follower.heap_bytes(), follower.log.recount() + follower.groups.recount());
        if copied_at < ops.len() {
            prop_assert_eq!(shown(&late), shown(&world.stream));
            prop_assert_eq!(late.heap_bytes(), late.log.recount() + late.groups.recount());
        }
    }

    #[test]
    fn damaged_dumps_are_refused_or_read(at in any::<u16>(), byte in any::<u8>(), cut in any::<bool>()) {
        let env = Env { limits: Limits::default(), hasher: KeyHasher::new(DEFAULT_SEED) };
        let mut stream = StreamValue::default();
        for n in 1..20 {
            let items = items((n % 4) as u8, n as u8, n);
            stream.log.add(StreamId::new(n, 5), items.iter().map(Vec::as_slice), &env.limits).expect("added");
        }
        stream.log.delete(StreamId::new(3, 5));
        let mut group = Group::new(b"g", StreamId::new(7, 5), 7);
        let (consumer, _) = group.find_or_create(b"c", 5);
        group.assign(StreamId::new(6, 5), Pending { time_ms: 1, count: 1, consumer });
        stream.groups.add(group);
        let mut dump = Vec::new();
        rdb::write_value(ValueRef::Stream(&stream), &mut dump);
        let at = usize::from(at) % dump.len();
        dump[at] ^= byte;
        if cut {
            dump.truncate(at);
        }
        if let Ok(Value::Stream(mut read)) = rdb::read_value(&dump, &env) {
            let _ = entries(&read);
            let last = read.log.last_entry();
            read.log.trim(&Trim { keep: Keep::Newest(2), whole_nodes: false, limit: 0 });
            if let Some(id) = last {
                prop_assert!(read.log.delete(id));
            }
            let _ = shown(&read);
            prop_assert_eq!(read.heap_bytes(), read.log.recount() + read.groups.recount());
        }
    }
}

#[test]
fn a_node_whose_last_entry_was_deleted_goes_with_the_others() {
    let env = Env { limits: Limits::default(), hasher: KeyHasher::new(DEFAULT_SEED) };
    let mut stream = StreamValue::default();
    for n in 1..4 {
        stream.log.add(StreamId::new(n, 0), [&b"f"[..], b"v"].into_iter(), &env.limits).expect("added");
    }
    assert!(stream.log.delete(StreamId::new(3, 0)));
    let mut follower = stream.clone();
    let keep = Keep::From(StreamId::new(3, 0));
    let gone = stream.log.trim(&Trim { keep, whole_nodes: false, limit: 0 });
    let mut record = Vec::new();
    put_trim(&mut record, gone);
    follower.replay(&record, &env).expect("replayed");
    assert_eq!((gone, stream.log.node_count(), follower.log.node_count()), (2, 0, 0));
    assert_eq!(stream.heap_bytes(), stream.log.recount() + stream.groups.recount());
}
