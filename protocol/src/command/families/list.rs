//! Lists.

use super::*;

family! {
    /// Commands about lists.
    ListCommand, "list", Acl::LIST;
    Llen = row("llen", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").summary("Counts the elements of a list.");
}
