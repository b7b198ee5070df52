//! A worker's subscriptions at the primary of one shard: one connection, opened when somebody listens.
//!
//! What the node is told is worked out from the hub when it is told; `told` is what it knows. After a break the next
//! connection tells everything again.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ahash::RandomState;
use smallvec::SmallVec;
use thiserror::Error;
use tokio::io::AsyncWrite;
use torc_cluster::ShardId;
use torc_protocol::resp::{ProtocolError, ReplyKind, ReplyScanner, request_arg, request_header};
use torc_runtime::listen::Stream;

use super::{Ask, Kind, Name};
use crate::buffer::InBuffer;
use crate::table::Target;
use crate::upstream::handshake::{self, Dialled};
use crate::worker::Worker;

/// The pause before a node is tried again, doubled up to the second one while it goes on.
const FIRST_PAUSE_NS: u64 = 25_000_000;
const LAST_PAUSE_NS: u64 = 400_000_000;
/// A connection that nobody needs ends after this.
const LINGER_NS: u64 = 10_000_000_000;
/// A node that has said nothing for this long is asked whether it is there; for twice as long again, it is not.
const PING_NS: u64 = 5_000_000_000;
/// Reads before others of the worker get their turn.
const READS_PER_TURN: usize = 8;
/// An output buffer above this is freed when it is empty.
const KEEP_BYTES: usize = 64 * 1024;

/// Those who wait for one answer of the node.
type Asks = SmallVec<[Rc<Ask>; 1]>;
/// How many clients the node knows of, by topic.
type Told = HashMap<(Kind, Name), u32, RandomState>;

#[derive(Debug, Default)]
struct State {
    open: bool,
    told: Told,
    /// What the node is to be told.
    dirty: HashMap<(Kind, Name), Asks, RandomState>,
    /// Shard channels that the node has ended although they seem to be its own: tried again at the next tick.
    refused: Vec<Name>,
    /// Clients that wait for the next connection.
    carried: Vec<Rc<Ask>>,
    /// For each request that the node has not answered.
    awaiting: VecDeque<Asks>,
    out: Vec<u8>,
    written: usize,
}

/// See the module's text.
#[derive(Debug)]
pub struct Feed {
    shard: ShardId,
    target: RefCell<Option<Target>>,
    /// The open connection leads to another node than it should.
    astray: Cell<bool>,
    ended: Cell<bool>,
    /// An earlier connection had subscriptions.
    lost: Cell<bool>,
    heard_ns: Cell<u64>,
    pinged_ns: Cell<u64>,
    needed_ns: Cell<u64>,
    state: RefCell<State>,
    waker: RefCell<Option<Waker>>,
}

/// Why a connection ended.
#[derive(Debug, Error)]
enum Ended {
    #[error("the node closed the connection")]
    ByNode,
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("malformed reply: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("a reply without a request")]
    Unasked,
    #[error("the node does not answer")]
    Silent,
    /// Another primary, or nobody listens.
    #[error("closed")]
    ByUs,
}

impl Feed {
    /// Begins; it connects when somebody listens.
    pub fn start(worker: &Rc<Worker>, shard: ShardId) -> Rc<Feed> {
        let feed = Rc::new(Feed {
            shard,
            target: RefCell::new(None),
            astray: Cell::new(false),
            ended: Cell::new(false),
            lost: Cell::new(false),
            heard_ns: Cell::new(0),
            pinged_ns: Cell::new(0),
            needed_ns: Cell::new(0),
            state: RefCell::default(),
            waker: RefCell::new(None),
        });
        tokio::task::spawn_local(run(Rc::clone(worker), Rc::clone(&feed)));
        feed
    }

    /// The shard is no more.
    pub fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    /// The shard's primary.
    pub fn aim(&self, target: Option<Target>) {
        let mut known = self.target.borrow_mut();
        if *known != target {
            *known = target;
            self.astray.set(true);
            drop(known);
            self.wake();
        }
    }

