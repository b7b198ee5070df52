//! INFO of the proxy: sections named as in Redis, and one of its own.

mod counted;

use std::fmt::Write as _;

use torc_protocol::REDIS_VERSION;
use torc_protocol::info::human_bytes;
use torc_runtime::clock::unix_ms;
use torc_runtime::process;

pub use counted::Counted;

use crate::downstream::render::bulk_text;
use crate::metrics::{Counter, WorkerMetrics};
use crate::shared::Shared;
use crate::table::RouteTable;

/// Torc's own version.
pub const TORC_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sections without arguments.
const DEFAULT: [&str; 11] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "errorstats",
    "cluster",
    "proxy",
    "keyspace",
];
/// Sections that must be asked for.
const EXTRA: [&str; 2] = ["commandstats", "latencystats"];

/// Which sections are wanted.
#[derive(Debug)]
pub struct Sections(Vec<&'static str>);

impl Sections {
    /// By the words after INFO; unknown ones name nothing.
    pub fn new(words: &[String]) -> Sections {
        let mut wanted: Vec<&str> = if words.is_empty() { DEFAULT.to_vec() } else { Vec::new() };
        for word in words {
            match word.as_str() {
                "default" => wanted.extend(DEFAULT),
                "all" | "everything" => wanted.extend(DEFAULT.iter().chain(&EXTRA)),
                word => wanted.extend(DEFAULT.iter().chain(&EXTRA).find(|known| **known == word)),
            }
        }
        Sections(wanted)
    }

    /// Whether a section is wanted.
    pub fn has(&self, section: &str) -> bool {
        self.0.contains(&section)
    }
}

/// The sum of one counter over all workers.
pub fn sum(shared: &Shared, counter: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
    shared.workers.iter().map(|worker| counter(worker).get()).fold(0, u64::wrapping_add)
}

/// The text of the sections that the proxy itself knows.
pub fn render(shared: &Shared, table: &RouteTable, sections: &Sections) -> String {
    let mut text = String::new();
    let counted =
        ["stats", "errorstats", "commandstats", "latencystats"].iter().any(|name| sections.has(name));
    let counted = if counted { Counted::now(shared) } else { Counted::default() };
    for section in DEFAULT.iter().chain(&EXTRA).filter(|section| sections.has(section)) {
        if *section == "keyspace" {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let name = if *section == "cpu" {
            section.to_ascii_uppercase()
        } else {
            let (first, rest) = section.split_at(1);
            first.to_ascii_uppercase() + rest
        };
        let _ = write!(text, "# {name}\r\n");
        match *section {
            "server" => server(shared, &mut text),
            "clients" => clients(shared, &mut text),
            "memory" => memory(shared, &mut text),
            "stats" => stats(shared, &counted, &mut text),
            // What the nodes say is added.
            "persistence" => text.push_str("loading:0\r\n"),
            "replication" => {
                text.push_str("role:master\r\nconnected_slaves:0\r\nmaster_repl_offset:0\r\n");
            }
            "cpu" => {
                let (kernel, user) = process::cpu_seconds();
                let _ = write!(text, "used_cpu_sys:{kernel:.6}\r\nused_cpu_user:{user:.6}\r\n");
            }
            "cluster" => text.push_str("cluster_enabled:0\r\n"),
            "proxy" => proxy(shared, table, &mut text),
            "errorstats" => counted.errors(&mut text),
            "commandstats" => counted.commands(&mut text),
            _ => counted.latencies(&mut text),
        }
    }
    if sections.has("keyspace") {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str("# Keyspace\r\n");
    }
    text
}

fn server(shared: &Shared, text: &mut String) {
    let up_s = unix_ms().saturating_sub(shared.started_ms) / 1000;
    let _ = write!(
        text,
        "redis_version:{REDIS_VERSION}\r\ntorc_version:{TORC_VERSION}\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\n\
         redis_build_id:0\r\nredis_mode:standalone\r\n\
         os:{} {}\r\narch_bits:{}\r\nmultiplexing_api:epoll\r\nprocess_id:{}\r\nrun_id:{}\r\ntcp_port:{}\r\n\
         uptime_in_seconds:{up_s}\r\nuptime_in_days:{}\r\nio_threads_active:0\r\nproxy_threads:{}\r\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        usize::BITS,
        std::process::id(),
        shared.run_id,
        shared.port(),
        up_s / 86_400,
        shared.config.threads,
    );
}

fn clients(shared: &Shared, text: &mut String) {
    let (resp, memcached) = (sum(shared, |w| &w.resp_clients), sum(shared, |w| &w.memcached_clients));
    let (waiting, held) = shared.clients.waiting();
    let held = if shared.pause.until_ms() > unix_ms() { held } else { 0 };
    let _ = write!(
        text,
        "connected_clients:{}\r\nmemcached_clients:{memcached}\r\nmaxclients:{}\r\nblocked_clients:{}\r\n\
         paused_clients:{held}\r\npubsub_clients:{}\r\n",
        resp + memcached,
        shared.limit.limit(),
        waiting + held,
        sum(shared, |w| &w.listeners),
    );
}

fn memory(shared: &Shared, text: &mut String) {
    let resident = process::resident_bytes();
    let _ = write!(
        text,
        "proxy_resident_bytes:{resident}\r\nproxy_buffer_bytes:{}\r\n",
        sum(shared, |w| &w.buffered),
    );
}

fn stats(shared: &Shared, counted: &Counted, text: &mut String) {
    counted.stats(text);
    let _ = write!(
        text,
        "pubsub_channels:{}\r\npubsub_patterns:{}\r\npubsubshard_channels:{}\r\n",
        sum(shared, |w| &w.channels),
        sum(shared, |w| &w.patterns),
        sum(shared, |w| &w.shard_channels),
    );
}

fn proxy(shared: &Shared, table: &RouteTable, text: &mut String) {
    let served = table.shards.iter().filter(|shard| shard.primary.is_some()).count();
    let _ = write!(
        text,
        "map_epoch:{}\r\nshards:{}\r\nshards_with_primary:{served}\r\nheld_requests:{}\r\nheld_requests_total:{}\r\n\
         retries:{}\r\nuncertain_replies:{}\r\ntimeouts:{}\r\norphaned_replies:{}\r\ndowngraded_replies:{}\r\n",
        table.epoch,
        table.shards.len(),
        sum(shared, |w| &w.held),
        sum(shared, |w| &w.held_total),
        sum(shared, |w| &w.retries),
        sum(shared, |w| &w.uncertain),
        sum(shared, |w| &w.timeouts),
        sum(shared, |w| &w.orphaned),
        sum(shared, |w| &w.downgraded),
    );
    let nodes = shared.all_node_metrics();
    let mut addresses: Vec<_> = nodes.iter().map(|node| &node.address).collect();
    addresses.sort();
    addresses.dedup();
    for (index, address) in addresses.iter().enumerate() {
        let mine: Vec<_> = nodes.iter().filter(|node| node.address == **address).collect();
        let total = |counter: fn(&crate::metrics::NodeMetrics) -> &Counter| -> u64 {
            mine.iter().map(|node| counter(node).get()).sum()
        };
        let _ = write!(
            text,
            "upstream{index}:address={address},connections={},in_flight={},requests={},errors={},refused={},failures={}\r\n",
            total(|n| &n.connections),
            total(|n| &n.in_flight),
            total(|n| &n.requests),
            total(|n| &n.errors),
            total(|n| &n.refused),
            total(|n| &n.failures),
        );
    }
}

/// Sections to which the nodes have something to add.
const OF_NODES: [&str; 5] = ["clients", "memory", "persistence", "stats", "keyspace"];
/// What is added up over the primaries, by section.
const MEMORY_SUMS: [&str; 12] = [
    "used_memory",
    "used_memory_rss",
    "used_memory_peak",
    "used_memory_overhead",
    "used_memory_startup",
    "used_memory_dataset",
    "allocator_allocated",
    "allocator_active",
    "allocator_resident",
    "mem_clients_normal",
    "lazyfree_pending_objects",
    "lazyfreed_objects",
];
const STATS_SUMS: [&str; 6] = [
    "expired_keys",
    "expired_subkeys",
    "evicted_keys",
    "keyspace_hits",
    "keyspace_misses",
    "instantaneous_ops_per_sec",
];

const CLIENTS_SUMS: [&str; 2] = ["total_blocking_keys", "total_blocking_keys_on_nokey"];

/// What the nodes are asked for, to answer these sections.
pub fn asked(sections: &Sections) -> Vec<&'static str> {
    OF_NODES.into_iter().filter(|section| sections.has(section)).collect()
}

/// The proxy's text with what the nodes say, added up; a node that says nothing (an error) is left out.
pub fn with_nodes(own: &str, parts: &[&[u8]]) -> String {
    let texts: Vec<String> =
        parts.iter().filter_map(|part| Some(String::from_utf8_lossy(text_of(part)?).into_owned())).collect();
    let mut text = String::new();
    for section in own.split("\r\n\r\n") {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str(section.trim_end());
        text.push_str("\r\n");
        match section.lines().next() {
            Some("# Memory") if !texts.is_empty() => memory_of_nodes(&texts, &mut text),
            Some("# Clients") if !texts.is_empty() => {
                // Who waits at a node does so from the moment on when the node has its request.
                let number =
                    |name| field(section, name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
                let (blocked, paused) = (number("blocked_clients"), number("paused_clients"));
                let there = blocked.saturating_sub(paused).min(total(&texts, "blocked_clients")) + paused;
                let of = |blocked| format!("\r\nblocked_clients:{blocked}\r\n");
                text = text.replace(&of(blocked), &of(there));
                totals(&texts, &CLIENTS_SUMS, &mut text);
            }
            Some("# Persistence") if !texts.is_empty() => {
                let saved = numbers(&texts, "rdb_last_save_time").min().unwrap_or(0);
                let _ = write!(
                    text,
                    "rdb_changes_since_last_save:{}\r\nrdb_bgsave_in_progress:0\r\n\
                     rdb_last_save_time:{saved}\r\nrdb_last_bgsave_status:ok\r\naof_enabled:0\r\n",
                    total(&texts, "rdb_changes_since_last_save")
                );
            }
            Some("# Stats") if !texts.is_empty() => {
                // Fewer than there are: what the others have counted is missing in the sums.
                let _ = write!(text, "shards_asked:{}\r\nshards_answered:{}\r\n", parts.len(), texts.len());
                totals(&texts, &STATS_SUMS, &mut text);
            }
            Some("# Keyspace") => keyspace(&texts, &mut text),
            _ => {}
        }
    }
    text
}

fn memory_of_nodes(texts: &[String], text: &mut String) {
    for name in MEMORY_SUMS {
        let sum = total(texts, name);
        let _ = write!(text, "{name}:{sum}\r\n");
        if matches!(name, "used_memory" | "used_memory_rss" | "used_memory_peak") {
            let _ = write!(text, "{name}_human:{}\r\n", human_bytes(sum));
        }
    }
    // One without a limit leaves all without one.
    let limited = numbers(texts, "maxmemory").all(|limit| limit > 0);
    let limit = if limited { total(texts, "maxmemory") } else { 0 };
    let policy = texts.iter().find_map(|text| field(text, "maxmemory_policy")).unwrap_or("noeviction");
    let _ = write!(
        text,
        "maxmemory:{limit}\r\nmaxmemory_human:{}\r\nmaxmemory_policy:{policy}\r\n",
        human_bytes(limit)
    );
    let (used, resident) = (total(texts, "used_memory"), total(texts, "used_memory_rss"));
    let _ = write!(text, "mem_fragmentation_ratio:{:.2}\r\n", resident as f64 / used.max(1) as f64);
}

/// The sum of what the nodes say of one name.
fn total(texts: &[String], name: &str) -> u64 {
    numbers(texts, name).fold(0, u64::saturating_add)
}

/// A line for the sum of each name.
fn totals(texts: &[String], names: &[&str], text: &mut String) {
    for name in names {
        let _ = write!(text, "{name}:{}\r\n", total(texts, name));
    }
}

/// The value of a line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.split_once(':').filter(|(known, _)| *known == name))
        .map(|(_, value)| value)
}

/// The numbers of the nodes under a name.
fn numbers(texts: &[String], name: &str) -> impl Iterator<Item = u64> {
    texts.iter().filter_map(move |text| field(text, name)?.parse().ok())
}

/// Adds the shards' `dbN:keys=…,expires=…,avg_ttl=…` lines up and appends them.
fn keyspace(texts: &[String], text: &mut String) {
    let mut dbs: std::collections::BTreeMap<u32, (u64, u64, u64)> = std::collections::BTreeMap::new();
    for body in texts {
        for line in body.lines() {
            let Some((db, fields)) = line.strip_prefix("db").and_then(|rest| rest.split_once(':')) else {
                continue;
            };
            let Ok(db) = db.parse::<u32>() else { continue };
            let field = |name: &str| -> u64 {
                let value =
                    fields.split(',').find_map(|field| field.split_once('=').filter(|(key, _)| *key == name));
                value.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
            };
            let sums = dbs.entry(db).or_default();
            let expires = field("expires");
            sums.0 += field("keys");
            sums.1 += expires;
            sums.2 += field("avg_ttl").saturating_mul(expires);
        }
    }
    for (db, (keys, expires, ttl)) in dbs {
        let _ = write!(
            text,
            "db{db}:keys={keys},expires={expires},avg_ttl={}\r\n",
            ttl.checked_div(expires).unwrap_or(0)
        );
    }
}

/// The text inside a reply that is one, bulk or verbatim.
pub fn text_of(frame: &[u8]) -> Option<&[u8]> {
    bulk_text(frame).or_else(|| verbatim_text(frame))
}

/// The text inside a verbatim string frame.
fn verbatim_text(frame: &[u8]) -> Option<&[u8]> {
    /// `txt:`
    const KIND_BYTES: usize = 4;
    let header = memchr::memchr(b'\n', frame)? + 1;
    (frame.first() == Some(&b'=')).then(|| frame.get(header + KIND_BYTES..frame.len().checked_sub(2)?))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_does_so_when_the_nodes_know() {
        let own = "# Clients\r\nconnected_clients:9\r\nblocked_clients:5\r\npaused_clients:2\r\n";
        let blocked = |at_node: u64| {
            let text = format!("# Clients\r\nblocked_clients:{at_node}\r\ntotal_blocking_keys:{at_node}\r\n");
            let text = with_nodes(own, &[format!("${}\r\n{text}\r\n", text.len()).as_bytes()]);
            assert!(
                text.ends_with(&format!(
                    "total_blocking_keys:{at_node}\r\ntotal_blocking_keys_on_nokey:0\r\n"
                ))
            );
            field(&text, "blocked_clients").and_then(|value| value.parse().ok())
        };
        assert_eq!([0, 2, 3, 7].map(blocked), [Some(2), Some(4), Some(5), Some(5)]);
    }

    #[test]
    fn the_keyspace_is_summed() {
        let one = "# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=100\r\n";
        let two = "# Keyspace\r\ndb0:keys=2,expires=3,avg_ttl=200\r\ndb4:keys=1,expires=0,avg_ttl=0\r\n";
        let parts = [format!("={}\r\ntxt:{one}\r\n", one.len() + 4), format!("${}\r\n{two}\r\n", two.len())];
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        assert_eq!(
            with_nodes("# Keyspace\r\n", &parts),
            "# Keyspace\r\ndb0:keys=5,expires=4,avg_ttl=175\r\ndb4:keys=1,expires=0,avg_ttl=0\r\n"
        );
    }

    #[test]
    fn memory_and_hits_are_those_of_all_nodes() {
        let node = |used: u64, limit: u64, hits: u64| {
            let text = format!(
                "# Memory\r\nused_memory:{used}\r\nused_memory_rss:{}\r\nmaxmemory:{limit}\r\n\
                 maxmemory_policy:allkeys-lru\r\n\r\n# Stats\r\nkeyspace_hits:{hits}\r\n",
                used * 2
            );
            format!("${}\r\n{text}\r\n", text.len()).into_bytes()
        };
        let own = "# Memory\r\nproxy_resident_bytes:7\r\n\r\n# Stats\r\ntotal_net_input_bytes:1\r\n";
        let with = |parts: &[Vec<u8>]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
            with_nodes(own, &parts)
        };
        let text = with(&[node(2048, 4096, 5), b"-CLUSTERDOWN x\r\n".to_vec(), node(1024, 4096, 6)]);
        for line in [
            "proxy_resident_bytes:7",
            "used_memory:3072",
            "used_memory_human:3.00K",
            "maxmemory:8192",
            "maxmemory_policy:allkeys-lru",
            "mem_fragmentation_ratio:2.00",
            "total_net_input_bytes:1",
            "keyspace_hits:11",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(text.contains("\r\n\r\n# Stats\r\n"), "{text}");
        assert!(
            with(&[node(1, 0, 0), node(1, 4096, 0)]).contains("\r\nmaxmemory:0\r\nmaxmemory_human:0B\r\n")
        );
    }
}
