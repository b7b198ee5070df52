//! Streams and their groups.

use proptest::prelude::*;

use super::map::{Model, Run, Value};
use super::reply::{Answer, Reply, array, bulk, int};
use super::stream_state::{Group, Id, Stream, Trim, consumer_name, entry, group_name, spelt};
use super::words::{Bytes, Request, key, keys, some, text};

#[derive(Clone, Debug)]
pub enum Step {
    /// Without a sequence: the next one.
    Add {
        key: u8,
        ms: u64,
        seq: Option<u64>,
        make: bool,
        items: Vec<(u8, u8)>,
        trim: Option<Trim>,
    },
    Del {
        key: u8,
        ids: Vec<Id>,
    },
    Trim {
        key: u8,
        trim: Trim,
    },
    SetId {
        key: u8,
        id: Id,
    },
    Range {
        key: u8,
        from: Id,
        to: Id,
        reverse: bool,
        count: Option<u8>,
    },
    Len(u8),
    /// Without an ID: at the end.
    Create {
        key: u8,
        group: u8,
        id: Option<Id>,
        make: bool,
    },
    GroupSetId {
        key: u8,
        group: u8,
        id: Id,
    },
    Destroy {
        key: u8,
        group: u8,
    },
    NewConsumer {
        key: u8,
        group: u8,
        consumer: u8,
    },
    DelConsumer {
        key: u8,
        group: u8,
        consumer: u8,
    },
    /// Without an ID: what is new.
    Read {
        key: u8,
        group: u8,
        consumer: u8,
        count: u8,
        no_ack: bool,
        behind: Option<Id>,
    },
    Ack {
        key: u8,
        group: u8,
        ids: Vec<Id>,
    },
    Claim {
        key: u8,
        group: u8,
        consumer: u8,
        idle_ms: u16,
        ids: Vec<Id>,
        just_id: bool,
        force: bool,
    },
    AutoClaim {
        key: u8,
        group: u8,
        consumer: u8,
        idle_ms: u16,
        start: Id,
        count: u8,
        just_id: bool,
    },
    Pending {
        key: u8,
        group: u8,
    },
}

fn ids() -> impl Strategy<Value = Id> + Clone {
    (1u64..20, 0u64..3)
}

pub fn step() -> impl Strategy<Value = Step> {
    // Few names, so that they meet.
    let place = || (keys(), 0u8..2);
    let who = || 0u8..3;
    let idle = || prop_oneof![Just(0u16), 0u16..300];
    let trim = || prop_oneof![(0u8..6).prop_map(Trim::MaxLen), ids().prop_map(Trim::MinId)];
    let add = (keys(), 1u64..20, prop::option::of(0u64..3), some((0u8..5, 0u8..140), 3)).prop_flat_map(
        move |(key, ms, seq, items)| {
            (prop::bool::weighted(0.9), prop::option::weighted(0.2, trim()))
                .prop_map(move |(make, trim)| Step::Add { key, ms, seq, make, items: items.clone(), trim })
        },
    );
    prop_oneof![
        12 => add,
        2 => (keys(), some(ids(), 3)).prop_map(|(key, ids)| Step::Del { key, ids }),
        1 => (keys(), trim()).prop_map(|(key, trim)| Step::Trim { key, trim }),
        1 => (keys(), ids()).prop_map(|(key, id)| Step::SetId { key, id }),
        2 => (keys(), ids(), ids(), any::<bool>(), prop::option::of(0u8..4))
            .prop_map(|(key, from, to, reverse, count)| Step::Range { key, from, to, reverse, count }),
        1 => keys().prop_map(Step::Len),
        6 => (place(), prop::option::of(ids()), prop::bool::weighted(0.8))
            .prop_map(|((key, group), id, make)| Step::Create { key, group, id, make }),
        1 => (place(), ids()).prop_map(|((key, group), id)| Step::GroupSetId { key, group, id }),
        1 => place().prop_map(|(key, group)| Step::Destroy { key, group }),
        1 => (place(), who()).prop_map(|((key, group), consumer)| Step::NewConsumer { key, group, consumer }),
        1 => (place(), who()).prop_map(|((key, group), consumer)| Step::DelConsumer { key, group, consumer }),
        8 => (place(), who(), 0u8..4, prop::bool::weighted(0.2), prop::option::weighted(0.3, ids()))
            .prop_map(|((key, group), consumer, count, no_ack, behind)| {
                Step::Read { key, group, consumer, count, no_ack, behind }
            }),
        3 => (place(), some(ids(), 3)).prop_map(|((key, group), ids)| Step::Ack { key, group, ids }),
        3 => (place(), who(), idle(), some(ids(), 3), any::<bool>(), any::<bool>())
            .prop_map(|((key, group), consumer, idle_ms, ids, just_id, force)| {
                Step::Claim { key, group, consumer, idle_ms, ids, just_id, force }
            }),
        2 => (place(), who(), idle(), ids(), 1u8..4, any::<bool>())
            .prop_map(|((key, group), consumer, idle_ms, start, count, just_id)| {
                Step::AutoClaim { key, group, consumer, idle_ms, start, count, just_id }
            }),
        2 => place().prop_map(|(key, group)| Step::Pending { key, group }),
    ]
}

