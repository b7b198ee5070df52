//! MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//!
//! Commands are queued at the proxy. EXEC sends MULTI, the commands and EXEC in one go on the shard's shared
//! connection, where nothing can come between them, and the client gets EXEC's reply alone. With WATCH the
//! transaction runs on a connection that the client has to itself from WATCH to EXEC.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use torc_protocol::command::{Command, ConnectionCommand, Flags, Route, ServerCommand, TransactionCommand};
use torc_protocol::error;
use torc_protocol::resp::{request_arg, request_header};
use torc_protocol::slot::Slot;

use crate::call::Call;
use crate::dispatch;
use crate::downstream::client::Client;
use crate::downstream::request::Request;
use crate::downstream::resp::{Step, lane};
use crate::downstream::session::Session;
use crate::hot::{self, stamps::Keys};
use crate::plan::{first_of, policy_key, slot_of};
use crate::policy::strictest;
use crate::table::RouteTable;
use crate::text;
use crate::upstream::body::{Body, id_in_prefix};
use crate::upstream::connection::Connection;
use crate::upstream::link::{NoDedicated, Purpose};
use crate::upstream::pending::{Dest, Lane, Way};
use crate::worker::{Routes, Worker};

/// Arguments of `CTX <context>` before those of the command.
const CONTEXT_ARGS: usize = 2;

/// An open MULTI.
#[derive(Debug, Default)]
pub struct Transaction {
    /// A command was refused: EXEC will abort.
    pub failed: bool,
    /// Slow when any command's reply may be held back.
    pub lane: Lane,
    /// The slot of all keys so far.
    slot: Option<Slot>,
    /// The key whose policy asks for the most of writes so far, which holds for all.
    acked_as: Vec<u8>,
    /// The same of reads.
    read_as: Vec<u8>,
    /// For each command how many arguments it has and how many bytes of `args` they take.
    commands: Vec<(usize, usize)>,
    /// The arguments of all commands as bulk strings.
    args: Vec<u8>,
    write: bool,
    /// The keys that it may write.
    writes: Option<Keys>,
    /// Whether CLIENT PAUSE WRITE holds it back.
    changes: bool,
}

/// Watched keys.
#[derive(Debug)]
pub struct Watch {
    slot: Slot,
    connection: Rc<Connection>,
}

/// Takes a command into the open transaction.
pub fn queue(call: &mut Call<'_>) -> Step {
    let Some(mut transaction) = call.session.transaction.take() else { return Step::Done };
    let lane = lane(call.session, call.routes, call.request);
    let config = call.worker.settings();
    let bounds = (config.max_queued_commands, config.max_request_bytes);
    let admitted = transaction.admit(call.request, bounds, call.routes.is_one_shard());
    if admitted.is_ok() {
        transaction.go_by(call.request, call.session, &call.routes.table);
        if lane == Lane::Slow {
            transaction.lane = lane;
        }
        call.client.info.multi.store(transaction.commands.len() as i64, Ordering::Relaxed);
    } else {
        transaction.failed = true;
    }
    call.session.transaction = Some(transaction);
    match admitted {
        Ok(()) => {
            let (_, key) = first_of(call.request);
            if !key.is_empty() {
                call.worker.saw_key(call.session.db, key, call.request.is_write());
            }
            call.reply(|reply| reply.simple("QUEUED"))
        }
        Err(text) => call.refuse(&text),
    }
}

impl Transaction {
    /// Whether it may change something.
    pub fn may_change(&self) -> bool {
        self.changes
    }

    /// The policies of the request's keys hold as well.
    fn go_by(&mut self, request: &Request<'_>, session: &Session, table: &RouteTable) {
        if table.rules.is_empty() {
            return;
        }
        for (write, chosen) in [(true, &mut self.acked_as), (false, &mut self.read_as)] {
            let key = policy_key(request, table, session, write);
            let keys = [chosen.as_slice(), key].into_iter().filter(|key| !key.is_empty());
            if strictest(session, table, write, keys).is_some_and(|strictest| std::ptr::eq(strictest, key)) {
                *chosen = key.to_vec();
            }
        }
    }

