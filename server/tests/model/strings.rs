//! Strings and bits.

use proptest::prelude::*;

use super::map::{Model, Run, Value};
use super::reply::{Answer, Reply, int};
use super::words::{Bytes, Request, key, keys, some, text, values};

#[derive(Clone, Debug)]
pub enum Step {
    Set { key: u8, value: u8, px: Option<u64>, keep: bool, when: u8 },
    Mset(Vec<(u8, u8)>),
    Get(u8),
    GetDel(u8),
    Append { key: u8, value: u8 },
    SetRange { key: u8, offset: usize, value: u8 },
    SetBit { key: u8, offset: usize, on: bool },
    BitNot { to: u8, from: u8 },
    Incr { key: u8, by: i64 },
}

pub fn step() -> impl Strategy<Value = Step> {
    let px = prop::option::weighted(0.4, 1u64..300);
    prop_oneof![
        8 => (keys(), values(), px, any::<bool>(), 0u8..6)
            .prop_map(|(key, value, px, keep, when)| Step::Set { key, value, px, keep, when }),
        2 => some((keys(), values()), 3).prop_map(Step::Mset),
        4 => keys().prop_map(Step::Get),
        1 => keys().prop_map(Step::GetDel),
        3 => (keys(), values()).prop_map(|(key, value)| Step::Append { key, value }),
        2 => (keys(), 0usize..1500, values())
            .prop_map(|(key, offset, value)| Step::SetRange { key, offset, value }),
        2 => (keys(), 0usize..9000, any::<bool>()).prop_map(|(key, offset, on)| Step::SetBit { key, offset, on }),
        1 => (keys(), keys()).prop_map(|(to, from)| Step::BitNot { to, from }),
        2 => (keys(), -5i64..100).prop_map(|(key, by)| Step::Incr { key, by }),
    ]
}

/// The integer that a string is.
pub fn number(text: Option<Bytes>) -> Result<i64, Reply> {
    let Some(text) = text else { return Ok(0) };
    let n = std::str::from_utf8(&text).ok().and_then(|s| s.parse::<i64>().ok());
    n.filter(|n| n.to_string().as_bytes() == text).ok_or(Reply::Error("-ERR value is not an integer"))
}

fn write(m: &mut Model, n: u8, offset: usize, bytes: &[u8]) -> Result<usize, Reply> {
    let mut text = m.string(n)?.unwrap_or_default();
    text.resize(text.len().max(offset + bytes.len()), 0);
    text[offset..offset + bytes.len()].copy_from_slice(bytes);
    let len = text.len();
    m.change(n, Value::Text(text));
    Ok(len)
}

impl Run for Step {
    fn run(&self, m: &mut Model) -> Answer {
        match self {
            Step::Set { key, value, px, keep, when } => {
                let exists = m.get(*key).is_some();
                if (*when == 0 && exists) || (*when == 1 && !exists) {
                    return Ok(Reply::Null);
                }
                let old = m.get(*key).and_then(|(_, at)| *at);
                let at = if *keep { old } else { px.map(|ms| m.now_ms + ms) };
                m.put(*key, Value::Text(text(*value)), at);
                Ok(Reply::Ok)
            }
            Step::Mset(pairs) => {
                pairs.iter().for_each(|(key, value)| m.put(*key, Value::Text(text(*value)), None));
                Ok(Reply::Ok)
            }
            Step::Get(key) => Ok(m.string(*key)?.map_or(Reply::Null, Reply::Bulk)),
            Step::GetDel(n) => {
                let found = m.string(*n)?;
                m.take(*n);
                Ok(found.map_or(Reply::Null, Reply::Bulk))
            }
            Step::Append { key, value } => {
                let offset = m.string(*key)?.map_or(0, |text| text.len());
                int(write(m, *key, offset, &text(*value))?)
            }
            Step::SetRange { key, offset, value } => {
                let bytes = text(*value);
                if bytes.is_empty() {
                    return int(m.string(*key)?.map_or(0, |text| text.len()));
                }
                int(write(m, *key, *offset, &bytes)?)
            }
            Step::SetBit { key, offset, on } => {
                let (at, mask) = (offset / 8, 0x80u8 >> (offset % 8));
                let old = m.string(*key)?.and_then(|text| text.get(at).copied()).unwrap_or(0);
                write(m, *key, at, &[if *on { old | mask } else { old & !mask }])?;
                int(usize::from(old & mask != 0))
            }
            Step::BitNot { to, from } => {
                let bytes: Bytes = m.string(*from)?.unwrap_or_default().iter().map(|b| !b).collect();
                let len = bytes.len();
                if bytes.is_empty() {
                    m.take(*to);
                } else {
                    m.put(*to, Value::Text(bytes), None);
                }
                int(len)
            }
            Step::Incr { key, by } => {
                let old = number(m.string(*key)?)?;
                m.change(*key, Value::Text((old + by).to_string().into_bytes()));
                Ok(Reply::Int(old + by))
            }
        }
    }

    fn request(&self) -> Vec<Bytes> {
        let request = match self {
            Step::Set { key: k, value, px, keep, when } => {
                let request = Request::new("SET").arg(key(*k)).arg(text(*value));
                let request = match px {
                    _ if *keep => request.arg("KEEPTTL"),
                    Some(ms) => request.arg("PX").number(*ms as i64),
                    None => request,
                };
                request.when(*when == 0, "NX").when(*when == 1, "XX")
            }
            Step::Mset(pairs) => {
                pairs.iter().fold(Request::new("MSET"), |request, (k, v)| request.arg(key(*k)).arg(text(*v)))
            }
            Step::Get(k) => Request::new("GET").arg(key(*k)),
            Step::GetDel(k) => Request::new("GETDEL").arg(key(*k)),
            Step::Append { key: k, value } => Request::new("APPEND").arg(key(*k)).arg(text(*value)),
            Step::SetRange { key: k, offset, value } => {
                Request::new("SETRANGE").arg(key(*k)).number(*offset as i64).arg(text(*value))
            }
            Step::SetBit { key: k, offset, on } => {
                Request::new("SETBIT").arg(key(*k)).number(*offset as i64).number(i64::from(*on))
            }
            Step::BitNot { to, from } => Request::new("BITOP").arg("NOT").arg(key(*to)).arg(key(*from)),
            Step::Incr { key: k, by } => Request::new("INCRBY").arg(key(*k)).number(*by),
        };
        request.done()
    }

    /// The bytes of a counter are not known.
    fn is_open(&self, m: &Model) -> bool {
        let counts = |n: &u8| matches!(m.get(*n), Some((Value::Counter(_), _)));
        match self {
            Step::Set { .. } | Step::Mset(_) => false,
            Step::Get(key) | Step::GetDel(key) | Step::BitNot { from: key, .. } => counts(key),
            Step::Append { key, .. }
            | Step::SetRange { key, .. }
            | Step::SetBit { key, .. }
            | Step::Incr { key, .. } => counts(key),
        }
    }
}
