//! A client's turn: reads, has the requests taken, stops where it must wait, and says goodbye.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use torc_runtime::clock::unix_ms;
use torc_runtime::listen::{Readiness, StdStream};

use super::client::{Client, ClientInfo, address_text};
use super::memcached::MemcachedSession;
use super::resp::RespSession;
use crate::buffer::{InBuffer, Received};
use crate::worker::{Accepted, Call, Protocol, Worker};

/// Reads of one client before the others get their turn.
const READS_PER_TURN: usize = 4;
/// Bytes that are read ahead from a client whose requests are not taken at the moment.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// What stopped the taking of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No whole request is there; so many bytes of it are known to be missing.
    Input(usize),
    /// Requests are there, but may not be taken now; whoever stands in the way asks for a turn of the client.
    Wait,
    /// No further request will be taken: the connection ends when all are answered.
    Close,
}

/// A protocol's way with what was read.
pub trait Taker {
    /// Takes requests from `input` until something stops it.
    fn take(&mut self, worker: &Rc<Worker>, client: &Rc<Client>, input: &mut InBuffer) -> Stop;
}

/// What a turn has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It waits for its socket, or was promised a call.
    Rests,
    /// There is more to do at once, after the others.
    GoesOn,
    /// The connection is over.
    Ended,
}

/// Begins to serve an accepted connection; `call` asks for its turns.
pub fn welcome(worker: &Rc<Worker>, accepted: Accepted, call: Call) -> Served {
    let memcached = accepted.tag == Protocol::Memcached;
    let now_ms = unix_ms();
    let info = Arc::new(ClientInfo {
        id: worker.shared.clients.next_id(),
        worker: worker.index,
        address: address_text(&accepted.peer),
        local: accepted.stream.local_label(&accepted.peer),
        memcached,
        since_ms: now_ms,
        active_ms: now_ms.into(),
        db: 0.into(),
        resp: 2.into(),
        command: u16::MAX.into(),
        multi: (-1).into(),
        listens: Default::default(),
        no_evict: false.into(),
        no_touch: false.into(),
        blocked: false.into(),
        paused: false.into(),
        requests: 0.into(),
        output: 0.into(),
        labels: Default::default(),
    });
    worker.shared.clients.insert(&info);
    let client = Client::new(info, accepted.stream, accepted.permit, call);
    worker.adopt(&client);
    let session = if memcached {
        Session::Memcached(MemcachedSession::new(worker))
    } else {
        Session::Resp(RespSession::new(worker))
    };
    Served {
        client,
        session,
        input: InBuffer::default(),
        wanted: 0,
        readable: true,
        hung_up: false,
        writable: true,
        ended: false,
        closing: false,
    }
}

/// What the driver has of a client.
pub struct Served {
    client: Rc<Client>,
    session: Session,
    input: InBuffer,
    /// Bytes that the request that has begun is known to lack.
    wanted: usize,
    /// The socket may have more to read.
    readable: bool,
    /// The peer has sent its last byte: reads go on up to the end.
    hung_up: bool,
    /// There was room to write since the socket was full.
    writable: bool,
    /// Whether the end was read: the client has said all it will say.
    ended: bool,
    closing: bool,
}

#[allow(clippy::large_enum_variant, reason = "nearly all are RESP's; a box would be one more thing to read")]
enum Session {
    Resp(RespSession),
    Memcached(MemcachedSession),
}

impl Served {
    /// The socket, for whom watches it.
    pub fn stream(&self) -> &StdStream {
        &self.client.stream
    }

    /// Orders it closed.
    pub fn kill(&self) {
        self.client.kill();
    }

    /// Something has happened to the socket; true when it is to have a turn.
    #[inline]
    pub fn is_ready(&mut self, ready: &Readiness) -> bool {
        self.readable |= ready.readable;
        self.hung_up |= ready.ended;
        self.writable |= ready.writable;
        ready.readable || (ready.writable && self.client.blocked.get())
    }

    /// Its turn.
    pub fn turn(&mut self, worker: &Rc<Worker>) -> Turn {
        self.client.begin_turn();
        let turn = self.read(worker);
        worker.count_input(&self.client, self.input.capacity());
        turn
    }

    /// The connection is over.
    pub fn part(self, worker: &Worker) {
        worker.part(&self.client);
    }

