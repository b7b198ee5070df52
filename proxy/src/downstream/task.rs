//! A client's task: reads, has the requests taken, waits when it must, and says goodbye.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use torc_runtime::clock::unix_ms;

use super::client::{Client, ClientInfo, address_text};
use super::memcached::MemcachedSession;
use super::resp::RespSession;
use crate::buffer::InBuffer;
use crate::worker::{Accepted, Protocol, Worker};

/// Reads of one client before the others get their turn.
const READS_PER_TURN: usize = 4;
/// Bytes that are read ahead from a client whose requests are not taken at the moment.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// What stopped the taking of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No whole request is there; so many bytes of it are known to be missing.
    Input(usize),
    /// Requests are there, but may not be taken now; whoever stands in the way wakes the task.
    Wait,
    /// No further request will be taken: the connection ends when all are answered.
    Close,
}

/// A protocol's way with what was read.
pub trait Taker {
    /// Takes requests from `input` until something stops it.
    fn take(&mut self, worker: &Rc<Worker>, client: &Rc<Client>, input: &mut InBuffer) -> Stop;
}

/// Begins to serve an accepted connection.
pub fn welcome(worker: &Rc<Worker>, accepted: Accepted) {
    let local = accepted.stream.local_label(&accepted.peer);
    let stream = match accepted.stream.into_async() {
        Ok(stream) => stream,
        Err(cause) => {
            tracing::warn!(%cause, "cannot use an accepted connection");
            return;
        }
    };
    let memcached = accepted.tag == Protocol::Memcached;
    let now_ms = unix_ms();
    let info = Arc::new(ClientInfo {
        id: worker.shared.clients.next_id(),
        worker: worker.index,
        address: address_text(&accepted.peer),
        local,
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
        requests: 0.into(),
        output: 0.into(),
        labels: Default::default(),
    });
    worker.shared.clients.insert(&info);
    let client = Client::new(info, stream, accepted.permit);
    worker.adopt(&client);
    let worker = Rc::clone(worker);
    if memcached {
        let session = MemcachedSession::new(&worker);
        tokio::task::spawn_local(Serve { worker, client, session, reader: Reader::default() });
    } else {
        let session = RespSession::new(&worker);
        tokio::task::spawn_local(Serve { worker, client, session, reader: Reader::default() });
    }
}

/// A client's task. Written by hand: a compiled one keeps its arguments beside what they were moved to, and there are as
/// many of these as clients.
struct Serve<S> {
    worker: Rc<Worker>,
    client: Rc<Client>,
    session: S,
    reader: Reader,
}

impl<S: Taker + Unpin> Future for Serve<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Serve { worker, client, session, reader } = self.get_mut();
        let poll = reader.poll(worker, client, session, context);
        worker.count_input(client, reader.input.capacity());
        if poll.is_ready() {
            worker.part(client);
        }
        poll
    }
}

/// What the task has read, and whether it still reads.
#[derive(Debug, Default)]
struct Reader {
    input: InBuffer,
    /// Bytes that the request that has begun is known to lack.
    wanted: usize,
    /// Whether the client has said all it will say.
    ended: bool,
    closing: bool,
}

impl Reader {
    fn poll(
        &mut self,
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        session: &mut impl Taker,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        client.set_waker(context);
        for _ in 0..READS_PER_TURN {
            if client.killed.get() {
                return Poll::Ready(());
            }
            if client.blocked.get() && self.write(worker, client, context).is_err() {
                return Poll::Ready(());
            }
            client.resume_never();
            let mut waits = false;
            if !self.closing && self.input.len() > 0 {
                match session.take(worker, client, &mut self.input) {
                    Stop::Input(wanted) => self.wanted = wanted,
                    Stop::Wait => waits = true,
                    Stop::Close => self.closing = true,
                }
            }
            if !waits && (self.ended || worker.is_draining()) {
                self.closing = true;
            }
            if self.closing {
                return Self::farewell(worker, client);
            }
            if self.ended || (waits && self.input.len() >= READ_AHEAD_BYTES) {
                return Poll::Pending;
            }
            worker.count_input(client, self.input.capacity());
            if worker.is_crowded() && self.input.len() >= READ_AHEAD_BYTES {
                // The ticker makes room, and wakes everybody when there is some.
                return Poll::Pending;
            }
            let wanted = if waits { 0 } else { self.wanted };
            let read = self.input.poll_read(&mut *client.stream.borrow_mut(), wanted, &worker.pool, context);
            match read {
                Poll::Pending => {
                    self.input.release(&worker.pool);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => {
                    self.ended = true;
                    // Nobody waits for a command that waits.
                    worker.give_back(client);
                    let quest = client.quest.borrow().clone();
                    if let Some(quest) = quest {
                        quest.abandon(worker);
                    }
                }
                Poll::Ready(Ok(count)) => {
                    worker.metrics.bytes_in.add(count as u64);
                    worker.clock.refresh();
                    client.info.active_ms.store(worker.clock.unix_ms(), Ordering::Relaxed);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits for answers and for their way out; then the connection ends.
    fn farewell(worker: &Rc<Worker>, client: &Rc<Client>) -> Poll<()> {
        let outbox = client.outbox.borrow();
        if outbox.pending() == 0 && outbox.unsent() == 0 {
            return Poll::Ready(());
        }
        let (pending, unsent) = (outbox.pending(), outbox.unsent());
        drop(outbox);
        client.resume_at(0);
        if pending == 0 && unsent > 0 && !client.blocked.get() {
            if let Ok((_, true)) | Err(_) = client.write_out(&worker.pool) {
                return Poll::Ready(());
            }
            client.blocked.set(true);
            client.wake();
        }
        Poll::Pending
    }

    /// Writes what the socket takes, and waits for room for the rest.
    fn write(
        &self,
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        context: &mut Context<'_>,
    ) -> std::io::Result<()> {
        let mut stream = client.stream.borrow_mut();
        let mut outbox = client.outbox.borrow_mut();
        while outbox.unsent() > 0 {
            match Pin::new(&mut *stream).poll_write(context, outbox.to_send()) {
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    worker.metrics.bytes_out.add(count as u64);
                    outbox.sent(count, &worker.pool);
                }
                Poll::Ready(Err(cause)) => return Err(cause),
                Poll::Pending => return Ok(()),
            }
        }
        client.blocked.set(false);
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
        let (task, client, info) =
            (size_of::<Serve<RespSession>>(), size_of::<Client>(), size_of::<ClientInfo>());
        assert!(
            task <= 1_024 && client <= 512 && info <= 512,
            "task {task}, client {client}, info {info} bytes"
        );
    }
}
