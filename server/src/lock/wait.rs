//! A connection that waits for its turn: LOCK.ACQUIRE … WAIT.

use std::time::Duration;

use tokio::sync::oneshot;
use torc_cluster::lock::{Granted, WaiterId};
use torc_protocol::error as text;
use torc_protocol::resp::{ReplyWriter, Version};
use torc_runtime::clock::boottime_ns;

use super::Turn;
use crate::node::Node;
use crate::shard::Role;

/// What a waiter is answered when the shard has got another primary meanwhile.
const ASK_AGAIN: &str = "TRYAGAIN the shard has a new primary and its queue is gone: ask again";

/// How long the acknowledgement of a grant by the in-sync set is waited for.
const ACK_TIME: Duration = Duration::from_secs(5);

/// A parked request's place in the queue. When the connection goes before it has its answer the place is given up,
/// and so is a grant that came on the way.
struct Place<'a> {
    node: &'a Node,
    name: &'a [u8],
    waiter: WaiterId,
    owner: Box<[u8]>,
    told: Option<oneshot::Receiver<Turn>>,
    granted: Option<Granted>,
    answered: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        if self.granted.is_none() {
            self.node.leave_queue(self.name, self.waiter, boottime_ns());
            // Only now: until it had left the queue it could still be granted.
            if let Some(told) = &mut self.told
                && let Ok(Turn::Granted { granted, .. }) = told.try_recv()
            {
                self.granted = Some(granted);
            }
        }
        if let Some(granted) = self.granted {
            self.node.give_back(self.name, granted.token, &self.owner, boottime_ns());
        }
    }
}

/// Waits until the waiter `ticket` of the lock `name` is granted or its time is over (the lock table sees to that);
/// answers the reply. When the future is dropped the waiter leaves the queue.
pub async fn granted(node: &Node, name: &[u8], ticket: u64, version: Version) -> Vec<u8> {
    let waiter = WaiterId(ticket);
    let (owner, told) = node.locks.lock().told(waiter).unzip();
    let mut place =
        Place { node, name, waiter, owner: owner.unwrap_or_default(), told, granted: None, answered: false };
    let turn = match &mut place.told {
        Some(told) => told.await.unwrap_or(Turn::AskAgain),
        None => Turn::AskAgain,
    };
    // It was told: nothing more comes.
    place.told = None;
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, version);
    match turn {
        Turn::Granted { granted, offset } => {
            place.granted = Some(granted);
            if acknowledged(node, offset).await {
                write_granted(&mut reply, granted);
            } else {
                reply.error(text::UNCERTAIN);
            }
        }
        Turn::TimedOut => reply.null_array(),
        Turn::AskAgain => reply.error(ASK_AGAIN),
    }
    place.answered = true;
    out
}

/// A grant as LOCK.ACQUIRE answers it: token and remaining milliseconds.
pub fn write_granted(reply: &mut ReplyWriter<'_>, granted: Granted) {
    reply.array(2);
    reply.integer(granted.token.0 as i64);
    reply.integer(granted.remaining_ms as i64);
}

/// Whether the in-sync set holds the grant and the node may still say so.
async fn acknowledged(node: &Node, offset: u64) -> bool {
    if node.shard.role() == Role::Plain {
        return true;
    }
    let mut mark = node.shard.watch_mark();
    let held = tokio::time::timeout(ACK_TIME, mark.wait_for(|mark| *mark >= offset)).await;
    held.is_ok_and(|held| held.is_ok())
        && node.shard.role() == Role::Primary
        && boottime_ns() < node.shard.lease_until_ns()
}
