//! What can go wrong on a connection, and with a call.

use std::io;
use std::time::Duration;

use torc_protocol::bus::BusError;
use torc_protocol::handshake::HandshakeError;

/// Why a connection ended, or never began. It cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// The socket failed; `UnexpectedEof` when it ended within a frame.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bytes are no frames.
    #[error("{0}")]
    Frame(#[from] BusError),
    /// The other end does not belong to us.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The other end closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The other end did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke. A call that had been sent may have been executed.
    #[error("{address} cannot be reached: {cause}")]
    Unreachable {
        /// The peer.
        address: String,
        /// Why.
        cause: String,
    },
    /// No answer in time: the call may have been executed, or may still be.
    #[error("{address} did not answer within {waited:?}")]
    Timeout {
        /// The peer.
        address: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The peer refused the call; the text is its reason.
    #[error("{address} refused: {reason}")]
    Refused {
        /// The peer.
        address: String,
        /// Its reason.
        reason: String,
    },
    /// Too many calls wait for this peer already; it was not sent.
    #[error("too many calls wait for {address}")]
    Busy {
        /// The peer.
        address: String,
    },
    /// The call was not sent, because it would be above the bound of a frame.
    #[error("{0}")]
    TooLarge(BusError),
}
