//! What `torc up` says.

use std::path::Path;

use super::layout::Layout;
use super::state::{ClusterFile, ProcessEntry};

/// The beginning.
pub fn starting(layout: &Layout, dir: &Path, old: bool) {
    let what = if old { "starting the cluster kept in" } else { "making a new cluster in" };
    println!("torc: {what} {}: {} shards × {} nodes", dir.display(), layout.shards, layout.replicas + 1);
}

/// The control plane stands; one that hangs on a single node is not passed over in silence.
pub fn voters(names: &[&str]) {
    if let [only] = names {
        println!(
            "torc: the control plane has one voter: it does not survive the loss of {only} (three voters need three nodes)"
        );
    }
    println!("torc: the control plane has its voters; waiting for a primary of each shard");
}

/// What came up and where.
pub fn up(file: &ClusterFile, dir: &Path, old: bool) {
    println!();
    println!("  {:<8} {:<8} {:>5}  {:<17} {:<17} pid", "process", "role", "shard", "RESP", "memcached");
    for p in &file.processes {
        let shard = p.shard.map_or_else(|| "-".to_owned(), |s| s.to_string());
        println!(
            "  {:<8} {:<8} {shard:>5}  {:<17} {:<17} {}",
            p.name,
            p.role,
            at(p, p.port),
            at(p, p.memcached_port),
            pid(p.pid)
        );
    }
    println!();
    if let Some(proxy) = file.processes.iter().find(|p| p.role == "proxy") {
        if proxy.port != 0 {
            println!("  RESP       {}", at(proxy, proxy.port));
        }
        if proxy.memcached_port != 0 {
            println!("  memcached  {}", at(proxy, proxy.memcached_port));
        }
        if proxy.http_port != 0 {
            println!("  HTTP       http://{}/metrics  /healthz  /readyz", at(proxy, proxy.http_port));
        }
        println!("  folder     {}   logs in {}", dir.display(), dir.join("logs").display());
        if old {
            println!();
            println!("  Data lives in memory only so far: every shard starts empty, in a new term.");
        }
        println!();
        println!("Try:");
        if proxy.port != 0 {
            println!("  redis-cli -p {} set greeting hello", proxy.port);
        }
        if proxy.memcached_port != 0 {
            println!("  printf 'get greeting\\r\\nquit\\r\\n' | nc 127.0.0.1 {}", proxy.memcached_port);
        }
        println!("  torc status --dir {}", dir.display());
    }
    println!();
    println!("The cluster is up. Ctrl-C stops it.");
}

fn at(process: &ProcessEntry, port: u16) -> String {
    if port == 0 { "-".to_owned() } else { format!("{}:{port}", process.host) }
}

fn pid(id: Option<u32>) -> String {
    id.map_or_else(|| "-".to_owned(), |id| id.to_string())
}

/// A process ended that should not have.
pub fn ended(name: &str, how: &str, restart: bool) {
    let then = if restart { "; it is started again in a moment" } else { "" };
    println!("torc: {name} {how}{then}");
}

/// It was started again.
pub fn again(name: &str, id: Option<u32>) {
    println!("torc: {name} runs again, pid {}", pid(id));
}

/// Roles that changed.
pub fn changes(before: &ClusterFile, after: &ClusterFile) {
    for (old, new) in before.processes.iter().zip(&after.processes) {
        if old.role != new.role
            && let Some(shard) = new.shard
        {
            println!("torc: {} is {} of shard {shard} now", new.name, new.role);
        }
    }
}

/// The end begins.
pub fn stopping() {
    println!("torc: stopping");
}

/// The end.
pub fn stopped() {
    println!("torc: everything has stopped");
}
