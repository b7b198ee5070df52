//! A seeded simulation of the control plane's consensus: openraft, our storage and our handle to them as shipped, on
//! simulated hosts. Only the clock, the network, the disk below the file format and the dice are replaced: openraft
//! runs on [`runtime::SimRuntime`], its `AsyncRuntime` with one seeded generator.
//!
//! ```text
//!  world (driver, faults) ──▶ executor: tasks of all hosts, timers, dice
//!    │                           │ Consensus<Journal> ─▶ openraft ─▶ LogStore, StateMachine ─▶ redb ─▶ disk
//!    │ clients, membership       └─▶ net (delay, loss, repetition, cuts, torn frames)
//!    └─▶ check: what was promised to whom
//! ```
//!
//! One seed is one run, on one thread; the same seed gives the same trace hash.

mod check;
mod client;
mod disk;
mod executor;
mod fault;
mod hearing;
mod journal;
mod net;
mod partitions;
mod runtime;
mod tests;
mod world;
