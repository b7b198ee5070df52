//! What can be wrong with bytes that should be RESP. After any of these a connection cannot be read on.

use thiserror::Error;

/// A violation of the protocol. `Display` gives the text that Redis sends after `-ERR `.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProtocolError {
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    #[error("Protocol error: too big inline request")]
    InlineTooBig,
    #[error("Protocol error: too big mbulk count string")]
    MultibulkCountTooLong,
    #[error("Protocol error: too big bulk count string")]
    BulkCountTooLong,
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// The whole request is above `Limits::max_frame_bytes` (Redis closes without a word).
    #[error("Protocol error: too big request")]
    FrameTooBig,
    /// Replies only: a byte that starts no known type.
    #[error("Protocol error: unknown reply type {0:#04x}")]
    UnknownType(u8),
    /// Replies only: a scalar whose text is not what its type asks for.
    #[error("Protocol error: malformed reply")]
    MalformedReply,
    /// Replies only: aggregates inside aggregates beyond the bound.
    #[error("Protocol error: reply nested too deeply")]
    TooDeep,
    /// Replies only: the streamed types of RESP3 are not used by anybody we speak with.
    #[error("Protocol error: streamed replies are not supported")]
    Streamed,
}
