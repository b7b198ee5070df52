//! A worker's thread: its runtime, and the tasks that it begins with.

use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use torc_runtime::current_thread;
use torc_runtime::datadir::random_bytes;
use torc_runtime::listen::acceptor;
use torc_runtime::shutdown::Shutdown;

use super::Worker;
use crate::downstream;
use crate::shared::Shared;

/// What a listener's connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2 or RESP3.
    Resp,
    /// memcached's text protocol.
    Memcached,
}

/// A connection on its way to a worker.
pub type Accepted = acceptor::Accepted<Protocol>;

/// Orders that may wait for a worker.
pub const MAX_ORDERS: usize = 65_536;

/// What one thread asks of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Close a client.
    Kill(u64),
    /// End the waiting of a client; with an error, or as if its time were over.
    Unblock(u64, bool),
}

/// Starts a worker. It ends when `shutdown` is tripped and its clients' requests have ended (or the drain time has
/// passed).
pub fn spawn(
    shared: Arc<Shared>,
    index: usize,
    accepted: mpsc::Receiver<Accepted>,
    orders: mpsc::Receiver<Order>,
    shutdown: Shutdown,
) -> std::io::Result<thread::JoinHandle<()>> {
    let runtime = current_thread::new()?;
    thread::Builder::new().name(format!("torc-worker-{index}")).spawn(move || {
        let local = LocalSet::new();
        current_thread::block_on(runtime, local.run_until(serve(shared, index, accepted, orders, shutdown)));
    })
}

async fn serve(
    shared: Arc<Shared>,
    index: usize,
    mut accepted: mpsc::Receiver<Accepted>,
    mut orders: mpsc::Receiver<Order>,
    shutdown: Shutdown,
) {
    let metrics = shared.workers.get(index).cloned().unwrap_or_default();
    let mut tables = shared.tables.clone();
    let mut seed = [0; 8];
    if let Err(cause) = random_bytes(&mut seed) {
        tracing::warn!(%cause, "no randomness from the system: pauses are not spread");
    }
    let worker = Worker::new(shared, index, metrics, u64::from_le_bytes(seed));
    tokio::task::spawn_local(Rc::clone(&worker).flusher());
    tokio::task::spawn_local(Rc::clone(&worker).ticker());
    tokio::task::spawn_local(Rc::clone(&worker).retrier());
    let table = Arc::clone(&tables.borrow_and_update());
    worker.set_table(table);
    let mut source_open = true;
    loop {
        tokio::select! {
            connection = accepted.recv() => match connection {
                Some(connection) => downstream::welcome(&worker, connection),
                None => break,
            },
            Some(order) = orders.recv() => match order {
                Order::Kill(client) => worker.kill(client),
                Order::Unblock(client, error) => worker.unblock(client, error),
            },
            changed = tables.changed(), if source_open => {
                source_open = changed.is_ok();
                let table = Arc::clone(&tables.borrow_and_update());
                worker.clock.refresh();
                worker.set_table(table);
            }
            () = shutdown.wait() => break,
        }
    }
    drain(&worker).await;
}

/// Lets requests under way end, within the bound.
async fn drain(worker: &Rc<Worker>) {
    const STEP: Duration = Duration::from_millis(5);
    worker.draining.set(true);
    worker.clients().iter().for_each(|client| client.wake());
    let steps = worker.settings().drain_ms / STEP.as_millis() as u64;
    for _ in 0..steps {
        if worker.clients.borrow().is_empty() {
            break;
        }
        tokio::time::sleep(STEP).await;
    }
    let left = worker.clients.borrow().len();
    if left > 0 {
        tracing::warn!(worker = worker.index, clients = left, "stopped with requests under way");
    }
}

impl Worker {
    fn kill(&self, client: u64) {
        let client = self.clients.borrow().get(&client).cloned();
        if let Some(client) = client {
            client.kill();
        }
    }
}