    /// `one_shard`: there is no other, so that slots do not matter.
    fn admit(
        &mut self,
        request: &Request<'_>,
        (most, most_bytes): (usize, usize),
        one_shard: bool,
    ) -> Result<(), String> {
        if request.spec.flags.contains(Flags::NO_MULTI) {
            return Err(error::NOT_IN_TRANSACTION.to_owned());
        }
        let travels = may_travel(request) || (one_shard && is_the_nodes(request));
        if !travels {
            return Err(format!("ERR '{}' {}", request.spec.name, text::NOT_IN_TRANSACTION));
        }
        let (slot, _) = match slot_of(request) {
            Err(text) if text == error::CROSSSLOT && one_shard => first_of(request),
            found => found?,
        };
        if let Some(slot) = slot
            && *self.slot.get_or_insert(slot) != slot
            && !one_shard
        {
            return Err(error::CROSSSLOT.to_owned());
        }
        if self.commands.len() >= most || self.args.len() + request.args.total_bytes() > most_bytes {
            return Err(text::TOO_MANY_QUEUED.to_owned());
        }
        let before = self.args.len();
        request.args.iter().for_each(|arg| request_arg(&mut self.args, arg));
        self.commands.push((request.args.len(), self.args.len() - before));
        self.write |= request.is_write();
        if request.is_write() {
            self.writes.get_or_insert_with(Keys::none).join(&hot::keys_of(request));
        }
        self.changes |= request.is_noticed();
        Ok(())
    }
}

/// Whether a node can execute the command inside a transaction that came through a proxy.
fn may_travel(request: &Request<'_>) -> bool {
    match request.spec.route {
        Route::Key | Route::SplitKeys | Route::Channel => true,
        Route::Local | Route::AnyShard => matches!(
            request.command,
            Command::Connection(ConnectionCommand::Ping | ConnectionCommand::Echo)
                | Command::Server(ServerCommand::Time)
                | Command::Transactions(TransactionCommand::Unwatch)
        ),
        Route::Transaction => request.command == Command::Transactions(TransactionCommand::Unwatch),
        Route::AllShards | Route::Cursor | Route::Refuse(_) => false,
    }
}

/// Whether the only node there is can answer for all.
fn is_the_nodes(request: &Request<'_>) -> bool {
    match request.spec.route {
        Route::AllShards | Route::AnyShard => true,
        Route::Local => matches!(
            request.command,
            Command::Generic(_)
                | Command::Server(
                    ServerCommand::Info
                        | ServerCommand::ConfigGet
                        | ServerCommand::ConfigSet
                        | ServerCommand::Command
                )
        ),
        _ => false,
    }
}

/// The commands about transactions themselves.
pub fn command(call: &mut Call<'_>) -> Step {
    let Command::Transactions(command) = call.request.command else { return Step::Done };
    match command {
        TransactionCommand::Multi => {
            if let Some(transaction) = &mut call.session.transaction {
                transaction.failed = true;
                return call.refuse(error::NESTED_MULTI);
            }
            call.session.transaction = Some(Box::default());
            call.client.info.multi.store(0, Ordering::Relaxed);
            call.reply(|reply| reply.ok())
        }
        TransactionCommand::Discard => {
            if call.session.transaction.take().is_none() {
                return call.refuse(error::DISCARD_WITHOUT_MULTI);
            }
            call.client.info.multi.store(-1, Ordering::Relaxed);
            unwatch(call.worker, call.client, call.session);
            call.reply(|reply| reply.ok())
        }
        TransactionCommand::Unwatch => {
            unwatch(call.worker, call.client, call.session);
            call.reply(|reply| reply.ok())
        }
        TransactionCommand::Watch => watch(call),
        TransactionCommand::Exec => exec(call),
    }
}

/// Forgets what is watched. The connection is closed rather than asked to forget: no round trip, and nothing
/// can be left behind.
pub fn unwatch(worker: &Worker, client: &Client, session: &mut Session) {
    if session.watch.take().is_some() {
        worker.give_back(client);
    }
}

fn watch(call: &mut Call<'_>) -> Step {
    if let Some(transaction) = &mut call.session.transaction {
        transaction.failed = true;
        return call.refuse(error::WATCH_INSIDE_MULTI);
    }
    if !call.is_first() {
        return Step::NotYet;
    }
    let (slot, key) = match slot_of(call.request) {
        Ok((slot, key)) => (slot.unwrap_or(0), key),
        Err(text) if text == error::CROSSSLOT && call.routes.is_one_shard() => {
            let (slot, key) = first_of(call.request);
            (slot.unwrap_or(0), key)
        }
        Err(text) => return call.refuse(&text),
    };
    let connection = match &call.session.watch {
        Some(watch) if watch.slot != slot && !call.routes.is_one_shard() => {
            return call.refuse(text::WATCH_SLOT);
        }
        // When it is gone EXEC will find out: what was watched on it counts as changed.
        Some(watch) => Rc::clone(&watch.connection),
        None => {
            let link = call.routes.place(Dest::Slot(slot)).and_then(|index| call.routes.link(index));
            let connection = match link.map(|link| link.dedicated(call.worker, Purpose::Holding)) {
                Some(Ok(connection)) => connection,
                Some(Err(NoDedicated::AllInUse)) => return call.refuse(text::NO_DEDICATED),
                Some(Err(NoDedicated::Unreachable)) | None => return call.refuse(text::NO_PRIMARY),
            };
            call.client.dedicated.borrow_mut().push(Rc::clone(&connection));
            call.client.watching.set(true);
            call.session.watch = Some(Watch { slot, connection: Rc::clone(&connection) });
            connection
        }
    };
    if !holds(call.client, &connection) {
        return call.refuse(text::NO_PRIMARY);
    }
    let seq = call.client.outbox.borrow_mut().open(call.session.render());
    let mut pending = call.pending(seq, Dest::Slot(slot), call.session.timeout_ms);
    pending.way = Way::Watching;
    let prefix = call.session.prefix(&call.routes.table, false, key);
    let args = call.request.encoded(call.scratch);
    connection.push(pending, Body::One { count: call.request.args.len(), prefix, args });
    call.worker.mark_connection(&connection);
    Step::DoneAlone
}

