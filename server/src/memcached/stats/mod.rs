//! What memcached's users ask for with `stats`: memcached's names with Torc's numbers.
//!
//! All names of memcached 1.6.18 are there, whatever tool looks for them. Those that speak of memcached's own insides (slab
//! automover, LRU crawler) are 0, or have the whole store as their only class.

mod classes;
mod settings;

use std::fmt::Display;

use torc_protocol::memcached::{Request, parse_u64, text, write_line};

use torc_runtime::process;

use super::VERSION;
use crate::exec::{CommandResult, Cx};
use crate::node::Node;
use crate::stats::Counter;
use crate::store::{SLOTS_PER_STRIPE, STRIPES};

macro_rules! counters {
    ($($name:ident)*) => {
        /// What a worker counts of memcached's commands.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = concat!("memcached's `", stringify!($name), "`.")] pub $name: Counter,)*
            /// Evicted items that would have expired at some time.
            pub evicted_nonzero: Counter,
        }

        impl Counters {
            /// `stats reset`.
            fn reset(&self) {
                $(self.$name.reset();)*
                self.evicted_nonzero.reset();
            }
        }

        fn counted(node: &Node, lines: &mut Lines<'_>) {
            $(lines.stat(stringify!($name), node.total(|s| s.memcached.$name.get()));)*
        }
    };
}

counters! {
    cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses delete_misses delete_hits incr_misses incr_hits
    decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large store_no_memory
    auth_cmds auth_errors total_items get_expired expired_unfetched evicted_unfetched
}

/// Writes `STAT name value` lines.
struct Lines<'a>(&'a mut Vec<u8>);

impl Lines<'_> {
    fn stat(&mut self, name: impl Display, value: impl Display) {
        write_line(self.0, &format!("STAT {name} {value}"));
    }

    fn end(&mut self) {
        write_line(self.0, text::END);
    }
}

/// `stats [kind]`.
pub fn run(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let kind = request.args().next().unwrap_or_default();
    let node = cx.node;
    let mut lines = Lines(out);
    match kind {
        b"" => general(cx, &mut lines),
        b"settings" => settings::write(node, &mut lines),
        b"items" => classes::items(node, &mut lines),
        b"slabs" => classes::slabs(node, &mut lines),
        b"sizes" => lines.stat("sizes_status", "disabled"),
        b"sizes_enable" | b"sizes_disable" => {
            // As memcached: no END.
            lines.stat("sizes_status", "disabled");
            return Ok(());
        }
        b"conns" => conns(cx, &mut lines),
        b"reset" => {
            node.stats.iter().for_each(|s| s.memcached.reset());
            write_line(out, text::RESET);
            return Ok(());
        }
        b"detail" => {
            let answer = match request.args().nth(1) {
                // Prefixes are not counted: switching is accepted, the dump is empty.
                Some(b"on" | b"off") => text::OK,
                Some(b"dump") => text::END,
                _ => "CLIENT_ERROR usage: stats detail on|off|dump",
            };
            write_line(out, answer);
            return Ok(());
        }
        b"cachedump" => {
            return cachedump(cx, request, out);
        }
        b"extstore" => {}
        _ => {
            write_line(out, text::ERROR);
            return Ok(());
        }
    }
    lines.end();
    Ok(())
}

/// True of a store that has none of it: no slabs, no lists of items, no threads that tidy them.
const NONE_OF_IT: [&str; 36] = [
    "response_obj_oom",
    "read_buf_oom",
    "get_flushed",
    "listen_disabled_num",
    "time_in_listen_disabled_us",
    "conn_yields",
    "hash_is_expanding",
    "slab_reassign_rescues",
    "slab_reassign_chunk_rescues",
    "slab_reassign_evictions_nomem",
    "slab_reassign_inline_reclaim",
    "slab_reassign_busy_items",
    "slab_reassign_busy_deletes",
    "slab_reassign_running",
    "slabs_moved",
    "lru_crawler_running",
    "lru_crawler_starts",
    "lru_maintainer_juggles",
    "malloc_fails",
    "response_obj_count",
    "response_obj_bytes",
    "read_buf_count",
    "read_buf_bytes",
    "read_buf_bytes_free",
    "slab_global_page_pool",
    "evicted_active",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "lru_bumps_dropped",
    "unexpected_napi_ids",
    "round_robin_fallback",
];

