//! `stats items` and `stats slabs`: the whole store is memcached's class 1, its items are all "hot".

use super::{Lines, held_items};
use crate::node::Node;

/// Of lists of items, which a store without them never moves, repairs or crawls.
const NO_LISTS: [&str; 15] = [
    "age_hot",
    "age_warm",
    "age",
    "tailrepairs",
    "evicted_active",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "hits_to_warm",
    "hits_to_cold",
    "hits_to_temp",
];

pub(super) fn items(node: &Node, lines: &mut Lines<'_>) {
    let number = held_items(node);
    if number == 0 {
        return;
    }
    lines.stat("items:1:number", number);
    lines.stat("items:1:number_hot", number);
    lines.stat("items:1:number_warm", 0);
    lines.stat("items:1:number_cold", 0);
    lines.stat("items:1:mem_requested", node.store.used_bytes());
    lines.stat("items:1:evicted", node.total(|s| s.evicted.get()));
    lines.stat("items:1:evicted_nonzero", node.total(|s| s.memcached.evicted_nonzero.get()));
    lines.stat("items:1:evicted_time", node.eviction.last_idle_s());
    lines.stat("items:1:evicted_unfetched", node.total(|s| s.memcached.evicted_unfetched.get()));
    lines.stat("items:1:expired_unfetched", node.total(|s| s.memcached.expired_unfetched.get()));
    lines.stat("items:1:outofmemory", node.total(|s| s.memcached.store_no_memory.get()));
    lines.stat("items:1:reclaimed", node.total(|s| s.expired.get()));
    lines.stat("items:1:hits_to_hot", node.total(|s| s.memcached.get_hits.get()));
    for name in NO_LISTS {
        lines.stat(format_args!("items:1:{name}"), 0);
    }
}

pub(super) fn slabs(node: &Node, lines: &mut Lines<'_>) {
    let (number, bytes) = (held_items(node), node.store.used_bytes());
    let mean = bytes.checked_div(number).unwrap_or(0);
    lines.stat("1:chunk_size", mean);
    lines.stat("1:chunks_per_page", number);
    lines.stat("1:total_pages", 1);
    lines.stat("1:total_chunks", number);
    lines.stat("1:used_chunks", number);
    lines.stat("1:free_chunks", 0);
    lines.stat("1:free_chunks_end", 0);
    lines.stat("1:mem_requested", bytes);
    lines.stat("1:get_hits", node.total(|s| s.memcached.get_hits.get()));
    lines.stat("1:cmd_set", node.total(|s| s.memcached.cmd_set.get()));
    lines.stat("1:delete_hits", node.total(|s| s.memcached.delete_hits.get()));
    lines.stat("1:incr_hits", node.total(|s| s.memcached.incr_hits.get()));
    lines.stat("1:decr_hits", node.total(|s| s.memcached.decr_hits.get()));
    lines.stat("1:cas_hits", node.total(|s| s.memcached.cas_hits.get()));
    lines.stat("1:cas_badval", node.total(|s| s.memcached.cas_badval.get()));
    lines.stat("1:touch_hits", node.total(|s| s.memcached.touch_hits.get()));
    lines.stat("active_slabs", 1);
    lines.stat("total_malloced", bytes);
}
