//! Sorted sets.

use super::*;

family! {
    /// Commands about sorted sets.
    SortedSetCommand, "sorted-set", Acl::SORTEDSET;
    Zcard = row("zcard", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.2.0")
        .usage("key").summary("Counts the members of a sorted set.");
}
