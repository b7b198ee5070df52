//! Random commands against the simplest store that could be right, and against a replica.
//!
//! Three things are compared: each reply and the whole state with a map of maps; the memory account with a
//! recount of everything; and the state that a replica has after it applied the records, by themselves or on top
//! of a full copy, with the primary's, down to expiry, flags and version.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;
use torc_server::effect::{EffectWriter, effects, record};
use torc_server::effect_apply;
use torc_server::exec::testing::{Harness, START_MS};
use torc_server::node::Node;
use torc_server::settings::Settings;
use torc_server::store::value::Member;
use torc_server::store::{Limits, PackedLimits, STRIPES, ValueRef};

/// Databases that the commands use.
const DBS: u8 = 3;

/// Hashes leave their packed form early, so that both forms are met.
const LIMITS: PackedLimits = PackedLimits { entries: 6, value_bytes: 20 };

type Bytes = Vec<u8>;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
    Set(BTreeSet<Bytes>),
    List(VecDeque<Bytes>),
}

/// One step of a run. Keys, fields and values are small numbers that [`key`], [`field`] and [`text`] spell out.
#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Select(u8),
    Set { key: u8, value: u8, px: Option<u64>, keep: bool, when: u8 },
    Mset(Vec<(u8, u8)>),
    Get(u8),
    GetDel(u8),
    Append { key: u8, value: u8 },
    SetRange { key: u8, offset: usize, value: u8 },
    SetBit { key: u8, offset: usize, on: bool },
    BitNot { to: u8, from: u8 },
    Incr { key: u8, by: i64 },
    Del(Vec<u8>),
    Expire { key: u8, ms: i64, condition: u8 },
    Persist(u8),
    Pttl(u8),
    Rename { from: u8, to: u8, nx: bool },
    Copy { from: u8, to: u8, db: u8, replace: bool },
    Move { key: u8, db: u8 },
    HSet { key: u8, pairs: Vec<(u8, u8)> },
    HDel { key: u8, fields: Vec<u8> },
    HIncr { key: u8, field: u8, by: i64 },
    HGetAll(u8),
    SAdd { key: u8, members: Vec<u8> },
    SRem { key: u8, members: Vec<u8> },
    SMove { from: u8, to: u8, member: u8 },
    SPop { key: u8, count: u8 },
    SStore { op: u8, to: u8, keys: Vec<u8> },
    SMembers(u8),
    Push { key: u8, left: bool, items: Vec<u8> },
    Pop { key: u8, left: bool, count: u8 },
    LMove { from: u8, to: u8, left: bool, to_left: bool },
    LSet { key: u8, index: i64, value: u8 },
    LInsert { key: u8, pivot: u8, value: u8 },
    LRem { key: u8, count: i64, value: u8 },
    LTrim { key: u8, start: i64, stop: i64 },
    LRange(u8),
    Dbsize,
    Flush { all: bool },
    Swap(u8, u8),
}

fn key(n: u8) -> Bytes {
    // Some share a stripe, one is long, one is empty.
    match n {
        0 => Vec::new(),
        1 => vec![b'k'; 300],
        2..8 => format!("{{t}}{n}").into_bytes(),
        _ => format!("key:{n}").into_bytes(),
    }
}

fn field(n: u8) -> Bytes {
    if n == 0 { vec![b'f'; 30] } else { format!("f{n}").into_bytes() }
}

fn member(n: u8) -> Bytes {
    // Integers of two widths, and what is none; one is longer than a bucket takes.
    match n {
        0..12 => i64::from(n).to_string().into_bytes(),
        12..14 => (i64::from(n) * 1_000_000_000).to_string().into_bytes(),
        14 => vec![b'm'; 300],
        _ => format!("m{n}").into_bytes(),
    }
}

