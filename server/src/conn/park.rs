//! Requests that wait: WAIT, DEBUG SLEEP, LOCK.ACQUIRE … WAIT.
//!
//! A parked connection reads no further request (its bytes may arrive, up to a bound); the waiting ends with a
//! reply, or because the client is gone: then the future is dropped, and with it its place in any queue.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use torc_protocol::resp::{ReplyWriter, Version};

use super::worker::Worker;
use crate::clients::Unblock;
use crate::exec::Park;

/// Ends with the bytes of the reply.
pub type Waiting = Pin<Box<dyn Future<Output = Vec<u8>>>>;

/// A request that waits.
pub struct Parked {
    /// Polled by the connection.
    pub waiting: Waiting,
    /// What is answered when somebody ends the waiting as if its time had passed.
    on_timeout: Box<dyn Fn() -> Vec<u8>>,
}

impl Parked {
    /// Starts to wait.
    pub fn new(worker: &Rc<Worker>, park: Park, version: Version) -> Parked {
        match park {
            Park::Replicas { offset, replicas, timeout_ms } => {
                worker.node.shard.hurry(worker.index);
                let (node, late) = (worker.node.clone(), worker.node.clone());
                Parked {
                    waiting: Box::pin(async move {
                        let mut acked = node.shard.watch_acked();
                        let count = |acked: &[u64]| acked.iter().filter(|&&at| at >= offset).count();
                        let enough = acked.wait_for(|acked| count(acked) >= replicas);
                        let limit = Duration::from_millis(timeout_ms);
                        if timeout_ms == 0 {
                            let _ = enough.await;
                        } else {
                            let _ = tokio::time::timeout(limit, enough).await;
                        }
                        integer(count(&node.shard.watch_acked().borrow()), version)
                    }),
                    on_timeout: Box::new(move || {
                        let acked = late.shard.watch_acked();
                        let count = acked.borrow().iter().filter(|&&at| at >= offset).count();
                        integer(count, version)
                    }),
                }
            }
            Park::Sleep { ms } => Parked {
                waiting: Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    b"+OK\r\n".to_vec()
                }),
                on_timeout: Box::new(|| b"+OK\r\n".to_vec()),
            },
            Park::Lock { name, ticket, .. } => {
                let node = worker.node.clone();
                Parked {
                    waiting: Box::pin(
                        async move { crate::lock::granted(&node, &name, ticket, version).await },
                    ),
                    on_timeout: Box::new(move || {
                        let mut reply = Vec::new();
                        ReplyWriter::new(&mut reply, version).null_array();
                        reply
                    }),
                }
            }
        }
    }

    /// The reply when CLIENT UNBLOCK ends the waiting.
    pub fn unblocked(&self, how: Unblock) -> Vec<u8> {
        match how {
            Unblock::Timeout => (self.on_timeout)(),
            Unblock::Error => b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n".to_vec(),
        }
    }
}

fn integer(count: usize, version: Version) -> Vec<u8> {
    let mut reply = Vec::new();
    ReplyWriter::new(&mut reply, version).integer(count as i64);
    reply
}
