//! The controller: run by the consensus leader, it renews leases and replaces primaries.
//!
//! Stepped from one place: [`Controller::step`] takes an [`Event`] with the time and gives [`Decision`]s. It
//! keeps nothing that must outlive a change of leadership: what must (terms, pending terms, sets) is in the map.
//!
//! What the driver owes it:
//! - `BecameLeader` only after everything that was committed before this reign is applied and was given as
//!   `MapChanged`; `LostLeadership` as soon as it is known. Should it miss that the leadership was away for a
//!   while, the map's reign tells: every controller begins with a `BeginReign`, and promotions name theirs.
//! - `Confirmed` only after a quorum confirmed the leadership by messages that were *sent after* the
//!   `ConfirmLeadership` decision, and after the map as of then was given as `MapChanged`.
//! - A `Propose` is tried once, never again by the driver; `Proposed` brings the outcome where it is known, after
//!   the `MapChanged` that it made.
//! - Nobody else proposes `BeginReign`, `AllocateTerm`, `Promote`, `PromoteUnclean` and `ResetShard`.
//!
//! The time is ns of this node's CLOCK_BOOTTIME and does not fall.

mod choose;
mod failover;
mod renewals;
mod roster;
mod step;
#[cfg(test)]
mod tests;

pub use step::{Controller, Decision, Event};

/// Heartbeats that may wait for a confirmation of leadership; one more replaces the oldest.
pub const MAX_WAITING_HEARTBEATS: usize = 4_096;
