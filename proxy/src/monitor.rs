//! MONITOR: the requests of every shard's primary, merged as they come.
//!
//! ```text
//! client's watcher ─ one follower per shard ═ MONITOR ═▶ its primary
//!      └─ looks ten times a second whether a shard has another primary, or the client listens no more
//! ```
//! What is shown is what the nodes get: a request that was split is shown in its parts, with the proxy's address, and what
//! the proxy answers itself is not shown. Lines of different nodes come in the order in which they arrive. A line is as long
//! as its request, and goes to the client whole; one that would be more than it may leave unread is left out.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use torc_cluster::ShardId;
use torc_protocol::resp::{request_arg, request_header};

use crate::call::Call;
use crate::downstream::client::Client;
use crate::downstream::render::Render;
use crate::downstream::resp::Step;
use crate::table::Target;
use crate::text;
use crate::upstream::handshake;
use crate::worker::Worker;

/// In [`Client::monitors`]: it is shown nothing.
const NOTHING: u64 = 0;
/// A buffer above this is freed when nothing is in it.
const KEEP_BYTES: usize = 1024 * 1024;
/// The pause between two looks at the map.
const LOOK: Duration = Duration::from_millis(100);

/// Begins to show; the answer comes when all primaries that can be reached show theirs.
pub fn start(call: &mut Call<'_>) -> Step {
    if call.routes.shards() == 0 {
        return call.refuse(text::NO_MAP);
    }
    if !call.is_first() {
        return Step::NotYet;
    }
    if call.client.monitors.get() != NOTHING {
        return call.reply(|reply| reply.ok());
    }
    // After RESET and another MONITOR the followers of the first one are not taken for those of the second.
    let watch = call.worker.random() | 1;
    call.client.monitors.set(watch);
    let seq = call.client.outbox.borrow_mut().open(Render::Resp3);
    let now_ns = call.worker.clock.now_ns();
    let answer = (call.request.command, seq, now_ns);
    let (worker, client) = (Rc::clone(call.worker), Rc::clone(call.client));
    tokio::task::spawn_local(async move {
        let mut followers = Followers::default();
        let patience_ns = worker.settings().connect_timeout_ms * 1_000_000;
        let mut answered = false;
        while client.monitors.get() == watch && !client.closed.get() && !client.killed.get() {
            followers.follow(&worker, &client, watch);
            let late = worker.clock.refresh().saturating_sub(now_ns) > patience_ns;
            if !answered && (followers.all_open() || late) {
                answered = true;
                let (command, seq, since_ns) = answer;
                worker.hand_over(&client, command, (seq, 0, since_ns), b"+OK\r\n");
            }
            tokio::time::sleep(if answered { LOOK } else { LOOK / 20 }).await;
        }
    });
    Step::DoneAlone
}

/// One for each shard. Dropped they end.
#[derive(Default)]
struct Followers(HashMap<ShardId, Follower>);

struct Follower {
    target: Target,
    task: JoinHandle<()>,
    open: Rc<Cell<bool>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followers {
    fn follow(&mut self, worker: &Rc<Worker>, client: &Rc<Client>, watch: u64) {
        let routes = worker.routes();
        self.0.retain(|shard, follower| {
            let place = routes.table.index_of(*shard).and_then(|place| routes.table.shards.get(place));
            let target = place.and_then(|shard| shard.primary.as_ref());
            target == Some(&follower.target) && !follower.task.is_finished()
        });
        for shard in &routes.table.shards {
            if let Some(target) = &shard.primary
                && !self.0.contains_key(&shard.id)
            {
                let open = Rc::new(Cell::new(false));
                let shows =
                    show(Rc::clone(worker), (Rc::clone(client), watch), target.clone(), Rc::clone(&open));
                let task = tokio::task::spawn_local(shows);
                self.0.insert(shard.id, Follower { target: target.clone(), task, open });
            }
        }
    }

    fn all_open(&self) -> bool {
        self.0.values().all(|follower| follower.open.get())
    }
}

/// Gives the client what one node shows, until the connection ends.
async fn show(worker: Rc<Worker>, (client, watch): (Rc<Client>, u64), target: Target, open: Rc<Cell<bool>>) {
    let Ok(dialled) = handshake::dial(&worker, &target.address, false).await else { return };
    let mut stream = dialled.stream;
    let mut request = Vec::new();
    request_header(&mut request, 1);
    request_arg(&mut request, b"MONITOR");
    if stream.write_all(&request).await.is_err() {
        return;
    }
    let mut lines = Lines::default();
    loop {
        match stream.read_buf(&mut lines.bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let settings = worker.settings();
        let most = match settings.pubsub_output_hard_bytes {
            0 => settings.client_output_hard_bytes,
            most => most.min(settings.client_output_hard_bytes),
        };
        let mut shown = true;
        lines.take(most / 2, |line| {
            if !open.replace(true) {
                shown = line.first() != Some(&b'-');
                if !shown {
                    tracing::warn!(node = %target.address, "the node does not show its requests");
                }
            } else if client.monitors.get() == watch {
                client.push_line(&worker, line);
            }
        });
        if !shown || (open.get() && client.monitors.get() != watch) {
            return;
        }
    }
}

/// Lines as a node sends them: nothing else comes on such a connection.
#[derive(Debug, Default)]
struct Lines {
    /// What has come and was not taken.
    bytes: Vec<u8>,
    /// Bytes of it in which no line ends.
    looked: usize,
    /// The line that has begun is too long: it is left out.
    skips: bool,
}

impl Lines {
    /// Gives all whole lines, their ends included, but those of more than `most` bytes.
    fn take(&mut self, most: usize, mut give: impl FnMut(&[u8])) {
        let mut begin = 0;
        while let Some(at) = memchr::memchr(b'\n', self.bytes.get(self.looked..).unwrap_or_default()) {
            let end = self.looked + at + 1;
            let line = self.bytes.get(begin..end).unwrap_or_default();
            if !std::mem::take(&mut self.skips) && line.len() <= most {
                give(line);
            }
            (begin, self.looked) = (end, end);
        }
        self.bytes.drain(..begin);
        if self.skips || self.bytes.len() > most {
            self.skips = true;
            self.bytes.clear();
        }
        self.looked = self.bytes.len();
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_one_that_is_too_long_is_left_out() {
        let sent = [&b"+a\r\n+bc\r\n+"[..], &[b'x'; 100], b"\r\n+d\r\n+", &[b'y'; 8], b"\r\n+e\r\n"].concat();
        for piece in 1..sent.len() {
            let (mut lines, mut given) = (Lines::default(), Vec::new());
            for bytes in sent.chunks(piece) {
                lines.bytes.extend_from_slice(bytes);
                lines.take(11, |line| given.push(line.to_vec()));
                assert!(lines.bytes.len() <= 11);
            }
            assert_eq!(given.concat(), b"+a\r\n+bc\r\n+d\r\n+yyyyyyyy\r\n+e\r\n", "in pieces of {piece}");
        }
    }
}
