//! memcached's text protocol towards clients. Keys decide which shard executes; what needs no key is answered here
//! or asked of all shards.

mod stats;

use std::rc::Rc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use torc_protocol::command::{Command, InternalCommand};
use torc_protocol::login::Login;
use torc_protocol::memcached::{
    Item, Limits, MAX_LOGIN_BYTES, Rejection, Request, RequestError, RequestParser, Verb, text as words,
    write_line,
};
use torc_protocol::resp::{Version, request_arg};
use torc_protocol::slot::{Slot, key_slot};

use super::client::Client;
use super::render::Render;
use super::resp::Step;
use super::session::Session;
use super::turn::{Stop, Taker};
use crate::buffer::InBuffer;
use crate::call::send;
use crate::dispatch::has_room;
use crate::hot::copies::Form;
use crate::hot::flights::Share;
use crate::hot::stamps::Keys;
use crate::info::TORC_VERSION;
use crate::join::{How, Join};
use crate::policy::{ReadWay, strictest};
use crate::reads;
use crate::table::RouteTable;
use crate::text;
use crate::upstream::body::Body;
use crate::upstream::pending::{Dest, Lane, Pending};
use crate::worker::{Routes, Worker};

/// All requests of memcached clients are this command to the nodes.
const MC: Command = Command::Internal(InternalCommand::Mc);

/// A memcached client's protocol state.
#[derive(Debug)]
pub struct MemcachedSession {
    parser: RequestParser,
    /// Whether the parser keeps the bounds of a client that has not logged in.
    guarded: bool,
    session: Session,
    scratch: Vec<u8>,
}

impl MemcachedSession {
    /// For a client that has just connected.
    pub fn new(worker: &Worker) -> Self {
        let settings = worker.shared.settings.load();
        MemcachedSession {
            parser: RequestParser::new(limits(worker, false)),
            guarded: false,
            session: Session::new(
                settings.requirepass.is_empty() && worker.shared.memcached_users.load().is_empty(),
                settings.request_timeout_ms,
            ),
            scratch: Vec::new(),
        }
    }
}

/// The bounds on requests: who has not logged in makes nobody keep much.
fn limits(worker: &Worker, guarded: bool) -> Limits {
    let most = worker.shared.settings.load().memcached_item_bytes;
    Limits { max_value_bytes: if guarded { most.min(MAX_LOGIN_BYTES) } else { most }, ..Limits::default() }
}

impl Taker for MemcachedSession {
    fn take(&mut self, worker: &Rc<Worker>, client: &Rc<Client>, input: &mut InBuffer) -> Stop {
        let routes = worker.routes();
        let config = worker.settings();
        self.session.set_timeout(config.request_timeout_ms);
        loop {
            let (pending, held) = {
                let outbox = client.outbox.borrow();
                (outbox.pending(), outbox.held_bytes())
            };
            if client.bound.get() && pending > 0 {
                client.resume_at(0);
                return Stop::Wait;
            }
            client.bound.set(false);
            if pending >= config.max_pending_per_client {
                client.resume_at(config.max_pending_per_client / 2);
                return Stop::Wait;
            }
            if held > config.client_output_soft_bytes || (worker.is_crowded() && pending > 0) {
                client.paused.set(true);
                client.resume_at(pending / 2);
                return Stop::Wait;
            }
            if !self.session.authenticated && worker.shared.memcached_users.load().is_empty() {
                crate::local::enter_if_open(worker, &mut self.session);
            }
            if self.guarded == self.session.authenticated {
                self.guarded = !self.session.authenticated;
                self.parser.set_limits(limits(worker, self.guarded));
            }
            let frame = match self.parser.next(input.unread()) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Stop::Input(self.parser.need_hint()),
                Err(violation) => {
                    worker.metrics.protocol_errors.add(1);
                    if let Some(line) = violation.reply() {
                        answer(worker, client, Render::Memcached, &line);
                    }
                    return Stop::Close;
                }
            };
            let length = frame.len;
            if worker.is_paused(|| matches!(&frame.item, Item::Request(request) if request.is_write())) {
                worker.wait_for_pause(client);
                return Stop::Wait;
            }
            let mut door = Door { worker, client, session: &mut self.session, routes: &routes };
            let step = match &frame.item {
                Item::Request(request) => door.request(request, &mut self.scratch),
                Item::Rejected(rejection) => door.reject(rejection, &mut self.scratch),
                Item::Swallowed => Step::Done,
            };
            drop(frame);
            match step {
                // The parser keeps nothing of a whole request: it will find it again.
                Step::NotYet => return Stop::Wait,
                Step::Close => {
                    input.consume(length);
                    return Stop::Close;
                }
                Step::Done | Step::DoneAlone => input.consume(length),
            }
        }
    }
}

