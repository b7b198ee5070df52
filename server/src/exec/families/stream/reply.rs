//! IDs and entries in replies.

use torc_protocol::resp::{ReplyWriter, Version};

use crate::store::value::stream::{Entry, Log, Next, StreamId};

/// An ID as a bulk string.
#[inline]
pub fn put_id(reply: &mut ReplyWriter<'_>, id: StreamId) {
    id.with_text(|text| reply.bulk(text));
}

/// An entry: its ID, then names and values.
#[inline]
pub fn put_entry(reply: &mut ReplyWriter<'_>, entry: &Entry<'_>) -> Next {
    reply.array(2);
    put_id(reply, entry.id);
    reply.array(entry.fields * 2);
    entry.each(|name, value| {
        name.with_bytes(|bytes| reply.bulk(bytes));
        value.with_bytes(|bytes| reply.bulk(bytes));
    })
}

/// The entries from `from` to `to` as an array; at most `count`, 0: all.
pub fn put_range(reply: &mut ReplyWriter<'_>, log: &Log, from: StreamId, to: StreamId, count: u64) {
    let most = if count == 0 { u64::MAX } else { count };
    let (array, mut given) = (Counted::array(reply, most.min(log.len()) as usize), 0);
    if from <= to && most > 0 {
        log.each(from, to, None, |entry| {
            given += 1;
            (put_entry(reply, &entry), given < most)
        });
    }
    array.end(reply, given as usize);
}

/// The header of an aggregate whose length is known when its elements are written.
#[must_use]
pub struct Counted {
    kind: u8,
    at: usize,
    guess: usize,
}

impl Counted {
    /// An array that will have about `guess` elements.
    pub fn array(reply: &mut ReplyWriter<'_>, guess: usize) -> Counted {
        Counted::start(reply, b'*', guess)
    }

    /// What XREAD answers with: a map in RESP3, an array of pairs in RESP2.
    pub fn streams(reply: &mut ReplyWriter<'_>, guess: usize) -> Counted {
        Counted::start(reply, if reply.version() == Version::Resp3 { b'%' } else { b'*' }, guess)
    }

    fn start(reply: &mut ReplyWriter<'_>, kind: u8, guess: usize) -> Counted {
        let at = reply.len();
        put_header(reply.buffer(), kind, guess);
        Counted { kind, at, guess }
    }

    /// There will be no such aggregate; nothing was written after its header.
    pub fn take_back(self, reply: &mut ReplyWriter<'_>) {
        reply.truncate(self.at);
    }

    /// It has so many elements, which are written.
    pub fn end(self, reply: &mut ReplyWriter<'_>, count: usize) {
        if count == self.guess {
            return;
        }
        let (mut old, mut new) = (Vec::new(), Vec::new());
        put_header(&mut old, self.kind, self.guess);
        put_header(&mut new, self.kind, count);
        reply.buffer().splice(self.at..self.at + old.len(), new);
    }
}

fn put_header(out: &mut Vec<u8>, kind: u8, len: usize) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
    out.extend_from_slice(b"\r\n");
}
