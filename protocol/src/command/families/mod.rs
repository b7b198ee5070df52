//! The rows of the table, a file per family.

use super::flags::{Acl, Flags};
use super::keys::{self, KeySpec, numkeys, one, range};
use super::spec::{CommandSpec, Merge, Route, Span, Wait, row};

/// Declares a family: its enum and its rows, in the same order.
macro_rules! family {
    ($(#[$doc:meta])* $family:ident, $group:literal, $categories:expr; $($variant:ident = $row:expr;)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $family {
            $($variant,)*
        }

        impl $family {
            /// Every command of the family, in the order of the table.
            pub const ALL: &'static [$family] = &[$($family::$variant,)*];

            /// The command's row.
            #[inline]
            pub const fn spec(self) -> &'static CommandSpec {
                // Not a constant, of which every unit of code that is compiled by itself would hold a copy.
                static ROWS: [CommandSpec; $family::ALL.len()] = [$($row.in_family($group, $categories),)*];
                &ROWS[self as usize]
            }
        }
    };
}

mod bitmap;
mod cluster;
mod connection;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod internal;
mod lease;
mod list;
mod lock;
mod pubsub;
mod scripting;
mod server;
mod set;
mod sort;
mod sorted_set;
mod stream;
mod string;
mod transactions;

pub use bitmap::BitmapCommand;
pub use cluster::ClusterCommand;
pub use connection::ConnectionCommand;
pub use generic::GenericCommand;
pub use geo::GeoCommand;
pub use hash::HashCommand;
pub use hyperloglog::HyperloglogCommand;
pub use internal::InternalCommand;
pub use lease::LeaseCommand;
pub use list::ListCommand;
pub use lock::LockCommand;
pub use pubsub::PubsubCommand;
pub use scripting::ScriptingCommand;
pub use server::ServerCommand;
pub use set::SetCommand;
pub use sort::SortCommand;
pub use sorted_set::SortedSetCommand;
pub use stream::StreamCommand;
pub use string::StringCommand;
pub use transactions::TransactionCommand;

// Sets of flags that many rows share.
const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.or(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.or(Flags::FAST);
const WRITE_OOM: Flags = Flags::WRITE.or(Flags::DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.or(Flags::FAST);
/// Answered at any time: while loading and on a replica that has lost its primary.
const ALWAYS: Flags = Flags::LOADING.or(Flags::STALE);
/// At any time, but not from scripts.
const SESSION: Flags = ALWAYS.or(Flags::NOSCRIPT);
