//! MEMORY: where it went.

use torc_runtime::process;

use crate::exec::{CommandResult, Cx};
use crate::node::AllocatorStats;
use crate::store::Store;

/// Below this the advice of MEMORY DOCTOR would mean nothing.
const WORTH_A_LOOK_BYTES: u64 = 5 << 20;

/// What is known of the process's memory.
pub struct Figures {
    /// Bytes of keys, values, tables and the empty store: what `maxmemory` is compared with.
    pub used: u64,
    /// The most of them so far.
    pub peak: u64,
    /// What the allocator says; from the system's figures where it cannot be asked.
    pub allocator: AllocatorStats,
    /// Resident bytes of the process.
    pub resident: u64,
    /// Bytes of the connections' buffers.
    pub clients: u64,
}

/// Reads them.
pub fn figures(cx: &Cx<'_, '_>) -> Figures {
    let used = cx.node.used_bytes();
    let resident = process::resident_bytes();
    let allocator = match cx.node.allocator.get() {
        Some(ask) => ask(),
        None => AllocatorStats { allocated: used, active: resident, resident },
    };
    let buffers = |client: &std::sync::Arc<crate::clients::Client>| {
        client.buffer_bytes.load(std::sync::atomic::Ordering::Relaxed) as u64
    };
    let clients = cx.node.clients.all().iter().map(buffers).sum();
    Figures { used, peak: cx.node.note_peak(), allocator, resident, clients }
}

/// a / b, 0 when there is no b.
pub fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// `MEMORY STATS`
pub fn stats(cx: &mut Cx<'_, '_>) -> CommandResult {
    let figures = figures(cx);
    let databases = super::info::databases(cx);
    let keys: u64 = databases.iter().map(|db| db.keys).sum();
    let dataset = figures.used.saturating_sub(Store::EMPTY_BYTES as u64);
    let overhead = figures.allocator.allocated.saturating_sub(dataset);
    let backlog = cx.node.shard.replication_bytes() as u64;
    let mut reply = cx.reply();
    reply.map(21 + databases.len());
    let integers = [
        ("peak.allocated", figures.peak),
        ("total.allocated", figures.used),
        ("startup.allocated", Store::EMPTY_BYTES as u64),
        ("replication.backlog", backlog),
        ("clients.slaves", 0),
        ("clients.normal", figures.clients),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
    ];
    for (name, value) in integers {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    }
    for db in &databases {
        reply.bulk(format!("db.{}", db.index).as_bytes());
        reply.map(2);
        reply.bulk(b"overhead.hashtable.main");
        reply.integer(0);
        reply.bulk(b"overhead.hashtable.expires");
        reply.integer(0);
    }
    let integers = [
        ("overhead.total", overhead),
        ("keys.count", keys),
        ("keys.bytes-per-key", dataset.checked_div(keys).unwrap_or(0)),
        ("dataset.bytes", dataset),
    ];
    for (name, value) in integers {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    }
    let doubles = [
        ("dataset.percentage", ratio(dataset, figures.allocator.allocated) * 100.0),
        ("peak.percentage", ratio(figures.used, figures.peak) * 100.0),
    ];
    for (name, value) in doubles {
        reply.bulk(name.as_bytes());
        reply.double(value);
    }
    let integers = [
        ("allocator.allocated", figures.allocator.allocated),
        ("allocator.active", figures.allocator.active),
        ("allocator.resident", figures.allocator.resident),
    ];
    for (name, value) in integers {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    }
    let doubles = [
        ("allocator-fragmentation.ratio", ratio(figures.allocator.active, figures.allocator.allocated)),
        ("fragmentation", ratio(figures.resident, figures.used)),
    ];
    for (name, value) in doubles {
        reply.bulk(name.as_bytes());
        reply.double(value);
    }
    Ok(())
}

/// `MEMORY DOCTOR`
pub fn doctor(cx: &mut Cx<'_, '_>) -> CommandResult {
    let figures = figures(cx);
    let limit = cx.node.settings.load().maxmemory;
    let mut advice = Vec::new();
    if figures.used < WORTH_A_LOOK_BYTES {
        advice.push("There is too little data here to judge the use of memory.".to_owned());
    } else {
        let spread = ratio(figures.allocator.resident, figures.allocator.allocated);
        if spread > 1.5 {
            advice.push(format!(
                "The allocator keeps {spread:.1} times the memory that is in use: after big deletions that is \
                 normal and passes; otherwise values of many different sizes come and go."
            ));
        }
        if limit > 0 && figures.used > limit / 10 * 9 {
            advice.push("More than nine tenths of maxmemory are in use.".to_owned());
        }
        if figures.clients > figures.used / 4 {
            advice.push(
                "The buffers of clients take much: look for clients that read their replies too slowly."
                    .to_owned(),
            );
        }
        if advice.is_empty() {
            advice.push("The use of memory looks healthy.".to_owned());
        }
    }
    cx.reply().verbatim(b"txt", (advice.join("\n") + "\n").as_bytes());
    Ok(())
}

/// `MEMORY MALLOC-STATS`
pub fn malloc_stats(cx: &mut Cx<'_, '_>) {
    let figures = figures(cx);
    let text = match cx.node.allocator.get() {
        None => "Stats not supported for the current allocator".to_owned(),
        Some(_) => format!(
            "jemalloc\nallocated: {}\nactive: {}\nresident: {}\n",
            figures.allocator.allocated, figures.allocator.active, figures.allocator.resident
        ),
    };
    cx.reply().verbatim(b"txt", text.as_bytes());
}