    fn read(&mut self, worker: &Rc<Worker>) -> Turn {
        let client = &self.client;
        for _ in 0..READS_PER_TURN {
            if client.killed.get() {
                return Turn::Ended;
            }
            if client.blocked.get() && std::mem::take(&mut self.writable) && self.write(worker).is_err() {
                return Turn::Ended;
            }
            client.resume_never();
            let mut waits = false;
            if !self.closing && self.input.len() > 0 {
                let stop = match &mut self.session {
                    Session::Resp(session) => session.take(worker, client, &mut self.input),
                    Session::Memcached(session) => session.take(worker, client, &mut self.input),
                };
                match stop {
                    Stop::Input(wanted) => self.wanted = wanted,
                    Stop::Wait => waits = true,
                    Stop::Close => self.closing = true,
                }
            }
            let uploads = matches!(&self.session, Session::Resp(session) if session.is_uploading());
            if self.ended && uploads && !waits {
                // The rest of the request will not come.
                return Turn::Ended;
            }
            // While the worker drains, a request that has begun to pass still may.
            if !waits && (self.ended || (worker.is_draining() && !uploads)) {
                self.closing = true;
            }
            if self.closing {
                return self.farewell(worker);
            }
            if self.ended || (waits && self.input.len() >= READ_AHEAD_BYTES) {
                return Turn::Rests;
            }
            worker.count_input(client, self.input.capacity());
            if worker.is_crowded() && self.input.len() >= READ_AHEAD_BYTES {
                // The ticker makes room, and wakes everybody when there is some.
                return Turn::Rests;
            }
            if !self.readable {
                self.input.release(&worker.pool);
                return Turn::Rests;
            }
            let wanted = if waits { 0 } else { self.wanted };
            match self.input.recv(&client.stream, wanted, &worker.pool) {
                Received::Nothing => self.readable = false,
                Received::End => {
                    self.ended = true;
                    // Nobody waits for a command that waits; a request that passes is answered.
                    if !client.dedicated.borrow().iter().any(|own| own.is_uploading()) {
                        worker.give_back(client);
                    }
                    let quest = client.quest.borrow().clone();
                    if let Some(quest) = quest {
                        quest.abandon(worker);
                    }
                }
                Received::Bytes { count, all } => {
                    // What comes later is told anew, but for the end that was told already.
                    self.readable = !all || self.hung_up;
                    worker.metrics.bytes_in.add(count as u64);
                    client.info.active_ms.store(worker.clock.unix_ms(), Ordering::Relaxed);
                }
                Received::Failed(_) => return Turn::Ended,
            }
        }
        Turn::GoesOn
    }

    /// Waits for answers and for their way out; then the connection ends.
    fn farewell(&self, worker: &Rc<Worker>) -> Turn {
        let client = &self.client;
        let (pending, unsent) = {
            let outbox = client.outbox.borrow();
            (outbox.pending(), outbox.unsent())
        };
        if pending == 0 && unsent == 0 {
            return Turn::Ended;
        }
        client.resume_at(0);
        if pending == 0 && !client.blocked.get() {
            // What the socket does not take now it will when there is room.
            if let Ok((_, true)) | Err(_) = client.write_out(&worker.pool) {
                return Turn::Ended;
            }
        }
        Turn::Rests
    }

    /// Writes what the socket takes.
    fn write(&self, worker: &Rc<Worker>) -> io::Result<()> {
        let (count, _) = self.client.write_out(&worker.pool)?;
        worker.metrics.bytes_out.add(count as u64);
        Ok(())
    }
}

impl Worker {
    /// Takes note of how much memory a client's unfinished requests hold. Above the bound big ones are read no further,
    /// until the ticker has made room.
    fn count_input(&self, client: &Client, bytes: usize) {
        let before = client.input.replace(bytes);
        let all = (self.inputs.get() + bytes).saturating_sub(before);
        self.inputs.set(all);
        if bytes > before && all > self.settings.borrow().max_buffer_bytes {
            self.crowded.set(true);
        }
    }

    /// A client has come.
    fn adopt(&self, client: &Rc<Client>) {
        self.remember(client);
        let gauge =
            if client.info.memcached { &self.metrics.memcached_clients } else { &self.metrics.resp_clients };
        gauge.add(1);
    }

    /// A client has gone: whatever is under way for it is answered to nobody.
    fn part(&self, client: &Rc<Client>) {
        client.closed.set(true);
        self.count_input(client, 0);
        if let Some(quest) = client.quest.take() {
            quest.forget();
        }
        self.listens_no_more(client);
        self.give_back(client);
        client.outbox.borrow_mut().clear();
        client.drained(0);
        self.forget(client.id());
        self.shared.clients.remove(client.id());
        let gauge =
            if client.info.memcached { &self.metrics.memcached_clients } else { &self.metrics.resp_clients };
        gauge.sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_takes_little() {
        let (served, client, info) = (size_of::<Served>(), size_of::<Client>(), size_of::<ClientInfo>());
        assert!(
            served <= 1_024 && client <= 512 && info <= 512,
            "served {served}, client {client}, info {info} bytes"
        );
    }
}
