//! The proxy's families on `/metrics`: summed over the workers when somebody scrapes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::Registry;
use prometheus::proto::MetricFamily;
use torc_protocol::command::Command;
use torc_runtime::metrics::{DEFAULT_BOUNDS_NS, FamilyBuilder, HistogramSnapshot, register};
use torc_runtime::process;

use crate::hot::report;
use crate::info::sum;
use crate::metrics::{Counter, NodeMetrics, WorkerMetrics};
use crate::shared::Shared;

/// A plain number of the workers.
struct Plain {
    name: &'static str,
    help: &'static str,
    gauge: bool,
    of: fn(&WorkerMetrics) -> &Counter,
}

const PLAIN: [Plain; 41] = [
    counter("torc_proxy_bytes_in_total", "Bytes read from clients.", |w| &w.bytes_in),
    counter("torc_proxy_bytes_out_total", "Bytes written to clients.", |w| &w.bytes_out),
    counter("torc_proxy_downgraded_total", "Replies translated from RESP3 to RESP2.", |w| &w.downgraded),
    counter("torc_proxy_retries_total", "Requests sent to a node again.", |w| &w.retries),
    counter("torc_proxy_held_total", "Requests that had to wait for their shard.", |w| &w.held_total),
    counter("torc_proxy_uncertain_total", "Requests answered UNCERTAIN by the proxy.", |w| &w.uncertain),
    counter("torc_proxy_timeouts_total", "Requests whose deadline passed.", |w| &w.timeouts),
    counter("torc_proxy_protocol_errors_total", "Clients closed for malformed requests.", |w| {
        &w.protocol_errors
    }),
    counter("torc_proxy_output_closed_total", "Clients closed for unread replies.", |w| &w.output_closed),
    counter("torc_proxy_input_closed_total", "Clients closed for unfinished requests.", |w| &w.input_closed),
    counter("torc_proxy_streamed_requests_total", "Big requests passed on as they came.", |w| {
        &w.streamed_requests
    }),
    counter("torc_proxy_streamed_replies_total", "Big replies passed on as they came.", |w| {
        &w.streamed_replies
    }),
    counter("torc_proxy_orphaned_replies_total", "Replies whose client was gone.", |w| &w.orphaned),
    counter("torc_proxy_slow_requests_total", "Requests that took longer than slow_request_ms.", |w| &w.slow),
    counter("torc_proxy_hot_samples_total", "Requests that were looked at for hot keys.", |w| &w.hot_samples),
    gauge("torc_proxy_copies", "Replies that are kept as copies.", |w| &w.copies),
    gauge("torc_proxy_copy_bytes", "Bytes of copies.", |w| &w.copy_bytes),
    gauge("torc_proxy_copy_connections", "Connections over which nodes tell of changes.", |w| {
        &w.copy_channels
    }),
    counter("torc_proxy_copies_served_total", "Reads that a copy answered.", |w| &w.copies_served),
    counter("torc_proxy_copies_fetched_total", "Copies that were fetched.", |w| &w.copies_fetched),
    counter(
        "torc_proxy_copies_refused_total",
        "Copies that could not be kept: too long, no room, or not to be tracked.",
        |w| &w.copies_refused,
    ),
    counter(
        "torc_proxy_copies_unsure_total",
        "Reads that a copy could not answer since the node had not vouched for it of late.",
        |w| &w.copies_unsure,
    ),
    counter(
        "torc_proxy_copies_dropped_total",
        "Copies dropped because a connection, a primary, a map or a setting changed.",
        |w| &w.copies_dropped,
    ),
    counter("torc_proxy_invalidations_total", "Changes that nodes told of.", |w| &w.invalidations),
    counter("torc_proxy_coalesced_total", "Reads that shared another client's request.", |w| &w.coalesced),
    counter("torc_proxy_replica_reads_total", "Reads that replicas answered.", |w| &w.replica_reads),
    counter(
        "torc_proxy_replica_reads_stale_total",
        "Reads that a replica refused because its data was too old; the primary answered.",
        |w| &w.replica_stale,
    ),
    counter(
        "torc_proxy_replica_reads_behind_total",
        "Reads that a replica refused because the client's own write was not there yet; the primary answered.",
        |w| &w.replica_behind,
    ),
    counter(
        "torc_proxy_replica_reads_returned_total",
        "Reads taken back from a replica that broke, did not answer or refused; the primary answered.",
        |w| &w.replica_returned,
    ),
    counter(
        "torc_proxy_replica_reads_at_primary_total",
        "Reads that went to the primary at once although their policy lets replicas be read from.",
        |w| &w.replica_to_primary,
    ),
    counter("torc_proxy_messages_total", "Messages of channels given to clients.", |w| &w.messages),
    counter(
        "torc_proxy_resubscriptions_total",
        "Subscriptions told to a node again: after a break, a failover or a move of slots.",
        |w| &w.resubscriptions,
    ),
    counter("torc_proxy_listeners_closed_total", "Clients closed for unread messages.", |w| {
        &w.listeners_closed
    }),
    gauge("torc_proxy_blocked_clients", "Clients that wait at nodes.", |w| &w.blocked),
    gauge("torc_proxy_listeners", "Clients that listen to channels.", |w| &w.listeners),
    gauge("torc_proxy_subscription_connections", "Connections over which nodes are listened to.", |w| {
        &w.feeds
    }),
    gauge("torc_proxy_channels", "Channels that clients listen to, by thread.", |w| &w.channels),
    gauge("torc_proxy_patterns", "Patterns that clients listen to, by thread.", |w| &w.patterns),
    gauge("torc_proxy_shard_channels", "Shard channels that clients listen to, by thread.", |w| {
        &w.shard_channels
    }),
    gauge("torc_proxy_held_requests", "Requests that wait for their shard now.", |w| &w.held),
    gauge("torc_proxy_buffered_bytes", "Bytes in the buffers of requests and replies.", |w| &w.buffered),
];