/// Whether the client still has that connection, and it still lives.
fn holds(client: &Client, connection: &Rc<Connection>) -> bool {
    connection.is_usable() && client.dedicated.borrow().iter().any(|mine| Rc::ptr_eq(mine, connection))
}

fn exec(call: &mut Call<'_>) -> Step {
    let (worker, client) = (call.worker, call.client);
    let Some(transaction) = &call.session.transaction else {
        return call.refuse(error::EXEC_WITHOUT_MULTI);
    };
    let alone = call.session.watch.is_some();
    if alone && !call.is_first() {
        return Step::NotYet;
    }
    let slot = transaction.slot.or(call.session.watch.as_ref().map(|watch| watch.slot));
    let dest = Dest::Slot(slot.unwrap_or(0));
    if !alone && !call.has_room(call.routes.place(dest)) {
        return Step::NotYet;
    }
    let Some(transaction) = call.session.transaction.take() else { return Step::Done };
    client.info.multi.store(-1, Ordering::Relaxed);
    if transaction.failed {
        unwatch(worker, client, call.session);
        return call.refuse(error::EXECABORT);
    }
    if transaction.commands.is_empty() && !alone {
        return call.reply(|reply| reply.array(0));
    }
    let watch = call.session.watch.take();
    if let Some(watch) = &watch {
        if transaction.slot.is_some_and(|slot| slot != watch.slot) && !call.routes.is_one_shard() {
            worker.give_back(client);
            return call.refuse(error::CROSSSLOT);
        }
        if !holds(client, &watch.connection) {
            // The connection that watched is gone: nobody can say that nothing has changed.
            worker.give_back(client);
            return call.reply(|reply| reply.null_array());
        }
    }
    let (frames, id_at) = transaction.frames(call.session, call.routes);
    let body = Body::Frames { bytes: &frames, id_at };
    let seq = client.outbox.borrow_mut().open(dispatch::render_of(call.session, call.request.command));
    let mut pending = call.pending(seq, dest, call.session.timeout_ms);
    pending.skips = transaction.commands.len() as u32 + 1;
    pending.write = transaction.write;
    pending.writing = transaction.writes.as_ref().and_then(|keys| worker.writing_keys(|| keys.clone()));
    if transaction.write {
        client.wrote_in(seq);
    }
    match watch {
        None => {
            worker.submit(call.routes, pending, body);
            Step::Done
        }
        Some(watch) => {
            pending.way = Way::Watching;
            watch.connection.push(pending, body);
            worker.mark_connection(&watch.connection);
            Step::DoneAlone
        }
    }
}

impl Transaction {
    /// MULTI, the commands, EXEC: each with the context; and the place of the request id in that of EXEC.
    fn frames(&self, session: &mut Session, routes: &Routes) -> (Vec<u8>, Option<usize>) {
        let (acked_as, read_as) = (self.acked_as.as_slice(), self.read_as.as_slice());
        let last = session.prefix_of_two(&routes.table, self.write, acked_as, read_as).to_vec();
        let prefix = session.prefix_of_two(&routes.table, false, acked_as, read_as);
        let mut frames =
            Vec::with_capacity(self.args.len() + (self.commands.len() + 2) * (prefix.len() + 24));
        request_header(&mut frames, CONTEXT_ARGS + 1);
        frames.extend_from_slice(prefix);
        request_arg(&mut frames, b"MULTI");
        let mut rest = &self.args[..];
        for (count, bytes) in &self.commands {
            let (args, after) = rest.split_at_checked(*bytes).unwrap_or_default();
            request_header(&mut frames, CONTEXT_ARGS + count);
            frames.extend_from_slice(prefix);
            frames.extend_from_slice(args);
            rest = after;
        }
        request_header(&mut frames, CONTEXT_ARGS + 1);
        let id_at = id_in_prefix(&last).map(|at| frames.len() + at);
        frames.extend_from_slice(&last);
        request_arg(&mut frames, b"EXEC");
        (frames, id_at)
    }
}
