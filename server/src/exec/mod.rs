//! From a parsed request to its reply: resolve, check, lock, apply, record.
//!
//! ```text
//! batch begin (gate, role, lease) → for each request: resolve → authenticate → queue in MULTI? → place and
//!   acknowledgement checks → lock stripes → handler (one match per family) → record → unlock → batch end
//! ```
//!
//! One [`Executor`] per worker; nothing here touches a socket.

pub mod cx;
pub mod error;
pub mod families;
pub mod keyspace;
mod memcached;
pub(crate) mod parse;
mod place;
pub mod session;
pub mod testing;
mod transaction;

use std::sync::Arc;

use torc_cluster::lock::{Outcome, Token};
use torc_protocol::command::{
    Command, CommandSpec, Flags, InternalCommand, ResolveError, TransactionCommand, resolve_internal,
};
use torc_protocol::context::{Ack, Context, ReadLevel, RequestId};
use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter, Version};
use torc_protocol::slot::Slot;

use crate::effect::EffectWriter;
use crate::node::Node;
use crate::script::Engine;
use crate::shard::gate::Shared;
use crate::shard::{Role, View};
use crate::slow;
use crate::stats::WorkerStats;
use crate::store::{Access, Seen};
pub use cx::{CommandResult, Cx, Depth};
pub use error::CommandError;
pub use place::Slots;
pub use session::Session;

/// A worker's own tools for executing commands.
pub struct Executor {
    worker: usize,
    stats: Arc<WorkerStats>,
    effects: EffectWriter,
    /// Whole records of the batch under way.
    records: Vec<u8>,
    rng: u64,
    scripts: Engine,
    /// Commands of the batch under way that share its time.
    ran: Vec<Command>,
    /// Where commands that may be slow are timed one by one; `None`: nowhere.
    clock_ns: Option<fn() -> u64>,
}

impl Executor {
    /// The executor of worker number `worker`; `seed` for its random numbers.
    pub fn new(node: &Node, worker: usize, seed: u64) -> Executor {
        Executor {
            worker,
            stats: node.stats[worker].clone(),
            effects: EffectWriter::new(node.shard.role() != Role::Plain),
            records: Vec::new(),
            rng: seed,
            scripts: Engine::default(),
            ran: Vec::new(),
            clock_ns: None,
        }
    }

    /// Commands that may be slow are timed by this clock (nanoseconds), for the slow log and the statistics.
    pub fn with_clock(mut self, clock_ns: fn() -> u64) -> Executor {
        self.clock_ns = Some(clock_ns);
        self
    }

    /// The counters of this worker.
    pub fn stats(&self) -> &WorkerStats {
        &self.stats
    }
}

/// What a connection does after a request.
#[derive(Debug)]
pub enum Flow {
    /// Go on with the next request.
    Continue,
    /// Flush, then close.
    Close,
    /// No reply yet: wait for this, then write its reply; later requests wait.
    Park(Park),
}

/// What a parked request waits for.
#[derive(Debug)]
pub enum Park {
    /// WAIT: until `replicas` have acknowledged `offset`, or the time is over.
    Replicas {
        /// The offset to wait for.
        offset: u64,
        /// How many replicas must have it.
        replicas: usize,
        /// 0: no limit.
        timeout_ms: u64,
    },
    /// LOCK.ACQUIRE … WAIT: until the waiter that was queued under this ticket is granted or times out.
    Lock {
        /// The lock's name.
        name: Box<[u8]>,
        /// The waiter's number in the lock table.
        ticket: u64,
        /// How long at most.
        timeout_ms: u64,
    },
    /// CLIENT PAUSE, DEBUG SLEEP: nothing but time.
    Sleep {
        /// Milliseconds.
        ms: u64,
    },
}

/// What kind of reply was written, for the checks between execution and flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// Has nothing to do with the data: never replaced.
    Local,
    /// Shows data: refused when the lease is gone at the flush.
    Read,
    /// Changed data (or tried to): UNCERTAIN when the lease is gone at the flush.
    Write,
}

/// The outcome of one request.
#[derive(Debug)]
pub struct Done {
    /// What to do next.
    pub flow: Flow,
    /// What was written.
    pub kind: ReplyKind,
    /// The reply may leave when the high-water mark has reached this offset; 0: at once.
    pub barrier: u64,
    /// How long the barrier may hold the reply, from now, in milliseconds.
    pub deadline_ms: u32,
}