fn text(n: u8) -> Bytes {
    // Numbers, short and long strings: compact, object, beyond both limits of a packed hash.
    match n {
        0..60 => i64::from(n).to_string().into_bytes(),
        60..120 => vec![n; usize::from(n - 60)],
        120..124 => vec![b'y'; 1000 + usize::from(n)],
        124..128 => vec![b'z'; 5000],
        _ => vec![n; 10],
    }
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u8..14;
    let value = || 0u8..140;
    // Half of the time integers alone.
    let members = || prop_oneof![0u8..14, 0u8..24];
    let px = prop::option::weighted(0.4, 1u64..300);
    let ms = prop_oneof![4 => 1i64..300, 1 => -50i64..1];
    prop_oneof![
        4 => (0u64..120).prop_map(Step::Advance),
        2 => (0..DBS).prop_map(Step::Select),
        8 => (key(), value(), px, any::<bool>(), 0u8..6)
            .prop_map(|(key, value, px, keep, when)| Step::Set { key, value, px, keep, when }),
        2 => prop::collection::vec((key(), value()), 1..4).prop_map(Step::Mset),
        4 => key().prop_map(Step::Get),
        1 => key().prop_map(Step::GetDel),
        3 => (key(), value()).prop_map(|(key, value)| Step::Append { key, value }),
        2 => (key(), 0usize..1500, value()).prop_map(|(key, offset, value)| Step::SetRange { key, offset, value }),
        2 => (key(), 0usize..9000, any::<bool>()).prop_map(|(key, offset, on)| Step::SetBit { key, offset, on }),
        1 => (key(), key()).prop_map(|(to, from)| Step::BitNot { to, from }),
        2 => (key(), -5i64..100).prop_map(|(key, by)| Step::Incr { key, by }),
        3 => prop::collection::vec(key(), 1..4).prop_map(Step::Del),
        4 => (key(), ms, 0u8..8).prop_map(|(key, ms, condition)| Step::Expire { key, ms, condition }),
        2 => key().prop_map(Step::Persist),
        2 => key().prop_map(Step::Pttl),
        2 => (key(), key(), any::<bool>()).prop_map(|(from, to, nx)| Step::Rename { from, to, nx }),
        2 => (key(), key(), 0..DBS, any::<bool>())
            .prop_map(|(from, to, db, replace)| Step::Copy { from, to, db, replace }),
        1 => (key(), 0..DBS).prop_map(|(key, db)| Step::Move { key, db }),
        6 => (key(), prop::collection::vec((0u8..20, value()), 1..6)).prop_map(|(key, pairs)| Step::HSet { key, pairs }),
        4 => (key(), prop::collection::vec(0u8..20, 1..10)).prop_map(|(key, fields)| Step::HDel { key, fields }),
        2 => (key(), 0u8..20, -5i64..100).prop_map(|(key, field, by)| Step::HIncr { key, field, by }),
        2 => key().prop_map(Step::HGetAll),
        6 => (key(), prop::collection::vec(members(), 1..6)).prop_map(|(key, members)| Step::SAdd { key, members }),
        3 => (key(), prop::collection::vec(members(), 1..8)).prop_map(|(key, members)| Step::SRem { key, members }),
        2 => (key(), key(), members()).prop_map(|(from, to, member)| Step::SMove { from, to, member }),
        2 => (key(), 0u8..9).prop_map(|(key, count)| Step::SPop { key, count }),
        2 => (0u8..3, key(), prop::collection::vec(key(), 1..4))
            .prop_map(|(op, to, keys)| Step::SStore { op, to, keys }),
        2 => key().prop_map(Step::SMembers),
        6 => (key(), any::<bool>(), prop::collection::vec(value(), 1..6))
            .prop_map(|(key, left, items)| Step::Push { key, left, items }),
        3 => (key(), any::<bool>(), 0u8..4).prop_map(|(key, left, count)| Step::Pop { key, left, count }),
        2 => (key(), key(), any::<bool>(), any::<bool>())
            .prop_map(|(from, to, left, to_left)| Step::LMove { from, to, left, to_left }),
        2 => (key(), -4i64..6, value()).prop_map(|(key, index, value)| Step::LSet { key, index, value }),
        2 => (key(), value(), value()).prop_map(|(key, pivot, value)| Step::LInsert { key, pivot, value }),
        1 => (key(), -2i64..3, value()).prop_map(|(key, count, value)| Step::LRem { key, count, value }),
        1 => (key(), -9i64..3, -4i64..9).prop_map(|(key, start, stop)| Step::LTrim { key, start, stop }),
        2 => key().prop_map(Step::LRange),
        1 => Just(Step::Dbsize),
        1 => prop::bool::weighted(0.3).prop_map(|all| Step::Flush { all }),
        1 => (0..DBS, 0..DBS).prop_map(|(a, b)| Step::Swap(a, b)),
    ]
}

/// What a request should be answered.
#[derive(Clone, Debug, PartialEq)]
enum Reply {
    Ok,
    Null,
    NullArray,
    Int(i64),
    Bulk(Bytes),
    /// Pairs in any order.
    Pairs(BTreeMap<Bytes, Bytes>),
    /// Elements in their order.
    List(Vec<Bytes>),
    /// Elements in any order.
    Set(BTreeSet<Bytes>),
    /// So many of these elements; what they are is taken over by [`Model::popped`].
    Some(usize, BTreeSet<Bytes>),
    /// Any error that starts so.
    Error(&'static str),
    /// Nothing was asked.
    None,
}

const WRONG_TYPE: Reply = Reply::Error("-WRONGTYPE");

/// Whether a collection is empty: then there is no key.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(_) => false,
        Value::Hash(hash) => hash.is_empty(),
        Value::Set(set) => set.is_empty(),
        Value::List(list) => list.is_empty(),
    }
}

