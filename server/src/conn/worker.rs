//! A worker: one thread, one runtime, one executor, the connections it was handed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc};
use torc_runtime::clock;
use torc_runtime::listen::acceptor::Accepted;
use torc_runtime::shutdown::Shutdown;
use torc_runtime::threads;

use super::Protocol;
use super::ahead::Ahead;
use super::buffers::Buffers;
use super::connection::Moving;
use super::hub::{Arrival, Hub};
use crate::exec::{Executor, Now};
use crate::node::Node;
use crate::stats::WorkerStats;

/// How often connections that wait for a mark look whether the lease is gone.
const RECHECK: Duration = Duration::from_millis(50);

/// Polls of tasks between two looks at what they wait for beside the connections' sockets, which the hub looks at itself.
const POLLS_PER_LOOK: u32 = 16;

/// How old the time of expiry may be when a batch begins: a fraction of its unit.
const WALL_CLOCK_NS: u64 = 100_000;

/// How long connections get to flush when the node stops.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// See the module's text. Shared by the tasks of its thread.
pub struct Worker {
    /// The process.
    pub node: Arc<Node>,
    /// Number of the worker.
    pub index: usize,
    /// Borrowed for the length of a batch, never across an await.
    pub exec: RefCell<Executor>,
    /// Buffers that connections take turns with.
    pub buffers: Buffers,
    /// Keys that connections are about to look up; borrowed as `exec` is.
    pub ahead: RefCell<Ahead>,
    /// CLOCK_BOOTTIME nanoseconds at the last look at the wall clock, and what that said.
    wall: Cell<(u64, u64)>,
    /// Connections that wait until the high-water mark reaches an offset: (offset, client) → whom to wake.
    waiting: RefCell<BTreeMap<(u64, u64), Waker>>,
    /// Told when `waiting` is no longer empty.
    somebody_waits: Notify,
}

impl Worker {
    /// Worker `index` of the node; `seed` for its random numbers.
    pub fn new(node: Arc<Node>, index: usize, seed: u64) -> Worker {
        let exec = RefCell::new(Executor::new(&node, index, seed).with_clock(clock::boottime_ns));
        Worker {
            node,
            index,
            exec,
            buffers: Buffers::default(),
            ahead: RefCell::default(),
            wall: Cell::new((0, clock::unix_ms())),
            waiting: RefCell::new(BTreeMap::new()),
            somebody_waits: Notify::new(),
        }
    }

    /// This worker's counters.
    #[inline]
    pub fn stats(&self) -> &WorkerStats {
        &self.node.stats[self.index]
    }

    /// Both clocks, now. The wall clock, which counts milliseconds, is read anew only when the other has moved by
    /// [`WALL_CLOCK_NS`].
    #[inline]
    pub fn now(&self) -> Now {
        let boottime_ns = clock::boottime_ns();
        let (read_ns, unix_ms) = self.wall.get();
        let since_ns = boottime_ns.saturating_sub(read_ns);
        if since_ns < WALL_CLOCK_NS {
            return Now { unix_ms, boottime_ns };
        }
        let unix_ms = clock::unix_ms();
        self.wall.set((boottime_ns, unix_ms));
        Now { unix_ms, boottime_ns }
    }

    /// Wakes the connection when the mark has reached `offset`, and now and then before.
    pub fn wait_for_mark(&self, offset: u64, client: u64, waker: &Waker) {
        self.node.shard.hurry(self.index);
        self.waiting.borrow_mut().insert((offset, client), waker.clone());
        self.somebody_waits.notify_one();
    }

    /// The connection waits no longer.
    pub fn forget_wait(&self, offset: u64, client: u64) {
        self.waiting.borrow_mut().remove(&(offset, client));
    }

    /// Wakes those whose offset the mark has reached; `all`: everybody, to look at the lease.
    fn wake_waiting(&self, mark: u64, all: bool) {
        let mut waiting = self.waiting.borrow_mut();
        let rest = waiting.split_off(&(mark.saturating_add(1), 0));
        for waker in std::mem::replace(&mut *waiting, rest).into_values() {
            waker.wake();
        }
        if all {
            waiting.values().for_each(Waker::wake_by_ref);
        }
    }
}