impl Done {
    pub(crate) fn local() -> Done {
        Done { flow: Flow::Continue, kind: ReplyKind::Local, barrier: 0, deadline_ms: 0 }
    }
}

/// The two clocks, read at the edge.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Unix milliseconds: expiry.
    pub unix_ms: u64,
    /// CLOCK_BOOTTIME nanoseconds: the lease, locks.
    pub boottime_ns: u64,
}

/// A batch of requests of one connection; holds the gate shared.
pub struct Batch<'n, 'e> {
    node: &'n Node,
    exec: &'e mut Executor,
    now: Now,
    role: Role,
    lease_valid: bool,
    term: u64,
    view: arc_swap::Guard<Arc<Option<View>>>,
    growth: isize,
    /// The last command that a request named.
    last: Option<Command>,
    /// Nanoseconds of commands that were timed by themselves.
    timed_ns: u64,
    /// Commands are timed by themselves, whatever they are.
    time_all: bool,
    _gate: Shared<'n>,
}

/// What a request asks for beside its command: from its context prefix or from the session.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    args: Args<'a>,
    db: u8,
    ack: Option<Ack>,
    read: Option<ReadLevel>,
    want_position: bool,
    deadline_ms: u32,
    /// The version of the protocol that the client of the proxy speaks; `None` without a context prefix.
    version: Option<Version>,
    /// Came with a context prefix from a proxy.
    proxied: bool,
    /// Names the request, so that a second sending of it does nothing.
    id: Option<RequestId>,
    /// The slot that remembers the reply: that of the first key.
    home: Option<Slot>,
    /// A fencing token that the keys must not have seen a higher one than.
    fence: Option<Token>,
}

impl<'n, 'e> Batch<'n, 'e> {
    /// Starts a batch at the time `now`.
    pub fn begin(node: &'n Node, exec: &'e mut Executor, now: Now) -> Self {
        let gate = node.shard.gate.enter(exec.worker);
        let role = node.shard.role();
        let lease_valid = match role {
            Role::Plain => true,
            Role::Primary => node.shard.may_execute(now.boottime_ns),
            Role::Replica | Role::Joining => false,
        };
        exec.effects.set_enabled(role == Role::Primary);
        node.refresh_policy();
        let mut batch = Batch {
            node,
            exec,
            now,
            role,
            lease_valid,
            term: node.shard.term().0,
            view: node.shard.view(),
            growth: 0,
            last: None,
            timed_ns: 0,
            time_all: node.slow.times_all(),
            _gate: gate,
        };
        batch.flush_if_due();
        batch
    }

    /// Executes one request and appends its reply to `out`.
    pub fn run(&mut self, session: &mut Session, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        let start = out.len();
        let request = Request {
            args,
            db: session.db,
            ack: session.ack,
            read: session.read,
            want_position: false,
            deadline_ms: 0,
            version: None,
            proxied: false,
            id: None,
            home: None,
            fence: None,
        };
        match self.resolve(session, request) {
            Ok((command, request)) => {
                if let Some(version) = request.version {
                    session.version = version;
                }
                self.last = Some(command);
                let timed = self.time_all || slow::may_be_slow(command);
                match self.exec.clock_ns.filter(|_| timed) {
                    None => self.admit(session, command, request, out, start),
                    Some(clock) => self.admit_timed(session, command, request, out, start, clock),
                }
            }
            Err(_) if args.is_http() => Done { flow: Flow::Close, ..Done::local() },
            Err(error) => {
                if let Err(ResolveError::Arity(command)) = resolve_internal(&args) {
                    self.exec.stats.command(command).rejected.add(1);
                }
                self.refuse(session, &error, out);
                if args.get(0).is_some_and(|name| name.eq_ignore_ascii_case(b"exec")) {
                    // As Redis: the transaction of an EXEC with arguments is over.
                    session.transaction = None;
                    session.watching = None;
                }
                Done::local()
            }
        }
    }

    /// Ends the batch: hands the records over and reports the memory. Counts its commands as if they had taken
    /// no time.
    pub fn end(self) {
        let now_ns = self.now.boottime_ns;
        self.end_at(now_ns);
    }

