//! Sets.

use super::*;

family! {
    /// Commands about sets.
    SetCommand, "set", Acl::SET;
    Scard = row("scard", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").summary("Counts the members of a set.");
}
