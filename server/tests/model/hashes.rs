//! Hashes.

use proptest::prelude::*;

use super::map::{Model, Run, Value};
use super::reply::{Answer, Reply, int};
use super::strings::number;
use super::words::{Bytes, Request, field, key, keys, some, text, values};

#[derive(Clone, Debug)]
pub enum Step {
    Set { key: u8, pairs: Vec<(u8, u8)> },
    Del { key: u8, fields: Vec<u8> },
    Incr { key: u8, field: u8, by: i64 },
    GetAll(u8),
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (keys(), some((0u8..20, values()), 5)).prop_map(|(key, pairs)| Step::Set { key, pairs }),
        4 => (keys(), some(0u8..20, 9)).prop_map(|(key, fields)| Step::Del { key, fields }),
        2 => (keys(), 0u8..20, -5i64..100).prop_map(|(key, field, by)| Step::Incr { key, field, by }),
        2 => keys().prop_map(Step::GetAll),
    ]
}

impl Run for Step {
    fn run(&self, m: &mut Model) -> Answer {
        match self {
            Step::Set { key, pairs } => {
                let mut hash = m.hash(*key)?.unwrap_or_default();
                let added = pairs.iter().filter(|(f, v)| hash.insert(field(*f), text(*v)).is_none()).count();
                m.change(*key, Value::Hash(hash));
                int(added)
            }
            Step::Del { key, fields } => {
                let Some(mut hash) = m.hash(*key)? else { return Ok(Reply::Int(0)) };
                let removed = fields.iter().filter(|f| hash.remove(&field(**f)).is_some()).count();
                m.change(*key, Value::Hash(hash));
                int(removed)
            }
            Step::Incr { key, field: f, by } => {
                let mut hash = m.hash(*key)?.unwrap_or_default();
                let old =
                    number(hash.get(&field(*f)).cloned()).map_err(|_| Reply::Error("-ERR hash value"))?;
                hash.insert(field(*f), (old + by).to_string().into_bytes());
                m.change(*key, Value::Hash(hash));
                Ok(Reply::Int(old + by))
            }
            Step::GetAll(key) => Ok(Reply::Pairs(m.hash(*key)?.unwrap_or_default())),
        }
    }

    fn request(&self) -> Vec<Bytes> {
        let request = match self {
            Step::Set { key: k, pairs } => pairs
                .iter()
                .fold(Request::new("HSET").arg(key(*k)), |all, (f, v)| all.arg(field(*f)).arg(text(*v))),
            Step::Del { key: k, fields } => {
                Request::new("HDEL").arg(key(*k)).args(fields.iter().map(|f| field(*f)))
            }
            Step::Incr { key: k, field: f, by } => {
                Request::new("HINCRBY").arg(key(*k)).arg(field(*f)).number(*by)
            }
            Step::GetAll(k) => Request::new("HGETALL").arg(key(*k)),
        };
        request.done()
    }
}
