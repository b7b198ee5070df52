//! A command whose stripes are locked: its handler, its record, what its reply waits for.

use torc_cluster::lock::Outcome;
use torc_protocol::command::{Command, InternalCommand, ScriptingCommand};
use torc_protocol::context::{Ack, ReadLevel, Tracked};
use torc_protocol::error as text;
use torc_protocol::memcached::Request as McRequest;
use torc_protocol::resp::{Args, Version};

use super::{
    Batch, CommandError, CommandResult, Cx, Depth, Done, Flow, Park, ReplyKind, Request, Session, families,
    place,
};
use crate::pubsub::Subscriptions;
use crate::shard::{MAX_UNPLACED_LONG_BYTES, Role};
use crate::store::Access;

impl<'n> Batch<'n, '_> {
    pub(super) fn effective_ack(&self, command: Command, request: &Request<'_>) -> Ack {
        if self.role == Role::Plain {
            return Ack::Primary;
        }
        // Locks and fences promise more than a cache: they are always in-sync.
        if matches!(command, Command::Lock(_)) || request.fence.is_some() {
            return Ack::InSync;
        }
        // Who was told that a script is loaded calls it by its digest, after a failover too.
        if command == Command::Scripting(ScriptingCommand::ScriptLoad) && self.node.shard.in_sync_enough() {
            return Ack::InSync;
        }
        request.ack.unwrap_or_else(|| self.node.default_ack())
    }

    /// Whether a request of so many bytes may make a record now; see [`Shard::has_room_for`](crate::shard::Shard::has_room_for).
    #[inline]
    pub fn has_room_for(&self, request_bytes: usize) -> bool {
        let ours = &self.exec.records.long;
        self.role != Role::Primary
            || self.node.shard.has_room_for(request_bytes)
                && (ours.is_empty() || self.exec.records.amount().long <= MAX_UNPLACED_LONG_BYTES)
    }

    /// Refuses a write while replication has more records to place than it should hold.
    pub(super) fn check_behind(&self) -> Result<(), CommandError> {
        if self.role != Role::Primary || !self.node.shard.is_behind() {
            return Ok(());
        }
        self.exec.stats.behind.add(1);
        Err(text::REPLICATION_BEHIND.into())
    }

    pub(super) fn check_in_sync(&self) -> Result<(), CommandError> {
        if self.role == Role::Plain || self.node.shard.in_sync_enough() {
            return Ok(());
        }
        self.exec.stats.no_replicas.add(1);
        Err(text::NOREPLICAS.into())
    }

    /// Runs a command whose stripes are locked.
    pub(super) fn apply(
        &mut self,
        session: &mut Session,
        command: Command,
        request: &Request<'_>,
        access: Access<'n>,
        out: &mut Vec<u8>,
    ) -> Result<Done, (CommandError, bool)> {
        let kind = kind_of(command, request);
        let ack = self.effective_ack(command, request);
        self.apply_with(session, request, access, out, (command, kind, ack), |cx| {
            run_fenced(cx, command, request)
        })
    }

    /// Runs `run` on the locked stripes, records its effects as one record, serves those who wait for what it made
    /// ready and works out the reply's barrier.
    pub(super) fn apply_with(
        &mut self,
        session: &mut Session,
        request: &Request<'_>,
        mut access: Access<'n>,
        out: &mut Vec<u8>,
        (command, kind, ack): (Command, ReplyKind, Ack),
        run: impl FnOnce(&mut Cx<'_, '_>) -> CommandResult,
    ) -> Result<Done, (CommandError, bool)> {
        let reply_at = out.len();
        match self.repeated(session, request, &mut access, out, ack) {
            Ok(None) => {}
            Ok(Some(done)) => return Ok(done),
            Err(error) => return Err((error, false)),
        }
        let Ran { mut access, mut flow, offset, dirty, wake, result } =
            self.run_locked(session, request, access, out, run);
        if dirty > 0 || offset != 0 || kind == ReplyKind::Write {
            self.growth += access.take_growth();
        }
        if access.any_ready() {
            self.serve_ready(&mut access);
        }
        if request.track && result.is_ok() && kind == ReplyKind::Read {
            self.track(session, command, request, &mut access, (&mut *out, reply_at));
        }
        let mut refused = None;
        if result.is_ok()
            && let Flow::Park(Park::Keys(block)) = flow
        {
            flow = self.enqueue(session, command, request, *block, &mut access).unwrap_or_else(|error| {
                refused = Some(error);
                Flow::Continue
            });
        }
        drop(access);
        self.tell();
        if !wake.is_empty() {
            self.node.locks.wake(&wake, offset);
        }
        if let Some(error) = refused {
            // The handler may have changed something before it had to wait.
            return Err((error, offset != 0 || dirty > 0));
        }
        match result {
            Ok(()) => Ok(self.done(request, (kind, ack), flow, (offset, dirty), out, reply_at)),
            Err(error) => Err((error, true)),
        }
    }

    /// Notes the only key of a read, whose stripe is still locked, for the connection that keeps the reply, and says in
    /// front of the reply how long it would hold. Without that the reply must not be kept.
    #[cold]
    fn track(
        &self,
        session: &mut Session,
        command: Command,
        request: &Request<'_>,
        access: &mut Access<'n>,
        (out, reply_at): (&mut Vec<u8>, usize),
    ) {
        let Some(bytes) = only_key(command, &request.args) else { return };
        let key = self.node.store.key(&bytes);
        let Some(client) = session.client.clone().filter(|_| access.covers(key.slot)) else { return };
        let registry = &self.node.pubsub;
        // Messages are written as the connection speaks, which has proved the secret: in RESP3.
        let subscriptions = session
            .subscriptions
            .get_or_insert_with(|| Box::new(Subscriptions::new(registry.clone(), client, Version::Resp3)));
        let stripe = access.stripe(key.slot);
        if !stripe.track(request.db, key.bytes, subscriptions.tracker()) {
            return;
        }
        let ends = stripe.peek(request.db, &key).and_then(|entry| {
            let (whole, parts) = (entry.expire_ms(), entry.field_ms());
            whole.into_iter().chain(parts).min()
        });
        let left_ms = ends.map(|at| at.saturating_sub(self.now.unix_ms));
        out.splice(reply_at..reply_at, Tracked { left_ms }.attribute());
    }

    /// Runs `run` on the locked stripes and records its effects as one record; the stripes stay locked.
    #[inline]
    pub(super) fn run_locked(
        &mut self,
        session: &mut Session,
        request: &Request<'_>,
        access: Access<'n>,
        out: &mut Vec<u8>,
        run: impl FnOnce(&mut Cx<'_, '_>) -> CommandResult,
    ) -> Ran<'n> {
        let reply_at = out.len();
        let mut cx = Cx {
            node: self.node,
            access,
            known: request.key,
            versioned_env: &self.exec.versioned_env,
            effects: &mut self.exec.effects,
            stats: &self.exec.stats,
            scripts: &mut self.exec.scripts,
            now: self.now,
            now_ms: self.now.unix_ms,
            clock_ns: self.exec.clock_ns,
            db: request.db,
            out: &mut *out,
            version: session.version,
            rng: &mut self.exec.rng,
            dirty: 0,
            proxied: request.proxied,
            no_wait: request.no_wait,
            ack: request.ack,
            depth: Depth::Command,
            flow: Flow::Continue,
            wake: Outcome::default(),
            session: &mut *session,
        };
        let result = run(&mut cx);
        let Cx { mut access, flow, dirty, wake, .. } = cx;
        if dirty > 0 {
            self.exec.stats.changes.add(dirty);
        }
        let error = result.as_ref().err();
        self.remember(session, request, &mut access, error, dirty > 0, (&mut *out, reply_at));
        // Still under the stripes' locks: the record's place in the history is the order of execution.
        let offset = if self.exec.effects.is_empty() {
            0
        } else {
            let offset = self.node.shard.next_offset();
            self.exec.effects.take_into(self.term, offset, &mut self.exec.records);
            offset
        };
        if offset != 0 {
            session.last_write = offset;
        }
        Ran { access, flow, offset, dirty, wake, result }
    }

    /// What the reply at `reply_at` of a request that was executed depends on.
    #[inline]
    pub(super) fn done(
        &self,
        request: &Request<'_>,
        (kind, ack): (ReplyKind, Ack),
        flow: Flow,
        (offset, dirty): (u64, u64),
        out: &mut Vec<u8>,
        reply_at: usize,
    ) -> Done {
        let kind = match kind {
            // A script that wrote, a script that was loaded.
            ReplyKind::Local | ReplyKind::Read if offset != 0 && dirty > 0 => ReplyKind::Write,
            ReplyKind::Local if offset != 0 => ReplyKind::Read,
            kind => kind,
        };
        let barrier = match kind {
            // Without an effect of its own it shows those before it (a lock that was granted already, a key that
            // was there), and must not before they are safe.
            ReplyKind::Write if ack == Ack::InSync && offset == 0 => self.node.shard.last_offset(),
            ReplyKind::Write if ack == Ack::InSync => offset,
            ReplyKind::Read | ReplyKind::Write
                if request.read == Some(ReadLevel::Strong) && self.role == Role::Primary =>
            {
                // What a write shows besides was there before its own effect, which nobody has asked to wait for.
                if offset == 0 { self.node.shard.last_offset() } else { offset - 1 }
            }
            _ => 0,
        };
        if request.want_position && offset != 0 {
            insert_position(out, reply_at, self.term, offset);
        }
        Done { flow, kind, barrier, deadline_ms: request.deadline_ms }
    }
}

