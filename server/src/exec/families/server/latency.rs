//! LATENCY: what the latency monitor has seen.

use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

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
