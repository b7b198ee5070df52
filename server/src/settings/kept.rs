//! Options of Redis that mean nothing here, with the values that Redis 7.2 starts with.
//!
//! They are accepted and kept, so that tools and tests which set them go on working; those marked immutable
//! describe the process and can only be read.

/// An option that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// In lower case.
    pub name: &'static str,
    /// The value before anybody sets one.
    pub value: &'static str,
    /// Cannot be set while the server runs.
    pub immutable: bool,
}

const fn kept(name: &'static str, value: &'static str) -> Kept {
    Kept { name, value, immutable: false }
}

const fn fixed(name: &'static str, value: &'static str) -> Kept {
    Kept { name, value, immutable: true }
}

/// The option of that name (in lower case).
pub fn find(name: &str) -> Option<&'static Kept> {
    KEPT.binary_search_by(|kept| kept.name.cmp(name)).ok().and_then(|at| KEPT.get(at))
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Kept> {
    KEPT.iter()
}

#[rustfmt::skip]
static KEPT: &[Kept] = &[
    kept("acl-pubsub-default", "resetchannels"),
    fixed("aclfile", ""),
    kept("acllog-max-len", "128"),
    kept("active-defrag-cycle-max", "25"),
    kept("active-defrag-cycle-min", "1"),
    kept("active-defrag-ignore-bytes", "104857600"),
    kept("active-defrag-max-scan-fields", "1000"),
    kept("active-defrag-threshold-lower", "10"),
    kept("active-defrag-threshold-upper", "100"),
    kept("active-expire-effort", "1"),
    kept("activedefrag", "no"),
    kept("activerehashing", "yes"),
    fixed("always-show-logo", "no"),
    kept("aof-disable-auto-gc", "no"),
    kept("aof-load-truncated", "yes"),
    kept("aof-rewrite-incremental-fsync", "yes"),
    kept("aof-timestamp-enabled", "no"),
    kept("aof-use-rdb-preamble", "yes"),
    fixed("aof_rewrite_cpulist", ""),
    fixed("appenddirname", "appendonlydir"),
    fixed("appendfilename", "appendonly.aof"),
    kept("appendfsync", "everysec"),
    kept("auto-aof-rewrite-min-size", "67108864"),
    kept("auto-aof-rewrite-percentage", "100"),
    fixed("bgsave_cpulist", ""),
    fixed("bind", "* -::*"),
    kept("bind-source-addr", ""),
    fixed("bio_cpulist", ""),
    kept("client-query-buffer-limit", "1073741824"),
    kept("close-on-replica-write", "yes"),
    kept("cluster-allow-pubsubshard-when-down", "yes"),
    kept("cluster-allow-reads-when-down", "no"),
    kept("cluster-allow-replica-migration", "yes"),
    kept("cluster-announce-bus-port", "0"),
    kept("cluster-announce-hostname", ""),
    kept("cluster-announce-ip", ""),
    kept("cluster-announce-port", "0"),
    kept("cluster-announce-tls-port", "0"),
    fixed("cluster-config-file", "nodes.conf"),
    fixed("cluster-enabled", "no"),
    kept("cluster-link-sendbuf-limit", "0"),
    kept("cluster-migration-barrier", "1"),
    kept("cluster-node-timeout", "15000"),
    fixed("cluster-port", "0"),
    kept("cluster-preferred-endpoint-type", "ip"),
    kept("cluster-replica-no-failover", "no"),
    kept("cluster-replica-validity-factor", "10"),
    kept("cluster-require-full-coverage", "yes"),
    kept("cluster-slave-no-failover", "no"),
    kept("cluster-slave-validity-factor", "10"),
    kept("crash-log-enabled", "yes"),
    kept("crash-memcheck-enabled", "yes"),
    fixed("daemonize", "no"),
    fixed("databases", "16"),
    kept("dbfilename", "dump.rdb"),
    fixed("dir", ""),
    fixed("disable-thp", "yes"),
    kept("dynamic-hz", "yes"),
    fixed("enable-debug-command", "no"),
    fixed("enable-module-command", "no"),
    fixed("enable-protected-configs", "no"),
    kept("hz", "10"),
    kept("ignore-warnings", ""),
    fixed("io-threads", "1"),
    fixed("io-threads-do-reads", "no"),
    kept("jemalloc-bg-thread", "yes"),
    kept("latency-tracking", "yes"),
    kept("latency-tracking-info-percentiles", "50 99 99.9"),
    kept("lazyfree-lazy-eviction", "no"),
    kept("lazyfree-lazy-expire", "no"),
    kept("lazyfree-lazy-server-del", "no"),
    kept("lazyfree-lazy-user-del", "no"),
    kept("lazyfree-lazy-user-flush", "no"),
    kept("lfu-decay-time", "1"),
    kept("lfu-log-factor", "10"),
    kept("locale-collate", ""),
    fixed("logfile", ""),
    kept("loglevel", "notice"),
    kept("masterauth", ""),
    kept("masteruser", ""),
    kept("maxmemory-clients", "0"),
    kept("maxmemory-eviction-tenacity", "10"),
    kept("min-replicas-max-lag", "10"),
    kept("min-replicas-to-write", "0"),
    kept("min-slaves-max-lag", "10"),
    kept("min-slaves-to-write", "0"),
    kept("no-appendfsync-on-rewrite", "no"),
    kept("oom-score-adj", "no"),
    kept("oom-score-adj-values", "0 200 800"),
    fixed("pidfile", ""),
    kept("proc-title-template", "{title} {listen-addr} {server-mode}"),
    kept("propagation-error-behavior", "ignore"),
    kept("rdb-del-sync-files", "no"),
    kept("rdb-save-incremental-fsync", "yes"),
    fixed("rdbchecksum", "yes"),
    kept("rdbcompression", "yes"),
    kept("repl-backlog-size", "1048576"),
    kept("repl-backlog-ttl", "3600"),
    kept("repl-disable-tcp-nodelay", "no"),
    kept("repl-diskless-load", "disabled"),
    kept("repl-diskless-sync", "yes"),
    kept("repl-diskless-sync-delay", "5"),
    kept("repl-diskless-sync-max-replicas", "0"),
    kept("repl-ping-replica-period", "10"),
    kept("repl-ping-slave-period", "10"),
    kept("repl-timeout", "60"),
    kept("replica-announce-ip", ""),
    kept("replica-announce-port", "0"),
    kept("replica-announced", "yes"),
    kept("replica-ignore-disk-write-errors", "no"),
    kept("replica-ignore-maxmemory", "yes"),
    kept("replica-lazy-flush", "no"),
    kept("replica-priority", "100"),
    kept("replica-read-only", "yes"),
    kept("replica-serve-stale-data", "yes"),
    fixed("replicaof", ""),
    kept("sanitize-dump-payload", "no"),
    fixed("server_cpulist", ""),
    fixed("set-proc-title", "yes"),
    kept("shutdown-on-sigint", "default"),
    kept("shutdown-on-sigterm", "default"),
    kept("shutdown-timeout", "10"),
    kept("slave-announce-ip", ""),
    kept("slave-announce-port", "0"),
    kept("slave-ignore-maxmemory", "yes"),
    kept("slave-lazy-flush", "no"),
    kept("slave-priority", "100"),
    kept("slave-read-only", "yes"),
    kept("slave-serve-stale-data", "yes"),
    fixed("slaveof", ""),
    kept("socket-mark-id", "0"),
    kept("stop-writes-on-bgsave-error", "yes"),
    fixed("supervised", "no"),
    fixed("syslog-enabled", "no"),
    fixed("syslog-facility", "local0"),
    fixed("syslog-ident", "redis"),
    fixed("tcp-backlog", "511"),
    kept("tls-auth-clients", "yes"),
    kept("tls-ca-cert-dir", ""),
    kept("tls-ca-cert-file", ""),
    kept("tls-cert-file", ""),
    kept("tls-ciphers", ""),
    kept("tls-ciphersuites", ""),
    kept("tls-client-cert-file", ""),
    kept("tls-client-key-file", ""),
    kept("tls-client-key-file-pass", ""),
    kept("tls-cluster", "no"),
    kept("tls-dh-params-file", ""),
    kept("tls-key-file", ""),
    kept("tls-key-file-pass", ""),
    fixed("tls-port", "0"),
    kept("tls-prefer-server-ciphers", "no"),
    kept("tls-protocols", ""),
    kept("tls-replication", "no"),
    kept("tls-session-cache-size", "20480"),
    kept("tls-session-cache-timeout", "300"),
    kept("tls-session-caching", "yes"),
    kept("tracking-table-max-keys", "1000000"),
    fixed("unixsocket", ""),
    fixed("unixsocketperm", "0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(KEPT.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(find("hz").map(|kept| kept.value), Some("10"));
        assert!(find("nosuch").is_none());
    }
}
