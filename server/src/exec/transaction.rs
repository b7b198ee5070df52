//! MULTI, EXEC and what lies between.

use std::sync::atomic::Ordering;

use torc_protocol::command::{Command, Flags, TransactionCommand, reply_may_be_repeated};
use torc_protocol::error as text;
use torc_protocol::resp::{Args, OwnedArgs, ReplyWriter};
use torc_protocol::slot::key_slot;

use super::families::sorts_by_keys;
use super::session::{MAX_QUEUED, MAX_QUEUED_BYTES, Queued, Session, Transaction, Watching};
use super::{Ack, Batch, CommandError, Done, Request, families, place};
use crate::exec::{Depth, Flow, ReplyKind};
use crate::pubsub::describe_request;
use crate::shard::Role;
use crate::store::{Access, Entry};

const EXEC: Command = Command::Transactions(TransactionCommand::Exec);

/// Puts a checked request into the open transaction.
pub fn queue(session: &mut Session, command: Command, args: &Args<'_>, out: &mut Vec<u8>) -> Done {
    let mut reply = ReplyWriter::new(out, session.version);
    let Some(transaction) = &mut session.transaction else { return Done::local() };
    if command.spec().flags.contains(Flags::NO_MULTI) {
        transaction.failed = true;
        reply.error(text::NOT_IN_TRANSACTION);
        return Done::local();
    }
    let bytes = args.total_bytes();
    if transaction.queue.len() >= MAX_QUEUED || transaction.bytes + bytes > MAX_QUEUED_BYTES {
        transaction.failed = true;
        reply.error("ERR transaction is too large");
        return Done::local();
    }
    transaction.bytes += bytes;
    transaction.queue.push(Queued { command, args: OwnedArgs::new(args.iter()) });
    reply.simple("QUEUED");
    Done::local()
}

/// Why EXEC does not run its queue.
enum Abort {
    /// The keys are not this node's: answered as it is.
    Elsewhere(CommandError),
    /// Something else: answered as EXECABORT.
    Because(CommandError),
}

impl From<Abort> for CommandError {
    fn from(abort: Abort) -> CommandError {
        match abort {
            Abort::Elsewhere(error) => error,
            Abort::Because(error) => {
                format!("EXECABORT Transaction discarded because of: {}", error.lossy()).into()
            }
        }
    }
}

