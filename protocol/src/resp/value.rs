//! A reply as a tree that owns its parts: for tools, tests and replies that are made out of others.

use super::error::ProtocolError;
use super::scan::{Element, MAX_DEPTH, MAX_LINE_BYTES, element};
use super::writer::ReplyWriter;

/// A reply of RESP2 or RESP3.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Simple(Vec<u8>),
    /// Without the leading `-`. A bulk error of RESP3 reads as this too.
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1` of RESP2, `_` of RESP3.
    Null,
    /// `*-1` of RESP2.
    NullArray,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Double(f64),
    Boolean(bool),
    /// Text and the three letters that name its kind.
    Verbatim([u8; 3], Vec<u8>),
    /// Decimal digits, perhaps signed.
    BigNumber(String),
}

impl Value {
    /// The first reply of `buf` and how many bytes it took; `None` when it is not whole yet. Attributes are left
    /// out. Each call begins anew: whoever reads from a connection asks a
    /// [`ReplyScanner`](super::ReplyScanner) first.
    pub fn decode(buf: &[u8]) -> Result<Option<(Value, usize)>, ProtocolError> {
        let mut decoder = Decoder { buf, at: 0 };
        Ok(decoder.value(0)?.map(|value| (value, decoder.at)))
    }

    /// Writes the reply in the writer's version.
    pub fn write(&self, reply: &mut ReplyWriter<'_>) {
        match self {
            Value::Simple(text) => reply.simple_bytes(text),
            Value::Error(text) => reply.error_bytes(text),
            Value::Integer(value) => reply.integer(*value),
            Value::Bulk(bytes) => reply.bulk(bytes),
            Value::Null => reply.null(),
            Value::NullArray => reply.null_array(),
            Value::Array(items) => {
                reply.array(items.len());
                items.iter().for_each(|item| item.write(reply));
            }
            Value::Map(pairs) => {
                reply.map(pairs.len());
                for (key, value) in pairs {
                    key.write(reply);
                    value.write(reply);
                }
            }
            Value::Set(items) => {
                reply.set(items.len());
                items.iter().for_each(|item| item.write(reply));
            }
            Value::Push(items) => {
                reply.push(items.len());
                items.iter().for_each(|item| item.write(reply));
            }
            Value::Double(value) => reply.double(*value),
            Value::Boolean(value) => reply.boolean(*value),
            Value::Verbatim(extension, text) => reply.verbatim(extension, text),
            Value::BigNumber(digits) => reply.big_number(digits),
        }
    }

    /// The bytes of anything that is a string, an error's text not among them.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(bytes) | Value::Bulk(bytes) | Value::Verbatim(_, bytes) => Some(bytes),
            Value::BigNumber(digits) => Some(digits.as_bytes()),
            _ => None,
        }
    }

    /// The same as text.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An integer, also one that is written as a string.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            Value::Boolean(value) => Some(i64::from(*value)),
            other => super::integer::parse_i64(other.as_bytes()?),
        }
    }

    /// A double, also one that is written as a string or is an integer.
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Value::Double(value) => Some(*value),
            Value::Integer(value) => Some(*value as f64),
            other => other.as_str()?.parse().ok(),
        }
    }

    /// An error's text, as far as it is UTF-8.
    pub fn as_error(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Value::Error(text) => Some(String::from_utf8_lossy(text)),
            _ => None,
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::NullArray)
    }

    /// The elements of an array, set or push message.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            _ => None,
        }
    }

    /// The elements of an aggregate; those of a map as RESP2 has them, key after value.
    pub fn into_array(self) -> Option<Vec<Value>> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            Value::Map(pairs) => Some(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
            _ => None,
        }
    }

    /// The pairs of a map, also of one that RESP2 has as an array.
    pub fn into_map(self) -> Option<Vec<(Value, Value)>> {
        match self {
            Value::Map(pairs) => Some(pairs),
            Value::Array(items) if items.len().is_multiple_of(2) => {
                let mut items = items.into_iter();
                let mut pairs = Vec::with_capacity(items.len() / 2);
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Some(pairs)
            }
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Integer(value)
    }
}

struct Decoder<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    fn value(&mut self, depth: usize) -> Result<Option<Value>, ProtocolError> {
        loop {
            let Some((kind, text)) = self.line()? else { return Ok(None) };
            return Ok(Some(match element(kind, text)? {
                Element::Line => scalar(kind, text)?,
                Element::Bulk(length) => {
                    let end = self.at + length;
                    let Some(line_end) = self.buf.get(end..end + 2) else { return Ok(None) };
                    if line_end != b"\r\n" {
                        return Err(ProtocolError::MalformedReply);
                    }
                    let bytes = &self.buf[self.at..end];
                    self.at = end + 2;
                    string(kind, bytes)?
                }
                Element::Aggregate(count) => {
                    let Some(items) = self.items(count, depth)? else { return Ok(None) };
                    match kind {
                        b'%' => {
                            Value::Map(Value::Array(items).into_map().ok_or(ProtocolError::MalformedReply)?)
                        }
                        b'~' => Value::Set(items),
                        b'>' => Value::Push(items),
                        _ => Value::Array(items),
                    }
                }
                Element::Attribute(count) => {
                    if self.items(count, depth)?.is_none() {
                        return Ok(None);
                    }
                    continue;
                }
            }));
        }
    }

    fn items(&mut self, count: u64, depth: usize) -> Result<Option<Vec<Value>>, ProtocolError> {
        /// The shortest element: `_\r\n`.
        const MIN_ELEMENT_BYTES: usize = 3;
        if count > 0 && depth >= MAX_DEPTH {
            return Err(ProtocolError::TooDeep);
        }
        // Nobody gets room for more elements than the bytes at hand could hold.
        let possible = (self.buf.len() - self.at) / MIN_ELEMENT_BYTES;
        let mut items = Vec::with_capacity(usize::try_from(count).unwrap_or(usize::MAX).min(possible));
        for _ in 0..count {
            let Some(item) = self.value(depth + 1)? else { return Ok(None) };
            items.push(item);
        }
        Ok(Some(items))
    }

    fn line(&mut self) -> Result<Option<(u8, &'a [u8])>, ProtocolError> {
        let Some((&kind, rest)) = self.buf.get(self.at..).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let Some(end) = memchr::memchr(b'\r', rest) else {
            return if rest.len() > MAX_LINE_BYTES { Err(ProtocolError::FrameTooBig) } else { Ok(None) };
        };
        match rest.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => {
                self.at += end + 3;
                Ok(Some((kind, &rest[..end])))
            }
            Some(_) => Err(ProtocolError::MalformedReply),
        }
    }
}

fn scalar(kind: u8, text: &[u8]) -> Result<Value, ProtocolError> {
    let malformed = ProtocolError::MalformedReply;
    let utf8 = || std::str::from_utf8(text).map_err(|_| malformed);
    Ok(match kind {
        b'+' => Value::Simple(text.to_vec()),
        b'-' => Value::Error(text.to_vec()),
        b':' => Value::Integer(super::integer::parse_i64(text).ok_or(malformed)?),
        b'*' => Value::NullArray,
        b'#' => Value::Boolean(text == b"t"),
        b',' => Value::Double(utf8()?.parse().map_err(|_| malformed)?),
        b'(' => Value::BigNumber(utf8()?.to_string()),
        _ => Value::Null,
    })
}

fn string(kind: u8, bytes: &[u8]) -> Result<Value, ProtocolError> {
    Ok(match kind {
        b'=' => match bytes.split_first_chunk::<4>() {
            Some(([a, b, c, b':'], text)) => Value::Verbatim([*a, *b, *c], text.to_vec()),
            _ => return Err(ProtocolError::MalformedReply),
        },
        b'!' => Value::Error(bytes.to_vec()),
        _ => Value::Bulk(bytes.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{NullKind, Version, downgrade};

    fn sample() -> Value {
        Value::Array(vec![
            Value::Simple(b"a".to_vec()),
            Value::Error(b"ERR b".to_vec()),
            Value::Integer(-5),
            Value::Bulk(b"\r\n".to_vec()),
            Value::Null,
            Value::Map(vec![("k".into(), 1.into())]),
            Value::Set(vec![Value::Boolean(true)]),
            Value::Double(1.5),
            Value::Verbatim(*b"txt", b"hi".to_vec()),
            Value::BigNumber("123".to_string()),
            Value::Array(vec![]),
        ])
    }

    fn write(value: &Value, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&mut ReplyWriter::new(&mut out, version));
        out
    }

    #[test]
    fn round_trips_in_resp3() {
        let bytes = write(&sample(), Version::Resp3);
        assert_eq!(Value::decode(&bytes), Ok(Some((sample(), bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(Value::decode(&bytes[..end]), Ok(None));
        }
    }

    #[test]
    fn writing_resp2_is_the_same_as_downgrading() {
        let mut down = Vec::new();
        downgrade(&write(&sample(), Version::Resp3), &mut down, NullKind::Bulk).expect("valid");
        assert_eq!(down, write(&sample(), Version::Resp2));
    }

    #[test]
    fn attributes_are_left_out() {
        let bytes = b"|1\r\n+a\r\n+b\r\n*1\r\n|1\r\n+a\r\n+b\r\n:1\r\n";
        assert_eq!(Value::decode(bytes), Ok(Some((Value::Array(vec![1.into()]), bytes.len()))));
    }

    #[test]
    fn depth_and_width_are_bounded() {
        assert_eq!(Value::decode(&b"*1\r\n".repeat(MAX_DEPTH + 1)), Err(ProtocolError::TooDeep));
        assert_eq!(Value::decode(b"*4294967295\r\n"), Ok(None));
        assert_eq!(Value::decode(b"=3\r\nabc\r\n"), Err(ProtocolError::MalformedReply));
    }

    #[test]
    fn helpers() {
        assert_eq!(Value::from("12").as_int(), Some(12));
        assert_eq!(Value::Integer(12).as_str(), None);
        assert_eq!(Value::Map(vec![(1.into(), 2.into())]).into_array(), Some(vec![1.into(), 2.into()]));
        assert_eq!(Value::Array(vec![1.into(), 2.into()]).into_map(), Some(vec![(1.into(), 2.into())]));
        assert_eq!(Value::Array(vec![1.into()]).into_map(), None);
        assert_eq!(Value::Error(b"ERR x".to_vec()).as_error().as_deref(), Some("ERR x"));
    }
}
