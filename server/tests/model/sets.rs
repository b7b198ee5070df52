//! Sets.

use proptest::prelude::*;

use super::map::{Model, Run, Value};
use super::reply::{Answer, Reply, holds, int};
use super::words::{Bytes, Request, key, keys, member, members, some};

#[derive(Clone, Debug)]
pub enum Step {
    Add { key: u8, members: Vec<u8> },
    Rem { key: u8, members: Vec<u8> },
    Move { from: u8, to: u8, member: u8 },
    Pop { key: u8, count: u8 },
    Store { op: u8, to: u8, keys: Vec<u8> },
    Members(u8),
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (keys(), some(members(), 5)).prop_map(|(key, members)| Step::Add { key, members }),
        3 => (keys(), some(members(), 7)).prop_map(|(key, members)| Step::Rem { key, members }),
        2 => (keys(), keys(), members()).prop_map(|(from, to, member)| Step::Move { from, to, member }),
        2 => (keys(), 0u8..9).prop_map(|(key, count)| Step::Pop { key, count }),
        2 => (0u8..3, keys(), some(keys(), 3)).prop_map(|(op, to, keys)| Step::Store { op, to, keys }),
        2 => keys().prop_map(Step::Members),
    ]
}

impl Step {
    /// What the store chose to pop is gone.
    pub fn popped(&self, m: &mut Model, reply: &[u8]) {
        if let Step::Pop { key, .. } = self
            && let Ok(mut set) = m.set(*key)
            && !set.is_empty()
        {
            set.retain(|member| !holds(reply, member));
            m.change(*key, Value::Set(set));
        }
    }
}

impl Run for Step {
    fn run(&self, m: &mut Model) -> Answer {
        match self {
            Step::Add { key, members } => {
                let mut set = m.set(*key)?;
                let added = members.iter().filter(|n| set.insert(member(**n))).count();
                m.change(*key, Value::Set(set));
                int(added)
            }
            Step::Rem { key, members } => {
                let mut set = m.set(*key)?;
                let removed = members.iter().filter(|n| set.remove(&member(**n))).count();
                if removed > 0 {
                    m.change(*key, Value::Set(set));
                }
                int(removed)
            }
            Step::Move { from, to, member: n } => {
                if m.get(*from).is_none() {
                    return Ok(Reply::Int(0));
                }
                let (mut source, target) = (m.set(*from)?, m.set(*to)?);
                let found = source.contains(&member(*n));
                if found && from != to {
                    source.remove(&member(*n));
                    m.change(*from, Value::Set(source));
                    m.change(*to, Value::Set(target.into_iter().chain([member(*n)]).collect()));
                }
                Ok(Reply::Int(i64::from(found)))
            }
            Step::Pop { key, count } => {
                let set = m.set(*key)?;
                Ok(Reply::Some(set.len().min(usize::from(*count)), set))
            }
            Step::Store { op, to, keys } => {
                let sets = keys.iter().map(|key| m.set(*key)).collect::<Result<Vec<_>, _>>()?;
                let result = sets.into_iter().reduce(|a, b| match op {
                    0 => &a | &b,
                    1 => &a & &b,
                    _ => &a - &b,
                });
                let result = result.unwrap_or_default();
                let len = result.len();
                m.put(*to, Value::Set(result), None);
                int(len)
            }
            Step::Members(key) => Ok(Reply::Set(m.set(*key)?)),
        }
    }

    fn request(&self) -> Vec<Bytes> {
        let request = match self {
            Step::Add { key: k, members } => {
                Request::new("SADD").arg(key(*k)).args(members.iter().map(|n| member(*n)))
            }
            Step::Rem { key: k, members } => {
                Request::new("SREM").arg(key(*k)).args(members.iter().map(|n| member(*n)))
            }
            Step::Move { from, to, member: n } => {
                Request::new("SMOVE").arg(key(*from)).arg(key(*to)).arg(member(*n))
            }
            Step::Pop { key: k, count } => Request::new("SPOP").arg(key(*k)).number(*count),
            Step::Store { op, to, keys } => {
                let name = ["SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"][usize::from(*op)];
                Request::new(name).arg(key(*to)).args(keys.iter().map(|k| key(*k)))
            }
            Step::Members(k) => Request::new("SMEMBERS").arg(key(*k)),
        };
        request.done()
    }
}