const NO_GROUP: Reply = Reply::Error("-NOGROUP");
const NO_KEY: Reply = Reply::Error("-ERR The XGROUP subcommand requires the key to exist");

/// Changes a group; `missing` when there is no such key or group.
fn on_group(
    m: &mut Model,
    n: u8,
    group: u8,
    missing: Reply,
    work: impl FnOnce(&mut Stream, &mut Group, i64) -> Answer,
) -> Answer {
    let now_ms = m.now_ms as i64;
    let mut stream = m.stream(n)?.ok_or(missing)?;
    let mut found = stream.groups.remove(&group_name(group)).ok_or(NO_GROUP)?;
    let reply = work(&mut stream, &mut found, now_ms)?;
    stream.groups.insert(group_name(group), found);
    m.change(n, Value::Stream(stream));
    Ok(reply)
}

impl Run for Step {
    fn run(&self, m: &mut Model) -> Answer {
        match self {
            Step::Add { key, ms, seq, make, items, trim } => {
                let found = m.stream(*key)?;
                if found.is_none() && !make {
                    return Ok(Reply::Null);
                }
                let mut stream = found.unwrap_or_default();
                let id = stream.next_id(*ms, *seq).ok_or(Reply::Error("-ERR The ID specified in XADD"))?;
                let items = items.iter().flat_map(|(f, v)| [super::words::field(*f), text(*v)]).collect();
                stream.entries.insert(id, items);
                stream.last = id;
                stream.added += 1;
                trim.map(|trim| stream.trim(trim));
                m.change(*key, Value::Stream(stream));
                Ok(Reply::Bulk(spelt(id)))
            }
            Step::Del { key, ids } => {
                let Some(mut stream) = m.stream(*key)? else { return Ok(Reply::Int(0)) };
                let mut deleted = 0;
                for id in ids {
                    if stream.entries.remove(id).is_some() {
                        deleted += 1;
                        stream.max_deleted = stream.max_deleted.max(*id);
                    }
                }
                m.change(*key, Value::Stream(stream));
                int(deleted)
            }
            Step::Trim { key, trim } => {
                let Some(mut stream) = m.stream(*key)? else { return Ok(Reply::Int(0)) };
                let trimmed = stream.trim(*trim);
                m.change(*key, Value::Stream(stream));
                int(trimmed)
            }
            Step::SetId { key, id } => {
                let mut stream = m.stream(*key)?.ok_or(Reply::Error("-ERR no such key"))?;
                let top = stream.entries.last_key_value().map_or((0, 0), |(id, _)| *id);
                if *id < stream.max_deleted || *id < top {
                    return Err(Reply::Error("-ERR The ID specified in XSETID is smaller"));
                }
                stream.last = *id;
                m.change(*key, Value::Stream(stream));
                Ok(Reply::Ok)
            }
            Step::Range { key, from, to, reverse, count } => {
                let stream = m.stream(*key)?.unwrap_or_default();
                if *count == Some(0) {
                    return Ok(if m.get(*key).is_some() {
                        Reply::NullArray
                    } else {
                        Reply::List(Vec::new())
                    });
                }
                let most = count.map_or(usize::MAX, usize::from);
                let inside = stream.entries.iter().filter(|(id, _)| *id >= from && *id <= to);
                let mut found: Vec<Bytes> = inside.map(|(id, items)| entry(*id, items)).collect();
                if *reverse {
                    found.reverse();
                }
                found.truncate(most);
                Ok(Reply::Exact(array(&found)))
            }
            Step::Len(key) => int(m.stream(*key)?.unwrap_or_default().entries.len()),
            Step::Create { key, group, id, make } => {
                let found = m.stream(*key)?;
                if found.is_none() && !make {
                    return Err(NO_KEY);
                }
                let mut stream = found.unwrap_or_default();
                if stream.groups.contains_key(&group_name(*group)) {
                    return Err(Reply::Error("-BUSYGROUP"));
                }
                let new = Group { last: id.unwrap_or(stream.last), ..Group::default() };
                stream.groups.insert(group_name(*group), new);
                m.change(*key, Value::Stream(stream));
                Ok(Reply::Ok)
            }
            Step::GroupSetId { key, group, id } => on_group(m, *key, *group, NO_KEY, |_, group, _| {
                group.last = *id;
                Ok(Reply::Ok)
            }),
            Step::Destroy { key, group } => {
                let mut stream = m.stream(*key)?.ok_or(NO_KEY)?;
                let destroyed = stream.groups.remove(&group_name(*group)).is_some();
                m.change(*key, Value::Stream(stream));
                int(usize::from(destroyed))
            }
            Step::NewConsumer { key, group, consumer } => {
                on_group(m, *key, *group, NO_KEY, |_, group, now_ms| {
                    let is_new = !group.consumers.contains_key(&consumer_name(*consumer));
                    if is_new {
                        group.note(*consumer, now_ms);
                    }
                    int(usize::from(is_new))
                })
            }
            Step::DelConsumer { key, group, consumer } => on_group(m, *key, *group, NO_KEY, |_, group, _| {
                let name = consumer_name(*consumer);
                let before = group.pending.len();
                group.pending.retain(|_, pending| pending.consumer != name);
                group.consumers.remove(&name);
                int(before - group.pending.len())
            }),
            Step::Read { key: n, group, consumer, count, no_ack, behind } => {
                on_group(m, *n, *group, NO_GROUP, |stream, group, now_ms| {
                    group.note(*consumer, now_ms);
                    let read = match behind {
                        None => {
                            let read = group.read_new(&stream.entries, (*consumer, *count, *no_ack), now_ms);
                            if read.is_empty() {
                                return Ok(Reply::NullArray);
                            }
                            read
                        }
                        Some(behind) => group.read_own(&stream.entries, (*consumer, *count, *behind), now_ms),
                    };
                    Ok(Reply::Exact(array(&[array(&[bulk(key(*n)), array(&read)])])))
                })
            }
            Step::Ack { key, group, ids } => {
                let Some(stream) = m.stream(*key)? else { return Ok(Reply::Int(0)) };
                if !stream.groups.contains_key(&group_name(*group)) {
                    return Ok(Reply::Int(0));
                }
                on_group(m, *key, *group, NO_GROUP, |_, group, _| {
                    int(ids.iter().filter(|id| group.pending.remove(id).is_some()).count())
                })
            }
            Step::Claim { key, group, consumer, idle_ms, ids, just_id, force } => {
                on_group(m, *key, *group, NO_GROUP, |stream, group, now_ms| {
                    group.note(*consumer, now_ms);
                    let mut taken = Vec::new();
                    for id in ids {
                        let Some(items) = stream.entries.get(id) else {
                            group.pending.remove(id);
                            continue;
                        };
                        let may = group.pending.get(id).map_or(*force, |pending| {
                            *idle_ms == 0 || now_ms - pending.time_ms >= i64::from(*idle_ms)
                        });
                        if may {
                            taken.push(group.give(*id, items, *consumer, *just_id, now_ms));
                        }
                    }
                    if !taken.is_empty() {
                        group.active(*consumer, now_ms);
                    }
                    Ok(Reply::Exact(array(&taken)))
                })
            }
            Step::AutoClaim { key, group, consumer, idle_ms, start, count, just_id } => {
                on_group(m, *key, *group, NO_GROUP, |stream, group, now_ms| {
                    group.note(*consumer, now_ms);
                    let (mut left, mut looks) = (*count, u32::from(*count) * 10);
                    let (mut taken, mut lost, mut next) = (Vec::new(), Vec::new(), (0, 0));
                    for id in group.pending.range(start..).map(|(id, _)| *id).collect::<Vec<_>>() {
                        if left == 0 || looks == 0 {
                            next = id;
                            break;
                        }
                        looks -= 1;
                        match stream.entries.get(&id) {
                            None => {
                                group.pending.remove(&id);
                                lost.push(bulk(spelt(id)));
                                left -= 1;
                            }
                            Some(items) => {
                                let idle = now_ms - group.pending[&id].time_ms;
                                if *idle_ms == 0 || idle >= i64::from(*idle_ms) {
                                    taken.push(group.give(id, items, *consumer, *just_id, now_ms));
                                    left -= 1;
                                }
                            }
                        }
                    }
                    if !taken.is_empty() {
                        group.active(*consumer, now_ms);
                    }
                    Ok(Reply::Exact(array(&[bulk(spelt(next)), array(&taken), array(&lost)])))
                })
            }
            Step::Pending { key, group } => on_group(m, *key, *group, NO_GROUP, |_, group, _| {
                let (Some((first, _)), Some((last, _))) =
                    (group.pending.first_key_value(), group.pending.last_key_value())
                else {
                    return Ok(Reply::Exact(b"*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n".to_vec()));
                };
                let busy: Vec<Bytes> = group
                    .consumers
                    .keys()
                    .map(|name| (name, group.pending.values().filter(|p| p.consumer == *name).count()))
                    .filter(|(_, count)| *count > 0)
                    .map(|(name, count)| array(&[bulk(name), bulk(count.to_string())]))
                    .collect();
                let total = format!(":{}\r\n", group.pending.len()).into_bytes();
                Ok(Reply::Exact(array(&[total, bulk(spelt(*first)), bulk(spelt(*last)), array(&busy)])))
            }),
        }
    }

