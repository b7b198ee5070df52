//! INFO's sections about the process.

use std::sync::atomic::Ordering;

use torc_protocol::REDIS_VERSION;
use torc_runtime::process;

use super::Lines;
use crate::exec::Cx;
use crate::exec::families::server::memory::{figures, ratio};
use crate::shard::Role;
use crate::store::Store;

/// `# Server`
pub fn server(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let settings = cx.node.settings.load();
    let uptime_s = cx.now_ms.saturating_sub(cx.node.started_ms) / 1000;
    let option = |name: &str| settings.option(name).unwrap_or_default();
    lines.line("redis_version", REDIS_VERSION);
    lines.line("torc_version", env!("CARGO_PKG_VERSION"));
    lines.line("redis_git_sha1", "00000000");
    lines.line("redis_git_dirty", 0);
    lines.line("redis_build_id", "0");
    lines.line("redis_mode", if cx.node.shard.role() == Role::Plain { "standalone" } else { "cluster" });
    lines.line("os", process::system());
    lines.line("arch_bits", usize::BITS);
    lines.line("monotonic_clock", "CLOCK_BOOTTIME");
    lines.line("multiplexing_api", "epoll");
    lines.line("process_id", std::process::id());
    lines.line("process_supervised", "no");
    lines.line("run_id", &cx.node.run_id);
    lines.line("tcp_port", option("port"));
    lines.line("server_time_usec", cx.now_ms * 1000);
    lines.line("uptime_in_seconds", uptime_s);
    lines.line("uptime_in_days", uptime_s / 86_400);
    lines.line("hz", 10);
    lines.line("configured_hz", 10);
    lines.line("lru_clock", (cx.now_ms / 1000) & 0xff_ffff);
    let executable = std::env::current_exe().unwrap_or_default();
    lines.line("executable", executable.display());
    let file = settings.config_file.as_ref().map_or(String::new(), |file| file.display().to_string());
    lines.line("config_file", file);
    lines.line("io_threads_active", u8::from(cx.node.stats.len() > 1));
}

/// `# Clients`
pub fn clients(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let clients = &cx.node.clients;
    let all = clients.all();
    let most = |bytes: fn(&crate::clients::Client) -> usize| all.iter().map(|c| bytes(c)).max().unwrap_or(0);
    lines.line("connected_clients", all.len());
    lines.line("cluster_connections", 0);
    lines.line("maxclients", clients.limit.limit());
    lines.line("client_recent_max_input_buffer", most(|c| c.input_bytes.load(Ordering::Relaxed)));
    lines.line("client_recent_max_output_buffer", most(|c| c.output_bytes.load(Ordering::Relaxed)));
    lines.line("blocked_clients", clients.blocked.load(Ordering::Relaxed));
    lines.line("tracking_clients", 0);
    lines.line("clients_in_timeout_table", 0);
    let (keys, until_gone) = cx.node.blocked.key_counts();
    lines.line("total_blocking_keys", keys);
    lines.line("total_blocking_keys_on_nokey", until_gone);
}

/// `# Memory`
pub fn memory(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let now = figures(cx);
    let settings = cx.node.settings.load();
    let percent = |part: u64, whole: u64| format!("{:.2}%", ratio(part, whole) * 100.0);
    let startup = Store::EMPTY_BYTES as u64;
    let dataset = now.used.saturating_sub(startup);
    let overhead = now.allocator.allocated.saturating_sub(dataset);
    lines.bytes("used_memory", now.used);
    lines.bytes("used_memory_rss", now.resident);
    lines.bytes("used_memory_peak", now.peak);
    lines.line("used_memory_peak_perc", percent(now.used, now.peak));
    lines.line("used_memory_overhead", overhead);
    lines.line("used_memory_startup", startup);
    lines.line("used_memory_dataset", dataset);
    lines.line("used_memory_dataset_perc", percent(dataset, now.allocator.allocated.max(dataset)));
    lines.line("allocator_allocated", now.allocator.allocated);
    lines.line("allocator_active", now.allocator.active);
    lines.line("allocator_resident", now.allocator.resident);
    lines.bytes("total_system_memory", process::machine_bytes());
    lines.line("used_memory_lua", 0);
    lines.line("used_memory_lua_human", "0B");
    lines.line("used_memory_scripts", 0);
    lines.line("used_memory_scripts_human", "0B");
    lines.bytes("maxmemory", settings.maxmemory);
    lines.line("maxmemory_policy", settings.maxmemory_policy.name());
    lines
        .line("allocator_frag_ratio", format!("{:.2}", ratio(now.allocator.active, now.allocator.allocated)));
    lines.line("allocator_frag_bytes", now.allocator.active.saturating_sub(now.allocator.allocated));
    lines.line("allocator_rss_ratio", format!("{:.2}", ratio(now.allocator.resident, now.allocator.active)));
    lines.line("allocator_rss_bytes", now.allocator.resident.saturating_sub(now.allocator.active));
    lines.line("rss_overhead_ratio", format!("{:.2}", ratio(now.resident, now.allocator.resident)));
    lines.line("rss_overhead_bytes", now.resident.saturating_sub(now.allocator.resident));
    lines.line("mem_fragmentation_ratio", format!("{:.2}", ratio(now.resident, now.used)));
    lines.line("mem_fragmentation_bytes", now.resident.saturating_sub(now.used));
    lines.line("mem_not_counted_for_evict", 0);
    let replication = cx.node.shard.replication_bytes();
    lines.line("mem_replication_backlog", replication);
    lines.line("mem_total_replication_buffers", replication);
    lines.line("mem_clients_slaves", 0);
    lines.line("mem_clients_normal", now.clients);
    lines.line("mem_cluster_links", 0);
    lines.line("mem_aof_buffer", 0);
    lines.line("mem_allocator", if cx.node.allocator.get().is_some() { "jemalloc" } else { "libc" });
    lines.line("active_defrag_running", 0);
    let freeing = cx.node.freeing();
    lines.line("lazyfree_pending_objects", freeing.pending.load(Ordering::Relaxed));
    lines.line("lazyfreed_objects", freeing.freed.load(Ordering::Relaxed));
}

/// `# CPU`
pub fn cpu(_cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let (kernel, user) = process::cpu_seconds();
    lines.line("used_cpu_sys", format!("{kernel:.6}"));
    lines.line("used_cpu_user", format!("{user:.6}"));
    lines.line("used_cpu_sys_children", "0.000000");
    lines.line("used_cpu_user_children", "0.000000");
}
