//! Requests, errors, latency, traffic.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use prometheus::proto::MetricFamily;
use torc_protocol::command::Command;
use torc_runtime::metrics::FamilyBuilder;

use super::{Named, counter, gauge};
use crate::node::Node;
use crate::stats::LATENCY_BUCKETS;

const REQUESTS: Named = ("torc_server_requests_total", "Requests executed, by command.");
const FAILED: Named = ("torc_server_requests_failed_total", "Requests that ended in an error, by command.");
const REJECTED: Named =
    ("torc_server_requests_rejected_total", "Requests refused before execution, by command.");
const SECONDS: Named = (
    "torc_server_request_seconds",
    "Time of execution, by command; pipelined requests share the time of their batch.",
);
const ERRORS: Named = ("torc_server_errors_total", "Error replies, by code.");
const CONNECTIONS: Named = ("torc_server_connections_total", "Connections accepted.");
const MOVED: Named =
    ("torc_server_connections_moved_total", "Connections that went to a worker with less to do.");
const REFUSED: Named = ("torc_server_connections_refused_total", "Connections refused for want of a place.");
const CLIENTS: Named = ("torc_server_clients", "Open connections.");
const BLOCKED: Named = ("torc_server_clients_blocked", "Connections that wait in a blocking command.");
const BYTES_IN: Named = ("torc_server_bytes_in_total", "Bytes read from clients.");
const BYTES_OUT: Named = ("torc_server_bytes_out_total", "Bytes written to clients.");
const UNREAD: Named = ("torc_server_unread_reply_bytes", "Bytes of replies that clients have not taken yet.");
const PROTOCOL: Named =
    ("torc_server_protocol_errors_total", "Connections closed for a violation of the protocol.");
const UNCERTAIN: Named =
    ("torc_server_uncertain_total", "Writes executed whose acknowledgement did not come.");
const BEHIND: Named = (
    "torc_server_replication_behind_total",
    "Writes refused while replication had too many records to place.",
);
const NO_REPLICAS: Named = ("torc_server_no_replicas_total", "Writes refused for want of in-sync replicas.");
const REDIRECTED: Named =
    ("torc_server_redirected_total", "Requests refused because the slot or the lease is elsewhere.");
const REPLICA_READS: Named = ("torc_server_replica_reads_total", "Reads of proxies answered as a replica.");
const REPLICA_STALE: Named = (
    "torc_server_replica_reads_stale_total",
    "Reads of proxies refused as a replica: the data was not fresh enough.",
);
const REPLICA_BEHIND: Named = (
    "torc_server_replica_reads_behind_total",
    "Reads of proxies refused as a replica: the reader's own write was not here yet.",
);
const LEASES_GRANTED: Named =
    ("torc_server_leases_granted_total", "Clients that were told to load a value: `GETLEASE`, `mg`.");
const LEASES_WAITED: Named =
    ("torc_server_leases_waited_total", "Clients that were told that somebody else loads the value.");

const WATCHERS: Named = ("torc_server_log_watchers", "Connections that read the log by memcached's `watch`.");
const LOG_SENT: Named = ("torc_server_log_lines_sent_total", "Lines of the log that watchers were given.");
const LOG_SKIPPED: Named =
    ("torc_server_log_lines_skipped_total", "Lines of the log that were dropped: a watcher read too slowly.");
const TRACKED: Named = ("torc_server_tracked_keys", "Keys whose values proxies keep.");
const TOLD: Named = (
    "torc_server_invalidations_total",
    "Changes that proxies were told of which keep values, by connection.",
);
const UNTRACKED: Named = (
    "torc_server_tracking_overflows_total",
    "Keys whose values proxies had to drop: there was no room to note them.",
);

/// What [`gather`] yields.
pub const FAMILIES: &[Named] = &[
    REQUESTS,
    FAILED,
    REJECTED,
    SECONDS,
    ERRORS,
    CONNECTIONS,
    REFUSED,
    CLIENTS,
    BLOCKED,
    BYTES_IN,
    BYTES_OUT,
    UNREAD,
    PROTOCOL,
    UNCERTAIN,
    BEHIND,
    NO_REPLICAS,
    REDIRECTED,
    REPLICA_READS,
    REPLICA_STALE,
    REPLICA_BEHIND,
    LEASES_GRANTED,
    LEASES_WAITED,
    WATCHERS,
    LOG_SENT,
    LOG_SKIPPED,
    TRACKED,
    TOLD,
    UNTRACKED,
];

