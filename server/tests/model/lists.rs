//! Lists.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::map::{Model, Run, Value};
use super::reply::{Answer, Reply, int};
use super::words::{Bytes, Request, key, keys, some, text, values};

#[derive(Clone, Debug)]
pub enum Step {
    Push { key: u8, left: bool, items: Vec<u8> },
    Pop { key: u8, left: bool, count: u8 },
    Move { from: u8, to: u8, left: bool, to_left: bool },
    Set { key: u8, index: i64, value: u8 },
    Insert { key: u8, pivot: u8, value: u8 },
    Rem { key: u8, count: i64, value: u8 },
    Trim { key: u8, start: i64, stop: i64 },
    Range(u8),
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (keys(), any::<bool>(), some(values(), 5)).prop_map(|(key, left, items)| Step::Push { key, left, items }),
        3 => (keys(), any::<bool>(), 0u8..4).prop_map(|(key, left, count)| Step::Pop { key, left, count }),
        2 => (keys(), keys(), any::<bool>(), any::<bool>())
            .prop_map(|(from, to, left, to_left)| Step::Move { from, to, left, to_left }),
        2 => (keys(), -4i64..6, values()).prop_map(|(key, index, value)| Step::Set { key, index, value }),
        2 => (keys(), values(), values()).prop_map(|(key, pivot, value)| Step::Insert { key, pivot, value }),
        1 => (keys(), -2i64..3, values()).prop_map(|(key, count, value)| Step::Rem { key, count, value }),
        1 => (keys(), -9i64..3, -4i64..9).prop_map(|(key, start, stop)| Step::Trim { key, start, stop }),
        2 => keys().prop_map(Step::Range),
    ]
}

/// LREM: takes up to `count` of what equals `value` from the front, from the back when it is negative.
fn without(list: VecDeque<Bytes>, count: i64, value: &Bytes) -> VecDeque<Bytes> {
    let mut left = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let mut keep = |item: &Bytes| {
        let hit = item == value && left > 0;
        left -= usize::from(hit);
        !hit
    };
    if count < 0 {
        let kept: Vec<Bytes> = list.into_iter().rev().filter(|item| keep(item)).collect();
        return kept.into_iter().rev().collect();
    }
    list.into_iter().filter(|item| keep(item)).collect()
}

impl Run for Step {
    fn run(&self, m: &mut Model) -> Answer {
        match self {
            Step::Push { key, left, items } => {
                let mut list = m.list(*key)?.unwrap_or_default();
                for n in items {
                    if *left { list.push_front(text(*n)) } else { list.push_back(text(*n)) }
                }
                let len = list.len();
                m.change(*key, Value::List(list));
                int(len)
            }
            Step::Pop { key, left, count } => {
                let Some(mut list) = m.list(*key)? else { return Ok(Reply::NullArray) };
                let pop = |_| if *left { list.pop_front() } else { list.pop_back() };
                let popped: Vec<Bytes> = (0..*count).map_while(pop).collect();
                if !popped.is_empty() {
                    m.change(*key, Value::List(list));
                }
                Ok(Reply::List(popped))
            }
            Step::Move { from, to, left, to_left } => {
                let Some(mut source) = m.list(*from)? else { return Ok(Reply::Null) };
                m.list(*to)?;
                let moved = if *left { source.pop_front() } else { source.pop_back() }.unwrap_or_default();
                let turns = from == to;
                let mut target = if turns { source.clone() } else { m.list(*to)?.unwrap_or_default() };
                if !turns {
                    m.change(*from, Value::List(source));
                }
                if *to_left {
                    target.push_front(moved.clone())
                } else {
                    target.push_back(moved.clone())
                }
                m.change(*to, Value::List(target));
                Ok(Reply::Bulk(moved))
            }
            Step::Set { key, index, value } => {
                let mut list = m.list(*key)?.ok_or(Reply::Error("-ERR no such key"))?;
                let at = if *index < 0 { *index + list.len() as i64 } else { *index };
                let place = usize::try_from(at).ok().and_then(|at| list.get_mut(at));
                *place.ok_or(Reply::Error("-ERR index out of range"))? = text(*value);
                m.change(*key, Value::List(list));
                Ok(Reply::Ok)
            }
            Step::Insert { key, pivot, value } => {
                let Some(mut list) = m.list(*key)? else { return Ok(Reply::Int(0)) };
                let Some(at) = list.iter().position(|item| *item == text(*pivot)) else {
                    return Ok(Reply::Int(-1));
                };
                list.insert(at, text(*value));
                let len = list.len();
                m.change(*key, Value::List(list));
                int(len)
            }
            Step::Rem { key, count, value } => {
                let Some(list) = m.list(*key)? else { return Ok(Reply::Int(0)) };
                let len = list.len();
                let rest = without(list, *count, &text(*value));
                let removed = len - rest.len();
                if removed > 0 {
                    m.change(*key, Value::List(rest));
                }
                int(removed)
            }
            Step::Trim { key, start, stop } => {
                let Some(list) = m.list(*key)? else { return Ok(Reply::Ok) };
                let len = list.len() as i64;
                let from_end = |n: i64| if n < 0 { (n + len).max(0) } else { n };
                let stop = if *stop < 0 { *stop + len } else { *stop };
                let kept = |at: &i64| *at >= from_end(*start) && *at <= stop;
                let rest: VecDeque<Bytes> =
                    (0..len).zip(list).filter(|(at, _)| kept(at)).map(|(_, item)| item).collect();
                if rest.len() as i64 != len {
                    m.change(*key, Value::List(rest));
                }
                Ok(Reply::Ok)
            }
            Step::Range(key) => Ok(Reply::List(m.list(*key)?.unwrap_or_default().into())),
        }
    }

    fn request(&self) -> Vec<Bytes> {
        let side = |left: bool| if left { "LEFT" } else { "RIGHT" };
        let request = match self {
            Step::Push { key: k, left, items } => Request::new(if *left { "LPUSH" } else { "RPUSH" })
                .arg(key(*k))
                .args(items.iter().map(|n| text(*n))),
            Step::Pop { key: k, left, count } => {
                Request::new(if *left { "LPOP" } else { "RPOP" }).arg(key(*k)).number(*count)
            }
            Step::Move { from, to, left, to_left } => {
                Request::new("LMOVE").arg(key(*from)).arg(key(*to)).arg(side(*left)).arg(side(*to_left))
            }
            Step::Set { key: k, index, value } => {
                Request::new("LSET").arg(key(*k)).number(*index).arg(text(*value))
            }
            Step::Insert { key: k, pivot, value } => {
                Request::new("LINSERT").arg(key(*k)).arg("BEFORE").arg(text(*pivot)).arg(text(*value))
            }
            Step::Rem { key: k, count, value } => {
                Request::new("LREM").arg(key(*k)).number(*count).arg(text(*value))
            }
            Step::Trim { key: k, start, stop } => {
                Request::new("LTRIM").arg(key(*k)).number(*start).number(*stop)
            }
            Step::Range(k) => Request::new("LRANGE").arg(key(*k)).number(0).number(-1),
        };
        request.done()
    }
}
