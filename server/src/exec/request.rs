//! A request with what it asks for beside its command.

use torc_cluster::lock::Token;
use torc_protocol::command::{Command, InternalCommand, ResolveError, resolve_internal};
use torc_protocol::context::{Ack, Context, ReadLevel, ReplicaRead, RequestId};
use torc_protocol::resp::{Args, Version};
use torc_protocol::slot::Slot;

use super::{Batch, CommandError, Session};
use crate::store::Key;

/// What a request asks for beside its command: from its context prefix or from the session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) args: Args<'a>,
    pub(super) db: u8,
    pub(super) ack: Option<Ack>,
    pub(super) read: Option<ReadLevel>,
    pub(super) want_position: bool,
    pub(super) deadline_ms: u32,
    /// The version of the protocol that the client of the proxy speaks; `None` without a context prefix.
    pub(super) version: Option<Version>,
    /// Came with a context prefix from a proxy.
    pub(super) proxied: bool,
    /// Names the request, so that a second sending of it does nothing.
    pub(super) id: Option<RequestId>,
    /// An earlier sending of it may have been executed, or may be later.
    pub(super) repeated: bool,
    /// A blocking command does not wait.
    pub(super) no_wait: bool,
    /// The slot that remembers the reply: that of the first key.
    pub(super) home: Option<Slot>,
    /// Its first key with its hash and slot, where they were worked out ahead.
    pub(super) key: Option<Key<'a>>,
    /// A fencing token that the keys must not have seen a higher one than.
    pub(super) fence: Option<Token>,
    /// The connection keeps the value and is to be told of changes.
    pub(super) track: bool,
    /// A replica may answer within these limits.
    pub(super) replica: Option<ReplicaRead>,
}

impl<'a> Request<'a> {
    /// A client's own request: what it does not say itself its session says.
    #[inline]
    pub(super) fn of(session: &Session, args: Args<'a>) -> Request<'a> {
        Request {
            args,
            db: session.db,
            ack: session.ack,
            read: session.read,
            want_position: false,
            deadline_ms: 0,
            version: None,
            proxied: false,
            id: None,
            repeated: false,
            no_wait: false,
            home: None,
            key: None,
            fence: None,
            track: false,
            replica: None,
        }
    }

    /// A request that a proxy has put behind a context prefix.
    fn in_context(context: &Context, args: Args<'a>) -> Request<'a> {
        Request {
            args,
            db: context.db,
            ack: context.ack,
            read: context.read,
            want_position: context.want_position,
            deadline_ms: context.deadline_ms,
            version: Some(if context.resp2 { Version::Resp2 } else { Version::Resp3 }),
            proxied: true,
            // Number 0: nobody has numbered it.
            id: context.request_id.filter(|id| id.seq != 0),
            repeated: context.repeated,
            no_wait: context.no_wait,
            home: None,
            key: None,
            fence: context.fence.map(Token),
            track: context.track,
            replica: context.replica,
        }
    }
}

impl Batch<'_, '_> {
    /// Finds the command, unwrapping a context prefix.
    pub(super) fn resolve<'a>(
        &self,
        session: &Session,
        request: &mut Request<'a>,
    ) -> Result<Command, CommandError> {
        let unknown = |args: &Args<'_>| CommandError::resolve(ResolveError::UnknownCommand, *args);
        let find = |args: &Args<'_>| resolve_internal(args).map_err(|e| CommandError::resolve(e, *args));
        let mut command = find(&request.args)?;
        if command.spec().is_internal() {
            let handshake =
                matches!(command, Command::Internal(InternalCommand::TorcHello | InternalCommand::TorcAuth));
            let may_ask = session.trusted || (handshake && self.node.secret.is_some());
            if !may_ask {
                return Err(unknown(&request.args));
            }
            if command == Command::Internal(InternalCommand::Ctx) {
                let bytes = request.args.get(1).unwrap_or_default();
                let context = Context::decode(bytes).map_err(|e| CommandError::from(e.to_string()))?;
                let args = request.args.tail(2);
                *request = Request { key: request.key, ..Request::in_context(&context, args) };
                command = find(&request.args)?;
                if command == Command::Internal(InternalCommand::Ctx) {
                    return Err(unknown(&request.args));
                }
            }
        }
        Ok(command)
    }
}