/// Upper bounds of the latency buckets but the last, which is open, in seconds.
fn bounds() -> [f64; LATENCY_BUCKETS - 1] {
    std::array::from_fn(|bucket| (1u64 << bucket) as f64 / 1e6)
}

/// The families of this module, for one scrape.
pub fn gather(node: &Node) -> Vec<MetricFamily> {
    let mut requests = FamilyBuilder::counter(REQUESTS.0, REQUESTS.1);
    let mut failed = FamilyBuilder::counter(FAILED.0, FAILED.1);
    let mut rejected = FamilyBuilder::counter(REJECTED.0, REJECTED.1);
    let mut seconds = FamilyBuilder::histogram(SECONDS.0, SECONDS.1);
    let bounds = bounds();
    for command in Command::ALL {
        let labels = [("command", command.spec().name)];
        let calls = node.total(|s| s.command(command).calls.get());
        if calls > 0 {
            requests.add(&labels, calls as f64);
            let mut counts = [0; LATENCY_BUCKETS];
            for stats in &node.stats {
                let latency = &stats.command(command).latency;
                counts.iter_mut().zip(latency).for_each(|(sum, count)| *sum += count.get());
            }
            let nanos = node.total(|s| s.command(command).nanos.get());
            seconds.add_counts(&labels, &bounds, &counts, nanos as f64 / 1e9);
        }
        for (family, count) in [
            (&mut failed, node.total(|s| s.command(command).failed.get())),
            (&mut rejected, node.total(|s| s.command(command).rejected.get())),
        ] {
            if count > 0 {
                family.add(&labels, count as f64);
            }
        }
    }
    let mut by_code = BTreeMap::new();
    node.stats.iter().for_each(|stats| stats.errors.add_to(&mut by_code));
    let mut errors = FamilyBuilder::counter(ERRORS.0, ERRORS.1);
    by_code.iter().for_each(|(code, count)| errors.add(&[("code", code)], *count as f64));
    let clients = &node.clients;
    vec![
        requests.build(),
        failed.build(),
        rejected.build(),
        seconds.build(),
        errors.build(),
        counter(CONNECTIONS, node.total(|s| s.connections.get())),
        counter(MOVED, node.balance.moved()),
        counter(REFUSED, clients.limit.refused()),
        gauge(CLIENTS, clients.len() as f64),
        gauge(BLOCKED, clients.blocked.load(Ordering::Relaxed) as f64),
        counter(BYTES_IN, node.total(|s| s.bytes_in.get())),
        counter(BYTES_OUT, node.total(|s| s.bytes_out.get())),
        gauge(UNREAD, clients.unsent_bytes.load(Ordering::Relaxed) as f64),
        counter(PROTOCOL, node.total(|s| s.protocol_errors.get())),
        counter(UNCERTAIN, node.total(|s| s.uncertain.get())),
        counter(BEHIND, node.total(|s| s.behind.get())),
        counter(NO_REPLICAS, node.total(|s| s.no_replicas.get())),
        counter(REDIRECTED, node.total(|s| s.redirected.get())),
        counter(REPLICA_READS, node.total(|s| s.replica_reads.get())),
        counter(REPLICA_STALE, node.total(|s| s.replica_stale.get())),
        counter(REPLICA_BEHIND, node.total(|s| s.replica_behind.get())),
        counter(LEASES_GRANTED, node.total(|s| s.leases_granted.get())),
        counter(LEASES_WAITED, node.total(|s| s.leases_waited.get())),
        gauge(WATCHERS, node.pubsub.log().watchers() as f64),
        counter(LOG_SENT, node.pubsub.log().sent()),
        counter(LOG_SKIPPED, node.pubsub.log().skipped()),
        gauge(TRACKED, node.pubsub.tracking().keys.load(Ordering::Relaxed) as f64),
        counter(TOLD, node.pubsub.tracking().told.load(Ordering::Relaxed)),
        counter(UNTRACKED, node.pubsub.tracking().overflows.load(Ordering::Relaxed)),
    ]
}