    /// A topic has more or fewer listeners; `ask` waits until the node knows. One that ends listening does not wait for
    /// a node that is not there.
    pub fn tell(&self, kind: Kind, name: &Name, ask: Option<&Rc<Ask>>) {
        let mut state = self.state.borrow_mut();
        if state.open {
            let asks = state.dirty.entry((kind, Rc::clone(name))).or_default();
            if let Some(ask) = ask {
                ask.expect();
                asks.push(Rc::clone(ask));
            }
        } else if let Some(ask) = ask.filter(|ask| ask.is_join()) {
            ask.expect();
            state.carried.push(Rc::clone(ask));
        }
        drop(state);
        self.wake();
    }

    /// The map is another: what the node knows is compared with what it should.
    pub fn resync(&self, worker: &Worker) {
        let topics = worker.hub.all();
        let mut state = self.state.borrow_mut();
        let State { open, told, dirty, .. } = &mut *state;
        if *open {
            for (kind, name) in told.keys().filter(|(kind, _)| *kind == Kind::Shard) {
                if !worker.is_fed_by(self.shard, *kind, name) {
                    dirty.entry((*kind, Rc::clone(name))).or_default();
                }
            }
            for topic in topics {
                if worker.is_fed_by(self.shard, topic.0, &topic.1) && !told.contains_key(&topic) {
                    worker.metrics.resubscriptions.add(1);
                    dirty.entry(topic).or_default();
                }
            }
        }
        drop(state);
        self.wake();
    }

