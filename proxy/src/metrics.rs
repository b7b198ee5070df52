//! What the proxy counts.
//!
//! Each worker is the only writer of its own counters (a load and a store, no locked instruction); the scrape
//! sums them over the workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use torc_protocol::command::Command;
use torc_runtime::metrics::{ErrorCodes, LatencyHistogram};

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owner may.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes away (gauges); only the owner may.
    #[inline]
    pub fn sub(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    /// Sets (gauges); only the owner may.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// As it was a moment ago.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted per command.
#[derive(Debug, Default)]
pub struct CommandMetrics {
    /// Requests of clients.
    pub requests: Counter,
    /// Answers that were errors.
    pub errors: Counter,
    /// From the request's arrival to its answer, for what nodes answered.
    pub latency: OnceLock<LatencyHistogram>,
}

impl CommandMetrics {
    /// Counts an answer.
    #[inline]
    pub fn answered(&self, nanoseconds: u64) {
        self.latency.get_or_init(LatencyHistogram::new).record(nanoseconds);
    }
}

/// What one worker counts.
#[derive(Debug)]
pub struct WorkerMetrics {
    /// By [`Command::index`].
    pub commands: Box<[CommandMetrics]>,
    /// Errors that RESP clients were answered, by code.
    pub error_codes: ErrorCodes,
    /// Open client connections, by protocol.
    pub resp_clients: Counter,
    /// Open memcached connections.
    pub memcached_clients: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// Replies translated to RESP2.
    pub downgraded: Counter,
    /// Requests sent to a node again.
    pub retries: Counter,
    /// Requests that were held back, ever.
    pub held_total: Counter,
    /// Requests that are held back now.
    pub held: Counter,
    /// Answers with UNCERTAIN made by the proxy.
    pub uncertain: Counter,
    /// Requests whose deadline passed.
    pub timeouts: Counter,
    /// Connections closed because of malformed requests.
    pub protocol_errors: Counter,
    /// Clients closed because they did not read their replies.
    pub output_closed: Counter,
    /// Clients closed because unfinished requests held too much memory.
    pub input_closed: Counter,
    /// Big requests passed on as they came.
    pub streamed_requests: Counter,
    /// Big replies passed on as they came.
    pub streamed_replies: Counter,
    /// Replies that came when their client was gone.
    pub orphaned: Counter,
    /// Clients that wait at nodes, as of the latest tick.
    pub blocked: Counter,
    /// Clients that listen to channels.
    pub listeners: Counter,
    /// Connections over which nodes are listened to.
    pub feeds: Counter,
    /// Channels that clients listen to.
    pub channels: Counter,
    /// Patterns that clients listen to.
    pub patterns: Counter,
    /// Shard channels that clients listen to.
    pub shard_channels: Counter,
    /// Messages given to clients.
    pub messages: Counter,
    /// Subscriptions told to a node again: after a break, a failover or a move of slots.
    pub resubscriptions: Counter,
    /// Clients closed because they did not read their messages.
    pub listeners_closed: Counter,
    /// Bytes that buffers hold.
    pub buffered: Counter,
    /// Requests that took longer than the threshold.
    pub slow: Counter,
    /// Requests that were looked at for hot keys.
    pub hot_samples: Counter,
    /// Replies that are kept as copies.
    pub copies: Counter,
    /// Bytes of copies.
    pub copy_bytes: Counter,
    /// Connections over which nodes tell of changes.
    pub copy_channels: Counter,
    /// Reads that a copy answered.
    pub copies_served: Counter,
    /// Copies that were fetched.
    pub copies_fetched: Counter,
    /// Copies that could not be kept: too long, no room, or not to be tracked.
    pub copies_refused: Counter,
    /// Reads that a copy could not answer since the node had not vouched for it of late.
    pub copies_unsure: Counter,
    /// Copies dropped because a connection, a primary, a map or a setting changed.
    pub copies_dropped: Counter,
    /// Changes that nodes told of.
    pub invalidations: Counter,
    /// Reads that shared another client's request.
    pub coalesced: Counter,
    /// Reads that replicas answered.
    pub replica_reads: Counter,
    /// Reads that replicas refused because their data was too old.
    pub replica_stale: Counter,
    /// Reads that replicas refused because the client's own write was not there yet.
    pub replica_behind: Counter,
    /// Reads taken back from replicas for other reasons.
    pub replica_returned: Counter,
    /// Reads that went to the primary at once although their policy lets replicas be read from.
    pub replica_to_primary: Counter,
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        let commands = (0..Command::COUNT).map(|_| CommandMetrics::default()).collect();
        WorkerMetrics {
            commands,
            error_codes: ErrorCodes::default(),
            resp_clients: Counter::default(),
            memcached_clients: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            downgraded: Counter::default(),
            retries: Counter::default(),
            held_total: Counter::default(),
            held: Counter::default(),
            uncertain: Counter::default(),
            timeouts: Counter::default(),
            protocol_errors: Counter::default(),
            output_closed: Counter::default(),
            input_closed: Counter::default(),
            streamed_requests: Counter::default(),
            streamed_replies: Counter::default(),
            orphaned: Counter::default(),
            blocked: Counter::default(),
            listeners: Counter::default(),
            feeds: Counter::default(),
            channels: Counter::default(),
            patterns: Counter::default(),
            shard_channels: Counter::default(),
            messages: Counter::default(),
            resubscriptions: Counter::default(),
            listeners_closed: Counter::default(),
            buffered: Counter::default(),
            slow: Counter::default(),
            hot_samples: Counter::default(),
            copies: Counter::default(),
            copy_bytes: Counter::default(),
            copy_channels: Counter::default(),
            copies_served: Counter::default(),
            copies_fetched: Counter::default(),
            copies_refused: Counter::default(),
            copies_unsure: Counter::default(),
            copies_dropped: Counter::default(),
            invalidations: Counter::default(),
            coalesced: Counter::default(),
            replica_reads: Counter::default(),
            replica_stale: Counter::default(),
            replica_behind: Counter::default(),
            replica_returned: Counter::default(),
            replica_to_primary: Counter::default(),
        }
    }
}

