//! One connection: it reads, executes as part of its worker's batches, and writes.
//!
//! ```text
//! begin: what ended that it waited for → read once → parse ahead
//! execute: requests of the buffer, up to a bound
//! finish: messages, write, give buffers back → anything left to do?
//! ```
//!
//! Only its hub calls it, and nothing else touches the socket and the buffers. While its client takes no replies it goes
//! on reading up to a bound of unread bytes; while a request waits (parked, held back) it keeps what arrives, up
//! to a bound, and executes nothing.

mod execute;
mod meanwhile;
mod moving;
mod send;
mod stranger;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Sleep;
use torc_runtime::clock;
use torc_runtime::listen::acceptor::{Accepted, Permit};
use torc_runtime::listen::{PeerAddr, Readiness, SocketOptions, StdStream};

use super::Protocol;
use super::balance::Rate;
use super::buffers::BUFFER_BYTES;
use super::dialect::Dialect;
use super::hub::Call;
use super::output::{Output, Wait};
use super::park::Parked;
use super::worker::Worker;
use crate::blocked::Answer;
use crate::clients::{Client, flag};
use crate::exec::Session;
use crate::settings::Settings;
pub use moving::Moving;
use stranger::DENIED;

/// Bytes that may arrive while a request waits.
const WAITING_INPUT_BYTES: usize = 1 << 20;

/// An idle connection keeps no buffer that is larger than this.
const KEEP_BYTES: usize = 64 * 1024;

/// Bytes that the clients of a node together may leave unread; above it each gets only [`SHARE_BYTES`].
const NODE_UNREAD_BYTES: usize = 1 << 30;

/// See [`NODE_UNREAD_BYTES`].
const SHARE_BYTES: usize = 64 * 1024;

/// Why a connection ends here.
#[derive(Debug)]
pub enum End {
    /// The peer is gone, or somebody asked.
    Quiet,
    /// It goes on with another worker.
    Move(usize),
}

impl From<io::Error> for End {
    // A client that hangs up is no error of ours, whatever the system calls it.
    fn from(_: io::Error) -> Self {
        End::Quiet
    }
}

/// What a request that is held back waits for.
enum Held {
    /// The end of CLIENT PAUSE.
    Paused(Pin<Box<Sleep>>),
    /// Room for its record, or the end of its patience.
    ForRoom(Pin<Box<dyn Future<Output = ()>>>),
}

/// See the module's text. Owned by its hub.
pub struct Connection {
    worker: Rc<Worker>,
    stream: StdStream,
    client: Arc<Client>,
    session: Session,
    dialect: Dialect,
    input: Vec<u8>,
    /// Bytes of `input` that are done with.
    at: usize,
    output: Output,
    parked: Option<Parked>,
    /// The request at the front is held back.
    held: Option<Held>,
    /// When that request begins to wait for room no longer (CLOCK_BOOTTIME); 0: it has not waited.
    patient_until_ns: u64,
    /// What the head of the output waits for, and when it stops waiting.
    barred: Option<(Wait, Pin<Box<Sleep>>)>,
    /// The client left too many replies unread since then (Unix milliseconds); 0: it did not.
    soft_since_ms: u64,
    /// Bytes of `output` that were added to the node's account.
    accounted: usize,
    /// The socket took less than all at the last write.
    socket_full: bool,
    /// No more requests; close when the output is empty.
    closing: bool,
    /// The hub has it in its queue.
    queued: bool,
    /// The socket may have more to read.
    readable: bool,
    /// The peer has sent its last byte: reads go on up to the end.
    ended: bool,
    /// There may be whole requests in the buffer.
    more: bool,
    /// Something that is waited for beside the socket may have come, or was not asked yet.
    stirred: bool,
    /// How those are woken that wait for such things; `None` before the hub has given it a seat.
    call: Option<(Arc<Call>, Waker)>,
    /// The version of the settings that the dialect and the session go by; 0: none yet.
    configured: u64,
    /// Came from elsewhere to a node without a password: only the handshake is heard.
    stranger: bool,
    /// How busy the client is.
    rate: Rate,
    /// Requests of the turn under way.
    served: u64,
    /// The connection's place under the limit; gone when it has moved to another worker.
    permit: Option<Permit>,
}

impl Connection {
    /// Somebody has connected; `None`: was turned away.
    pub fn admit(worker: Rc<Worker>, accepted: Accepted<Protocol>) -> Option<Connection> {
        let Accepted { stream, peer, tag, permit } = accepted;
        let settings = worker.node.settings.load_full();
        let stranger = settings.protected_mode && tag.is_open(&settings) && !peer.is_local();
        // With a cluster secret a stranger may be another part of Torc: it is let in as far as the handshake.
        if stranger && (worker.node.secret.is_none() || tag == Protocol::Memcached) {
            let word: &[u8] = match tag {
                Protocol::Resp => DENIED,
                Protocol::Memcached => {
                    b"SERVER_ERROR protected mode: set a password or connect from this host\r\n"
                }
            };
            stream.write_last_word(word);
            return None;
        }
        let keepalive = (settings.tcp_keepalive_s > 0).then(|| Duration::from_secs(settings.tcp_keepalive_s));
        SocketOptions { keepalive, ..SocketOptions::default() }.apply(&stream);
        worker.stats().connections.add(1);
        let mut connection = Connection::new(worker, stream, &peer, tag, &settings, permit);
        connection.stranger = stranger;
        Some(connection)
    }

