//! INFO's sections that count.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use torc_protocol::command::Command;

use super::Lines;
use crate::exec::Cx;
use crate::pubsub::Kind;
use crate::stats::{LATENCY_BUCKETS, WorkerStats};

/// Calls, failed and rejected ones, nanoseconds of one command.
struct Counts {
    calls: u64,
    failed: u64,
    rejected: u64,
    nanos: u64,
}

fn counts(cx: &Cx<'_, '_>, command: Command) -> Counts {
    let sum =
        |one: fn(&crate::stats::CommandStats) -> u64| cx.node.total(|stats| one(stats.command(command)));
    Counts {
        calls: sum(|c| c.calls.get()),
        failed: sum(|c| c.failed.get()),
        rejected: sum(|c| c.rejected.get()),
        nanos: sum(|c| c.nanos.get()),
    }
}

fn errors_by_code(cx: &Cx<'_, '_>) -> BTreeMap<Box<str>, u64> {
    let mut all = BTreeMap::new();
    cx.node.stats.iter().for_each(|stats| stats.errors.add_to(&mut all));
    all
}

/// `# Stats`
pub fn stats(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let total = |one: fn(&WorkerStats) -> u64| cx.node.total(one);
    let rates = &cx.node.rates;
    let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    let commands: u64 = Command::ALL.iter().map(|command| counts(cx, *command).calls).sum();
    lines.line("total_connections_received", total(|s| s.connections.get()));
    lines.line("total_commands_processed", commands);
    lines.line("instantaneous_ops_per_sec", rates.commands.load(Ordering::Relaxed));
    lines.line("total_net_input_bytes", total(|s| s.bytes_in.get()));
    lines.line("total_net_output_bytes", total(|s| s.bytes_out.get()));
    lines.line("total_net_repl_input_bytes", 0);
    lines.line("total_net_repl_output_bytes", 0);
    lines.line("instantaneous_input_kbps", kilobytes(rates.bytes_in.load(Ordering::Relaxed)));
    lines.line("instantaneous_output_kbps", kilobytes(rates.bytes_out.load(Ordering::Relaxed)));
    lines.line("instantaneous_input_repl_kbps", "0.00");
    lines.line("instantaneous_output_repl_kbps", "0.00");
    lines.line("rejected_connections", cx.node.clients.limit.refused());
    lines.line("sync_full", 0);
    lines.line("sync_partial_ok", 0);
    lines.line("sync_partial_err", 0);
    lines.line("expired_keys", total(|s| s.expired.get()));
    lines.line("expired_subkeys", total(|s| s.expired_fields.get()));
    lines.line("expired_stale_perc", "0.00");
    lines.line("expired_time_cap_reached_count", 0);
    lines.line("expire_cycle_cpu_milliseconds", 0);
    lines.line("evicted_keys", total(|s| s.evicted.get()));
    lines.line("evicted_clients", 0);
    lines.line("total_eviction_exceeded_time", 0);
    lines.line("current_eviction_exceeded_time", 0);
    lines.line("keyspace_hits", total(|s| s.hits.get()));
    lines.line("keyspace_misses", total(|s| s.misses.get()));
    let pubsub = &cx.node.pubsub;
    lines.line("pubsub_channels", pubsub.count(Kind::Channel));
    lines.line("pubsub_patterns", pubsub.count(Kind::Pattern));
    lines.line("pubsubshard_channels", pubsub.count(Kind::Shard));
    lines.line("latest_fork_usec", 0);
    lines.line("total_forks", 0);
    lines.line("migrate_cached_sockets", 0);
    lines.line("slave_expires_tracked_keys", 0);
    lines.line("tracking_total_keys", 0);
    lines.line("tracking_total_items", 0);
    lines.line("tracking_total_prefixes", 0);
    lines.line("unexpected_error_replies", 0);
    lines.line("total_error_replies", errors_by_code(cx).values().sum::<u64>());
    lines.line("dump_payload_sanitizations", 0);
    lines.line("total_protocol_errors", total(|s| s.protocol_errors.get()));
}

/// `# Commandstats`
pub fn commands(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    for command in Command::ALL {
        let Counts { calls, failed, rejected, nanos } = counts(cx, command);
        if calls + failed + rejected == 0 {
            continue;
        }
        let usec = nanos / 1000;
        let mean = if calls == 0 { 0.0 } else { nanos as f64 / 1000.0 / calls as f64 };
        lines.line(
            format_args!("cmdstat_{}", command.spec().name),
            format_args!(
                "calls={calls},usec={usec},usec_per_call={mean:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

/// `# Errorstats`
pub fn errors(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    for (code, count) in errors_by_code(cx) {
        lines.line(format_args!("errorstat_{code}"), format_args!("count={count}"));
    }
}

/// `# Latencystats`: from the histogram, so each is the upper bound of a bucket (a power of two).
pub fn latencies(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    for command in Command::ALL {
        let mut buckets = [0u64; LATENCY_BUCKETS];
        for stats in &cx.node.stats {
            let one = stats.command(command);
            buckets.iter_mut().zip(&one.latency).for_each(|(sum, count)| *sum += count.get());
        }
        let total: u64 = buckets.iter().sum();
        if total == 0 {
            continue;
        }
        let quantile = |q: f64| {
            let wanted = ((total as f64 * q).ceil() as u64).max(1);
            let mut seen = 0;
            let bucket = buckets.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            (1u64 << bucket.unwrap_or(LATENCY_BUCKETS - 1)) as f64
        };
        lines.line(
            format_args!("latency_percentiles_usec_{}", command.spec().name),
            format_args!("p50={:.3},p99={:.3},p99.9={:.3}", quantile(0.5), quantile(0.99), quantile(0.999)),
        );
    }
}
