//! Keys, memory, and where the node stands in its shard.

use prometheus::proto::MetricFamily;
use torc_runtime::metrics::FamilyBuilder;
use torc_runtime::{clock, process};

use super::{Named, counter, gauge};
use crate::node::Node;
use crate::shard::Role;
use crate::store::{DATABASES, STRIPES};

const INFO: Named = ("torc_server_info", "Always 1; the version is a label.");
const UPTIME: Named = ("torc_server_uptime_seconds", "Seconds since the start.");
const KEYS: Named = ("torc_server_keys", "Keys, by database.");
const EXPIRES: Named = ("torc_server_keys_expiring", "Keys with an expiry, by database.");
const HITS: Named = ("torc_server_keyspace_hits_total", "Reads that found their key.");
const MISSES: Named = ("torc_server_keyspace_misses_total", "Reads that did not find their key.");
const EXPIRED_FIELDS: Named =
    ("torc_server_expired_fields_total", "Fields of hashes removed because their time had come.");
const EXPIRED: Named = ("torc_server_expired_total", "Keys removed because their time had come.");
const EVICTED: Named = ("torc_server_evicted_total", "Keys removed for room.");
const USED: Named =
    ("torc_server_memory_used_bytes", "Bytes of keys, values and tables, with those of the empty store.");
const LIMIT: Named = ("torc_server_memory_limit_bytes", "maxmemory; 0: no limit.");
const RESIDENT: Named = ("torc_server_memory_resident_bytes", "Resident bytes of the process.");
const ALLOCATED: Named = ("torc_server_memory_allocated_bytes", "Bytes that were asked of the allocator.");
const CPU: Named = ("torc_server_cpu_seconds_total", "Processor time, by mode.");
const ROLE: Named = ("torc_server_role", "1 for the role that the node has.");
const TERM: Named = ("torc_server_term", "Term that the node serves or follows.");
const LEASE: Named = ("torc_server_lease_remaining_seconds", "What is left of the lease; 0: there is none.");
const OFFSET: Named = ("torc_server_offset", "Last offset of the shard's history on this node.");
const MARK: Named = ("torc_server_high_water_mark", "Offset that every in-sync member is known to hold.");
const SCRIPTS: Named = ("torc_server_scripts", "Script bodies that are kept.");

/// What [`gather`] yields.
pub const FAMILIES: &[Named] = &[
    INFO, UPTIME, KEYS, EXPIRES, HITS, MISSES, EXPIRED, EVICTED, USED, LIMIT, RESIDENT, ALLOCATED, CPU, ROLE,
    TERM, LEASE, OFFSET, MARK, SCRIPTS,
];

/// The families of this module, for one scrape.
pub fn gather(node: &Node) -> Vec<MetricFamily> {
    let (now_ns, now_ms) = (clock::boottime_ns(), clock::unix_ms());
    let shard = &node.shard;
    let mut role = FamilyBuilder::gauge(ROLE.0, ROLE.1);
    for known in Role::ALL {
        role.add(&[("role", known.name())], f64::from(u8::from(known == shard.role())));
    }
    let (kernel, user) = process::cpu_seconds();
    let mut cpu = FamilyBuilder::counter(CPU.0, CPU.1);
    cpu.add(&[("mode", "system")], kernel);
    cpu.add(&[("mode", "user")], user);
    let info = FamilyBuilder::gauge(INFO.0, INFO.1);
    let lease_ns = shard.lease_until_ns().saturating_sub(now_ns);
    let allocated = node.allocator.get().map_or(0, |ask| ask().allocated);
    let mut families = vec![
        info.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0).build(),
        gauge(UPTIME, now_ms.saturating_sub(node.started_ms) as f64 / 1000.0),
        counter(HITS, node.total(|s| s.hits.get())),
        counter(MISSES, node.total(|s| s.misses.get())),
        counter(EXPIRED, node.total(|s| s.expired.get())),
        counter(EXPIRED_FIELDS, node.total(|s| s.expired_fields.get())),
        counter(EVICTED, node.total(|s| s.evicted.get())),
        gauge(USED, node.used_bytes() as f64),
        gauge(LIMIT, node.settings.load().maxmemory as f64),
        gauge(RESIDENT, process::resident_bytes() as f64),
        gauge(ALLOCATED, allocated as f64),
        cpu.build(),
        role.build(),
        gauge(TERM, shard.term().0 as f64),
        gauge(LEASE, lease_ns as f64 / 1e9),
        gauge(OFFSET, shard.last_offset() as f64),
        gauge(MARK, shard.mark() as f64),
        gauge(SCRIPTS, node.scripts.usage().0 as f64),
    ];
    families.extend(databases(node));
    families
}

/// Keys by database. Stripes that a script holds are left out: a look must not wait.
fn databases(node: &Node) -> [MetricFamily; 2] {
    let mut keys = [0; DATABASES];
    let mut expiring = [0; DATABASES];
    for index in 0..STRIPES as u16 {
        let Some(stripe) = node.store.peek_stripe(index) else { continue };
        for db in stripe.databases() {
            if let (Some(keys), Some(expiring)) =
                (keys.get_mut(usize::from(db)), expiring.get_mut(usize::from(db)))
            {
                *keys += stripe.len(db);
                *expiring += stripe.expiring_in(db);
            }
        }
    }
    [(KEYS, keys), (EXPIRES, expiring)].map(|((name, help), counts)| {
        let mut family = FamilyBuilder::gauge(name, help);
        for (db, count) in counts.iter().enumerate().filter(|(db, _)| *db == 0 || keys[*db] > 0) {
            family.add(&[("db", &db.to_string())], *count as f64);
        }
        family.build()
    })
}