impl<'n> Batch<'n, '_> {
    /// EXEC: all queued commands under one set of locks, as one record.
    pub(super) fn exec_transaction(
        &mut self,
        session: &mut Session,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Done, (CommandError, bool)> {
        let Some(transaction) = session.transaction.take() else {
            return Err((text::EXEC_WITHOUT_MULTI.into(), false));
        };
        let watching = session.watching.take();
        if request.fence.is_some() {
            return Err((super::memcached::NOT_FENCED.into(), false));
        }
        if transaction.failed {
            return Err((text::EXECABORT.into(), false));
        }
        if watching.as_ref().is_some_and(|w| w.flag.load(Ordering::Relaxed)) {
            ReplyWriter::new(out, session.version).null_array();
            return Ok(Done::local());
        }
        let (mut access, writes) = self
            .transaction_access(session, &transaction, watching.as_deref(), request)
            .map_err(|abort| (abort.into(), false))?;
        // A watched key may have changed between the look above and the locks, or have expired unnoticed.
        let broken = watching.is_some_and(|w| {
            let broken = w.flag.load(Ordering::Relaxed) || self.watched_expired(&mut access, &w);
            for (db, key) in &w.keys {
                access.stripe(key_slot(key)).unwatch(*db, key, &w.flag);
            }
            broken
        });
        if broken {
            ReplyWriter::new(out, session.version).null_array();
            return Ok(Done::local());
        }
        self.run_queue(session, &transaction, request, access, writes, out)
    }

    /// Whether the time of a watched key has come since WATCH, which removed those that had expired then.
    fn watched_expired(&self, access: &mut Access<'n>, watching: &Watching) -> bool {
        watching.keys.iter().any(|(db, bytes)| {
            let key = self.node.store.key(bytes);
            let expire = access.stripe(key.slot).peek(*db, &key).and_then(Entry::expire_ms);
            self.node.may_expire() && expire.is_some_and(|at| at <= self.now.unix_ms)
        })
    }

    /// Checks the queue as a whole and locks what it needs. The acknowledgement is that of its writes, if any.
    fn transaction_access(
        &mut self,
        session: &Session,
        transaction: &Transaction,
        watching: Option<&Watching>,
        request: &Request<'_>,
    ) -> Result<(Access<'n>, Option<Ack>), Abort> {
        let mut all = place::Slots::new();
        let (mut whole, mut writes, mut grows, mut scripts) = (false, None, false, false);
        let mut may_grow = false;
        for queued in &transaction.queue {
            let spec = queued.command.spec();
            let args = queued.args.view();
            let slots = place::slots(queued.command, spec, &args).map_err(Abort::Because)?;
            if self.role != Role::Plain {
                self.check_place(session, spec, request, &slots).map_err(Abort::Elsewhere)?;
            }
            let may_write = spec.is_write() || spec.flags.contains(Flags::MAY_REPLICATE);
            if may_write {
                self.check_behind().map_err(Abort::Elsewhere)?;
                let ack = self.effective_ack(queued.command, request);
                if ack == Ack::InSync {
                    self.check_in_sync().map_err(Abort::Because)?;
                }
                // An in-sync member makes the whole transaction in-sync: it is one record.
                if writes != Some(Ack::InSync) {
                    writes = Some(ack);
                }
            }
            all.extend(slots);
            whole |= place::whole_store(spec)
                || (sorts_by_keys(queued.command, &args)
                    && self.node.shard.reaches_all_keys(request.proxied));
            grows |= place::grows(queued.command, spec, &args);
            scripts |= place::may_touch_any_key(queued.command);
            may_grow |= place::may_grow(queued.command, &args);
        }
        if self.role != Role::Plain && !request.proxied && all.iter().any(|s| *s != all[0]) {
            return Err(Abort::Elsewhere(text::CROSSSLOT.into()));
        }
        if grows || may_grow {
            let room = self.make_room();
            self.exec.scripts.out_of_memory = room.is_err();
            if grows {
                room.map_err(Abort::Because)?;
            }
        }
        // A script of a plain store may turn to any key, and there is no second run inside EXEC.
        whole |= scripts && self.role == Role::Plain;
        all.extend(watching.into_iter().flat_map(|w| &w.keys).map(|(_, key)| key_slot(key)));
        let store = &self.node.store;
        let access = if whole { store.access_all() } else { store.access(all) };
        Ok((access.map_err(|busy| Abort::Because(busy.into()))?, writes))
    }

    fn run_queue(
        &mut self,
        session: &mut Session,
        transaction: &Transaction,
        request: &Request<'_>,
        access: Access<'n>,
        writes: Option<Ack>,
        out: &mut Vec<u8>,
    ) -> Result<Done, (CommandError, bool)> {
        let home = || {
            let queued = transaction.queue.iter().filter(|q| !q.command.spec().keys.is_none());
            queued
                .filter_map(|q| {
                    place::slots(q.command, q.command.spec(), &q.args.view()).ok()?.first().copied()
                })
                .next()
        };
        let named = request.id.is_some()
            && transaction.queue.iter().all(|queued| reply_may_be_repeated(queued.command));
        let request = Request { home: named.then(home).flatten(), ..*request };
        let commands = transaction.queue.iter().map(|q| (q.command, q.args.view()));
        let stats = self.exec.stats.clone();
        let kind = if writes.is_some() { ReplyKind::Write } else { ReplyKind::Read };
        self.apply_with(session, &request, access, out, (EXEC, kind, writes.unwrap_or(Ack::Primary)), |cx| {
            // Here, not before: what is put in front of the reply goes in front of the array.
            cx.reply().array(transaction.queue.len());
            cx.depth = Depth::Transaction;
            for (command, args) in commands {
                let at = cx.out.len();
                cx.version = cx.session.version;
                if !cx.proxied {
                    cx.db = cx.session.db;
                }
                let db = cx.db;
                let result = families::dispatch_inside(cx, command, &args);
                if cx.node.pubsub.has_monitors() && !command.spec().flags.contains(Flags::ADMIN) {
                    let source = cx.session.client.as_ref().map_or("", |client| &*client.addr);
                    cx.node.pubsub.show(&describe_request(cx.now_ms, db, source, command, &args));
                }
                match result {
                    Ok(()) => stats.command(command).calls.add(1),
                    Err(error) => {
                        stats.command(command).failed.add(1);
                        stats.errors.count(&error.text());
                        cx.out.truncate(at);
                        error.write(&mut cx.reply());
                    }
                }
                // Nothing waits inside a transaction: a command that would is answered as if its time were over.
                if matches!(cx.flow, Flow::Park(_)) {
                    cx.flow = Flow::Continue;
                    if cx.out.len() == at {
                        cx.reply().null();
                    }
                }
            }
            Ok(())
        })
    }
}