fn general(cx: &Cx<'_, '_>, lines: &mut Lines<'_>) {
    let node = cx.node;
    let settings = node.settings.load();
    lines.stat("pid", std::process::id());
    lines.stat("uptime", cx.now_ms.saturating_sub(node.started_ms) / 1000);
    lines.stat("time", cx.now_ms / 1000);
    lines.stat("version", VERSION);
    lines.stat("pointer_size", usize::BITS);
    lines.stat("libevent", concat!("none, torc-", env!("CARGO_PKG_VERSION")));
    let (system_s, user_s) = process::cpu_seconds();
    lines.stat("rusage_user", format_args!("{user_s:.6}"));
    lines.stat("rusage_system", format_args!("{system_s:.6}"));
    lines.stat("max_connections", settings.max_clients);
    lines.stat("curr_connections", node.clients.len());
    lines.stat("total_connections", node.total(|s| s.connections.get()));
    lines.stat("rejected_connections", node.clients.limit.refused());
    lines.stat("connection_structures", node.clients.len());
    lines.stat("reserved_fds", 0);
    lines.stat("hash_power_level", held_items(node).checked_ilog2().unwrap_or(0));
    // Not told apart from the items.
    lines.stat("hash_bytes", 0);
    counted(node, lines);
    lines.stat("bytes_read", node.total(|s| s.bytes_in.get()));
    lines.stat("bytes_written", node.total(|s| s.bytes_out.get()));
    lines.stat("limit_maxbytes", settings.maxmemory);
    lines.stat("accepting_conns", 1);
    lines.stat("threads", node.stats.len());
    lines.stat("bytes", node.store.used_bytes());
    lines.stat("curr_items", held_items(node));
    lines.stat("evictions", node.total(|s| s.evicted.get()));
    lines.stat("reclaimed", node.total(|s| s.expired.get()));
    for name in NONE_OF_IT {
        lines.stat(name, 0);
    }
    let log = node.pubsub.log();
    lines.stat("log_worker_dropped", 0);
    lines.stat("log_worker_written", log.written());
    lines.stat("log_watcher_skipped", log.skipped());
    lines.stat("log_watcher_sent", log.sent());
    lines.stat("log_watchers", log.watchers());
}

/// `stats cachedump <class> <limit>`: the keys of the only class, as many as go into memcached's own bound.
fn cachedump(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    /// memcached's bound for the answer.
    const MAX_BYTES: usize = 2 << 20;
    const MAX_CLASS: u64 = 63;
    let mut words = request.args().skip(1);
    let (class, limit) = (words.next(), words.next());
    let (Some(class), Some(limit)) = (class, limit) else {
        write_line(out, "CLIENT_ERROR bad command line");
        return Ok(());
    };
    let (Some(class), Some(limit)) = (parse_u64(class), parse_u64(limit)) else {
        write_line(out, text::BAD_FORMAT);
        return Ok(());
    };
    if class > MAX_CLASS {
        write_line(out, "CLIENT_ERROR Illegal slab id");
        return Ok(());
    }
    let end = out.len() + MAX_BYTES;
    let mut left = if limit == 0 { u64::MAX } else { limit };
    let stripes = if class == 1 { STRIPES as u16 } else { 0 };
    for index in 0..stripes {
        if left == 0 || out.len() > end {
            break;
        }
        let slot = index * SLOTS_PER_STRIPE as u16;
        let mut access = cx.node.store.access_one(slot)?;
        let stripe = access.stripe(slot);
        for entry in stripe.iter(cx.db) {
            let Some(value) = entry.as_string() else { continue };
            if left == 0 || out.len() > end {
                break;
            }
            if entry.expire_ms().is_some_and(|at| at <= cx.now_ms) {
                continue;
            }
            out.extend_from_slice(b"ITEM ");
            out.extend_from_slice(entry.key());
            let expiry_s = entry.expire_ms().unwrap_or(0) / 1000;
            write_line(out, &format!(" [{} b; {expiry_s} s]", value.len()));
            left -= 1;
        }
    }
    write_line(out, text::END);
    Ok(())
}

/// The connections of both protocols.
fn conns(cx: &Cx<'_, '_>, lines: &mut Lines<'_>) {
    for client in cx.node.clients.all() {
        let fd = client.fd();
        // Redis's form of a path ends in a port.
        let (kind, port) = if client.unix { ("unix", ":0") } else { ("tcp", "") };
        let shown = |address: &str| format!("{kind}:{}", address.strip_suffix(port).unwrap_or(address));
        lines.stat(format_args!("{fd}:addr"), shown(&client.addr));
        lines.stat(format_args!("{fd}:listen_addr"), shown(&client.laddr));
        let state = if client.is_monitor() {
            "conn_watch"
        } else if client.is_blocked() {
            "conn_waiting"
        } else {
            "conn_parse_cmd"
        };
        lines.stat(format_args!("{fd}:state"), state);
        lines.stat(format_args!("{fd}:secs_since_last_cmd"), client.idle_s(cx.now_ms));
    }
}

fn held_items(node: &Node) -> usize {
    node.store.count_keys()
}