/// Answers the latest request with a line, in its order.
fn answer(worker: &Worker, client: &Rc<Client>, render: Render, line: &str) {
    let mut outbox = client.outbox.borrow_mut();
    outbox.reply(render, &worker.pool, |out| write_line(out, line));
    let unsent = outbox.unsent();
    drop(outbox);
    if unsent > 0 {
        worker.mark_client(client);
    }
}

/// What one request needs.
struct Door<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Rc<Client>,
    session: &'a mut Session,
    routes: &'a Routes,
}

impl Door<'_> {
    fn answer(&self, request: &Request<'_>, line: &str) -> Step {
        answer(self.worker, self.client, render(request), line);
        Step::Done
    }

    fn request(&mut self, request: &Request<'_>, scratch: &mut Vec<u8>) -> Step {
        if !self.session.authenticated && request.verb != Verb::Quit {
            self.authenticate(request);
            return Step::Done;
        }
        if !self.client.take_lane(lane(self.session, &self.routes.table, request)) {
            return Step::NotYet;
        }
        let step = match request.verb {
            Verb::Get | Verb::Gets | Verb::Gat | Verb::Gats => self.retrieve(request, scratch),
            Verb::Set
            | Verb::Add
            | Verb::Replace
            | Verb::Append
            | Verb::Prepend
            | Verb::Cas
            | Verb::Delete
            | Verb::Incr
            | Verb::Decr
            | Verb::Touch
            | Verb::MetaGet
            | Verb::MetaSet
            | Verb::MetaDelete
            | Verb::MetaArithmetic
            | Verb::MetaDebug => self.one(request, render(request), scratch),
            Verb::MetaNoop => self.answer(request, "MN"),
            Verb::FlushAll | Verb::CacheMemlimit | Verb::Lru | Verb::Slabs => {
                self.all(request, How::First, scratch)
            }
            Verb::LruCrawler => self.all(request, How::Dump, scratch),
            Verb::Watch => self.answer(request, text::WATCH_NODES),
            Verb::Stats => self.statistics(request, scratch),
            Verb::Version => self.answer(request, &format!("VERSION 1.6.18-torc-{TORC_VERSION}")),
            Verb::Verbosity => self.answer(request, words::OK),
            Verb::Shutdown => self.answer(request, words::SHUTDOWN_DISABLED),
            Verb::Quit => Step::Close,
        };
        if step != Step::NotYet {
            self.worker.metrics.command(MC).requests.add(1);
            let info = &self.client.info;
            info.command.store(MC.index() as u16, Ordering::Relaxed);
            info.requests.store(info.requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        step
    }

    /// With a password the first request must be a `set` of any key, whose data are "user password".
    fn authenticate(&mut self, request: &Request<'_>) {
        if request.verb != Verb::Set {
            answer(self.worker, self.client, Render::Memcached, words::UNAUTHENTICATED);
            return;
        }
        let users = self.worker.shared.memcached_users.load();
        let known = if users.is_empty() {
            let login = Login::of_memcached(request.data);
            login.is_some_and(|login| crate::local::may_enter(self.worker, &login))
        } else {
            users.admit(request.data)
        };
        self.session.authenticated = known;
        let line = match known {
            true => words::STORED,
            false if request.data.contains(&b' ') => words::AUTHENTICATION_FAILURE,
            false => words::BAD_CREDENTIALS,
        };
        answer(self.worker, self.client, Render::Memcached, line);
    }

    fn reject(&mut self, rejection: &Rejection<'_>, scratch: &mut Vec<u8>) -> Step {
        if !self.session.authenticated {
            let broken = rejection.error == RequestError::BadDataChunk;
            let line = if broken { words::BAD_TERMINATION } else { words::UNAUTHENTICATED };
            answer(self.worker, self.client, Render::Memcached, line);
            return Step::Done;
        }
        if let Some(gone) = rejection.unlink
            && let line = gone.line()
            && let Ok(request) = Request::from_parts(&line, &[])
        {
            // The old value must not be read any more where a new one was refused.
            let key = request.key();
            let count = encode(&line, None, scratch);
            let slot = key_slot(key);
            self.submit((slot, key), (Some(Keys::one(slot)), false), Render::Silent, (count, scratch));
        }
        let render = if rejection.noreply { Render::Silent } else { Render::Memcached };
        answer(self.worker, self.client, render, &rejection.error.to_string());
        Step::Done
    }

    fn pending(&self, seq: u64, part: usize, dest: Dest, write: Option<Keys>) -> Pending {
        let now_ns = self.worker.clock.now_ns();
        if write.is_some() {
            self.client.wrote_in(seq);
        }
        Pending {
            client: Some(Rc::clone(self.client)),
            seq,
            part: part as u32,
            write: write.is_some(),
            lane: self.client.lane.get(),
            writing: write.and_then(|keys| self.worker.writing_keys(|| keys)),
            ..Pending::new(dest, MC, now_ns, self.session.timeout_ms)
        }
    }

    /// `write`: the keys that it may write; `elsewhere`: whether other members than the primary can answer it.
    fn submit(
        &mut self,
        (slot, key): (Slot, &[u8]),
        (write, elsewhere): (Option<Keys>, bool),
        render: Render,
        (count, args): (usize, &[u8]),
    ) {
        let seq = self.client.outbox.borrow_mut().open(render);
        let pending = self.pending(seq, 0, Dest::Slot(slot), write);
        self.send(pending, key, (count, args), elsewhere);
    }

    /// Sends arguments (how many, and as bulk strings): to the primary, or where the policy of `key` has reads go that other
    /// members can answer (`elsewhere`).
    fn send(&mut self, pending: Pending, key: &[u8], args: (usize, &[u8]), elsewhere: bool) {
        send(self.worker, self.client, self.session, self.routes, pending, key, args, || elsewhere);
    }

    fn has_room(&self, slot: Slot) -> bool {
        has_room(self.worker, self.client, self.routes, self.routes.place(Dest::Slot(slot)))
    }

    /// A request that one shard executes as it is.
    fn one(&mut self, request: &Request<'_>, render: Render, scratch: &mut Vec<u8>) -> Step {
        let key = request.key();
        let slot = key_slot(key);
        let plain = matches!(request.verb, Verb::Get | Verb::Gets) && request.key_count() == 1;
        let mut encoded = None;
        if plain && self.worker.hot.active.get() {
            encoded = Some(encode(request.line, None, scratch));
            let (who, form) = ((self.client, &*self.session), form(self.session, scratch));
            if self.worker.answer_with_copy(self.routes, who, (&form, key), render) {
                self.worker.saw_key(self.session.db, key, false);
                return Step::Done;
            }
        }
        if !self.has_room(slot) {
            return Step::NotYet;
        }
        let hot = self.worker.saw_key(self.session.db, key, request.is_write());
        let data = request.verb.has_data().then_some(request.data);
        let count = encoded.unwrap_or_else(|| encode(request.line, data, scratch));
        if plain && (hot || self.worker.hot.coalesces.get()) {
            return self.read((slot, key), render, (hot, count, scratch.as_slice()));
        }
        let one = request.key_count() == 1;
        let keys = request.is_write().then(|| if one { Keys::one(slot) } else { Keys::All });
        let (table, session) = (&self.routes.table, &*self.session);
        let policy = match one || table.rules.is_empty() {
            true => key,
            false => strictest(session, table, request.is_write(), request.keys()).unwrap_or(key),
        };
        let elsewhere = reads::items_can_be_read_elsewhere(request);
        self.submit((slot, policy), (keys, elsewhere), render, (count, scratch));
        Step::Done
    }

    /// A read of one key where copies are kept or requests shared; `hot`: it was found that the key is.
    fn read(
        &mut self,
        (slot, key): (Slot, &[u8]),
        render: Render,
        (hot, count, args): (bool, usize, &[u8]),
    ) -> Step {
        let (worker, client, dest) = (self.worker, self.client, Dest::Slot(slot));
        let form = form(self.session, args);
        if hot {
            worker.keep_copies(self.routes, self.session, &form, (count, key), dest);
        }
        let share = match reads::rule(self.session, &self.routes.table, key) {
            None => worker.share(&self.routes.table, client, (&form, key), render),
            // What a replica may answer depends on what each client has written.
            Some(_) => Share::No,
        };
        if matches!(share, Share::Joined) {
            return Step::Done;
        }
        let seq = client.outbox.borrow_mut().open(render);
        let mut pending = self.pending(seq, 0, dest, None);
        if let Share::First(flight) = share {
            pending.flight = Some(flight);
        }
        self.send(pending, key, (count, args), true);
        Step::Done
    }

    /// Any number of keys, on any number of shards; as [`crate::plan::by_keys`] splits RESP's.
    fn retrieve(&mut self, request: &Request<'_>, scratch: &mut Vec<u8>) -> Step {
        if request.key_count() == 0 {
            return self.answer(request, words::END);
        }
        let (table, session) = (&self.routes.table, &*self.session);
        let (write, elsewhere) = (request.is_write(), reads::items_can_be_read_elsewhere(request));
        let way = |key| match table.rules.is_empty() || write {
            true => ReadWay::default(),
            false => ReadWay::of(session, table, key, elsewhere),
        };
        let mut groups: SmallVec<[(Option<usize>, ReadWay, Slot); 8]> = SmallVec::new();
        let mut order: SmallVec<[u16; 16]> = SmallVec::with_capacity(request.key_count());
        for key in request.keys() {
            let slot = key_slot(key);
            let (place, way) = (table.shard_of(slot), way(key));
            let known = groups.iter().position(|(known, read, _)| (*known, *read) == (place, way));
            let group = known.unwrap_or_else(|| {
                groups.push((place, way, slot));
                groups.len() - 1
            });
            order.push(u16::try_from(group).unwrap_or(u16::MAX));
        }
        let single = groups.len() == 1;
        let more = order.len() - usize::from(single);
        if single && more == 0 {
            return self.one(request, Render::MemcachedEnd, scratch);
        }
        if !groups.iter().all(|(.., slot)| self.has_room(*slot)) {
            return Step::NotYet;
        }
        let keys = order.len();
        self.worker
            .saw_more(self.session.db, more, write, |one| request.keys().nth(keys - more + one % more));
        if single {
            return self.one(request, Render::MemcachedEnd, scratch);
        }
        let keys = request.keys().zip(&order).map(|(key, group)| (*group, Box::from(key))).collect();
        let join = Join::new(How::Values(keys), groups.len());
        let seq = self.client.outbox.borrow_mut().open_join(Render::Memcached, join);
        for (part, (.., slot)) in groups.iter().enumerate() {
            let mut line = request.verb.as_str().as_bytes().to_vec();
            if write {
                line.extend_from_slice(format!(" {}", request.exptime).as_bytes());
            }
            let in_part = |(_, group): &(&[u8], &u16)| usize::from(**group) == part;
            let own = || request.keys().zip(&order).filter(in_part).map(|(key, _)| key);
            own().for_each(|key| {
                line.push(b' ');
                line.extend_from_slice(key);
            });
            let count = encode(&line, None, scratch);
            let pending = self.pending(seq, part, Dest::Slot(*slot), write.then_some(Keys::All));
            let key = strictest(self.session, &self.routes.table, write, own()).unwrap_or_default();
            self.send(pending, key, (count, scratch), elsewhere);
        }
        Step::Done
    }

    /// A request that every shard executes.
    fn all(&mut self, request: &Request<'_>, how: How, scratch: &mut Vec<u8>) -> Step {
        let shards = self.routes.shards();
        if shards == 0 {
            return self.answer(request, &format!("SERVER_ERROR {}", text::NO_MAP));
        }
        if !(0..shards).all(|place| has_room(self.worker, self.client, self.routes, Some(place))) {
            return Step::NotYet;
        }
        let count = encode(request.line, None, scratch);
        let seq = self.client.outbox.borrow_mut().open_join(render(request), Join::new(how, shards));
        let write = request.is_write();
        for part in 0..shards {
            let keys = write.then_some(Keys::All);
            let pending = self.pending(seq, part, Dest::Shard(self.routes.shard_id(part)), keys);
            let prefix = self.session.prefix(&self.routes.table, write, b"");
            self.worker.submit(self.routes, pending, Body::One { count, prefix, args: scratch });
        }
        Step::Done
    }
}

/// The lane of a request: the slow one where the policy of any key asks for it.
fn lane(session: &Session, table: &RouteTable, request: &Request<'_>) -> Lane {
    if !table.has_slow_rules {
        return session.lane(table, None);
    }
    let slow = |key| session.lane(table, Some(key)) == Lane::Slow;
    if request.keys().any(slow) { Lane::Slow } else { Lane::Quick }
}

fn render(request: &Request<'_>) -> Render {
    if request.noreply { Render::Silent } else { Render::Memcached }
}

/// A request as copies and shared requests know it.
fn form<'a>(session: &Session, args: &'a [u8]) -> Form<'a> {
    Form { db: session.db, resp2: session.version == Version::Resp2, args }
}

/// Writes `MC <line> [data]` as bulk strings; says how many they are.
fn encode(line: &[u8], data: Option<&[u8]>, out: &mut Vec<u8>) -> usize {
    out.clear();
    request_arg(out, b"MC");
    request_arg(out, line);
    match data {
        None => 2,
        Some(data) => {
            request_arg(out, data);
            3
        }
    }
}
