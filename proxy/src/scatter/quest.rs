//! A command over several shards on its way: its tries and its waits.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use torc_protocol::command::{Command, InternalCommand};
use torc_protocol::error;
use torc_protocol::resp::request_arg;
use torc_protocol::slot::Slot;

use super::gather::Gather;
use super::merge;
use crate::downstream::client::Client;
use crate::hot::stamps::Keys;
use crate::text;
use crate::upstream::body::Body;
use crate::upstream::pending::{Dest, Lane, NEVER, Pending, Way};
use crate::worker::Worker;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An element of a list.
    List,
    /// A member of a sorted set.
    SortedSet,
    /// Entries of streams, which are read.
    Stream,
    /// Entries of streams that a group was not given yet.
    Group,
    /// Nothing: all values are brought together for one node.
    Gather,
}

/// A request to one shard.
#[derive(Debug)]
pub struct Part {
    slot: Slot,
    /// How many arguments there are.
    pub count: usize,
    /// They, as bulk strings.
    pub args: Vec<u8>,
    /// Under way as a wait.
    armed: Cell<bool>,
}

impl Part {
    /// Without arguments.
    pub fn new(slot: Slot) -> Part {
        Part { slot, count: 0, args: Vec::new(), armed: Cell::new(false) }
    }
}

/// Bytes of `TORC.AWAIT` as a bulk string, and of the time behind it as it stands in a [`Part`].
const AWAIT_BYTES: usize = "$10\r\nTORC.AWAIT\r\n".len();
const ZERO_BYTES: usize = "$1\r\n0\r\n".len();
/// In `part` of a [`Pending`]: it waits.
const WAITS: u32 = 1 << 31;
/// Likewise: the command itself, with what was gathered.
const GIVEN: u32 = 1 << 30;

/// See the module's text.
#[derive(Debug)]
pub struct Quest {
    client: Rc<Client>,
    seq: u64,
    command: Command,
    kind: Kind,
    tries: Vec<Part>,
    /// Empty: it does not wait.
    waits: Vec<Part>,
    try_prefix: Vec<u8>,
    /// Also for the command with what was gathered.
    wait_prefix: Vec<u8>,
    /// When the time to wait is over, on the worker's clock; [`NEVER`]: it has no end.
    ends_ns: u64,
    since_ns: u64,
    timeout_ms: u32,
    /// Of streams: their names, as the client has them.
    names: Vec<Box<[u8]>>,
    resp2: bool,
    /// What is done with the values of all shards.
    gather: Option<Gather>,
    /// Tries under way.
    trying: Cell<usize>,
    /// Which try is under way, of those that are made one after the other.
    at: Cell<usize>,
    /// What the tries under way gave.
    parts: RefCell<Vec<Vec<u8>>>,
    /// A shard had something while tries were under way.
    again: Cell<bool>,
    /// The client has gone, or its waiting was ended.
    left: Cell<bool>,
    /// What its waiting ends with is an error.
    unblocked: Cell<bool>,
    over: Cell<bool>,
}

impl Quest {
    /// What is sent when, and with which contexts: tries, and waits.
    pub fn new(
        (client, seq, command, kind): (&Rc<Client>, u64, Command, Kind),
        (tries, waits): (Vec<Part>, Vec<Part>),
        (try_prefix, wait_prefix): (Vec<u8>, Vec<u8>),
    ) -> Quest {
        Quest {
            client: Rc::clone(client),
            seq,
            command,
            kind,
            tries,
            waits,
            try_prefix,
            wait_prefix,
            ends_ns: NEVER,
            since_ns: 0,
            timeout_ms: 0,
            names: Vec::new(),
            resp2: false,
            gather: None,
            trying: Cell::new(0),
            at: Cell::new(0),
            parts: RefCell::default(),
            again: Cell::new(false),
            left: Cell::new(false),
            unblocked: Cell::new(false),
            over: Cell::new(false),
        }
    }

    /// When it came, until when it waits (`None`: not at all), and how long one request may take.
    pub fn with_times(mut self, since_ns: u64, ends_ns: Option<u64>, timeout_ms: u32) -> Quest {
        (self.since_ns, self.ends_ns, self.timeout_ms) = (since_ns, ends_ns.unwrap_or(NEVER), timeout_ms);
        self
    }

    /// The keys as the client has them, and whether it speaks RESP2.
    pub fn with_names(mut self, names: Vec<Box<[u8]>>, resp2: bool) -> Quest {
        (self.names, self.resp2) = (names, resp2);
        self
    }

    /// The tries are for values that one node is given.
    pub fn with_gather(mut self, gather: Gather, resp2: bool) -> Quest {
        (self.gather, self.resp2) = (Some(gather), resp2);
        self
    }

