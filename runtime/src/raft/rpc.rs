//! Raft requests and answers as JSON.

use bytes::Bytes;
use openraft::error::RaftError;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::RpcError;
use super::types::{LogId, RaftApp, SnapshotMeta, Types, Vote, VoterId};

/// Bound of one request or answer as bytes: below the bus's bound for a frame.
pub const MAX_RPC_BYTES: usize = 48 * 1024 * 1024;

/// What one voter asks another.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) enum Request<A: RaftApp> {
    Append(AppendEntriesRequest<Types<A>>),
    Vote(VoteRequest<VoterId>),
    Snapshot(SnapshotRequest),
    /// Whether a vote would be given to one whose log ends with this entry; changes nothing.
    Standing(Option<LogId>),
}

/// A whole snapshot in one request.
#[derive(Serialize, Deserialize)]
pub(super) struct SnapshotRequest {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    /// The state: JSON in a string.
    pub state: String,
}

/// The answer of the same name.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    Append(Result<AppendEntriesResponse<VoterId>, RaftError<VoterId>>),
    Vote(Result<VoteResponse<VoterId>, RaftError<VoterId>>),
    Snapshot(Result<SnapshotResponse<VoterId>, RaftError<VoterId>>),
    Standing(bool),
}

pub(super) fn encode<T: Serialize>(message: &T) -> Result<Bytes, RpcError> {
    let bytes = serde_json::to_vec(message).map_err(|cause| RpcError::Render(cause.to_string()))?;
    if bytes.len() > MAX_RPC_BYTES {
        return Err(RpcError::Render(format!(
            "{} bytes are above the limit of {MAX_RPC_BYTES}",
            bytes.len()
        )));
    }
    Ok(Bytes::from(bytes))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RpcError> {
    if bytes.len() > MAX_RPC_BYTES {
        return Err(RpcError::Malformed(format!("{} bytes are above the limit", bytes.len())));
    }
    serde_json::from_slice(bytes).map_err(|cause| RpcError::Malformed(cause.to_string()))
}