/// Starts worker `index`; it ends when `shutdown` trips, after its connections have.
pub fn start(
    node: Arc<Node>,
    index: usize,
    seed: u64,
    connections: mpsc::Receiver<Accepted<Protocol>>,
    moving: Option<mpsc::Receiver<Box<Moving>>>,
    shutdown: Shutdown,
) -> io::Result<std::thread::JoinHandle<()>> {
    // The runtime cannot leave its thread, but its failure can.
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("torc-worker-{index}")).spawn(move || {
        threads::worker_begins(index);
        let told = node.clone();
        let mut builder = Builder::new_current_thread();
        builder.enable_all().event_interval(POLLS_PER_LOOK);
        builder.on_thread_park(move || told.shard.announce(index));
        let runtime = match builder.build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(error)),
        };
        let worker = Rc::new(Worker::new(node, index, seed));
        let connections = Rc::new(RefCell::new(connections));
        let hub = match runtime.block_on(async { Hub::new(worker.clone()) }) {
            Ok(hub) => hub.with_acceptor(connections.clone()),
            Err(error) => return drop(tell.send(error)),
        };
        drop(tell);
        runtime.block_on(serve(worker, hub, connections, moving, shutdown));
    })?;
    match told.recv() {
        Ok(error) => Err(error),
        Err(_) => Ok(thread),
    }
}

async fn serve(
    worker: Rc<Worker>,
    hub: Hub,
    connections: Rc<RefCell<mpsc::Receiver<Accepted<Protocol>>>>,
    mut moving: Option<mpsc::Receiver<Box<Moving>>>,
    shutdown: Shutdown,
) {
    let marks = tokio::task::spawn_local(follow_mark(worker.clone()));
    let expiry = tokio::task::spawn_local(crate::expiry::run(worker.node.clone(), worker.index));
    let post = {
        let worker = worker.clone();
        tokio::task::spawn_local(async move { worker.node.pubsub.deliver(worker.index).await })
    };
    let door = hub.door().clone();
    let mut hub = tokio::task::spawn_local(hub.run());
    loop {
        tokio::select! {
            accepted = poll_fn(|cx| connections.borrow_mut().poll_recv(cx)) => match accepted {
                Some(accepted) => door.enter(Arrival::Fresh(accepted)),
                None => break,
            },
            Some(moved) = next_moving(&mut moving) => door.enter(Arrival::Moved(moved)),
            ended = &mut hub => {
                tracing::error!(?ended, worker = worker.index, "the worker serves connections no longer");
                break;
            }
            () = shutdown.wait() => break,
        }
    }
    marks.abort();
    post.abort();
    expiry.abort();
    connections.borrow_mut().close();
    door.close();
    if !hub.is_finished() {
        let _ = tokio::time::timeout(DRAIN_TIME, hub).await;
    }
}

/// The next connection from another worker; none ever comes to a worker that is alone.
async fn next_moving(moving: &mut Option<mpsc::Receiver<Box<Moving>>>) -> Option<Box<Moving>> {
    match moving {
        Some(moving) => moving.recv().await,
        None => std::future::pending().await,
    }
}

/// Wakes connections as the mark moves. While none waits, the mark wakes nobody here.
async fn follow_mark(worker: Rc<Worker>) {
    let mut marks = worker.node.shard.watch_mark();
    loop {
        if worker.waiting.borrow().is_empty() {
            worker.somebody_waits.notified().await;
            continue;
        }
        // The mark may have moved before anybody waited.
        let mark = *marks.borrow_and_update();
        worker.wake_waiting(mark, false);
        let all = tokio::select! {
            changed = marks.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
            () = tokio::time::sleep(RECHECK) => true,
        };
        let mark = *marks.borrow_and_update();
        worker.wake_waiting(mark, all);
    }
}