    /// Bytes that were brought together so far.
    pub fn held_bytes(&self) -> usize {
        self.gather.as_ref().map_or(0, Gather::held_bytes)
    }

    /// Whether nobody waits for what is still under way for it.
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Whether all shards are tried at once.
    fn reads_streams(&self) -> bool {
        matches!(self.kind, Kind::Stream | Kind::Group | Kind::Gather)
    }

    /// The first tries.
    pub fn start(self: &Rc<Self>, worker: &Rc<Worker>) {
        self.try_all(worker);
    }

    fn try_all(self: &Rc<Self>, worker: &Rc<Worker>) {
        self.again.set(false);
        self.at.set(0);
        self.parts.borrow_mut().clear();
        let count = if self.reads_streams() { self.tries.len() } else { 1 };
        self.trying.set(count);
        for at in 0..count {
            self.try_one(worker, at);
        }
    }

    fn pending(self: &Rc<Self>, worker: &Worker, slot: Slot, part: u32, command: Command) -> Pending {
        let now_ns = worker.clock.now_ns();
        Pending {
            client: Some(Rc::clone(&self.client)),
            quest: Some(Rc::clone(self)),
            seq: self.seq,
            part,
            lane: Lane::default(),
            ..Pending::new(Dest::Slot(slot), command, now_ns, self.timeout_ms)
        }
    }

    fn try_one(self: &Rc<Self>, worker: &Rc<Worker>, at: usize) {
        let Some(part) = self.tries.get(at) else { return };
        let gathers = self.kind == Kind::Gather;
        let command = if gathers { Command::Internal(InternalCommand::TorcCollect) } else { self.command };
        let mut pending = self.pending(worker, part.slot, at as u32, command);
        pending.write = !gathers && self.command.spec().is_write();
        if pending.write {
            pending.writing = worker.writing_keys(|| Keys::All);
        }
        pending.lane = self.client.lane.get();
        let body = Body::One { count: part.count, prefix: &self.try_prefix, args: &part.args };
        worker.submit(&worker.routes(), pending, body);
    }

    /// Waits at all shards where it does not yet.
    fn wait(self: &Rc<Self>, worker: &Rc<Worker>) {
        let now_ns = worker.clock.now_ns();
        if self.waits.is_empty() || self.left.get() || self.ends_ns <= now_ns {
            return self.finish_with_nothing(worker);
        }
        for (at, part) in self.waits.iter().enumerate() {
            if self.over.get() || part.armed.replace(true) {
                continue;
            }
            let command = match self.kind {
                Kind::Stream => self.command,
                _ => Command::Internal(InternalCommand::TorcAwait),
            };
            let mut pending = self.pending(worker, part.slot, at as u32 | WAITS, command);
            pending.way = Way::OneShot;
            pending.waits_until_ns = self.ends_ns;
            pending.deadline_ns = match self.ends_ns {
                NEVER => NEVER,
                ends_ns => ends_ns.saturating_add(u64::from(self.timeout_ms) * 1_000_000),
            };
            let mut args = Vec::new();
            if self.kind != Kind::Stream {
                request_arg(&mut args, b"TORC.AWAIT");
                request_arg(&mut args, self.seconds_left(now_ns).as_bytes());
            }
            args.extend_from_slice(
                part.args
                    .get(if args.is_empty() { 0 } else { AWAIT_BYTES + ZERO_BYTES }..)
                    .unwrap_or_default(),
            );
            let body = Body::One { count: part.count, prefix: &self.wait_prefix, args: &args };
            worker.submit_alone(&worker.routes(), pending, body);
        }
    }

    fn seconds_left(&self, now_ns: u64) -> String {
        if self.ends_ns == NEVER {
            return "0".into();
        }
        let ms = (self.ends_ns.saturating_sub(now_ns)).div_ceil(1_000_000).max(1);
        format!("{}.{:03}", ms / 1000, ms % 1000)
    }

    /// A shard has answered.
    pub fn answered(self: &Rc<Self>, worker: &Rc<Worker>, part: u32, frame: &[u8]) {
        if self.over.get() {
            return;
        }
        if part & WAITS != 0 {
            self.woken(worker, (part & !WAITS) as usize, frame);
        } else if part & GIVEN != 0 {
            self.finish(worker, frame);
        } else if let Some(gather) = &self.gather {
            self.gathered(worker, gather, part as usize, frame);
        } else {
            self.tried(worker, frame);
        }
    }

    fn tried(self: &Rc<Self>, worker: &Rc<Worker>, frame: &[u8]) {
        self.trying.set(self.trying.get().saturating_sub(1));
        if self.reads_streams() {
            self.parts.borrow_mut().push(frame.to_vec());
            if self.trying.get() == 0 {
                self.join(worker);
            }
        } else if !is_null(frame) {
            self.finish(worker, frame);
        } else if self.at.get() + 1 < self.tries.len() && !self.left.get() {
            self.at.set(self.at.get() + 1);
            self.trying.set(1);
            self.try_one(worker, self.at.get());
        } else {
            self.found_nothing(worker);
        }
    }

