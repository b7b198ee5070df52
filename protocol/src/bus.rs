//! Frames between nodes: `u32 length, little-endian | u8 kind | payload`, the length counting kind and payload.
//! What a payload holds is the business of the kind's two ends.

use thiserror::Error;

/// The most bytes that a frame's length may say.
pub const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;
/// The most bytes of a frame before the handshake is done: nobody is trusted with a buffer before that.
pub const MAX_HANDSHAKE_FRAME_BYTES: usize = 1024;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 5;

/// Makes the kinds with their numbers, which stay as they are for good.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal,)*) => {
        /// What a frame is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FrameKind {
            $($(#[$doc])* $kind = $number,)*
        }

        impl FrameKind {
            pub const ALL: &'static [FrameKind] = &[$(FrameKind::$kind,)*];

            /// The kind with that number.
            pub const fn from_number(number: u8) -> Option<FrameKind> {
                match number {
                    $($number => Some(FrameKind::$kind),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Handshake, first step: [`crate::handshake::Hello`].
    HelloRequest = 1,
    /// Handshake, the answer: [`crate::handshake::HelloReply`].
    HelloReply = 2,
    /// Handshake, second step: the client's proof.
    Auth = 3,
    /// The handshake is done.
    AuthOk = 4,
    /// The peer or the request is refused; the payload is a text for people.
    Refused = 5,
    Ping = 6,
    Pong = 7,
    /// Consensus.
    Raft = 16,
    RaftReply = 17,
    /// A node's state, and its wish for leases.
    Heartbeat = 18,
    HeartbeatReply = 19,
    /// The peer wants every version of the map.
    Watch = 20,
    MapUpdate = 21,
    /// A member seals a new term.
    Seal = 22,
    SealReply = 23,
    /// A command for the map.
    Propose = 24,
    ProposeReply = 25,
    /// A replica asks for the stream of a shard.
    ReplicaHello = 32,
    ReplicaAccept = 33,
    SnapshotChunk = 34,
    Records = 35,
    ReplicaAck = 36,
    /// Digests of a stripe's slots, which of them a replica wants, and what they hold.
    SlotDigests = 37,
    SlotsWanted = 38,
    SlotsChunk = 39,
    /// Tools.
    Admin = 48,
    AdminReply = 49,
}

impl FrameKind {
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether the kind belongs to the handshake, before which nothing else is answered.
    pub const fn is_handshake(self) -> bool {
        matches!(
            self,
            FrameKind::HelloRequest
                | FrameKind::HelloReply
                | FrameKind::Auth
                | FrameKind::AuthOk
                | FrameKind::Refused
        )
    }
}

/// Why bytes are no frame. The connection cannot be read on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BusError {
    #[error("a bus frame of {0} bytes is above the bound of {1}")]
    TooBig(usize, usize),
    #[error("a bus frame without a kind")]
    Empty,
    #[error("a bus frame of the unknown kind {0}")]
    UnknownKind(u8),
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: FrameKind,
    /// Bytes of the payload that follows the header.
    pub payload_bytes: usize,
}

/// Reads a header that is wholly there. `max_frame_bytes` bounds kind and payload.
pub fn decode_header(header: [u8; HEADER_BYTES], max_frame_bytes: usize) -> Result<FrameHeader, BusError> {
    let [a, b, c, d, kind] = header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let payload_bytes = length.checked_sub(1).ok_or(BusError::Empty)?;
    if length > max_frame_bytes {
        return Err(BusError::TooBig(length, max_frame_bytes));
    }
    let kind = FrameKind::from_number(kind).ok_or(BusError::UnknownKind(kind))?;
    Ok(FrameHeader { kind, payload_bytes })
}

/// The header of a frame with that payload; refused when it would be above [`MAX_FRAME_BYTES`].
pub fn encode_header(kind: FrameKind, payload_bytes: usize) -> Result<[u8; HEADER_BYTES], BusError> {
    let length = payload_bytes.saturating_add(1);
    if length > MAX_FRAME_BYTES {
        return Err(BusError::TooBig(length, MAX_FRAME_BYTES));
    }
    // The bound is far below u32::MAX.
    let [a, b, c, d] = (length as u32).to_le_bytes();
    Ok([a, b, c, d, kind.number()])
}

/// Appends a frame to `out`; nothing is appended when it is refused.
pub fn encode_frame(out: &mut Vec<u8>, kind: FrameKind, payload: &[u8]) -> Result<(), BusError> {
    out.extend_from_slice(&encode_header(kind, payload.len())?);
    out.extend_from_slice(payload);
    Ok(())
}

/// One whole frame inside the reader's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusFrame<'a> {
    pub kind: FrameKind,
    pub payload: &'a [u8],
    /// How many bytes of the buffer it took.
    pub len: usize,
}

/// Finds frame after frame in a buffer. It is stateless but for its bound: a header costs nothing to read again.
#[derive(Debug, Clone, Copy)]
pub struct FrameDecoder {
    max_frame_bytes: usize,
}

impl FrameDecoder {
    /// `max_frame_bytes`: [`MAX_HANDSHAKE_FRAME_BYTES`] before the handshake, [`MAX_FRAME_BYTES`] after it.
    pub fn new(max_frame_bytes: usize) -> Self {
        FrameDecoder { max_frame_bytes: max_frame_bytes.min(MAX_FRAME_BYTES) }
    }

    /// The first frame of `buf`, `None` when it is not whole yet.
    pub fn next<'a>(&self, buf: &'a [u8]) -> Result<Option<BusFrame<'a>>, BusError> {
        let Some((header, rest)) = buf.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = decode_header(*header, self.max_frame_bytes)?;
        let Some(payload) = rest.get(..header.payload_bytes) else { return Ok(None) };
        Ok(Some(BusFrame { kind: header.kind, payload, len: HEADER_BYTES + payload.len() }))
    }

    /// Bytes that the first frame of `buf` is known to lack: a reader may reserve them.
    pub fn need_hint(&self, buf: &[u8]) -> usize {
        let Some((header, rest)) = buf.split_first_chunk::<HEADER_BYTES>() else {
            return HEADER_BYTES - buf.len();
        };
        decode_header(*header, self.max_frame_bytes)
            .map_or(0, |header| header.payload_bytes.saturating_sub(rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layout_stays() {
        let mut out = Vec::new();
        encode_frame(&mut out, FrameKind::Raft, b"abc").expect("small");
        assert_eq!(out, b"\x04\0\0\0\x10abc");
        for &kind in FrameKind::ALL {
            assert_eq!(FrameKind::from_number(kind.number()), Some(kind));
        }
    }

    #[test]
    fn what_is_refused() {
        let decoder = FrameDecoder::new(10);
        assert_eq!(decoder.next(b"\0\0\0\0\x01"), Err(BusError::Empty));
        assert_eq!(decoder.next(b"\x0b\0\0\0\x01"), Err(BusError::TooBig(11, 10)));
        assert_eq!(decoder.next(b"\x02\0\0\0\xffx"), Err(BusError::UnknownKind(255)));
        assert_eq!(
            encode_header(FrameKind::Raft, MAX_FRAME_BYTES),
            Err(BusError::TooBig(MAX_FRAME_BYTES + 1, MAX_FRAME_BYTES))
        );
    }

    proptest! {
        #[test]
        fn frames_round_trip(
            frames in proptest::collection::vec(
                (proptest::sample::select(FrameKind::ALL.to_vec()), proptest::collection::vec(any::<u8>(), 0..50)),
                0..5,
            ),
        ) {
            let mut bytes = Vec::new();
            for (kind, payload) in &frames {
                encode_frame(&mut bytes, *kind, payload).expect("small");
            }
            let decoder = FrameDecoder::new(MAX_FRAME_BYTES);
            let mut rest = &bytes[..];
            for (kind, payload) in &frames {
                let frame = decoder.next(rest).expect("valid").expect("whole");
                prop_assert_eq!((frame.kind, frame.payload), (*kind, &payload[..]));
                for end in 0..frame.len {
                    prop_assert_eq!(decoder.next(&rest[..end]), Ok(None));
                    prop_assert!(decoder.need_hint(&rest[..end]) <= frame.len - end);
                    prop_assert!(decoder.need_hint(&rest[..end]) > 0);
                }
                rest = &rest[frame.len..];
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let decoder = FrameDecoder::new(32);
            let _ = decoder.next(&bytes);
            prop_assert!(decoder.need_hint(&bytes) <= 32);
        }
    }
}