const fn counter(name: &'static str, help: &'static str, of: fn(&WorkerMetrics) -> &Counter) -> Plain {
    Plain { name, help, gauge: false, of }
}

const fn gauge(name: &'static str, help: &'static str, of: fn(&WorkerMetrics) -> &Counter) -> Plain {
    Plain { name, help, gauge: true, of }
}

/// A number that is counted per node.
struct PerNode {
    name: &'static str,
    help: &'static str,
    gauge: bool,
    of: fn(&NodeMetrics) -> &Counter,
}

const PER_NODE: [PerNode; 15] = [
    per_node("torc_proxy_upstream_requests_total", "Requests sent to the node.", false, |n| &n.requests),
    per_node("torc_proxy_upstream_errors_total", "Error replies of the node.", false, |n| &n.errors),
    per_node("torc_proxy_upstream_refused_total", "Requests that the node refused to execute.", false, |n| {
        &n.refused
    }),
    per_node("torc_proxy_upstream_connects_total", "Connections opened to the node.", false, |n| &n.connects),
    per_node("torc_proxy_upstream_failures_total", "Connections that failed or broke.", false, |n| {
        &n.failures
    }),
    per_node(
        "torc_proxy_upstream_timeouts_total",
        "Requests that the node did not answer in time.",
        false,
        |n| &n.timeouts,
    ),
    per_node(
        "torc_proxy_upstream_trips_total",
        "Times that the node answered nothing and was given up.",
        false,
        |n| &n.trips,
    ),
    per_node(
        "torc_proxy_upstream_circuit_open",
        "Workers that wait before they try the node again.",
        true,
        |n| &n.open,
    ),
    per_node("torc_proxy_upstream_slow", "Workers that find the node much slower than others.", true, |n| {
        &n.slow
    }),
    per_node("torc_proxy_upstream_in_flight", "Requests that the node has not answered.", true, |n| {
        &n.in_flight
    }),
    per_node(
        "torc_proxy_upstream_blocking_connections",
        "Connections that clients have to themselves while they wait.",
        true,
        |n| &n.waiting,
    ),
    per_node(
        "torc_proxy_upstream_dedicated_connections",
        "Connections that clients have to themselves for WATCH and locks.",
        true,
        |n| &n.holding,
    ),
    per_node(
        "torc_proxy_blocking_refused_total",
        "Requests refused: blocking_connections were in use.",
        false,
        |n| &n.refused_waiting,
    ),
    per_node(
        "torc_proxy_dedicated_refused_total",
        "Requests refused: dedicated_connections were in use.",
        false,
        |n| &n.refused_holding,
    ),
    per_node("torc_proxy_upstream_connections", "Open connections to the node.", true, |n| &n.connections),
];