/// What came of running a command.
pub(super) struct Ran<'n> {
    pub(super) access: Access<'n>,
    pub(super) flow: Flow,
    /// Of its record; 0: it has none.
    pub(super) offset: u64,
    pub(super) dirty: u64,
    pub(super) wake: Outcome,
    pub(super) result: CommandResult,
}

/// What kind of reply a command gives.
#[inline]
pub(super) fn kind_of(command: Command, request: &Request<'_>) -> ReplyKind {
    let spec = command.spec();
    if spec.is_write() || request.fence.is_some() {
        ReplyKind::Write
    } else if !spec.keys.is_none() || place::whole_store(spec) {
        ReplyKind::Read
    } else {
        ReplyKind::Local
    }
}

/// Runs a command's handler, behind the check of the request's fence.
#[inline]
pub(super) fn run_fenced(cx: &mut Cx<'_, '_>, command: Command, request: &Request<'_>) -> CommandResult {
    if let Some(token) = request.fence {
        let keys = command.spec().find_keys(&request.args).map_err(|e| CommandError::from(e.to_string()))?;
        let keys = keys.iter().filter_map(|&index| request.args.get(index));
        families::lock::check_fences(cx, None, token, keys)?;
    }
    families::dispatch(cx, command, &request.args)
}

/// The key of a request that has one and no more.
fn only_key(command: Command, args: &Args<'_>) -> Option<Box<[u8]>> {
    if command == Command::Internal(InternalCommand::Mc) {
        let request = McRequest::from_parts(args.get(1)?, args.get(2).unwrap_or_default()).ok()?;
        return (request.key_count() == 1).then(|| request.key().into());
    }
    match command.spec().find_keys(args).ok()?.as_slice() {
        [at] => args.get(*at).map(Box::from),
        _ => None,
    }
}

/// Puts the (term, offset) attribute in front of a reply that was written at `at`.
pub(super) fn insert_position(out: &mut Vec<u8>, at: usize, term: u64, offset: u64) {
    let attribute = format!("|1\r\n+pos\r\n+{term}:{offset}\r\n");
    out.splice(at..at, attribute.into_bytes());
}
