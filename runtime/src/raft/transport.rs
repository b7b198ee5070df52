//! How raft requests reach other voters.

use std::time::Duration;

use bytes::Bytes;

use super::BoxFuture;
use super::types::VoterId;

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// The peer cannot be reached now.
    #[error("{0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The request or its answer is too large to send.
    #[error("{0}")]
    TooLarge(String),
}

/// Sends a request to a voter and waits for its answer. Called concurrently, for the same target
/// too; an answer must reach the request it belongs to.
pub trait RaftTransport: Send + Sync + 'static {
    /// Sends `request` to voter `target`, whose bus address the membership gives as `address`.
    fn call(
        &self,
        target: VoterId,
        address: &str,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Bytes, TransportError>>;
}