    fn new(
        worker: Rc<Worker>,
        stream: StdStream,
        peer: &PeerAddr,
        protocol: Protocol,
        settings: &Settings,
        permit: Permit,
    ) -> Connection {
        let clients = &worker.node.clients;
        let client = Client::new(
            clients.next_id(),
            peer.to_string(),
            stream.local_label(peer),
            stream.as_fd().as_raw_fd(),
            matches!(peer, PeerAddr::Unix(_)),
            if protocol == Protocol::Resp { 2 } else { 0 },
            clock::unix_ms(),
        );
        let client = clients.add(client);
        let authenticated = protocol.is_open(settings);
        let session = Session { client: Some(client.clone()), ..Session::new(client.id, authenticated) };
        let mut dialect = Dialect::new(protocol);
        dialect.configure(settings, &session);
        Connection::of_parts(worker, stream, client, session, dialect, permit)
    }

    /// A connection that nothing has happened to yet.
    fn of_parts(
        worker: Rc<Worker>,
        stream: StdStream,
        client: Arc<Client>,
        session: Session,
        dialect: Dialect,
        permit: Permit,
    ) -> Connection {
        client.set_worker(worker.index);
        Connection {
            output: Output::new(dialect.error_form()),
            worker,
            stream,
            client,
            session,
            dialect,
            input: Vec::new(),
            at: 0,
            parked: None,
            held: None,
            patient_until_ns: 0,
            barred: None,
            soft_since_ms: 0,
            accounted: 0,
            socket_full: false,
            closing: false,
            queued: true,
            readable: true,
            ended: false,
            more: false,
            stirred: false,
            call: None,
            configured: 0,
            stranger: false,
            rate: Rate::default(),
            served: 0,
            permit: Some(permit),
        }
    }

    /// The socket, for whom watches it.
    pub fn stream(&self) -> &StdStream {
        &self.stream
    }

    /// Has what it waits for call the hub so.
    pub fn call_by(&mut self, call: Arc<Call>) {
        let waker = Waker::from(call.clone());
        self.client.set_waker(&waker);
        self.call = Some((call, waker));
        // Somebody may have called while there was no seat.
        self.stirred = true;
    }

    /// The socket is ready for something; true when the hub is to queue the connection.
    #[inline]
    pub fn is_ready(&mut self, ready: &Readiness) -> bool {
        self.readable |= ready.readable;
        self.ended |= ready.ended;
        let goes_on = ready.writable && std::mem::take(&mut self.socket_full);
        let wanted = goes_on || (self.readable && self.wants_input());
        wanted && !std::mem::replace(&mut self.queued, true)
    }

    /// It was called; true when the hub is to queue the connection.
    pub fn is_stirred(&mut self) -> bool {
        self.stirred = true;
        !std::mem::replace(&mut self.queued, true)
    }

    /// Whether there are no replies to come.
    pub fn is_all_sent(&self) -> bool {
        self.output.unsent() == 0
    }

    /// Its turn begins: sees what has ended that it waited for, and reads once.
    pub fn begin(&mut self) -> Result<(), End> {
        self.queued = false;
        if self.stirred {
            self.see_calls()?;
        }
        // What is there already goes first: the end of what the peer sends is seen behind the last request.
        if self.readable && !self.more && self.wants_input() {
            self.read()?;
        }
        self.look_ahead();
        Ok(())
    }

    /// Its turn ends: replies leave. True when there is more to do at once.
    pub fn finish(&mut self) -> Result<bool, End> {
        self.deliver();
        self.flush()?;
        if self.closing && self.output.unsent() == 0 {
            return Err(End::Quiet);
        }
        self.rest();
        let goes_on = (self.more && !self.unread_bound_reached())
            || self.stirred
            || (self.readable && self.wants_input());
        if goes_on {
            // Somebody else may have queued it while a script was running.
            return Ok(!std::mem::replace(&mut self.queued, true));
        }
        match self.where_to() {
            Some(to) => Err(End::Move(to)),
            None => Ok(false),
        }
    }

    /// Looks after what has called, or was not asked yet.
    #[cold]
    fn see_calls(&mut self) -> Result<(), End> {
        let Some((call, waker)) = self.call.clone() else { return Ok(()) };
        call.answered();
        if self.client.must_close() {
            return Err(End::Quiet);
        }
        // What ended may be followed by something else that waits: it is asked in the next turn.
        self.stirred = self.poll_waiting(&mut Context::from_waker(&waker));
        Ok(())
    }