const fn per_node(
    name: &'static str,
    help: &'static str,
    gauge: bool,
    of: fn(&NodeMetrics) -> &Counter,
) -> PerNode {
    PerNode { name, help, gauge, of }
}

const REQUESTS: (&str, &str) = ("torc_proxy_requests_total", "Requests of clients, by command.");
const ERRORS: (&str, &str) = ("torc_proxy_errors_total", "Error replies to clients, by command.");
const SECONDS: (&str, &str) =
    ("torc_proxy_request_seconds", "From a request's arrival to its answer, by command.");
const UPSTREAM_SECONDS: (&str, &str) = ("torc_proxy_upstream_seconds", "From sending to the node's answer.");
const CLIENTS: (&str, &str) = ("torc_proxy_clients", "Open client connections, by protocol.");
const ACCEPTED: (&str, &str) = ("torc_proxy_connections_total", "Client connections accepted.");
const REFUSED: (&str, &str) =
    ("torc_proxy_connections_refused_total", "Client connections refused: too many.");
const EPOCH: (&str, &str) = ("torc_proxy_map_epoch", "Version of the map in use.");
const SHARDS: (&str, &str) = ("torc_proxy_shards", "Shards of the map.");
const SERVED: (&str, &str) = ("torc_proxy_shards_with_primary", "Shards that have a primary.");
const RELOADS: (&str, &str) = ("torc_proxy_reloads_total", "Configurations taken while running.");
const RELOAD_FAILURES: (&str, &str) =
    ("torc_proxy_reload_failures_total", "Configurations refused while running; the old one stayed.");
/// Ranks that are told apart; no key is named: names are no labels.
const HOT_RANKS: usize = 5;
const HOT: (&str, &str) =
    ("torc_proxy_hot_key_requests_per_second", "Requests in a second of the hottest keys, by rank, sampled.");
const HOT_ALL: (&str, &str) =
    ("torc_proxy_key_requests_per_second", "Requests in a second of all keys, by the same samples.");
const RESIDENT: (&str, &str) = ("torc_proxy_resident_bytes", "Resident memory of the process.");

/// Puts the proxy's families into a registry.
pub fn install(registry: &Registry, shared: Arc<Shared>) -> prometheus::Result<()> {
    let mut families: Vec<(&str, &str)> = vec![
        REQUESTS,
        ERRORS,
        SECONDS,
        UPSTREAM_SECONDS,
        CLIENTS,
        ACCEPTED,
        REFUSED,
        EPOCH,
        SHARDS,
        SERVED,
        RELOADS,
        RELOAD_FAILURES,
        RESIDENT,
        HOT,
        HOT_ALL,
    ];
    families.extend(PLAIN.iter().map(|plain| (plain.name, plain.help)));
    families.extend(PER_NODE.iter().map(|node| (node.name, node.help)));
    register(registry, &families, move || gather(&shared))
}

fn gather(shared: &Shared) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    for plain in &PLAIN {
        let family = if plain.gauge {
            FamilyBuilder::gauge(plain.name, plain.help)
        } else {
            FamilyBuilder::counter(plain.name, plain.help)
        };
        families.push(family.sample(&[], sum(shared, plain.of) as f64).build());
    }
    commands(shared, &mut families);
    nodes(shared, &mut families);
    let clients = FamilyBuilder::gauge(CLIENTS.0, CLIENTS.1)
        .sample(&[("protocol", "resp")], sum(shared, |w| &w.resp_clients) as f64)
        .sample(&[("protocol", "memcached")], sum(shared, |w| &w.memcached_clients) as f64);
    families.push(clients.build());
    let table = Arc::clone(&shared.tables.borrow());
    let served = table.shards.iter().filter(|shard| shard.primary.is_some()).count();
    let one = |(name, help): (&str, &str), counter: bool, value: f64| {
        let family =
            if counter { FamilyBuilder::counter(name, help) } else { FamilyBuilder::gauge(name, help) };
        family.sample(&[], value).build()
    };
    families.push(one(ACCEPTED, true, shared.limit.accepted() as f64));
    families.push(one(REFUSED, true, shared.limit.refused() as f64));
    families.push(one(EPOCH, false, table.epoch as f64));
    families.push(one(SHARDS, false, table.shards.len() as f64));
    families.push(one(SERVED, false, served as f64));
    families.push(one(RELOADS, true, shared.reloads.load(Ordering::Relaxed) as f64));
    families.push(one(RELOAD_FAILURES, true, shared.reload_failures.load(Ordering::Relaxed) as f64));
    let told = report::merged(shared);
    let mut hot = FamilyBuilder::gauge(HOT.0, HOT.1);
    for rank in 0..HOT_RANKS {
        let rate = told.keys.get(rank).map_or(0.0, |heavy| heavy.per_second);
        hot.add(&[("rank", &(rank + 1).to_string())], rate);
    }
    families.push(hot.build());
    families.push(one(HOT_ALL, false, told.per_second));
    families.push(one(RESIDENT, false, process::resident_bytes() as f64));
    families
}