/// The simplest store.
#[derive(Default)]
struct Model {
    now_ms: u64,
    db: u8,
    keys: HashMap<(u8, Bytes), (Value, Option<u64>)>,
}

impl Model {
    fn expire(&mut self) {
        let now_ms = self.now_ms;
        self.keys.retain(|_, (_, at)| at.is_none_or(|at| at > now_ms));
    }

    fn get(&self, n: u8) -> Option<&(Value, Option<u64>)> {
        self.keys.get(&(self.db, key(n)))
    }

    fn string(&self, n: u8) -> Result<Option<Bytes>, Reply> {
        match self.get(n) {
            None => Ok(None),
            Some((Value::Text(text), _)) => Ok(Some(text.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn hash(&self, n: u8) -> Result<Option<BTreeMap<Bytes, Bytes>>, Reply> {
        match self.get(n) {
            None => Ok(None),
            Some((Value::Hash(hash), _)) => Ok(Some(hash.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn set(&self, n: u8) -> Result<BTreeSet<Bytes>, Reply> {
        match self.get(n) {
            None => Ok(BTreeSet::new()),
            Some((Value::Set(set), _)) => Ok(set.clone()),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// The list at a key; `None`: there is none.
    fn list(&self, n: u8) -> Result<Option<VecDeque<Bytes>>, Reply> {
        match self.get(n) {
            None => Ok(None),
            Some((Value::List(list), _)) => Ok(Some(list.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// What the store chose to pop is gone.
    fn popped(&mut self, step: &Step, reply: &[u8]) {
        if let Step::SPop { key, .. } = step
            && let Ok(mut set) = self.set(*key)
            && !set.is_empty()
        {
            set.retain(|member| !holds(reply, member));
            self.change(*key, Value::Set(set));
        }
    }

    fn put(&mut self, n: u8, value: Value, at: Option<u64>) {
        let place = (self.db, key(n));
        if at.is_some_and(|at| at <= self.now_ms) || is_empty(&value) {
            self.keys.remove(&place);
        } else {
            self.keys.insert(place, (value, at));
        }
    }

    /// Keeps the expiry.
    fn change(&mut self, n: u8, value: Value) {
        let at = self.get(n).and_then(|(_, at)| *at);
        self.put(n, value, at);
    }

    fn write(&mut self, n: u8, offset: usize, bytes: &[u8]) -> Result<usize, Reply> {
        let mut text = self.string(n)?.unwrap_or_default();
        text.resize(text.len().max(offset + bytes.len()), 0);
        text[offset..offset + bytes.len()].copy_from_slice(bytes);
        let len = text.len();
        self.change(n, Value::Text(text));
        Ok(len)
    }

    fn run(&mut self, step: &Step) -> Reply {
        self.expire();
        self.try_run(step).unwrap_or_else(|error| error)
    }

    fn try_run(&mut self, step: &Step) -> Result<Reply, Reply> {
        let int = |n: usize| Ok(Reply::Int(n as i64));
        match step {
            Step::Advance(ms) => {
                self.now_ms += ms;
                Ok(Reply::None)
            }
            Step::Select(db) => {
                self.db = *db;
                Ok(Reply::None)
            }
            Step::Set { key, value, px, keep, when } => {
                let exists = self.get(*key).is_some();
                if (*when == 0 && exists) || (*when == 1 && !exists) {
                    return Ok(Reply::Null);
                }
                let old = self.get(*key).and_then(|(_, at)| *at);
                let at = if *keep { old } else { px.map(|ms| self.now_ms + ms) };
                self.put(*key, Value::Text(text(*value)), at);
                Ok(Reply::Ok)
            }
            Step::Mset(pairs) => {
                pairs.iter().for_each(|(key, value)| self.put(*key, Value::Text(text(*value)), None));
                Ok(Reply::Ok)
            }
            Step::Get(key) => Ok(self.string(*key)?.map_or(Reply::Null, Reply::Bulk)),
            Step::GetDel(n) => {
                let found = self.string(*n)?;
                self.keys.remove(&(self.db, key(*n)));
                Ok(found.map_or(Reply::Null, Reply::Bulk))
            }
            Step::Append { key, value } => {
                let offset = self.string(*key)?.map_or(0, |text| text.len());
                int(self.write(*key, offset, &text(*value))?)
            }
            Step::SetRange { key, offset, value } => {
                let bytes = text(*value);
                if bytes.is_empty() {
                    return int(self.string(*key)?.map_or(0, |text| text.len()));
                }
                int(self.write(*key, *offset, &bytes)?)
            }
            Step::SetBit { key, offset, on } => {
                let (at, mask) = (offset / 8, 0x80u8 >> (offset % 8));
                let old = self.string(*key)?.and_then(|text| text.get(at).copied()).unwrap_or(0);
                self.write(*key, at, &[if *on { old | mask } else { old & !mask }])?;
                int(usize::from(old & mask != 0))
            }
            Step::BitNot { to, from } => {
                let bytes: Bytes = self.string(*from)?.unwrap_or_default().iter().map(|b| !b).collect();
                let len = bytes.len();
                if bytes.is_empty() {
                    self.keys.remove(&(self.db, key(*to)));
                } else {
                    self.put(*to, Value::Text(bytes), None);
                }
                int(len)
            }
            Step::Incr { key, by } => {
                let old = number(self.string(*key)?)?;
                self.change(*key, Value::Text((old + by).to_string().into_bytes()));
                Ok(Reply::Int(old + by))
            }
            Step::Del(keys) => {
                int(keys.iter().filter(|n| self.keys.remove(&(self.db, key(**n))).is_some()).count())
            }
            Step::Expire { key, ms, condition } => {
                let Some((value, old)) = self.get(*key).cloned() else { return Ok(Reply::Int(0)) };
                let at = (self.now_ms as i64 + ms) as u64;
                let allowed = match condition {
                    0 => old.is_none(),
                    1 => old.is_some(),
                    2 => old.is_some_and(|old| at > old),
                    3 => old.is_none_or(|old| at < old),
                    _ => true,
                };
                if allowed {
                    self.put(*key, value, Some(at));
                }
                Ok(Reply::Int(i64::from(allowed)))
            }
            Step::Persist(key) => match self.get(*key).cloned() {
                Some((value, Some(_))) => {
                    self.put(*key, value, None);
                    Ok(Reply::Int(1))
                }
                _ => Ok(Reply::Int(0)),
            },
            Step::Pttl(key) => Ok(Reply::Int(match self.get(*key) {
                None => -2,
                Some((_, None)) => -1,
                Some((_, Some(at))) => (at - self.now_ms) as i64,
            })),
            Step::Rename { from, to, nx } => {
                let Some((value, at)) = self.get(*from).cloned() else {
                    return Ok(Reply::Error("-ERR no such key"));
                };
                if *nx && self.get(*to).is_some() {
                    return Ok(Reply::Int(0));
                }
                self.keys.remove(&(self.db, key(*from)));
                self.put(*to, value, at);
                Ok(if *nx { Reply::Int(1) } else { Reply::Ok })
            }
            Step::Copy { from, to, db, replace } => {
                if from == to && *db == self.db {
                    return Ok(Reply::Error("-ERR source and destination"));
                }
                let place = (*db, key(*to));
                match self.get(*from).cloned() {
                    Some(found) if *replace || !self.keys.contains_key(&place) => {
                        self.keys.insert(place, found);
                        Ok(Reply::Int(1))
                    }
                    _ => Ok(Reply::Int(0)),
                }
            }
            Step::Move { key: n, db } => {
                if *db == self.db {
                    return Ok(Reply::Error("-ERR source and destination"));
                }
                let (here, there) = ((self.db, key(*n)), (*db, key(*n)));
                if self.keys.contains_key(&there) {
                    return Ok(Reply::Int(0));
                }
                match self.keys.remove(&here) {
                    Some(found) => {
                        self.keys.insert(there, found);
                        Ok(Reply::Int(1))
                    }
                    None => Ok(Reply::Int(0)),
                }
            }
            Step::HSet { key, pairs } => {
                let mut hash = self.hash(*key)?.unwrap_or_default();
                let added = pairs.iter().filter(|(f, v)| hash.insert(field(*f), text(*v)).is_none()).count();
                self.change(*key, Value::Hash(hash));
                int(added)
            }
            Step::HDel { key, fields } => {
                let Some(mut hash) = self.hash(*key)? else { return Ok(Reply::Int(0)) };
                let removed = fields.iter().filter(|f| hash.remove(&field(**f)).is_some()).count();
                self.change(*key, Value::Hash(hash));
                int(removed)
            }
            Step::HIncr { key, field: f, by } => {
                let mut hash = self.hash(*key)?.unwrap_or_default();
                let old =
                    number(hash.get(&field(*f)).cloned()).map_err(|_| Reply::Error("-ERR hash value"))?;
                hash.insert(field(*f), (old + by).to_string().into_bytes());
                self.change(*key, Value::Hash(hash));
                Ok(Reply::Int(old + by))
            }
            Step::HGetAll(key) => Ok(Reply::Pairs(self.hash(*key)?.unwrap_or_default())),
            Step::SAdd { key, members } => {
                let mut set = self.set(*key)?;
                let added = members.iter().filter(|m| set.insert(member(**m))).count();
                self.change(*key, Value::Set(set));
                int(added)
            }
            Step::SRem { key, members } => {
                let mut set = self.set(*key)?;
                let removed = members.iter().filter(|m| set.remove(&member(**m))).count();
                if removed > 0 {
                    self.change(*key, Value::Set(set));
                }
                int(removed)
            }
            Step::SMove { from, to, member: m } => {
                if self.get(*from).is_none() {
                    return Ok(Reply::Int(0));
                }
                let (mut source, target) = (self.set(*from)?, self.set(*to)?);
                let found = source.contains(&member(*m));
                if found && from != to {
                    source.remove(&member(*m));
                    self.change(*from, Value::Set(source));
                    self.change(*to, Value::Set(target.into_iter().chain([member(*m)]).collect()));
                }
                Ok(Reply::Int(i64::from(found)))
            }
            Step::SPop { key, count } => {
                let set = self.set(*key)?;
                Ok(Reply::Some(set.len().min(usize::from(*count)), set))
            }
            Step::SStore { op, to, keys } => {
                let sets = keys.iter().map(|key| self.set(*key)).collect::<Result<Vec<_>, _>>()?;
                let result = sets.into_iter().reduce(|a, b| match op {
                    0 => &a | &b,
                    1 => &a & &b,
                    _ => &a - &b,
                });
                let result = result.unwrap_or_default();
                let len = result.len();
                self.put(*to, Value::Set(result), None);
                int(len)
            }
            Step::SMembers(key) => Ok(Reply::Set(self.set(*key)?)),
            Step::Push { key, left, items } => {
                let mut list = self.list(*key)?.unwrap_or_default();
                for n in items {
                    if *left { list.push_front(text(*n)) } else { list.push_back(text(*n)) }
                }
                let len = list.len();
                self.change(*key, Value::List(list));
                int(len)
            }
            Step::Pop { key, left, count } => {
                let Some(mut list) = self.list(*key)? else { return Ok(Reply::NullArray) };
                let pop = |_| if *left { list.pop_front() } else { list.pop_back() };
                let popped: Vec<Bytes> = (0..*count).map_while(pop).collect();
                if !popped.is_empty() {
                    self.change(*key, Value::List(list));
                }
                Ok(Reply::List(popped))
            }
            Step::LMove { from, to, left, to_left } => {
                let Some(mut source) = self.list(*from)? else { return Ok(Reply::Null) };
                self.list(*to)?;
                let moved = if *left { source.pop_front() } else { source.pop_back() }.unwrap_or_default();
                let turns = from == to;
                let mut target = if turns { source.clone() } else { self.list(*to)?.unwrap_or_default() };
                if !turns {
                    self.change(*from, Value::List(source));
                }
                if *to_left {
                    target.push_front(moved.clone())
                } else {
                    target.push_back(moved.clone())
                }
                self.change(*to, Value::List(target));
                Ok(Reply::Bulk(moved))
            }
            Step::LSet { key, index, value } => {
                let mut list = self.list(*key)?.ok_or(Reply::Error("-ERR no such key"))?;
                let at = if *index < 0 { *index + list.len() as i64 } else { *index };
                let place = usize::try_from(at).ok().and_then(|at| list.get_mut(at));
                *place.ok_or(Reply::Error("-ERR index out of range"))? = text(*value);
                self.change(*key, Value::List(list));
                Ok(Reply::Ok)
            }
            Step::LInsert { key, pivot, value } => {
                let Some(mut list) = self.list(*key)? else { return Ok(Reply::Int(0)) };
                let Some(at) = list.iter().position(|item| *item == text(*pivot)) else {
                    return Ok(Reply::Int(-1));
                };
                list.insert(at, text(*value));
                let len = list.len();
                self.change(*key, Value::List(list));
                int(len)
            }
            Step::LRem { key, count, value } => {
                let Some(list) = self.list(*key)? else { return Ok(Reply::Int(0)) };
                let mut left = if *count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
                let mut keep = |item: &Bytes| {
                    let hit = *item == text(*value) && left > 0;
                    left -= usize::from(hit);
                    !hit
                };
                let len = list.len();
                let rest: VecDeque<Bytes> = if *count < 0 {
                    let kept: Vec<Bytes> = list.into_iter().rev().filter(|item| keep(item)).collect();
                    kept.into_iter().rev().collect()
                } else {
                    list.into_iter().filter(|item| keep(item)).collect()
                };
                let removed = len - rest.len();
                if removed > 0 {
                    self.change(*key, Value::List(rest));
                }
                int(removed)
            }
            Step::LTrim { key, start, stop } => {
                let Some(list) = self.list(*key)? else { return Ok(Reply::Ok) };
                let len = list.len() as i64;
                let from_end = |n: i64| if n < 0 { (n + len).max(0) } else { n };
                let stop = if *stop < 0 { *stop + len } else { *stop };
                let kept = |at: &i64| *at >= from_end(*start) && *at <= stop;
                let rest: VecDeque<Bytes> =
                    (0..len).zip(list).filter(|(at, _)| kept(at)).map(|(_, item)| item).collect();
                if rest.len() as i64 != len {
                    self.change(*key, Value::List(rest));
                }
                Ok(Reply::Ok)
            }
            Step::LRange(key) => Ok(Reply::List(self.list(*key)?.unwrap_or_default().into())),
            Step::Dbsize => Ok(Reply::None),
            Step::Flush { all } => {
                let here = self.db;
                self.keys.retain(|(db, _), _| !*all && *db != here);
                Ok(Reply::Ok)
            }
            Step::Swap(a, b) => {
                let swapped = |db| match db {
                    db if db == *a => *b,
                    db if db == *b => *a,
                    db => db,
                };
                self.keys = self.keys.drain().map(|((db, key), found)| ((swapped(db), key), found)).collect();
                Ok(Reply::Ok)
            }
        }
    }
}

fn number(text: Option<Bytes>) -> Result<i64, Reply> {
    let Some(text) = text else { return Ok(0) };
    let n = std::str::from_utf8(&text).ok().and_then(|s| s.parse::<i64>().ok());
    n.filter(|n| n.to_string().as_bytes() == text).ok_or(Reply::Error("-ERR value is not an integer"))
}

/// The request that a step stands for.
fn request(step: &Step) -> Vec<Bytes> {
    let word = |w: &str| w.as_bytes().to_vec();
    let n = |n: i64| n.to_string().into_bytes();
    match step {
        Step::Advance(_) | Step::Select(_) => Vec::new(),
        Step::Set { key: k, value, px, keep, when } => {
            let mut args = vec![word("SET"), key(*k), text(*value)];
            if *keep {
                args.push(word("KEEPTTL"));
            } else if let Some(ms) = px {
                args.extend([word("PX"), n(*ms as i64)]);
            }
            match when {
                0 => args.push(word("NX")),
                1 => args.push(word("XX")),
                _ => {}
            }
            args
        }
        Step::Mset(pairs) => {
            let pairs = pairs.iter().flat_map(|(k, v)| [key(*k), text(*v)]);
            std::iter::once(word("MSET")).chain(pairs).collect()
        }
        Step::Get(k) => vec![word("GET"), key(*k)],
        Step::GetDel(k) => vec![word("GETDEL"), key(*k)],
        Step::Append { key: k, value } => vec![word("APPEND"), key(*k), text(*value)],
        Step::SetRange { key: k, offset, value } => {
            vec![word("SETRANGE"), key(*k), n(*offset as i64), text(*value)]
        }
        Step::SetBit { key: k, offset, on } => {
            vec![word("SETBIT"), key(*k), n(*offset as i64), n(i64::from(*on))]
        }
        Step::BitNot { to, from } => vec![word("BITOP"), word("NOT"), key(*to), key(*from)],
        Step::Incr { key: k, by } => vec![word("INCRBY"), key(*k), n(*by)],
        Step::Del(keys) => std::iter::once(word("DEL")).chain(keys.iter().map(|k| key(*k))).collect(),
        Step::Expire { key: k, ms, condition } => {
            let mut args = vec![word("PEXPIRE"), key(*k), n(*ms)];
            args.extend(["NX", "XX", "GT", "LT"].get(usize::from(*condition)).map(|c| word(c)));
            args
        }
        Step::Persist(k) => vec![word("PERSIST"), key(*k)],
        Step::Pttl(k) => vec![word("PTTL"), key(*k)],
        Step::Rename { from, to, nx } => {
            vec![word(if *nx { "RENAMENX" } else { "RENAME" }), key(*from), key(*to)]
        }
        Step::Copy { from, to, db, replace } => {
            let mut args = vec![word("COPY"), key(*from), key(*to), word("DB"), n(i64::from(*db))];
            args.extend(replace.then(|| word("REPLACE")));
            args
        }
        Step::Move { key: k, db } => vec![word("MOVE"), key(*k), n(i64::from(*db))],
        Step::HSet { key: k, pairs } => {
            let pairs = pairs.iter().flat_map(|(f, v)| [field(*f), text(*v)]);
            [word("HSET"), key(*k)].into_iter().chain(pairs).collect()
        }
        Step::HDel { key: k, fields } => {
            [word("HDEL"), key(*k)].into_iter().chain(fields.iter().map(|f| field(*f))).collect()
        }
        Step::HIncr { key: k, field: f, by } => vec![word("HINCRBY"), key(*k), field(*f), n(*by)],
        Step::HGetAll(k) => vec![word("HGETALL"), key(*k)],
        Step::SAdd { key: k, members } => {
            [word("SADD"), key(*k)].into_iter().chain(members.iter().map(|m| member(*m))).collect()
        }
        Step::SRem { key: k, members } => {
            [word("SREM"), key(*k)].into_iter().chain(members.iter().map(|m| member(*m))).collect()
        }
        Step::SMove { from, to, member: m } => vec![word("SMOVE"), key(*from), key(*to), member(*m)],
        Step::SPop { key: k, count } => vec![word("SPOP"), key(*k), n(i64::from(*count))],
        Step::SStore { op, to, keys } => {
            let name = ["SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"][usize::from(*op)];
            [word(name), key(*to)].into_iter().chain(keys.iter().map(|k| key(*k))).collect()
        }
        Step::SMembers(k) => vec![word("SMEMBERS"), key(*k)],
        Step::Push { key: k, left, items } => {
            let name = word(if *left { "LPUSH" } else { "RPUSH" });
            [name, key(*k)].into_iter().chain(items.iter().map(|n| text(*n))).collect()
        }
        Step::Pop { key: k, left, count } => {
            vec![word(if *left { "LPOP" } else { "RPOP" }), key(*k), n(i64::from(*count))]
        }
        Step::LMove { from, to, left, to_left } => {
            let side = |left: bool| word(if left { "LEFT" } else { "RIGHT" });
            vec![word("LMOVE"), key(*from), key(*to), side(*left), side(*to_left)]
        }
        Step::LSet { key: k, index, value } => vec![word("LSET"), key(*k), n(*index), text(*value)],
        Step::LInsert { key: k, pivot, value } => {
            vec![word("LINSERT"), key(*k), word("BEFORE"), text(*pivot), text(*value)]
        }
        Step::LRem { key: k, count, value } => vec![word("LREM"), key(*k), n(*count), text(*value)],
        Step::LTrim { key: k, start, stop } => vec![word("LTRIM"), key(*k), n(*start), n(*stop)],
        Step::LRange(k) => vec![word("LRANGE"), key(*k), n(0), n(-1)],
        Step::Dbsize => vec![word("DBSIZE")],
        Step::Flush { all } => vec![word(if *all { "FLUSHALL" } else { "FLUSHDB" })],
        Step::Swap(a, b) => vec![word("SWAPDB"), n(i64::from(*a)), n(i64::from(*b))],
    }
}

fn bulk(bytes: &[u8]) -> Bytes {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn holds(reply: &[u8], element: &[u8]) -> bool {
    let element = bulk(element);
    reply.windows(element.len()).any(|w| w == element)
}

fn agrees(got: &[u8], expected: &Reply) -> bool {
    match expected {
        Reply::None => true,
        Reply::Ok => got == b"+OK\r\n",
        Reply::Null => got == b"$-1\r\n",
        Reply::NullArray => got == b"*-1\r\n",
        Reply::Int(n) => got == format!(":{n}\r\n").as_bytes(),
        Reply::Bulk(bytes) => got == bulk(bytes),
        Reply::List(list) => {
            let elements: Vec<u8> = list.iter().flat_map(|element| bulk(element)).collect();
            *got == [format!("*{}\r\n", list.len()).into_bytes(), elements].concat()
        }
        Reply::Set(set) => is_array(got, set.len(), set),
        Reply::Some(count, set) => {
            let found: BTreeSet<_> = set.iter().filter(|element| holds(got, element)).cloned().collect();
            found.len() == *count && is_array(got, *count, &found)
        }
        Reply::Error(start) => got.starts_with(start.as_bytes()),
        Reply::Pairs(pairs) => {
            // The order is the store's own: whatever it is, each pair is there and nothing else.
            let header = format!("*{}\r\n", pairs.len() * 2).into_bytes();
            let all: Vec<Bytes> = pairs.iter().map(|(f, v)| [bulk(f), bulk(v)].concat()).collect();
            got.starts_with(&header)
                && got.len() == header.len() + all.iter().map(Vec::len).sum::<usize>()
                && all.iter().all(|pair| got.windows(pair.len()).any(|w| w == pair))
        }
    }
}

/// Whether the reply is an array of these elements, in any order.
fn is_array(got: &[u8], count: usize, elements: &BTreeSet<Bytes>) -> bool {
    let header = format!("*{count}\r\n").into_bytes();
    got.starts_with(&header)
        && got.len() == header.len() + elements.iter().map(|e| bulk(e).len()).sum::<usize>()
        && elements.iter().all(|element| holds(got, element))
}

fn execute(t: &mut Harness, step: &Step) -> Bytes {
    match step {
        Step::Advance(ms) => t.advance(*ms),
        Step::Select(db) => t.session.db = *db,
        _ => return t.run_args(request(step)),
    }
    Vec::new()
}

/// An entry as far as a replica must have it.
type Row = (Value, Option<u64>, u32, u32);

fn dump(node: &Node) -> BTreeMap<(u8, Bytes), Row> {
    let mut rows = BTreeMap::new();
    for index in 0..STRIPES as u16 {
        let stripe = node.store.stripe(index);
        for db in stripe.databases() {
            for entry in stripe.iter(db) {
                let value = match entry.value() {
                    ValueRef::String(bytes) => Value::Text(bytes.to_vec()),
                    ValueRef::Hash(hash) => {
                        Value::Hash(hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect())
                    }
                    ValueRef::Set(set) => Value::Set(set.iter().map(Member::to_vec).collect()),
                    ValueRef::List(list) => {
                        Value::List(list.iter().map(|element| element.into_cow().into_owned()).collect())
                    }
                    other => panic!("no command makes a {}", other.type_name()),
                };
                let row = (value, entry.expire_ms(), entry.mc_flags(), entry.version());
                rows.insert((db, entry.key().to_vec()), row);
            }
        }
    }
    rows
}

fn check_account(node: &Node) {
    let mut total = 0;
    for index in 0..STRIPES as u16 {
        let stripe = node.store.stripe(index);
        assert_eq!((stripe.used_bytes(), stripe.expiring()), stripe.recount(), "stripe {index}");
        total += stripe.used_bytes();
    }
    assert_eq!(node.store.used_bytes(), total, "the sum");
}

fn settings() -> Settings {
    let limits =
        Limits { hash: LIMITS, set: LIMITS, set_intset_entries: 5, list_node_size: 4, ..Limits::default() };
    Settings { limits, ..Settings::default() }
}

fn apply_records(node: &Node, mut bytes: &[u8]) {
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

/// Copies everything as a full sync does.
fn copy_all(from: &Node, to: &Node) {
    for index in 0..STRIPES as u16 {
        let mut writer = EffectWriter::new(true);
        effect_apply::snapshot_stripe(from, &from.store.stripe(index), index, &mut writer, 0);
        for effect in effects(&writer.take_bytes()).flatten() {
            effect_apply::apply(to, &effect, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map_of_maps(steps in prop::collection::vec(step(), 1..250)) {
        let mut t = Harness::with_settings(settings());
        let mut model = Model { now_ms: START_MS, ..Model::default() };
        for step in &steps {
            let expected = model.run(step);
            let got = execute(&mut t, step);
            model.popped(step, &got);
            prop_assert!(
                agrees(&got, &expected),
                "{step:?}: {:?} instead of {expected:?}",
                String::from_utf8_lossy(&got)
            );
        }
        model.expire();
        let now_ms = t.now.unix_ms;
        let live: BTreeMap<_, _> = dump(&t.node)
            .into_iter()
            .filter(|(_, row)| row.1.is_none_or(|at| at > now_ms))
            .map(|(key, (value, at, ..))| (key, (value, at)))
            .collect();
        prop_assert_eq!(live, model.keys.into_iter().collect());
        check_account(&t.node);
    }

    #[test]
    fn a_replica_follows(steps in prop::collection::vec(step(), 1..250), copied_at in 0usize..250) {
        let mut t = Harness::primary();
        let old = t.node.settings.load_full();
        assert!(t.node.replace_settings(&old, settings()));
        t.through_proxy();
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

    #[test]
    fn hyperloglogs_follow(steps in prop::collection::vec((0u8..6, 0u8..3, 0u16..400, 0u16..60), 1..40)) {
        let mut t = Harness::primary();
        t.through_proxy();
        let follower = Harness::new();
        for (what, key, from, count) in steps {
            let key = format!("{{t}}{key}").into_bytes();
            let word = |w: &str| w.as_bytes().to_vec();
            let other = format!("{{t}}{}", from % 3).into_bytes();
            t.run_args(match what {
                0..3 => {
                    let elements = (from..from + count).map(|n| n.to_string().into_bytes());
                    [word("PFADD"), key].into_iter().chain(elements).collect()
                }
                3 => vec![word("PFCOUNT"), key],
                4 => vec![word("PFMERGE"), key, other],
                _ if from % 4 == 0 => vec![word("PFDEBUG"), word("TODENSE"), key],
                _ => vec![word("PFCOUNT"), key, other],
            });
            apply_records(&follower.node, &t.records());
            prop_assert_eq!(&dump(&t.node), &dump(&follower.node));
        }
        check_account(&t.node);
        check_account(&follower.node);
    }
}
