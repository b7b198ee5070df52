//! HyperLogLogs: strings that count.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::map::{Model, Run, Value};
use super::reply::{Answer, Reply};
use super::words::{Bytes, Request, key, keys, some};

#[derive(Clone, Debug)]
pub enum Step {
    Add { key: u8, from: u16, count: u16 },
    Count(Vec<u8>),
    Merge { to: u8, from: Vec<u8> },
    ToDense(u8),
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (keys(), 0u16..300, 0u16..60).prop_map(|(key, from, count)| Step::Add { key, from, count }),
        2 => some(keys(), 3).prop_map(Step::Count),
        1 => (keys(), some(keys(), 2)).prop_map(|(to, from)| Step::Merge { to, from }),
        1 => keys().prop_map(Step::ToDense),
    ]
}

fn elements(from: u16, count: u16) -> impl Iterator<Item = Bytes> {
    (from..from + count).map(|n| n.to_string().into_bytes())
}

fn union(m: &Model, keys: &[u8]) -> Result<BTreeSet<Bytes>, Reply> {
    let sets = keys.iter().map(|n| m.counter(*n)).collect::<Result<Vec<_>, _>>()?;
    Ok(sets.into_iter().flatten().flatten().collect())
}

impl Run for Step {
    fn run(&self, m: &mut Model) -> Answer {
        match self {
            Step::Add { key, from, count } => {
                let mut set = m.counter(*key)?.unwrap_or_default();
                set.extend(elements(*from, *count));
                m.change(*key, Value::Counter(set));
                // Whether the estimate moved is the hash's business.
                Ok(Reply::None)
            }
            Step::Count(keys) => Ok(Reply::About(union(m, keys)?.len())),
            Step::Merge { to, from } => {
                let all: Vec<u8> = from.iter().copied().chain([*to]).collect();
                let set = union(m, &all)?;
                m.change(*to, Value::Counter(set));
                Ok(Reply::Ok)
            }
            Step::ToDense(key) => {
                m.counter(*key)?.ok_or(Reply::Error("-ERR The specified key does not exist"))?;
                Ok(Reply::None)
            }
        }
    }

    fn request(&self) -> Vec<Bytes> {
        let request = match self {
            Step::Add { key: k, from, count } => {
                Request::new("PFADD").arg(key(*k)).args(elements(*from, *count))
            }
            Step::Count(keys) => Request::new("PFCOUNT").args(keys.iter().map(|k| key(*k))),
            Step::Merge { to, from } => {
                Request::new("PFMERGE").arg(key(*to)).args(from.iter().map(|k| key(*k)))
            }
            Step::ToDense(k) => Request::new("PFDEBUG").arg("TODENSE").arg(key(*k)),
        };
        request.done()
    }
}
