//! From a parsed request to its reply: resolve, check, lock, apply, record.
//!
//! ```text
//! batch begin (gate, role, lease) → for each request: resolve → authenticate → queue in MULTI? → place and
//!   acknowledgement checks → lock stripes → handler (one match per family) → record → unlock → batch end
//! ```
//!
//! One [`Executor`] per worker; nothing here touches a socket.

pub mod ahead;
mod apply;
mod change;
pub mod cx;
pub mod error;
pub mod families;
mod flow;
pub mod keyspace;
mod meanwhile;
mod memcached;
pub(crate) mod parse;
mod place;
pub(crate) mod redact;
mod repeat;
mod request;
mod serve;
pub mod session;
pub mod testing;
mod transaction;

use std::rc::Rc;
use std::sync::Arc;

use torc_protocol::command::{
    Command, CommandSpec, Flags, InternalCommand, ResolveError, TransactionCommand, reply_may_be_repeated,
    resolve_internal,
};
use torc_protocol::context::Ack;
use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter};

use crate::effect::{EffectWriter, KEPT_RECORD_BYTES, Records};
use crate::node::Node;
use crate::pubsub::describe_request;
use crate::script::{Engine, Meanwhile};
use crate::shard::gate::Shared;
use crate::shard::{Role, View};
use crate::slow;
use crate::stats::WorkerStats;
use crate::store::Access;
use ahead::Foreseen;
use cx::VersionedEnv;
pub use cx::{CommandResult, Cx, Depth, Shows};
pub use error::CommandError;
pub use flow::{Done, Flow, Park, ReplyKind};
pub use place::Slots;
use request::Request;
pub use serve::Retry;
pub use session::Session;

