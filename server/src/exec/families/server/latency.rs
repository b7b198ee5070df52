//! LATENCY: what the latency monitor has seen.

use std::fmt::Write as _;

use torc_protocol::command::{Command, Flags, lookup_full, subcommands};
use torc_protocol::resp::Args;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::stats::LATENCY_BUCKETS;

/// `LATENCY LATEST`
pub fn latest(cx: &mut Cx<'_, '_>) -> CommandResult {
    let events = cx.node.slow.events();
    let mut reply = cx.reply();
    reply.array(events.len());
    for (name, event) in events {
        let (at_s, ms) = event.samples.back().copied().unwrap_or_default();
        reply.array(4);
        reply.bulk(name.as_bytes());
        reply.integer(at_s as i64);
        reply.integer(ms as i64);
        reply.integer(event.worst_ms as i64);
    }
    Ok(())
}

/// `LATENCY HISTORY event`
pub fn history(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let events = cx.node.slow.events();
    let event = events.into_iter().find(|(name, _)| name.as_bytes() == &args[2]);
    let samples = event.map(|(_, event)| event.samples).unwrap_or_default();
    let mut reply = cx.reply();
    reply.array(samples.len());
    for (at_s, ms) in samples {
        reply.array(2);
        reply.integer(at_s as i64);
        reply.integer(ms as i64);
    }
    Ok(())
}

/// `LATENCY RESET [event …]`
pub fn reset(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let named = args.tail(2);
    let all = named.is_empty();
    let count = cx.node.slow.reset_events(|name| all || named.iter().any(|event| event == name.as_bytes()));
    cx.reply().integer(count as i64);
    Ok(())
}

/// `LATENCY DOCTOR`
pub fn doctor(cx: &mut Cx<'_, '_>) {
    let events = cx.node.slow.events();
    let mut text = String::new();
    if cx.node.settings.load().latency_threshold_ms == 0 {
        text.push_str(
            "Latency monitoring is disabled in this server. CONFIG SET latency-monitor-threshold <milliseconds> \
             switches it on.\n",
        );
    } else if events.is_empty() {
        text.push_str("No command has taken longer than the threshold so far.\n");
    }
    for (index, (name, event)) in events.iter().enumerate() {
        let count = event.samples.len().max(1) as u64;
        let mean = event.samples.iter().map(|(_, ms)| ms).sum::<u64>() / count;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}. {name}: {} latency spikes (average {mean}ms). Worst all time event {}ms.",
            index + 1,
            event.samples.len(),
            event.worst_ms
        );
    }
    if !events.is_empty() {
        text.push_str("SLOWLOG GET names the commands; big values and scripts are the usual causes.\n");
    }
    cx.reply().verbatim(b"txt", text.as_bytes());
}

/// `LATENCY GRAPH event`: a row of bars, the latest at the right.
pub fn graph(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    const ROWS: u64 = 4;
    let events = cx.node.slow.events();
    let Some((name, event)) = events.into_iter().find(|(name, _)| name.as_bytes() == &args[2]) else {
        let mut text = b"ERR No samples available for event '".to_vec();
        text.extend_from_slice(&args[2]);
        text.push(b'\'');
        return Err(CommandError::Bytes(text.into()));
    };
    let all = || event.samples.iter().map(|(_, ms)| *ms);
    let (low, high) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", event.worst_ms);
    text.push_str(&"-".repeat(80));
    text.push('\n');
    for row in (0..ROWS).rev() {
        let bars = all().map(|ms| {
            let height = (ms - low) * ROWS / (high - low).max(1);
            if height > row || row == 0 { '#' } else { ' ' }
        });
        text.extend(bars);
        text.push('\n');
    }
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// `LATENCY HISTOGRAM [command …]`: of each command the calls that took up to so many microseconds.
pub fn histogram(cx: &mut Cx<'_, '_>, args: &Args<'_>) {
    let named = args.tail(2);
    let mut commands: Vec<Command> = Vec::new();
    if named.is_empty() {
        commands.extend(Command::ALL);
    }
    for command in named.iter().filter_map(lookup_full) {
        if command.spec().flags.contains(Flags::CONTAINER) {
            commands.extend(subcommands(command));
        }
        commands.push(command);
    }
    let mut found = Vec::new();
    for command in commands {
        let mut buckets = [0u64; LATENCY_BUCKETS];
        for stats in &cx.node.stats {
            let one = stats.command(command);
            buckets.iter_mut().zip(&one.latency).for_each(|(sum, count)| *sum += count.get());
        }
        if buckets.iter().any(|count| *count > 0) && !command.spec().is_internal() {
            found.push((command, buckets));
        }
    }
    let mut reply = cx.reply();
    reply.map(found.len());
    for (command, buckets) in found {
        let filled = buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        let mut calls = 0;
        let sums: Vec<(u64, u64)> = filled
            .map(|(bucket, count)| {
                calls += count;
                (1 << bucket, calls)
            })
            .collect();
        reply.bulk(command.spec().name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(calls as i64);
        reply.bulk(b"histogram_usec");
        reply.map(sums.len());
        for (micros, calls) in sums {
            reply.integer(micros as i64);
            reply.integer(calls as i64);
        }
    }
}
