//! A message in the form in which it is sent.

use torc_protocol::resp::{ReplyWriter, Version};

/// The bytes of a push message behind its first byte, which says which version of the protocol it is: `*` in RESP2,
/// `>` in RESP3.
#[derive(Debug)]
pub struct Message {
    rest: Vec<u8>,
}

impl Message {
    /// A message of these parts.
    pub fn new(parts: &[&[u8]]) -> Message {
        let mut bytes = Vec::with_capacity(16 + parts.iter().map(|part| part.len() + 16).sum::<usize>());
        let mut writer = ReplyWriter::new(&mut bytes, Version::Resp2);
        writer.array(parts.len());
        parts.iter().for_each(|part| writer.bulk(part));
        bytes.remove(0);
        Message { rest: bytes }
    }

    /// Its length on the wire.
    pub fn len(&self) -> usize {
        self.rest.len() + 1
    }

    /// Appends it.
    pub fn write(&self, version: Version, out: &mut Vec<u8>) {
        out.reserve(self.len());
        out.push(if version == Version::Resp3 { b'>' } else { b'*' });
        out.extend_from_slice(&self.rest);
    }
}
