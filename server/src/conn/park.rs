//! Requests that wait: WAIT, DEBUG SLEEP, LOCK.ACQUIRE … WAIT, blocking commands.
//!
//! A parked connection reads no further request (its bytes may arrive, up to a bound); the waiting ends with a
//! reply, or because the client is gone: then the future is dropped, and with it its place in any queue.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use torc_protocol::resp::{ReplyWriter, Version};

use super::worker::Worker;
use crate::blocked::{Answer, Depends, Null, Place, Turn, Waiter};
use crate::clients::Unblock;
use crate::exec::{Batch, Park, ReplyKind, Retry};

/// How long a waiter that cannot be looked at now (a script holds its stripe, the lease is being renewed) waits before
/// its next attempt.
const RETRY: Duration = Duration::from_millis(20);

/// What a blocked client is told when the node is no primary any more; Redis's words.
const AWAY: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// The same for a proxy, which sends the request to the new primary.
const AWAY_PROXIED: &str = "TRYAGAIN the shard has a new primary: nothing was executed, ask there";

/// Ends with the reply.
pub type Waiting = Pin<Box<dyn Future<Output = Answer>>>;

/// A request that waits.
pub struct Parked {
    /// Polled by the connection.
    pub waiting: Waiting,
    /// What is answered when somebody ends the waiting as if its time had passed.
    on_timeout: Box<dyn Fn() -> Vec<u8>>,
    /// One that stands in queues: who ends the waiting must take its fate.
    waiter: Option<Arc<Waiter>>,
    /// What the reply depends on when somebody ends the waiting.
    pub depends: Option<Depends>,
}

impl Parked {
    /// Starts to wait; `term`: of the node's lease.
    pub fn new(worker: &Rc<Worker>, park: Park, version: Version, term: Option<u64>) -> Parked {
        let plain = |waiting: Pin<Box<dyn Future<Output = Vec<u8>>>>, on_timeout| Parked {
            waiting: Box::pin(async move { Answer { bytes: waiting.await, ..Answer::default() } }),
            on_timeout,
            waiter: None,
            depends: None,
        };
        match park {
            Park::Replicas { offset, replicas, timeout_ms } => {
                worker.node.shard.hurry(worker.index);
                let (node, late) = (worker.node.clone(), worker.node.clone());
                plain(
                    Box::pin(async move {
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
                    Box::new(move || {
                        let acked = late.shard.watch_acked();
                        let count = acked.borrow().iter().filter(|&&at| at >= offset).count();
                        integer(count, version)
                    }),
                )
            }
            Park::Sleep { ms } => plain(
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    b"+OK\r\n".to_vec()
                }),
                Box::new(|| b"+OK\r\n".to_vec()),
            ),
            Park::Lock { name, ticket, .. } => {
                let node = worker.node.clone();
                // A grant that comes later depends on the lease as any reply to a write.
                let depends = depends(ReplyKind::Write, term);
                Parked {
                    waiting: Box::pin(async move {
                        let bytes = crate::lock::granted(&node, &name, ticket, version).await;
                        Answer { bytes, depends, offset: 0 }
                    }),
                    on_timeout: Box::new(move || null(Null::Array, version)),
                    waiter: None,
                    depends,
                }
            }
            Park::Blocked { place, timeout_ms } => {
                let waiter = place.waiter.clone();
                // That nothing came in time was read.
                let depends = depends(ReplyKind::Read, term);
                // A null array, whatever the command answers inside MULTI.
                let nothing = move || null(Null::Array, version);
                let late = Answer { bytes: nothing(), depends, offset: 0 };
                let waits = Waits { worker: worker.clone(), place };
                Parked {
                    waiting: Box::pin(waits.answer(timeout_ms, late, version)),
                    on_timeout: Box::new(nothing),
                    waiter: Some(waiter),
                    depends,
                }
            }
            // The executor has made a place of it.
            Park::Keys(block) => plain(
                Box::pin(async move { null(block.null, version) }),
                Box::new(move || null(Null::Array, version)),
            ),
        }
    }

    /// The reply when CLIENT UNBLOCK ends the waiting; `None`: it has been served just now.
    pub fn unblocked(&self, how: Unblock) -> Option<Vec<u8>> {
        if let Some(waiter) = &self.waiter {
            waiter.claim()?.settle();
        }
        Some(match how {
            Unblock::Timeout => (self.on_timeout)(),
            Unblock::Error => b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n".to_vec(),
        })
    }
}

/// A place in the queues; left when the waiting ends, however it does.
struct Waits {
    worker: Rc<Worker>,
    place: Place,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.place.leave(&self.worker.node.store);
    }
}

impl Waits {
    /// Waits until the request is served or its time is over, which is answered by `late`.
    async fn answer(mut self, timeout_ms: Option<u64>, late: Answer, version: Version) -> Answer {
        let waiter = self.place.waiter.clone();
        let mut over = pin!(tokio::time::sleep(timeout_ms.map_or(Duration::MAX, Duration::from_millis)));
        let mut again = pin!(tokio::time::sleep(Duration::ZERO));
        let mut try_again = false;
        let mut last_try = waiter.asked.repeated;
        let turn = loop {
            tokio::select! {
                biased;
                turn = &mut self.place.told => break turn.unwrap_or(Turn::Away),
                () = waiter.nudged() => {
                    if self.retry() == Retry::Later {
                        try_again = true;
                        again.as_mut().reset(Instant::now() + RETRY);
                    }
                }
                () = &mut again, if try_again => {
                    try_again = false;
                    waiter.nudge_place();
                }
                () = &mut over => {
                    // The first sending of it may have been served: then its reply is there.
                    if std::mem::take(&mut last_try) {
                        over.as_mut().reset(Instant::now() + RETRY);
                        waiter.nudge();
                        continue;
                    }
                    match waiter.claim() {
                        Some(claim) => {
                            claim.settle();
                            break Turn::Served(late);
                        }
                        // It was served at the last moment: the answer is on its way.
                        None => break (&mut self.place.told).await.unwrap_or(Turn::Away),
                    }
                }
            }
        };
        let mut answer = match turn {
            Turn::Served(answer) => answer,
            Turn::Away => {
                let text = if waiter.asked.proxied { AWAY_PROXIED } else { AWAY };
                let mut bytes = Vec::new();
                ReplyWriter::new(&mut bytes, version).error(text);
                Answer { bytes, ..Answer::default() }
            }
        };
        if self.place.silent {
            answer.bytes.clear();
        }
        answer
    }

    /// Tries by itself.
    fn retry(&self) -> Retry {
        let worker = &self.worker;
        let mut exec = worker.exec.borrow_mut();
        let mut batch = Batch::begin(&worker.node, &mut exec, worker.now());
        let retry = batch.retry(&self.place.waiter);
        batch.end();
        retry
    }
}

fn depends(kind: ReplyKind, term: Option<u64>) -> Option<Depends> {
    term.map(|term| Depends { kind, term, barrier: 0, deadline_ms: 0 })
}

fn null(form: Null, version: Version) -> Vec<u8> {
    let mut reply = Vec::new();
    form.write(&mut ReplyWriter::new(&mut reply, version));
    reply
}

fn integer(count: usize, version: Version) -> Vec<u8> {
    let mut reply = Vec::new();
    ReplyWriter::new(&mut reply, version).integer(count as i64);
    reply
}
