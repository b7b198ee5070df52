//! A seeded simulation of a cluster: the shipped decision code ([`Controller`](crate::controller),
//! [`ShardMember`](crate::member), leases, in-sync sets, histories, the map, locks, fencing registers, the table of
//! request ids) on simulated hosts with clocks that drift, a network that delays, loses, repeats, reorders and cuts,
//! nodes that crash and lose their memory, processes that pause, and a control plane whose leader changes. Consensus
//! itself is a log that hands out one order here; `openraft` is simulated in `torc-runtime`. Clients keep an
//! oracle; `check` holds the invariants of ARCHITECTURE.md. docs/simulation.md has it all in one place.
//!
//! One seed is one run: the same seed gives the same trace hash. Who owns what: everything lives in [`World`],
//! one thread, one event at a time.

mod check;
mod client;
mod control;
mod data;
mod execute;
mod fault;
mod message;
mod network;
mod node;
mod plan;
mod replication;
mod report;
mod resync;
mod rng;
#[cfg(test)]
mod tests;
mod values;
mod world;

pub use network::Traffic;
pub use plan::{Faults, Kind};
pub use report::{LEAST_FAULTS, LEAST_OPERATIONS, LEAST_SECONDS, Report, Violation};
pub use world::World;

/// Runs one seed for `millis` of simulated time, then heals and converges.
pub fn run(seed: u64, millis: u64) -> Result<Report, Violation> {
    World::new(seed).run(millis)
}
