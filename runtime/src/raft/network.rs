//! openraft's network over a [`RaftTransport`].
//!
//! openraft makes a client per target and per burst of votes or confirmations; they are cheap
//! here, because connections belong to the transport.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, RemoteError, ReplicationClosed, StreamingError, Timeout,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, BasicNode, OptionalSend, Snapshot};

use super::error::RpcError;
use super::rpc::{Answer, Request, SnapshotRequest, decode, encode};
use super::transport::{RaftTransport, TransportError};
use super::types::{RaftApp, Types, Vote, VoterId};

/// First pause before an unreachable voter is tried again; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Makes a [`PeerNetwork`] per target.
pub(super) struct PeerNetworks {
    pub own_id: VoterId,
    pub transport: Arc<dyn RaftTransport>,
    pub silent: Arc<AtomicBool>,
}

impl<A: RaftApp> RaftNetworkFactory<Types<A>> for PeerNetworks {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: VoterId, node: &BasicNode) -> PeerNetwork {
        let (transport, silent) = (Arc::clone(&self.transport), Arc::clone(&self.silent));
        PeerNetwork { own_id: self.own_id, target, address: node.addr.clone(), transport, silent }
    }
}

/// Requests to one voter.
pub(super) struct PeerNetwork {
    own_id: VoterId,
    target: VoterId,
    address: String,
    transport: Arc<dyn RaftTransport>,
    /// A leader that no majority answers says nothing ([`super::standing`]): to openraft, as if it were lost.
    silent: Arc<AtomicBool>,
}

/// Why there is no answer, before it is dressed as the error that openraft wants.
enum CallError {
    Transport(TransportError),
    Codec(RpcError),
    /// The answer is of another kind than the request.
    WrongAnswer,
}

#[derive(Debug, thiserror::Error)]
#[error("the answer is of another kind than the request")]
struct WrongAnswer;

impl PeerNetwork {
    async fn call<A: RaftApp>(&self, request: &Request<A>, timeout: Duration) -> Result<Answer, CallError> {
        let says = !matches!(request, Request::Vote(_));
        if says && self.silent.load(Ordering::Relaxed) {
            // No longer than it may be silent: a snapshot has much more time.
            A::Runtime::sleep(timeout.min(LONGEST_PAUSE)).await;
            return Err(CallError::Transport(TransportError::Timeout(timeout)));
        }
        let bytes = encode(request).map_err(CallError::Codec)?;
        let call = self.transport.call(self.target, &self.address, bytes, timeout);
        let bytes = call.await.map_err(CallError::Transport)?;
        decode(&bytes).map_err(CallError::Codec)
    }

    fn rpc_error<E: std::error::Error>(
        &self,
        error: CallError,
        action: RPCTypes,
    ) -> RPCError<VoterId, BasicNode, E> {
        match error {
            CallError::Transport(TransportError::Timeout(timeout)) => {
                RPCError::Timeout(Timeout { action, id: self.own_id, target: self.target, timeout })
            }
            // Pausing is right for all of these: the same request would meet the same end.
            CallError::Transport(cause) => RPCError::Unreachable(Unreachable::new(&cause)),
            CallError::Codec(cause) => RPCError::Unreachable(Unreachable::new(&cause)),
            CallError::WrongAnswer => RPCError::Network(NetworkError::new(&WrongAnswer)),
        }
    }
}

type PeerResult<T> = Result<T, RPCError<VoterId, BasicNode, RaftError<VoterId>>>;

impl<A: RaftApp> RaftNetwork<Types<A>> for PeerNetwork {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types<A>>,
        option: RPCOption,
    ) -> PeerResult<AppendEntriesResponse<VoterId>> {
        let answer = self.call(&Request::<A>::Append(rpc), option.hard_ttl()).await;
        match answer {
            Ok(Answer::Append(result)) => result.map_err(|cause| RemoteError::new(self.target, cause).into()),
            Ok(_) => Err(self.rpc_error(CallError::WrongAnswer, RPCTypes::AppendEntries)),
            Err(error) => Err(self.rpc_error(error, RPCTypes::AppendEntries)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<VoterId>,
        option: RPCOption,
    ) -> PeerResult<VoteResponse<VoterId>> {
        let answer = self.call(&Request::<A>::Vote(rpc), option.hard_ttl()).await;
        match answer {
            Ok(Answer::Vote(result)) => result.map_err(|cause| RemoteError::new(self.target, cause).into()),
            Ok(_) => Err(self.rpc_error(CallError::WrongAnswer, RPCTypes::Vote)),
            Err(error) => Err(self.rpc_error(error, RPCTypes::Vote)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types<A>>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<VoterId>, StreamingError<Types<A>, Fatal<VoterId>>> {
        let unreachable = |cause: RpcError| StreamingError::Unreachable(Unreachable::new(&cause));
        let state = String::from_utf8(*snapshot.snapshot)
            .map_err(|_| unreachable(RpcError::Render("the snapshot is not text".to_owned())))?;
        let request = Request::<A>::Snapshot(SnapshotRequest { vote, meta: snapshot.meta, state });
        let answer = tokio::select! {
            biased;
            answer = self.call(&request, option.hard_ttl()) => answer,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        match answer {
            Ok(Answer::Snapshot(Ok(response))) => Ok(response),
            Ok(Answer::Snapshot(Err(RaftError::Fatal(fatal)))) => {
                Err(StreamingError::RemoteError(RemoteError::new(self.target, fatal)))
            }
            Ok(Answer::Snapshot(Err(RaftError::APIError(never)))) => match never {},
            Ok(_) => Err(StreamingError::Network(NetworkError::new(&WrongAnswer))),
            Err(CallError::Transport(TransportError::Timeout(timeout))) => {
                let (id, target, action) = (self.own_id, self.target, RPCTypes::InstallSnapshot);
                Err(StreamingError::Timeout(Timeout { action, id, target, timeout }))
            }
            Err(CallError::Transport(cause)) => Err(StreamingError::Unreachable(Unreachable::new(&cause))),
            Err(CallError::Codec(cause)) => Err(unreachable(cause)),
            Err(CallError::WrongAnswer) => Err(StreamingError::Network(NetworkError::new(&WrongAnswer))),
        }
    }

    fn backoff(&self) -> Backoff {
        let next = |pause: &Duration| Some((*pause * 2).min(LONGEST_PAUSE));
        Backoff::new(std::iter::successors(Some(FIRST_PAUSE), next))
    }
}
