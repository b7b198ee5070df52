//! What memcached's users ask for with `stats`: memcached's names with Torc's numbers.
//!
//! Fields that speak of memcached's own insides (slab automover, LRU crawler) are left out, or are there once with
//! the whole store as their only class, where tools divide by them.

use std::fmt::Display;

use torc_protocol::memcached::{Request, text, write_line};

use super::VERSION;
use crate::exec::{CommandResult, Cx};
use crate::node::Node;
use crate::settings::EvictionPolicy;
use crate::stats::Counter;
use crate::store::DATABASES;

macro_rules! counters {
    ($($name:ident)*) => {
        /// What a worker counts of memcached's commands.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = concat!("memcached's `", stringify!($name), "`.")] pub $name: Counter,)*
        }

        impl Counters {
            /// `stats reset`.
            fn reset(&self) {
                $(self.$name.reset();)*
            }
        }

        fn counted(node: &Node, lines: &mut Lines<'_>) {
            $(lines.stat(stringify!($name), node.total(|s| s.memcached.$name.get()));)*
        }
    };
}

counters! {
    cmd_get cmd_set cmd_flush cmd_touch get_hits get_misses delete_misses delete_hits incr_misses incr_hits
    decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large store_no_memory
    auth_cmds auth_errors total_items
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
    let kind = request.args.first().copied().unwrap_or_default();
    let node = cx.node;
    let mut lines = Lines(out);
    match kind {
        b"" => general(cx, &mut lines),
        b"settings" => settings(node, &mut lines),
        b"items" => items(node, &mut lines),
        b"slabs" => slabs(node, &mut lines),
        b"sizes" | b"sizes_enable" | b"sizes_disable" => lines.stat("sizes_status", "disabled"),
        b"conns" => conns(cx, &mut lines),
        b"reset" => {
            node.stats.iter().for_each(|s| s.memcached.reset());
            write_line(out, text::RESET);
            return Ok(());
        }
        b"detail" => {
            let answer = match request.args.get(1).copied() {
                // Prefixes are not counted: switching is accepted, the dump is empty.
                Some(b"on" | b"off") => text::OK,
                Some(b"dump") => text::END,
                _ => "CLIENT_ERROR usage: stats detail on|off|dump",
            };
            write_line(out, answer);
            return Ok(());
        }
        b"cachedump" => {
            write_line(out, "CLIENT_ERROR stats cachedump not allowed");
            return Ok(());
        }
        _ => {
            write_line(out, text::ERROR);
            return Ok(());
        }
    }
    lines.end();
    Ok(())
}

fn general(cx: &Cx<'_, '_>, lines: &mut Lines<'_>) {
    let node = cx.node;
    let settings = node.settings.load();
    lines.stat("pid", std::process::id());
    lines.stat("uptime", cx.now_ms.saturating_sub(node.started_ms) / 1000);
    lines.stat("time", cx.now_ms / 1000);
    lines.stat("version", VERSION);
    lines.stat("pointer_size", usize::BITS);
    lines.stat("max_connections", settings.max_clients);
    lines.stat("curr_connections", node.clients.len());
    lines.stat("total_connections", node.total(|s| s.connections.get()));
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
}

fn settings(node: &Node, lines: &mut Lines<'_>) {
    let settings = node.settings.load();
    let yes_no = |on| if on { "yes" } else { "no" };
    lines.stat("maxbytes", settings.maxmemory);
    lines.stat("maxconns", settings.max_clients);
    lines.stat("udpport", 0);
    lines.stat("verbosity", 0);
    let evicts = settings.maxmemory_policy != EvictionPolicy::NoEviction;
    lines.stat("evictions", if evicts { "on" } else { "off" });
    lines.stat("shutdown_command", "no");
    lines.stat("num_threads", node.stats.len());
    lines.stat("stat_key_prefix", ':');
    lines.stat("detail_enabled", "no");
    lines.stat("cas_enabled", "yes");
    lines.stat("binding_protocol", "ascii");
    lines.stat("auth_enabled_sasl", "no");
    lines.stat("auth_enabled_ascii", yes_no(!settings.requirepass.is_empty()));
    lines.stat("item_size_max", settings.max_item_bytes);
    lines.stat("flush_enabled", "yes");
    lines.stat("dump_enabled", "no");
    lines.stat("ssl_enabled", "no");
}

/// The whole store is memcached's class 1.
fn items(node: &Node, lines: &mut Lines<'_>) {
    lines.stat("items:1:number", held_items(node));
    lines.stat("items:1:mem_requested", node.store.used_bytes());
    lines.stat("items:1:evicted", node.total(|s| s.evicted.get()));
    lines.stat("items:1:outofmemory", node.total(|s| s.memcached.store_no_memory.get()));
    lines.stat("items:1:reclaimed", node.total(|s| s.expired.get()));
}

fn slabs(node: &Node, lines: &mut Lines<'_>) {
    lines.stat("1:used_chunks", held_items(node));
    lines.stat("1:mem_requested", node.store.used_bytes());
    lines.stat("1:get_hits", node.total(|s| s.memcached.get_hits.get()));
    lines.stat("1:cmd_set", node.total(|s| s.memcached.cmd_set.get()));
    lines.stat("1:delete_hits", node.total(|s| s.memcached.delete_hits.get()));
    lines.stat("1:incr_hits", node.total(|s| s.memcached.incr_hits.get()));
    lines.stat("1:decr_hits", node.total(|s| s.memcached.decr_hits.get()));
    lines.stat("1:cas_hits", node.total(|s| s.memcached.cas_hits.get()));
    lines.stat("1:cas_badval", node.total(|s| s.memcached.cas_badval.get()));
    lines.stat("1:touch_hits", node.total(|s| s.memcached.touch_hits.get()));
    lines.stat("active_slabs", 1);
    lines.stat("total_malloced", node.store.used_bytes());
}

/// The connections of both protocols.
fn conns(cx: &Cx<'_, '_>, lines: &mut Lines<'_>) {
    for client in cx.node.clients.all() {
        let fd = client.fd();
        let kind = if client.unix { "unix" } else { "tcp" };
        lines.stat(format_args!("{fd}:addr"), format_args!("{kind}:{}", client.addr));
        lines.stat(format_args!("{fd}:listen_addr"), format_args!("{kind}:{}", client.laddr));
        let state = if client.is_blocked() { "conn_waiting" } else { "conn_parse_cmd" };
        lines.stat(format_args!("{fd}:state"), state);
        lines.stat(format_args!("{fd}:secs_since_last_cmd"), client.idle_s(cx.now_ms));
    }
}

fn held_items(node: &Node) -> usize {
    (0..DATABASES as u8).map(|db| node.store.len(db)).sum()
}
