//! What `/metrics`, `/healthz` and `/readyz` of a node say.
//!
//! Everything is read at the scrape from what the workers count and what the shard's atomics hold; names begin with
//! `torc_server_`. A part with figures of its own registers a collector in [`registry`].

mod cluster;
mod locks;
mod requests;
mod store;

use std::sync::Arc;

use prometheus::Registry;
use prometheus::proto::MetricFamily;
use torc_runtime::clock;
use torc_runtime::http::{Response, Routes};
use torc_runtime::metrics::{FamilyBuilder, register};
use torc_runtime::raft;

use crate::agent::Agent;
use crate::node::Node;
use crate::shard::Role;

/// Name and help of a family.
type Named = (&'static str, &'static str);

/// A counter without labels.
fn counter((name, help): Named, value: u64) -> MetricFamily {
    FamilyBuilder::counter(name, help).sample(&[], value as f64).build()
}

/// A gauge without labels.
fn gauge((name, help): Named, value: f64) -> MetricFamily {
    FamilyBuilder::gauge(name, help).sample(&[], value).build()
}

/// All metrics of a node.
///
/// # Errors
/// When two parts have families of the same name.
pub fn registry(node: &Arc<Node>, agent: Option<&Arc<Agent>>) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let shared = node.clone();
    register(&registry, requests::FAMILIES, move || requests::gather(&shared))?;
    let shared = node.clone();
    register(&registry, store::FAMILIES, move || store::gather(&shared))?;
    let shared = node.clone();
    register(&registry, locks::FAMILIES, move || locks::gather(&shared))?;
    if let Some(agent) = agent {
        let (of_shard, of_voter) = (agent.clone(), agent.clone());
        register(&registry, cluster::FAMILIES, move || cluster::gather(&of_shard))?;
        // Not every node votes, and one that does may begin to at any time.
        register(&registry, &raft::METRIC_FAMILIES, move || {
            of_voter.voter().map(|voter| voter.consensus.metric_families()).unwrap_or_default()
        })?;
    }
    Ok(registry)
}

/// The HTTP pages of a node.
pub fn routes(node: &Arc<Node>, agent: Option<&Arc<Agent>>) -> Routes {
    let registry = registry(node, agent).unwrap_or_else(|error| {
        tracing::error!(%error, "no metrics");
        Registry::new()
    });
    let (health, readiness) = (node.clone(), node.clone());
    let agent = agent.cloned();
    Routes::new(registry).healthy(move || healthy(&health)).ready(move || ready(&readiness)).pages(
        move |path| match (path, &agent) {
            ("/status", Some(agent)) => Some(Response::json_of(&agent.local())),
            _ => None,
        },
    )
}

/// A worker without progress for this long hangs.
const STALL_MS: u64 = 10_000;

/// Whether the process works at all.
fn healthy(node: &Node) -> Result<(), String> {
    if node.workers_progress(clock::boottime_ns(), STALL_MS) {
        Ok(())
    } else {
        Err("a worker makes no progress".to_owned())
    }
}

/// Whether the node should be asked anything.
fn ready(node: &Node) -> Result<(), String> {
    let shard = &node.shard;
    match shard.role() {
        Role::Plain | Role::Replica => Ok(()),
        Role::Primary if clock::boottime_ns() < shard.lease_until_ns() => Ok(()),
        Role::Primary => Err("the node has no lease".to_owned()),
        Role::Joining => Err("the node has no place in a cluster yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use torc_runtime::metrics::encode;

    use crate::exec::testing::Harness;

    use super::*;

    #[test]
    fn a_scrape_shows_what_was_done() {
        let mut t = Harness::new();
        t.run("SET a 1");
        t.run("GET a");
        t.run("GET b");
        t.run("INCR a x");
        t.run("HGET a f");
        let registry = registry(&t.node, None).expect("distinct names");
        let text = encode(&registry).expect("text");
        for line in [
            "torc_server_requests_total{command=\"get\"} 2\n",
            "torc_server_requests_failed_total{command=\"hget\"} 1\n",
            "torc_server_requests_rejected_total{command=\"incr\"} 1\n",
            "torc_server_errors_total{code=\"WRONGTYPE\"} 1\n",
            "torc_server_request_seconds_count{command=\"get\"} 2\n",
            "torc_server_keyspace_hits_total 2\n",
            "torc_server_keyspace_misses_total 1\n",
            "torc_server_keys{db=\"0\"} 1\n",
            "torc_server_clients 1\n",
            "torc_server_role{role=\"plain\"} 1\n",
            "torc_server_uncertain_total 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_primary_without_a_lease_is_not_ready() {
        let t = Harness::primary();
        assert_eq!(ready(&t.node), Ok(()));
        t.node.shard.drop_lease();
        assert_eq!(ready(&t.node), Err("the node has no lease".to_owned()));
        assert_eq!(healthy(&t.node), Ok(()));
    }
}