fn commands(shared: &Shared, families: &mut Vec<MetricFamily>) {
    let mut requests = FamilyBuilder::counter(REQUESTS.0, REQUESTS.1);
    let mut errors = FamilyBuilder::counter(ERRORS.0, ERRORS.1);
    let mut seconds = FamilyBuilder::histogram(SECONDS.0, SECONDS.1);
    for command in Command::ALL {
        let of = |counter: fn(&crate::metrics::CommandMetrics) -> &Counter| -> u64 {
            shared.workers.iter().map(|worker| counter(worker.command(command)).get()).sum()
        };
        let (count, failed) = (of(|c| &c.requests), of(|c| &c.errors));
        if count == 0 && failed == 0 {
            continue;
        }
        let labels = [("command", command.spec().name)];
        requests.add(&labels, count as f64);
        errors.add(&labels, failed as f64);
        let mut times = HistogramSnapshot::default();
        for latency in shared.workers.iter().filter_map(|worker| worker.command(command).latency.get()) {
            times.merge(&latency.snapshot());
        }
        if times.count() > 0 {
            seconds.add_histogram(&labels, &times, &DEFAULT_BOUNDS_NS);
        }
    }
    families.extend([requests.build(), errors.build(), seconds.build()]);
}

fn nodes(shared: &Shared, families: &mut Vec<MetricFamily>) {
    let all = shared.all_node_metrics();
    let table = Arc::clone(&shared.tables.borrow());
    let mut known: Vec<(u64, Arc<str>)> =
        all.iter().map(|node| (node.node, Arc::clone(&node.address))).collect();
    known.sort();
    known.dedup();
    // A node's shards are those that it leads now.
    let shards = |node: u64| -> String {
        let led =
            table.shards.iter().filter(|shard| shard.primary.as_ref().is_some_and(|to| to.node.0 == node));
        led.map(|shard| shard.id.0.to_string()).collect::<Vec<_>>().join(",")
    };
    let mut labelled = Vec::new();
    for (node, address) in known {
        let mine: Vec<_> =
            all.iter().filter(|metrics| metrics.node == node && metrics.address == address).collect();
        labelled.push((node.to_string(), address, shards(node), mine));
    }
    for per_node in &PER_NODE {
        let mut family = if per_node.gauge {
            FamilyBuilder::gauge(per_node.name, per_node.help)
        } else {
            FamilyBuilder::counter(per_node.name, per_node.help)
        };
        for (node, address, shard, mine) in &labelled {
            let total: u64 = mine.iter().map(|metrics| (per_node.of)(metrics).get()).sum();
            family.add(&[("node", node), ("address", address), ("shard", shard)], total as f64);
        }
        families.push(family.build());
    }
    let mut seconds = FamilyBuilder::histogram(UPSTREAM_SECONDS.0, UPSTREAM_SECONDS.1);
    for (node, address, shard, mine) in &labelled {
        let mut times = HistogramSnapshot::default();
        mine.iter().for_each(|metrics| times.merge(&metrics.latency.snapshot()));
        seconds.add_histogram(
            &[("node", node), ("address", address), ("shard", shard)],
            &times,
            &DEFAULT_BOUNDS_NS,
        );
    }
    families.push(seconds.build());
}
