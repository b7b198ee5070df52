//! The envelope of calls: which kinds are calls, and their ids.

use bytes::{Buf, Bytes};
use torc_protocol::bus::FrameKind;

/// Bytes of a call id before the body.
pub(super) const CALL_ID_BYTES: usize = 8;

/// The kind that answers a call kind; `None` for a kind that is no call.
pub const fn reply_kind(kind: FrameKind) -> Option<FrameKind> {
    match kind {
        FrameKind::Ping => Some(FrameKind::Pong),
        FrameKind::Raft => Some(FrameKind::RaftReply),
        FrameKind::Heartbeat => Some(FrameKind::HeartbeatReply),
        FrameKind::Seal => Some(FrameKind::SealReply),
        FrameKind::Propose => Some(FrameKind::ProposeReply),
        FrameKind::Admin => Some(FrameKind::AdminReply),
        _ => None,
    }
}

/// The call id and the body of a call's or an answer's payload.
pub(super) fn open_envelope(mut payload: Bytes) -> Option<(u64, Bytes)> {
    let id = payload.try_get_u64_le().ok()?;
    Some((id, payload))
}