/// A worker's own tools for executing commands.
pub struct Executor {
    worker: usize,
    stats: Arc<WorkerStats>,
    effects: EffectWriter,
    /// Whole records of the batch under way.
    records: Records,
    rng: u64,
    versioned_env: VersionedEnv,
    scripts: Engine,
    /// Commands of the batch under way that share its time.
    ran: Vec<Command>,
    /// Answers of waiters that the command under way has served, told once its stripes are free.
    told: Vec<serve::Telling>,
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
            records: Records::default(),
            rng: seed,
            versioned_env: VersionedEnv::of(node),
            scripts: Engine::default(),
            ran: Vec::new(),
            told: Vec::new(),
            clock_ns: None,
        }
    }

    /// Commands that may be slow are timed by this clock (nanoseconds), for the slow log and the statistics.
    pub fn with_clock(mut self, clock_ns: fn() -> u64) -> Executor {
        self.clock_ns = Some(clock_ns);
        self
    }

    /// Has scripts call `serve` now and then once they have been running for longer than `busy-reply-threshold`.
    pub fn serve_meanwhile(&mut self, serve: Rc<dyn Fn()>) {
        self.scripts.meanwhile = self.clock_ns.map(|clock_ns| Meanwhile { clock_ns, serve });
    }

    /// The counters of this worker.
    pub fn stats(&self) -> &WorkerStats {
        &self.stats
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

/// A batch of requests, of one connection or several; holds the gate shared.
pub struct Batch<'n, 'e> {
    node: &'n Node,
    exec: &'e mut Executor,
    now: Now,
    role: Role,
    lease_valid: bool,
    term: u64,
    view: arc_swap::Guard<Arc<Option<View>>>,
    growth: isize,
    /// The last command that a request has named.
    last: Option<Command>,
    /// Nanoseconds of commands that were timed by themselves.
    timed_ns: u64,
    /// Commands are timed by themselves, whatever they are.
    time_all: bool,
    /// A script of this worker is under way: only what Redis allows then is executed.
    meanwhile: bool,
    _gate: Shared<'n>,
}

impl<'n, 'e> Batch<'n, 'e> {
    /// Starts a batch at the time `now`.
    pub fn begin(node: &'n Node, exec: &'e mut Executor, now: Now) -> Self {
        let gate = node.shard.gate.enter(exec.worker);
        let mut batch = Batch::begin_behind(node, exec, now, gate);
        batch.flush_if_due();
        batch
    }

    /// Starts a batch while a script of the same worker is under way: `exec` is another executor than the script's.
    /// Whatever needs a key or a lock of the store is answered BUSY, since the script may hold it.
    pub fn begin_meanwhile(node: &'n Node, exec: &'e mut Executor, now: Now) -> Self {
        let gate = node.shard.gate.enter_again(exec.worker);
        Batch { meanwhile: true, ..Batch::begin_behind(node, exec, now, gate) }
    }

    fn begin_behind(node: &'n Node, exec: &'e mut Executor, now: Now, gate: Shared<'n>) -> Self {
        let role = node.shard.role();
        let lease_valid = match role {
            Role::Plain => true,
            Role::Primary => node.shard.may_execute(now.boottime_ns),
            Role::Replica | Role::Joining => false,
        };
        exec.effects.set_enabled(role == Role::Primary);
        if !exec.versioned_env.is_of(node) {
            exec.versioned_env = VersionedEnv::of(node);
        }
        Batch {
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
            meanwhile: false,
            _gate: gate,
        }
    }

    /// Executes one request and appends its reply to `out`.
    pub fn run(&mut self, session: &mut Session, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        self.run_foreseen(session, args, Foreseen::default(), out)
    }

    /// As [`Batch::run`], for a request that was looked at before.
    pub fn run_foreseen(
        &mut self,
        session: &mut Session,
        args: Args<'_>,
        foreseen: Foreseen,
        out: &mut Vec<u8>,
    ) -> Done {
        let start = out.len();
        session.trace.request += 1;
        let mut request = Request::of(session, args);
        request.key = foreseen.key(&args);
        let resolved = match foreseen.command {
            Some(command) => Ok(command),
            None => self.resolve(session, &mut request),
        };
        match resolved {
            Ok(command) => {
                if let Some(version) = request.version {
                    session.version = version;
                }
                self.last = Some(command);
                let timed = self.time_all || slow::may_be_slow(command, &request.args);
                match self.exec.clock_ns.filter(|_| timed) {
                    None => self.admit(session, command, &mut request, out, start),
                    Some(clock) => self.admit_timed(session, command, &mut request, out, start, clock),
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

    /// Ends the batch: puts the records down and reports the memory. Counts its commands as if they had taken
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
        self.node.shard.put_down(self.exec.worker, &mut self.exec.records);
        self.exec.effects.shrink_to(KEPT_RECORD_BYTES);
    }

    /// The last command that a request named since this was asked.
    pub fn take_last_command(&mut self) -> Option<Command> {
        self.last.take()
    }

    /// Nanoseconds that commands which are timed by themselves have taken so far.
    pub fn timed_ns(&self) -> u64 {
        self.timed_ns
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

    /// As [`Batch::admit`], with the command's own duration for the statistics and the slow log.
    fn admit_timed(
        &mut self,
        session: &mut Session,
        command: Command,
        request: &mut Request<'_>,
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
            // Who waits is noted when it has been served.
            if !matches!(done.flow, Flow::Park(Park::Blocked { .. })) {
                self.node.slow.note(command, &args, session, nanos, self.now.unix_ms);
            }
        }
        done
    }

    /// Everything between knowing the command and running it.
    fn admit(
        &mut self,
        session: &mut Session,
        command: Command,
        request: &mut Request<'_>,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Done {
        let spec = command.spec();
        if !session.authenticated && !spec.flags.contains(Flags::NO_AUTH) {
            self.exec.stats.command(command).rejected.add(1);
            self.refuse(session, &text::NOAUTH.into(), out);
            return Done::local();
        }
        if self.meanwhile && !meanwhile::admits(session, command) {
            self.exec.stats.command(command).rejected.add(1);
            let refusal = meanwhile::refusal(session, command);
            self.refuse(session, &refusal, out);
            return Done::local();
        }
        if session.only_listens() && !command.is_for_listeners() {
            self.exec.stats.command(command).rejected.add(1);
            self.refuse(session, &text::only_listens(spec.name).into(), out);
            return Done::local();
        }
        if session.transaction.is_some() && !command.runs_inside_multi() {
            return match self.check(session, command, spec, request) {
                Ok(_) => transaction::queue(session, command, &request.args, out),
                Err(error) => {
                    self.exec.stats.command(command).rejected.add(1);
                    self.refuse(session, &error, out);
                    Done::local()
                }
            };
        }
        let db = request.db;
        let watched = self.node.pubsub.has_monitors();
        if watched && place::may_touch_any_key(command) {
            // In front of what the script does.
            self.show(session, db, command, &request.args);
        }
        let args = request.args;
        let result = if command == Command::Transactions(TransactionCommand::Exec) {
            self.exec_transaction(session, request, out)
        } else if command == Command::Internal(InternalCommand::Mc) {
            self.run_mc(session, request, out)
        } else {
            match place::slots_of(command, spec, request) {
                Ok(slots) => {
                    if request.id.is_some() && reply_may_be_repeated(command) {
                        request.home = slots.first().copied();
                    }
                    match self.check_slots(session, command, spec, request, &slots) {
                        Ok(access) => self.apply(session, command, request, access, out),
                        Err(error) => self.refused(session, command, request, &slots, error, out),
                    }
                }
                Err(error) => Err((error, false)),
            }
        };
        let ran =
            !matches!(result, Err((_, false))) || command == Command::Transactions(TransactionCommand::Exec);
        if watched && ran && !place::may_touch_any_key(command) {
            self.show(session, db, command, &args);
        }
        match result {
            Ok(done) => {
                self.exec.ran.push(command);
                done
            }
            Err((error, executed)) => {
                out.truncate(start);
                self.exec.stats.errors.count(&error.text());
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
        let slots = place::slots_of(command, spec, request)?;
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
        if may_write {
            if session.transaction.is_none() {
                // What is queued is executed by EXEC, which is looked at as a whole.
                self.check_behind()?;
            }
            if self.effective_ack(command, request) == Ack::InSync {
                self.check_in_sync()?;
            }
        }
        if self.role == Role::Primary && !self.lease_valid && place::records_without_keys(command) {
            return Err(text::CLUSTERDOWN_LEASE.into());
        }
        if place::grows(command, spec, &request.args) {
            self.make_room()?;
        } else if place::may_grow(command, &request.args) {
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
    #[inline]
    fn make_room(&mut self) -> Result<(), CommandError> {
        if !self.node.is_full() {
            return Ok(());
        }
        let exec = &mut *self.exec;
        let now_ms = self.now.unix_ms;
        self.node.make_room(&mut exec.effects, &mut exec.records, &exec.stats, now_ms, &mut exec.rng)
    }

    /// Shows a request to those who watch all of them.
    #[cold]
    fn show(&self, session: &Session, db: u8, command: Command, args: &Args<'_>) {
        let spec = command.spec();
        // Scripts skip the usual place only to be shown earlier.
        let skips = spec.flags.contains(Flags::SKIP_MONITOR) && !place::may_touch_any_key(command);
        if spec.flags.contains(Flags::ADMIN) || skips || spec.is_internal() {
            return;
        }
        let source = session.client.as_ref().map_or("", |client| &*client.addr);
        self.node.pubsub.show(&describe_request(self.now.unix_ms, db, source, command, args));
    }

    /// Writes an error; inside MULTI it also spoils the transaction.
    fn refuse(&self, session: &mut Session, error: &CommandError, out: &mut Vec<u8>) {
        if let Some(transaction) = &mut session.transaction {
            transaction.failed = true;
        }
        self.exec.stats.errors.count(&error.text());
        error.write(&mut ReplyWriter::new(out, session.version));
    }
}
