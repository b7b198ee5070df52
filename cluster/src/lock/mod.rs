//! Lock and fencing rules of one shard.
//!
//! [`LockTable`] belongs to a shard, [`FenceTable`] to a slot; the server keeps both under the stripe of the
//! name or key and turns their effects into records. Time is ms of CLOCK_BOOTTIME of the node that asks, and
//! never travels: what travels is a *remaining* duration, which each replica counts from receipt. A replica's
//! locks therefore end a little later than the primary's, never earlier.

mod effect;
mod fence;
mod held;
mod limits;
mod request;
mod table;
#[cfg(test)]
mod tests;
mod token;

pub use effect::LockEffect;
pub use fence::{FenceEffect, FenceLimits, FenceTable, FenceVerdict};
pub use limits::LockLimits;
pub use request::{Acquire, Acquired, Granted, HolderInfo, LockError, LockInfo, Mode, Outcome, WaiterId};
pub use table::LockTable;
pub use token::Token;