    /// Looks after what the connection waits for beside its socket; true when something ended.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(parked) = &mut self.parked {
            let unblocked = self.client.take_unblock().and_then(|how| parked.unblocked(how));
            let answer = match unblocked {
                Some(bytes) => Some(Answer { bytes, depends: parked.depends, offset: 0 }),
                None => match parked.waiting.as_mut().poll(cx) {
                    Poll::Ready(answer) => Some(answer),
                    Poll::Pending => None,
                },
            };
            if let Some(answer) = answer {
                self.unpark();
                let start = self.output.bytes.len();
                self.output.bytes.extend_from_slice(&answer.bytes);
                if answer.offset != 0 {
                    self.session.last_write = answer.offset;
                }
                if let Some(depends) = answer.depends {
                    let node = &self.worker.node;
                    execute::mark(&mut self.output, start, &depends, clock::boottime_ns(), node);
                }
                return true;
            }
        }
        if let Some(held) = &mut self.held {
            let for_room = matches!(held, Held::ForRoom(_));
            let over = match held {
                Held::Paused(sleep) => {
                    let over = sleep.as_mut().poll(cx).is_ready();
                    over || self.worker.node.clients.paused(clock::unix_ms()).is_none()
                }
                Held::ForRoom(room) => room.as_mut().poll(cx).is_ready(),
            };
            if over {
                self.let_go();
                // It waited for us, and goes before the end of what the peer sends. Who was paused may have gone: then what he
                // asked for is not executed, as in Redis.
                self.more |= for_room;
                return true;
            }
        }
        if let Some((wait, sleep)) = &mut self.barred {
            self.worker.wait_for_mark(wait.barrier, self.client.id, cx.waker());
            let wait = *wait;
            let late = sleep.as_mut().poll(cx).is_ready();
            if late || self.output.waits(&self.check()) != Some(wait) || self.check().term.is_none() {
                self.unbar();
                return true;
            }
        }
        false
    }

    /// Whether bytes are read now.
    fn wants_input(&self) -> bool {
        if self.closing || self.unread_bound_reached() {
            return false;
        }
        // It does not wait for long, and is executed though its client has said that it sends no more.
        if matches!(self.held, Some(Held::ForRoom(_))) {
            return false;
        }
        let waits = self.parked.is_some() || self.held.is_some();
        !waits || self.input.len() - self.at < WAITING_INPUT_BYTES
    }

    fn unread_bound_reached(&self) -> bool {
        let unsent = self.output.unsent();
        if unsent <= SHARE_BYTES {
            return false;
        }
        unsent >= self.worker.node.settings.load().client_unread_bound
            || self.worker.node.clients.unsent_bytes.load(Ordering::Relaxed) > NODE_UNREAD_BYTES
    }

    /// Reads once, what is there.
    fn read(&mut self) -> Result<(), End> {
        if self.input.capacity() == 0 {
            self.input = self.worker.buffers.take();
        } else if self.input.len() == self.input.capacity() {
            self.input.reserve(BUFFER_BYTES);
        }
        let room = self.input.capacity() - self.input.len();
        match self.stream.recv(&mut self.input) {
            Ok(0) => Err(End::Quiet),
            Ok(count) => {
                // Less than there was room for: the rest comes with another edge, unless that was the end's.
                self.readable = count == room || self.ended;
                self.worker.stats().bytes_in.add(count as u64);
                Client::count(&self.client.net_in, count as u64);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts messages that have come behind the replies.
    pub(super) fn deliver(&mut self) {
        let Some(subscriptions) = &self.session.subscriptions else { return };
        if subscriptions.mailbox().is_waiting() {
            if self.output.bytes.capacity() == 0 {
                self.output.bytes = self.worker.buffers.take();
            }
            subscriptions.mailbox().take(&mut self.output.bytes);
        }
    }

    /// The request at the front may go on. Who is held back counts as blocked, as in Redis.
    fn let_go(&mut self) {
        if self.held.take().is_some() {
            self.worker.node.clients.blocked.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn unpark(&mut self) {
        if self.parked.take().is_some() {
            self.client.set_flag(flag::BLOCKED, false);
            self.worker.node.clients.blocked.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Gives buffers back before the connection waits.
    fn rest(&mut self) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            self.worker.buffers.give(std::mem::take(&mut self.input));
        }
        if self.output.unsent() == 0 && self.output.bytes.capacity() > 0 {
            self.worker.buffers.give(std::mem::take(&mut self.output.bytes));
        } else if self.output.bytes.capacity() > KEEP_BYTES && self.output.bytes.len() < KEEP_BYTES / 4 {
            self.output.bytes.shrink_to(KEEP_BYTES);
        }
        let buffers = self.input.capacity() + self.output.bytes.capacity();
        self.client.buffer_bytes.store(buffers, Ordering::Relaxed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.permit.is_none() {
            return;
        }
        self.unbar();
        self.unpark();
        self.let_go();
        self.worker.node.clients.unsent_bytes.fetch_sub(self.accounted, Ordering::Relaxed);
        self.worker.node.clients.remove(self.client.id);
        for buffer in [std::mem::take(&mut self.input), std::mem::take(&mut self.output.bytes)] {
            self.worker.buffers.give(buffer);
        }
    }
}