    fn request(&self) -> Vec<Bytes> {
        let on = |name: &str, k: u8, group: u8| Request::new(name).arg(key(k)).arg(group_name(group));
        let sub = |name: &str, k: u8, group: u8| {
            Request::new("XGROUP").arg(name).arg(key(k)).arg(group_name(group))
        };
        let trimmed = |request: Request, trim: &Trim| match trim {
            Trim::MaxLen(most) => request.arg("MAXLEN").number(*most),
            Trim::MinId(least) => request.arg("MINID").arg(spelt(*least)),
        };
        let request = match self {
            Step::Add { key: k, ms, seq, make, items, trim } => {
                let request = Request::new("XADD").arg(key(*k)).when(!make, "NOMKSTREAM");
                let request = trim.iter().fold(request, trimmed);
                let seq = seq.map_or("*".to_owned(), |seq| seq.to_string());
                let request = request.arg(format!("{ms}-{seq}"));
                items.iter().fold(request, |all, (f, v)| all.arg(super::words::field(*f)).arg(text(*v)))
            }
            Step::Del { key: k, ids } => {
                Request::new("XDEL").arg(key(*k)).args(ids.iter().copied().map(spelt))
            }
            Step::Trim { key: k, trim } => trimmed(Request::new("XTRIM").arg(key(*k)), trim),
            Step::SetId { key: k, id } => Request::new("XSETID").arg(key(*k)).arg(spelt(*id)),
            Step::Range { key: k, from, to, reverse, count } => {
                let (name, a, b) = if *reverse { ("XREVRANGE", to, from) } else { ("XRANGE", from, to) };
                let request = Request::new(name).arg(key(*k)).arg(spelt(*a)).arg(spelt(*b));
                count.iter().fold(request, |request, count| request.arg("COUNT").number(*count))
            }
            Step::Len(k) => Request::new("XLEN").arg(key(*k)),
            Step::Create { key: k, group, id, make } => {
                let id = id.map_or(b"$".to_vec(), spelt);
                sub("CREATE", *k, *group).arg(id).when(*make, "MKSTREAM")
            }
            Step::GroupSetId { key: k, group, id } => sub("SETID", *k, *group).arg(spelt(*id)),
            Step::Destroy { key: k, group } => sub("DESTROY", *k, *group),
            Step::NewConsumer { key: k, group, consumer } => {
                sub("CREATECONSUMER", *k, *group).arg(consumer_name(*consumer))
            }
            Step::DelConsumer { key: k, group, consumer } => {
                sub("DELCONSUMER", *k, *group).arg(consumer_name(*consumer))
            }
            Step::Read { key: k, group, consumer, count, no_ack, behind } => {
                let request = Request::new("XREADGROUP").arg("GROUP").arg(group_name(*group));
                let request = request.arg(consumer_name(*consumer)).arg("COUNT").number(*count);
                let id = behind.map_or(b">".to_vec(), spelt);
                request.when(*no_ack, "NOACK").arg("STREAMS").arg(key(*k)).arg(id)
            }
            Step::Ack { key: k, group, ids } => on("XACK", *k, *group).args(ids.iter().copied().map(spelt)),
            Step::Claim { key: k, group, consumer, idle_ms, ids, just_id, force } => {
                let request = on("XCLAIM", *k, *group).arg(consumer_name(*consumer)).number(*idle_ms);
                let request = request.args(ids.iter().copied().map(spelt));
                request.when(*force, "FORCE").when(*just_id, "JUSTID")
            }
            Step::AutoClaim { key: k, group, consumer, idle_ms, start, count, just_id } => {
                let request = on("XAUTOCLAIM", *k, *group).arg(consumer_name(*consumer)).number(*idle_ms);
                let request = request.arg(spelt(*start)).arg("COUNT").number(*count);
                request.when(*just_id, "JUSTID")
            }
            Step::Pending { key: k, group } => on("XPENDING", *k, *group),
        };
        request.done()
    }
}
