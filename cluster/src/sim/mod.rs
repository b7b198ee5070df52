//! A small seeded simulation of a cluster: the shipped decision code ([`Controller`](crate::controller),
//! [`ShardMember`](crate::member), leases, in-sync sets, histories, the map) on simulated hosts with clocks that
//! drift, a network that delays, loses, repeats and cuts, nodes that crash and lose their memory, processes that
//! pause, and a control plane whose leader changes. Consensus itself is a log that hands out one order
//! (`openraft` is not simulated here). Clients keep an oracle; `check` holds the invariants of ARCHITECTURE.md.
//!
//! One seed is one run: the same seed gives the same trace hash. Who owns what: everything lives in [`World`],
//! one thread, one event at a time.

mod check;
mod client;
mod control;
mod fault;
mod message;
mod network;
mod node;
mod replication;
mod rng;
#[cfg(test)]
mod tests;
mod world;

pub use check::{Report, Violation};
pub use world::World;

/// Runs one seed for `millis` of simulated time, then heals and converges.
pub fn run(seed: u64, millis: u64) -> Result<Report, Violation> {
    World::new(seed).run(millis)
}
