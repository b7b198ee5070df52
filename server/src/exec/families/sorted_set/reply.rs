//! Replies of members with scores, and results that are kept.

use torc_protocol::resp::{ReplyWriter, Version};

use crate::exec::Cx;
use crate::notify::Class;
use crate::store::value::SortedSetValue;
use crate::store::{Collection, Key};

/// Writes members with or without their scores: one flat array in RESP2, pairs in RESP3.
pub struct Pairs<'a> {
    reply: ReplyWriter<'a>,
    with_scores: bool,
}

impl<'a> Pairs<'a> {
    /// Writes the head for so many members.
    pub fn start(mut reply: ReplyWriter<'a>, members: usize, with_scores: bool) -> Pairs<'a> {
        let flat = with_scores && reply.version() == Version::Resp2;
        reply.array(if flat { members * 2 } else { members });
        Pairs { reply, with_scores }
    }

    /// Writes one member.
    #[inline]
    pub fn pair(&mut self, (member, score): (&[u8], f64)) {
        if !self.with_scores {
            return self.reply.bulk(member);
        }
        if self.reply.version() == Version::Resp3 {
            self.reply.array(2);
        }
        self.reply.bulk(member);
        self.reply.double(score);
    }
}

/// Keeps a result under a key, whatever was there, and answers its size; an empty one leaves nothing there.
pub fn store(cx: &mut Cx<'_, '_>, key: &Key<'_>, result: SortedSetValue, event: &'static str) {
    let len = result.len();
    if len > 0 {
        cx.put_value(key, result.into_value(), None);
        cx.notify(Class::SORTED_SET, event, key.bytes);
    } else if cx.delete(key) {
        cx.notify(Class::GENERIC, "del", key.bytes);
    }
    cx.reply().integer(len as i64);
}
