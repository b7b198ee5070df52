//! A worker's thread: its runtime, and the tasks that it begins with.

use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use torc_runtime::current_thread;
use torc_runtime::datadir::random_bytes;
use torc_runtime::listen::acceptor;
use torc_runtime::shutdown::Shutdown;
use torc_runtime::threads;

use super::driver::Driver;
use super::{Arrival, Worker};
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

/// Polls of tasks between two looks at what they wait for beside the sockets of the driver, which it looks at itself.
const POLLS_PER_LOOK: u32 = 8;

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
    // The runtime cannot leave its thread, but its failure can.
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(format!("torc-worker-{index}")).spawn(move || {
        threads::worker_begins(index);
        let runtime = match current_thread::local(POLLS_PER_LOOK) {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(error)),
        };
        current_thread::block_on_local(runtime, async move {
            let worker = new_worker(shared, index);
            match Driver::new(&worker) {
                Ok(driver) => {
                    drop(tell);
                    serve(worker, driver, accepted, orders, shutdown).await;
                }
                Err(error) => drop(tell.send(error)),
            }
        });
    })?;
    match told.recv() {
        Ok(error) => Err(error),
        Err(_) => Ok(thread),
    }
}

fn new_worker(shared: Arc<Shared>, index: usize) -> Rc<Worker> {
    let metrics = shared.workers.get(index).cloned().unwrap_or_default();
    let mut seed = [0; 8];
    if let Err(cause) = random_bytes(&mut seed) {
        tracing::warn!(%cause, "no randomness from the system: pauses are not spread");
    }
    Worker::new(shared, index, metrics, u64::from_le_bytes(seed))
}

async fn serve(
    worker: Rc<Worker>,
    driver: Driver,
    mut accepted: mpsc::Receiver<Accepted>,
    mut orders: mpsc::Receiver<Order>,
    shutdown: Shutdown,
) {
    let mut tables = worker.shared.tables.clone();
    let mut driver = tokio::task::spawn_local(driver.run());
    tokio::task::spawn_local(Rc::clone(&worker).ticker());
    tokio::task::spawn_local(Rc::clone(&worker).retrier());
    let table = Arc::clone(&tables.borrow_and_update());
    worker.set_table(table);
    let mut source_open = true;
    loop {
        tokio::select! {
            connection = accepted.recv() => match connection {
                Some(connection) => worker.door.enter(Arrival::Client(connection)),
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
            ended = &mut driver => {
                tracing::error!(?ended, worker = worker.index, "the worker serves connections no longer");
                return;
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