    /// As [`Batch::end`], at `now_ns` (CLOCK_BOOTTIME): each command gets the batch's mean duration.
    pub fn end_at(self, now_ns: u64) {
        let total = now_ns.saturating_sub(self.now.boottime_ns).saturating_sub(self.timed_ns);
        let mean = total / (self.exec.ran.len() as u64).max(1);
        for run in self.exec.ran.chunk_by(|a, b| a == b) {
            self.exec.stats.command(run[0]).observe(run.len() as u64, mean);
        }
        self.exec.ran.clear();
        self.node.store.report_growth(self.growth);
        self.node.shard.hand_over(self.exec.worker, &mut self.exec.records);
    }

    /// The last command that a request of the batch named.
    pub fn last_command(&self) -> Option<Command> {
        self.last
    }

    /// The term of the lease that replies depend on until they are flushed; `None` where there is no lease
    /// (a plain store; a replica, whose readers asked for possibly old data).
    pub fn lease_term(&self) -> Option<u64> {
        (self.role == Role::Primary).then_some(self.term)
    }

    /// When the batch began.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Finds the command, unwrapping a context prefix.
    fn resolve<'a>(
        &self,
        session: &Session,
        mut request: Request<'a>,
    ) -> Result<(Command, Request<'a>), CommandError> {
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
                let context = Context::decode(bytes).map_err(|e| CommandError::from(format!("ERR {e}")))?;
                request = Request {
                    args: request.args.tail(2),
                    db: context.db,
                    ack: context.ack,
                    read: context.read,
                    want_position: context.want_position,
                    deadline_ms: context.deadline_ms,
                    version: Some(if context.resp2 { Version::Resp2 } else { Version::Resp3 }),
                    proxied: true,
                    id: context.request_id,
                    home: None,
                    fence: context.fence.map(Token),
                };
                command = find(&request.args)?;
                if command == Command::Internal(InternalCommand::Ctx) {
                    return Err(unknown(&request.args));
                }
            }
        }
        Ok((command, request))
    }

    /// As [`Batch::admit`], with the command's own duration for the statistics and the slow log.
    fn admit_timed(
        &mut self,
        session: &mut Session,
        command: Command,
        request: Request<'_>,
        out: &mut Vec<u8>,
        start: usize,
        clock: fn() -> u64,
    ) -> Done {
        let (args, began, ran) = (request.args, clock(), self.exec.ran.len());
        let done = self.admit(session, command, request, out, start);
        let nanos = clock().saturating_sub(began);
        self.timed_ns += nanos;
        if self.exec.ran.len() > ran {
            self.exec.ran.truncate(ran);
            self.exec.stats.command(command).observe(1, nanos);
            self.node.slow.note(command, &args, session, nanos, self.now.unix_ms);
        }
        done
    }

    /// Everything between knowing the command and running it.
    fn admit(
        &mut self,
        session: &mut Session,
        command: Command,
        request: Request<'_>,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Done {
        let spec = command.spec();
        if !session.authenticated && !spec.flags.contains(Flags::NO_AUTH) {
            self.exec.stats.command(command).rejected.add(1);
            self.refuse(session, &text::NOAUTH.into(), out);
            return Done::local();
        }
        if session.transaction.is_some() && !transaction::runs_inside_multi(command) {
            return match self.check(session, command, spec, &request) {
                Ok(_) => transaction::queue(session, command, &request.args, out),
                Err(error) => {
                    self.exec.stats.command(command).rejected.add(1);
                    self.refuse(session, &error, out);
                    Done::local()
                }
            };
        }
        let result = if command == Command::Transactions(TransactionCommand::Exec) {
            self.exec_transaction(session, request, out)
        } else if command == Command::Internal(InternalCommand::Mc) {
            self.run_mc(session, request, out)
        } else {
            let mut request = request;
            if request.id.is_some() {
                request.home =
                    place::slots(command, spec, &request.args).ok().and_then(|s| s.first().copied());
            }
            match self.check(session, command, spec, &request) {
                Ok(access) => self.apply(session, command, request, access, out),
                Err(error) => Err((error, false)),
            }
        };
        match result {
            Ok(done) => {
                self.exec.ran.push(command);
                done
            }
            Err((error, executed)) => {
                out.truncate(start);
                self.exec.stats.error(&error.text());
                let stats = self.exec.stats.command(command);
                if executed {
                    stats.failed.add(1);
                    self.exec.ran.push(command);
                } else {
                    stats.rejected.add(1);
                }
                error.write(&mut ReplyWriter::new(out, session.version));
                // A failed write may still have removed expired keys or raised a register: same care as a read.
                let kind = if executed && !spec.keys.is_none() { ReplyKind::Read } else { ReplyKind::Local };
                Done { kind, ..Done::local() }
            }
        }
    }

    /// Whether the request may run here and now; answers the locked stripes of its keys.
    fn check(
        &mut self,
        session: &Session,
        command: Command,
        spec: &CommandSpec,
        request: &Request<'_>,
    ) -> Result<Access<'n>, CommandError> {
        let slots = place::slots(command, spec, &request.args)?;
        self.check_slots(session, command, spec, request, &slots)
    }

    /// As [`Batch::check`], for keys that were found already.
    fn check_slots(
        &mut self,
        session: &Session,
        command: Command,
        spec: &CommandSpec,
        request: &Request<'_>,
        slots: &Slots,
    ) -> Result<Access<'n>, CommandError> {
        if self.role != Role::Plain {
            self.check_place(session, spec, request, slots)?;
        }
        let may_write =
            spec.flags.intersects(Flags::WRITE.or(Flags::MAY_REPLICATE)) || request.fence.is_some();
        if may_write && self.effective_ack(command, request) == Ack::InSync {
            self.check_in_sync()?;
        }
        if self.role == Role::Primary && !self.lease_valid && place::records_without_keys(command) {
            return Err(text::CLUSTERDOWN_LEASE.into());
        }
        if place::grows(command, spec, &request.args) {
            self.make_room()?;
        } else if place::may_touch_any_key(command) {
            self.exec.scripts.out_of_memory = self.make_room().is_err();
        }
        if session.transaction.is_some() {
            return Ok(Access::none());
        }
        match slots.as_slice() {
            [] => Ok(Access::none()),
            [slot] => Ok(self.node.store.access_one(*slot)?),
            many => Ok(self.node.store.access(many.iter().copied())?),
        }
    }

    /// Evicts what `maxmemory` asks for, or refuses.
    fn make_room(&mut self) -> Result<(), CommandError> {
        let exec = &mut *self.exec;
        let now_ms = self.now.unix_ms;
        self.node.make_room(&mut exec.effects, &mut exec.records, &exec.stats, now_ms, &mut exec.rng)
    }

    fn effective_ack(&self, command: Command, request: &Request<'_>) -> Ack {
        if self.role == Role::Plain {
            return Ack::Primary;
        }
        // Locks and fences promise more than a cache: they are always in-sync.
        if matches!(command, Command::Lock(_)) || request.fence.is_some() {
            return Ack::InSync;
        }
        request.ack.unwrap_or_else(|| self.node.default_ack())
    }

    fn check_in_sync(&self) -> Result<(), CommandError> {
        if self.role == Role::Plain || self.node.shard.in_sync_enough() {
            return Ok(());
        }
        self.exec.stats.no_replicas.add(1);
        Err(text::NOREPLICAS.into())
    }

    /// Runs a command whose stripes are locked.
    fn apply(
        &mut self,
        session: &mut Session,
        command: Command,
        request: Request<'_>,
        access: Access<'n>,
        out: &mut Vec<u8>,
    ) -> Result<Done, (CommandError, bool)> {
        let spec = command.spec();
        let kind = if spec.is_write() || request.fence.is_some() {
            ReplyKind::Write
        } else if !spec.keys.is_none() || place::whole_store(spec) {
            ReplyKind::Read
        } else {
            ReplyKind::Local
        };
        let ack = self.effective_ack(command, &request);
        self.apply_with(session, request, access, out, (kind, ack), |cx| {
            if let Some(token) = request.fence {
                let keys = spec.find_keys(&request.args).map_err(|e| CommandError::from(e.to_string()))?;
                let keys = keys.iter().filter_map(|&index| request.args.get(index));
                families::lock::check_fences(cx, None, token, keys)?;
            }
            families::dispatch(cx, command, &request.args)
        })
    }

    /// The reply of a request that was executed before under the same id; `None`: it was not.
    fn repeated(
        &self,
        request: &Request<'_>,
        access: &mut Access<'n>,
        out: &mut Vec<u8>,
        ack: Ack,
    ) -> Result<Option<Done>, CommandError> {
        let (Some(id), Some(slot)) = (request.id, request.home) else { return Ok(None) };
        match access.stripe(slot).remembered().map_or(Seen::New, |table| table.look(id)) {
            Seen::New => Ok(None),
            Seen::TooOld => Err(text::REQUEST_ID_TOO_OLD.into()),
            Seen::Again(reply) => {
                out.extend_from_slice(reply);
                let barrier = if ack == Ack::InSync { self.node.shard.last_offset() } else { 0 };
                let deadline_ms = request.deadline_ms;
                Ok(Some(Done { flow: Flow::Continue, kind: ReplyKind::Write, barrier, deadline_ms }))
            }
        }
    }

    /// Runs `run` on the locked stripes, records its effects as one record and works out the reply's barrier.
    fn apply_with(
        &mut self,
        session: &mut Session,
        request: Request<'_>,
        mut access: Access<'n>,
        out: &mut Vec<u8>,
        (kind, ack): (ReplyKind, Ack),
        run: impl FnOnce(&mut Cx<'_, '_>) -> CommandResult,
    ) -> Result<Done, (CommandError, bool)> {
        let reply_at = out.len();
        match self.repeated(&request, &mut access, out, ack) {
            Ok(None) => {}
            Ok(Some(done)) => return Ok(done),
            Err(error) => return Err((error, false)),
        }
        let mut cx = Cx {
            node: self.node,
            access,
            effects: &mut self.exec.effects,
            stats: &self.exec.stats,
            scripts: &mut self.exec.scripts,
            now: self.now,
            now_ms: self.now.unix_ms,
            db: request.db,
            out: &mut *out,
            version: session.version,
            rng: &mut self.exec.rng,
            dirty: 0,
            proxied: request.proxied,
            depth: Depth::Command,
            flow: Flow::Continue,
            wake: Outcome::default(),
            session: &mut *session,
        };
        let result = run(&mut cx);
        let Cx { mut access, flow, dirty, wake, .. } = cx;
        if let (Some(id), Some(slot)) = (request.id, request.home)
            && dirty > 0
            && result.is_ok()
            && access.covers(slot)
            && let Some(reply) = out.get(reply_at..).filter(|reply| !reply.is_empty())
        {
            access.stripe(slot).remembered_mut().keep(slot, id, reply, self.now.boottime_ns / 1_000_000);
            self.exec.effects.remember(slot, id.origin, id.seq, reply);
        }
        // Still under the stripes' locks: the record's place in the history is the order of execution.
        let offset = if self.exec.effects.is_empty() {
            0
        } else {
            let offset = self.node.shard.next_offset();
            self.exec.effects.take_record(self.term, offset, &mut self.exec.records);
            offset
        };
        if dirty > 0 || offset != 0 || kind == ReplyKind::Write {
            self.growth += access.take_growth();
        }
        drop(access);
        if !wake.is_empty() {
            self.node.locks.wake(&wake, offset);
        }
        if offset != 0 {
            session.last_write = offset;
        }
        if let Err(error) = result {
            return Err((error, true));
        }
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
            ReplyKind::Read if request.read == Some(ReadLevel::Strong) && self.role == Role::Primary => {
                self.node.shard.last_offset()
            }
            _ => 0,
        };
        if request.want_position && offset != 0 {
            insert_position(out, reply_at, self.term, offset);
        }
        Ok(Done { flow, kind, barrier, deadline_ms: request.deadline_ms })
    }

    /// Writes an error; inside MULTI it also spoils the transaction.
    fn refuse(&self, session: &mut Session, error: &CommandError, out: &mut Vec<u8>) {
        if let Some(transaction) = &mut session.transaction {
            transaction.failed = true;
        }
        self.exec.stats.error(&error.text());
        error.write(&mut ReplyWriter::new(out, session.version));
    }
}

/// Puts the (term, offset) attribute in front of a reply that was written at `at`.
fn insert_position(out: &mut Vec<u8>, at: usize, term: u64, offset: u64) {
    let attribute = format!("|1\r\n+pos\r\n+{term}:{offset}\r\n");
    out.splice(at..at, attribute.into_bytes());
}