impl WorkerMetrics {
    /// The counters of a command.
    #[inline]
    pub fn command(&self, command: Command) -> &CommandMetrics {
        // `Command::index` is below `Command::COUNT` by its contract; the fallback is never taken.
        self.commands.get(command.index()).unwrap_or(&self.commands[0])
    }
}

/// What one worker counts about one node.
#[derive(Debug, Default)]
pub struct NodeMetrics {
    /// The node's address.
    pub address: Arc<str>,
    /// The node's id.
    pub node: u64,
    /// Requests sent.
    pub requests: Counter,
    /// Error replies.
    pub errors: Counter,
    /// Refusals (MOVED, CLUSTERDOWN …), which are held and sent again.
    pub refused: Counter,
    /// Requests sent and not answered.
    pub in_flight: Counter,
    /// Open connections.
    pub connections: Counter,
    /// Connections that clients have to themselves while they wait.
    pub waiting: Counter,
    /// Connections that clients have to themselves for WATCH and locks.
    pub holding: Counter,
    /// Requests refused because there were too many of the former.
    pub refused_waiting: Counter,
    /// Requests refused because there were too many of the latter.
    pub refused_holding: Counter,
    /// Connections opened, ever.
    pub connects: Counter,
    /// Connections that could not be opened, or broke.
    pub failures: Counter,
    /// Requests that it did not answer in time.
    pub timeouts: Counter,
    /// Times that its connections were given up because it answered nothing.
    pub trips: Counter,
    /// 1 while its circuit is open.
    pub open: Counter,
    /// 1 while it answers much more slowly than others.
    pub slow: Counter,
    /// From sending to the reply.
    pub latency: LatencyHistogram,
}
