//! What concerns keys of any type, and whole databases.

use proptest::prelude::*;

use super::map::{Model, Run};
use super::reply::{Answer, Reply, int};
use super::words::{Bytes, DBS, Request, key, keys, some};

#[derive(Clone, Debug)]
pub enum Step {
    Del(Vec<u8>),
    Expire { key: u8, ms: i64, condition: u8 },
    Persist(u8),
    Pttl(u8),
    Rename { from: u8, to: u8, nx: bool },
    Copy { from: u8, to: u8, db: u8, replace: bool },
    Move { key: u8, db: u8 },
    Flush { all: bool },
    Swap(u8, u8),
}

pub fn step() -> impl Strategy<Value = Step> {
    let ms = prop_oneof![4 => 1i64..300, 1 => -50i64..1];
    prop_oneof![
        3 => some(keys(), 3).prop_map(Step::Del),
        4 => (keys(), ms, 0u8..8).prop_map(|(key, ms, condition)| Step::Expire { key, ms, condition }),
        2 => keys().prop_map(Step::Persist),
        2 => keys().prop_map(Step::Pttl),
        2 => (keys(), keys(), any::<bool>()).prop_map(|(from, to, nx)| Step::Rename { from, to, nx }),
        2 => (keys(), keys(), 0..DBS, any::<bool>())
            .prop_map(|(from, to, db, replace)| Step::Copy { from, to, db, replace }),
        1 => (keys(), 0..DBS).prop_map(|(key, db)| Step::Move { key, db }),
        1 => prop::bool::weighted(0.3).prop_map(|all| Step::Flush { all }),
        1 => (0..DBS, 0..DBS).prop_map(|(a, b)| Step::Swap(a, b)),
    ]
}

impl Run for Step {
    fn run(&self, m: &mut Model) -> Answer {
        match self {
            Step::Del(keys) => int(keys.iter().filter(|n| m.take(**n).is_some()).count()),
            Step::Expire { key, ms, condition } => {
                let Some((value, old)) = m.get(*key).cloned() else { return Ok(Reply::Int(0)) };
                let at = (m.now_ms as i64 + ms) as u64;
                let allowed = match condition {
                    0 => old.is_none(),
                    1 => old.is_some(),
                    2 => old.is_some_and(|old| at > old),
                    3 => old.is_none_or(|old| at < old),
                    _ => true,
                };
                if allowed {
                    m.put(*key, value, Some(at));
                }
                Ok(Reply::Int(i64::from(allowed)))
            }
            Step::Persist(key) => match m.get(*key).cloned() {
                Some((value, Some(_))) => {
                    m.put(*key, value, None);
                    Ok(Reply::Int(1))
                }
                _ => Ok(Reply::Int(0)),
            },
            Step::Pttl(key) => Ok(Reply::Int(match m.get(*key) {
                None => -2,
                Some((_, None)) => -1,
                Some((_, Some(at))) => (at - m.now_ms) as i64,
            })),
            Step::Rename { from, to, nx } => {
                let Some((value, at)) = m.get(*from).cloned() else {
                    return Ok(Reply::Error("-ERR no such key"));
                };
                if *nx && m.get(*to).is_some() {
                    return Ok(Reply::Int(0));
                }
                m.take(*from);
                m.put(*to, value, at);
                Ok(if *nx { Reply::Int(1) } else { Reply::Ok })
            }
            Step::Copy { from, to, db, replace } => {
                if from == to && *db == m.db {
                    return Ok(Reply::Error("-ERR source and destination"));
                }
                let place = (*db, key(*to));
                match m.get(*from).cloned() {
                    Some(found) if *replace || !m.keys.contains_key(&place) => {
                        m.keys.insert(place, found);
                        Ok(Reply::Int(1))
                    }
                    _ => Ok(Reply::Int(0)),
                }
            }
            Step::Move { key: n, db } => {
                if *db == m.db {
                    return Ok(Reply::Error("-ERR source and destination"));
                }
                let there = (*db, key(*n));
                if m.keys.contains_key(&there) {
                    return Ok(Reply::Int(0));
                }
                let Some(found) = m.take(*n) else { return Ok(Reply::Int(0)) };
                m.keys.insert(there, found);
                Ok(Reply::Int(1))
            }
            Step::Flush { all } => {
                let here = m.db;
                m.keys.retain(|(db, _), _| !*all && *db != here);
                Ok(Reply::Ok)
            }
            Step::Swap(a, b) => {
                let swapped = |db| match db {
                    db if db == *a => *b,
                    db if db == *b => *a,
                    db => db,
                };
                m.keys = m.keys.drain().map(|((db, key), found)| ((swapped(db), key), found)).collect();
                Ok(Reply::Ok)
            }
        }
    }

    fn request(&self) -> Vec<Bytes> {
        let request = match self {
            Step::Del(keys) => Request::new("DEL").args(keys.iter().map(|k| key(*k))),
            Step::Expire { key: k, ms, condition } => Request::new("PEXPIRE")
                .arg(key(*k))
                .number(*ms)
                .args(["NX", "XX", "GT", "LT"].get(usize::from(*condition))),
            Step::Persist(k) => Request::new("PERSIST").arg(key(*k)),
            Step::Pttl(k) => Request::new("PTTL").arg(key(*k)),
            Step::Rename { from, to, nx } => {
                Request::new(if *nx { "RENAMENX" } else { "RENAME" }).arg(key(*from)).arg(key(*to))
            }
            Step::Copy { from, to, db, replace } => Request::new("COPY")
                .arg(key(*from))
                .arg(key(*to))
                .arg("DB")
                .number(*db)
                .when(*replace, "REPLACE"),
            Step::Move { key: k, db } => Request::new("MOVE").arg(key(*k)).number(*db),
            Step::Flush { all } => Request::new(if *all { "FLUSHALL" } else { "FLUSHDB" }),
            Step::Swap(a, b) => Request::new("SWAPDB").number(*a).number(*b),
        };
        request.done()
    }
}
