//! Leases: the right of a primary to serve, for a while.
//!
//! [`LeaseHolder`] is the primary's side, [`LeaseTable`] the controller's. The holder counts from the moment
//! it *sent* a renewal; the controller from the moment it *received* it, stretched by the clock-rate bound.
//! What the holder believes therefore always ends before what the controller believes.
//!
//! ```text
//!  primary     sent ├────── lease_ms on its clock ──────┤ serves no more
//!                    ╲                                   
//!  controller   received ├── lease_ms × (1 + bound) on its clock ──┤ may promote another
//! ```

mod holder;
mod table;

pub use holder::LeaseHolder;
pub use table::LeaseTable;