    /// Ends a connection that nobody needs or that is dead; tries again what was refused.
    pub fn tick(&self, now_ns: u64, needed: bool) {
        if needed {
            self.needed_ns.set(now_ns);
        }
        let mut state = self.state.borrow_mut();
        if !state.open {
            return;
        }
        for name in std::mem::take(&mut state.refused) {
            state.dirty.entry((Kind::Shard, name)).or_default();
        }
        if self.needed_ns.get() + LINGER_NS < now_ns || self.heard_ns.get() + 3 * PING_NS < now_ns {
            self.astray.set(true);
        } else if self.heard_ns.get().max(self.pinged_ns.get()) + PING_NS < now_ns {
            self.pinged_ns.set(now_ns);
            ping(&mut state, Asks::new());
        }
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn set_waker(&self, context: &Context<'_>) {
        self.waker.replace(Some(context.waker().clone()));
    }

    /// Ready when a connection is wanted.
    fn poll_wanted(&self, worker: &Worker, context: &Context<'_>) -> Poll<Option<Target>> {
        self.set_waker(context);
        if self.ended.get() {
            return Poll::Ready(None);
        }
        let target = self.target.borrow().clone();
        match target {
            Some(target) if !worker.hub.is_empty() => {
                self.astray.set(false);
                Poll::Ready(Some(target))
            }
            _ => Poll::Pending,
        }
    }

    /// A connection is open: the node is told everything.
    fn opened(&self, worker: &Worker) {
        let now_ns = worker.clock.refresh();
        for cell in [&self.heard_ns, &self.pinged_ns, &self.needed_ns] {
            cell.set(now_ns);
        }
        let topics = worker.hub.all();
        let mut state = self.state.borrow_mut();
        state.open = true;
        let mut count = 0;
        for (kind, name) in topics {
            if worker.is_fed_by(self.shard, kind, &name) {
                let weight = worker.hub.weight(kind, &name);
                count += 1;
                listen(&mut state, kind, name, weight, Asks::new());
            }
        }
        // Its answer comes behind all the others.
        let carried = std::mem::take(&mut state.carried);
        ping(&mut state, carried.into_iter().collect());
        if self.lost.replace(false) {
            worker.metrics.resubscriptions.add(count);
        }
        worker.metrics.feeds.add(1);
    }

    /// The connection is gone.
    fn closed(&self, worker: &Worker) {
        let mut state = self.state.borrow_mut();
        state.open = false;
        self.lost.set(self.lost.get() || !state.told.is_empty());
        state.told = Told::default();
        let (dirty, awaiting) = (std::mem::take(&mut state.dirty), std::mem::take(&mut state.awaiting));
        (state.out, state.written) = (Vec::new(), 0);
        state.refused.clear();
        // Those who begin to listen wait for the next connection; the others need nobody to forget them any more.
        let (joins, leaves): (Vec<_>, Vec<_>) =
            dirty.into_values().chain(awaiting).flatten().partition(|ask| ask.is_join());
        state.carried.extend(joins);
        drop(state);
        leaves.iter().for_each(|ask| worker.ask_answered(ask, None));
        worker.metrics.feeds.sub(1);
    }

    /// Writes down what the node is to be told.
    fn compose(&self, worker: &Worker) {
        let mut state = self.state.borrow_mut();
        for ((kind, name), asks) in std::mem::take(&mut state.dirty) {
            let fed = worker.is_fed_by(self.shard, kind, &name);
            let weight = if fed { worker.hub.weight(kind, &name) } else { 0 };
            let known = state.told.get(&(kind, Rc::clone(&name))).copied().unwrap_or(0);
            if known != weight || !asks.is_empty() {
                listen(&mut state, kind, name, weight, asks);
            }
        }
    }

    fn poll(
        &self,
        worker: &Worker,
        stream: &mut Stream,
        (input, scanner): (&mut InBuffer, &mut ReplyScanner),
        context: &mut Context<'_>,
    ) -> Poll<Ended> {
        self.set_waker(context);
        for _ in 0..READS_PER_TURN {
            if self.ended.get() {
                return Poll::Ready(Ended::ByUs);
            }
            if self.astray.get() {
                let silent = self.heard_ns.get() + 3 * PING_NS < worker.clock.now_ns();
                return Poll::Ready(if silent { Ended::Silent } else { Ended::ByUs });
            }
            self.compose(worker);
            if let Poll::Ready(Err(cause)) = self.poll_write(stream, context) {
                return Poll::Ready(cause.into());
            }
            let read = input.poll_read(stream, scanner.need_hint(), &worker.pool, context);
            if read.is_pending() {
                input.release(&worker.pool);
            }
            match ready!(read) {
                Ok(0) => return Poll::Ready(Ended::ByNode),
                Ok(_) => self.heard_ns.set(worker.clock.refresh()),
                Err(cause) => return Poll::Ready(cause.into()),
            }
            loop {
                let frame = match scanner.next(input.unread()) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(cause) => return Poll::Ready(cause.into()),
                };
                let body = input.unread().get(frame.body.clone()).unwrap_or_default();
                if frame.kind == ReplyKind::Push {
                    self.pushed(worker, body);
                } else if !self.answered(worker, body) {
                    return Poll::Ready(Ended::Unasked);
                }
                input.consume(frame.len);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(&self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        while state.written < state.out.len() {
            let bytes = state.out.get(state.written..).unwrap_or_default();
            match ready!(Pin::new(&mut *stream).poll_write(context, bytes)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => state.written += count,
                Err(cause) => return Poll::Ready(Err(cause)),
            }
        }
        state.written = 0;
        state.out.clear();
        if state.out.capacity() > KEEP_BYTES {
            state.out = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// The node has answered. False: it was not asked.
    fn answered(&self, worker: &Worker, body: &[u8]) -> bool {
        let Some(asks) = self.state.borrow_mut().awaiting.pop_front() else { return false };
        let error = body
            .strip_prefix(b"-")
            .map(|text| String::from_utf8_lossy(text.strip_suffix(b"\r\n").unwrap_or(text)).into_owned());
        if let Some(text) = &error {
            tracing::warn!(shard = self.shard.0, %text, "the node refused a subscription");
        }
        asks.iter().for_each(|ask| worker.ask_answered(ask, error.as_deref()));
        true
    }

    /// The node has pushed something.
    fn pushed(&self, worker: &Worker, body: &[u8]) {
        let Some((word, name)) = words(body) else { return };
        match word {
            b"message" => worker.spread(Kind::Channel, name, body),
            b"pmessage" => worker.spread(Kind::Pattern, name, body),
            b"smessage" => worker.spread(Kind::Shard, name, body),
            // The slot is another node's: the map says whose, now or soon.
            b"sunsubscribe" => {
                let name: Name = name.into();
                let mut state = self.state.borrow_mut();
                state.told.remove(&(Kind::Shard, Rc::clone(&name)));
                worker.metrics.resubscriptions.add(1);
                state.refused.push(name);
            }
            _ => {}
        }
    }
}

fn listen(state: &mut State, kind: Kind, name: Name, weight: u32, asks: Asks) {
    request_header(&mut state.out, 4);
    request_arg(&mut state.out, b"TORC.LISTEN");
    request_arg(&mut state.out, kind.word());
    request_arg(&mut state.out, &name);
    request_arg(&mut state.out, itoa::Buffer::new().format(weight).as_bytes());
    state.awaiting.push_back(asks);
    if weight == 0 {
        state.told.remove(&(kind, name));
    } else {
        state.told.insert((kind, name), weight);
    }
}

fn ping(state: &mut State, asks: Asks) {
    // Unlike PING it is not shown by MONITOR.
    request_header(&mut state.out, 4);
    for arg in [&b"TORC.LISTEN"[..], b"none", b"", b"0"] {
        request_arg(&mut state.out, arg);
    }
    state.awaiting.push_back(asks);
}

/// The first two strings of a push.
fn words(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = memchr::memchr(b'\n', body)? + 1;
    let (word, rest) = bulk(body.get(line..)?)?;
    let (name, _) = bulk(rest)?;
    Some((word, name))
}

fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(b"$")?;
    let end = memchr::memchr(b'\r', rest)?;
    let length: usize = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
    let start = end + 2;
    Some((rest.get(start..start.checked_add(length)?)?, rest.get(start + length + 2..)?))
}

async fn run(worker: Rc<Worker>, feed: Rc<Feed>) {
    let mut failures: u32 = 0;
    loop {
        let target = std::future::poll_fn(|context| feed.poll_wanted(&worker, context)).await;
        let Some(target) = target else { break };
        let mut heard = false;
        let cause = match handshake::dial(&worker, &target.address, false).await {
            Ok(Dialled { mut stream, .. }) => {
                feed.opened(&worker);
                let opened_ns = feed.heard_ns.get();
                let (mut input, mut scanner) = (InBuffer::default(), ReplyScanner::new());
                let ended = std::future::poll_fn(|context| {
                    feed.poll(&worker, &mut stream, (&mut input, &mut scanner), context)
                })
                .await;
                heard = feed.heard_ns.get() > opened_ns;
                feed.closed(&worker);
                if matches!(ended, Ended::ByUs) {
                    failures = 0;
                    continue;
                }
                ended.to_string()
            }
            Err(cause) => cause.to_string(),
        };
        failures = if heard { 1 } else { failures.saturating_add(1) };
        if failures == 1 {
            tracing::warn!(node = %target.address, %cause, "lost the subscriptions at the node");
        }
        let pause = (FIRST_PAUSE_NS << failures.min(8)).min(LAST_PAUSE_NS);
        tokio::time::sleep(Duration::from_nanos(worker.jitter(pause))).await;
    }
    // The shard is gone: nobody waits for it.
    let carried = std::mem::take(&mut feed.state.borrow_mut().carried);
    carried.iter().for_each(|ask| worker.ask_answered(ask, None));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_of_a_push_is_found() {
        let push = b">3\r\n$7\r\nmessage\r\n$2\r\n\r\n\r\n$1\r\nx\r\n";
        assert_eq!(words(push), Some((&b"message"[..], &b"\r\n"[..])));
        assert_eq!(words(b">2\r\n$10\r\ninvalidate\r\n_\r\n"), None);
        assert_eq!(words(b">0\r\n"), None);
    }
}
