//! `stats settings`: memcached's names. What Torc has not is said to be off, or is memcached's own default where tools
//! read a number.

use super::Lines;
use crate::node::Node;
use crate::pubsub::WATCHER_BYTES;
use crate::settings::{EvictionPolicy, Settings};

/// Settings that never change, behind those that do.
const FIXED: [(&str, &str); 33] = [
    ("stat_key_prefix", ":"),
    ("detail_enabled", "no"),
    ("cas_enabled", "yes"),
    ("binding_protocol", "ascii"),
    ("auth_enabled_sasl", "no"),
    ("maxconns_fast", "yes"),
    ("slab_reassign", "no"),
    ("slab_automove", "0"),
    ("slab_automove_ratio", "0.80"),
    ("slab_automove_window", "30"),
    ("growth_factor", "1.25"),
    ("chunk_size", "48"),
    ("slab_chunk_max", "524288"),
    ("reqs_per_event", "128"),
    ("hashpower_init", "0"),
    ("lru_crawler", "no"),
    ("lru_crawler_sleep", "100"),
    ("lru_crawler_tocrawl", "0"),
    ("tail_repair_time", "0"),
    ("lru_maintainer_thread", "no"),
    ("lru_segmented", "no"),
    ("hot_lru_pct", "0"),
    ("warm_lru_pct", "0"),
    ("hot_max_factor", "0.00"),
    ("warm_max_factor", "0.00"),
    ("temp_lru", "no"),
    ("temporary_ttl", "0"),
    ("flush_enabled", "yes"),
    ("dump_enabled", "yes"),
    ("hash_algorithm", "xxh3"),
    ("track_sizes", "no"),
    ("ssl_enabled", "no"),
    ("client_flags_size", "4"),
];

/// See the module's text.
pub(super) fn write(node: &Node, lines: &mut Lines<'_>) {
    let settings = node.settings.load();
    let yes_no = |on| if on { "yes" } else { "no" };
    lines.stat("maxbytes", settings.maxmemory);
    lines.stat("maxconns", settings.max_clients);
    lines.stat("tcpport", fixed(&settings, "memcached-port").unwrap_or("0"));
    lines.stat("udpport", 0);
    lines.stat("inter", fixed(&settings, "bind").unwrap_or("NULL"));
    lines.stat("verbosity", 0);
    lines.stat("oldest", 0);
    let evicts = settings.maxmemory_policy != EvictionPolicy::NoEviction;
    lines.stat("evictions", if evicts { "on" } else { "off" });
    lines.stat("domain_socket", fixed(&settings, "memcached-unixsocket").unwrap_or("NULL"));
    lines.stat("umask", fixed(&settings, "unixsocketperm").unwrap_or("700"));
    lines.stat("shutdown_command", yes_no(settings.memcached_shutdown));
    lines.stat("num_threads", node.stats.len());
    lines.stat("num_threads_per_udp", 0);
    lines.stat("tcp_backlog", fixed(&settings, "tcp-backlog").unwrap_or("511"));
    lines.stat("auth_enabled_ascii", yes_no(!settings.memcached_is_open()));
    lines.stat("item_size_max", settings.max_item_bytes);
    lines.stat("idle_timeout", settings.timeout_s);
    lines.stat("watcher_logbuf_size", WATCHER_BYTES);
    lines.stat("worker_logbuf_size", 0);
    lines.stat("read_buf_mem_limit", 0);
    lines.stat("inline_ascii_response", "no");
    lines.stat("num_napi_ids", "(null)");
    lines.stat("memory_file", "(null)");
    for (name, value) in FIXED {
        lines.stat(name, value);
    }
}

fn fixed<'s>(settings: &'s Settings, name: &str) -> Option<&'s str> {
    settings.fixed.get(name).map(String::as_str).filter(|value| !value.is_empty())
}