    /// A shard has given the values of its keys; after the last one the command goes to a node with all of them.
    fn gathered(self: &Rc<Self>, worker: &Rc<Worker>, gather: &Gather, part: usize, frame: &[u8]) {
        self.trying.set(self.trying.get().saturating_sub(1));
        if is_error(frame) {
            return self.finish(worker, frame);
        }
        if let Err(text) = gather.take(part, frame) {
            return self.refuse(worker, text);
        }
        if self.trying.get() > 0 {
            return;
        }
        let (command, count, args) = gather.request();
        let mut pending = self.pending(worker, gather.home, GIVEN, command);
        pending.write = command.spec().is_write();
        if pending.write {
            pending.writing = worker.writing_keys(|| Keys::one(gather.home));
        }
        // Both steps together have the time of one request.
        let ends_ns = self.since_ns.saturating_add(u64::from(self.timeout_ms) * 1_000_000);
        pending.deadline_ns = pending.deadline_ns.min(ends_ns);
        pending.lane = self.client.lane.get();
        let body = Body::One { count, prefix: &self.wait_prefix, args: &args };
        worker.submit(&worker.routes(), pending, body);
    }

    /// All tries for streams are answered.
    fn join(self: &Rc<Self>, worker: &Rc<Worker>) {
        let parts = self.parts.take();
        let given: Vec<&[u8]> =
            parts.iter().map(Vec::as_slice).filter(|part| !is_null(part) && !is_error(part)).collect();
        // What a group was given is told, even where another shard has failed.
        if given.is_empty() {
            return match parts.iter().find(|part| is_error(part)) {
                Some(error) => self.finish(worker, error),
                None => self.found_nothing(worker),
            };
        }
        let mut frame = Vec::new();
        match merge::streams(&self.names, &given, self.resp2, &mut frame) {
            Some(()) => self.finish(worker, &frame),
            None => self.refuse(worker, text::BAD_REPLY),
        }
    }

    fn found_nothing(self: &Rc<Self>, worker: &Rc<Worker>) {
        if self.again.get() && !self.left.get() {
            self.try_all(worker);
        } else {
            self.wait(worker);
        }
    }

    /// A shard that was waited at has something, or the time is over.
    fn woken(self: &Rc<Self>, worker: &Rc<Worker>, at: usize, frame: &[u8]) {
        if let Some(part) = self.waits.get(at) {
            part.armed.set(false);
        }
        if is_error(frame) || (self.kind == Kind::Stream && !is_null(frame)) {
            self.finish(worker, frame);
        } else if is_null(frame) {
            if self.trying.get() == 0 {
                self.finish_with_nothing(worker);
            }
        } else if self.trying.get() > 0 {
            self.again.set(true);
        } else {
            self.try_all(worker);
        }
    }

    /// The client has gone: nothing more is tried for it.
    pub fn abandon(&self, worker: &Worker) {
        if self.kind == Kind::Gather {
            // It waits for nobody: it ends by itself.
            return;
        }
        self.left.set(true);
        if self.trying.get() == 0 {
            self.finish_with_nothing(worker);
        }
    }

    /// CLIENT UNBLOCK: it ends as if its time were over, or with an error; what a try under way takes is given all the same.
    pub fn unblock(&self, worker: &Worker, error: bool) {
        if !self.waits.is_empty() {
            self.unblocked.set(error);
            self.abandon(worker);
        }
    }

    /// The client's connection is closed.
    pub fn forget(&self) {
        self.over.set(true);
    }

    fn finish_with_nothing(&self, worker: &Worker) {
        if self.unblocked.get() {
            return self.refuse(worker, error::UNBLOCKED);
        }
        self.finish(worker, if self.resp2 { b"*-1\r\n" } else { b"_\r\n" });
    }

    /// Answers with an error of the proxy.
    pub fn refuse(&self, worker: &Worker, text: &str) {
        self.finish(worker, format!("-{text}\r\n").as_bytes());
    }

    fn finish(&self, worker: &Worker, frame: &[u8]) {
        if self.over.replace(true) {
            return;
        }
        let client = &self.client;
        client.quest.take();
        worker.call_off(client);
        worker.hand_over(client, self.command, (self.seq, 0, self.since_ns), frame);
    }
}

fn is_null(frame: &[u8]) -> bool {
    matches!(frame, [b'_', ..] | [b'*' | b'$', b'-', ..])
}

fn is_error(frame: &[u8]) -> bool {
    frame.first() == Some(&b'-')
}
