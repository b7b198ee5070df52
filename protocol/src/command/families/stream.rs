//! Streams.

use super::*;

family! {
    /// Commands about streams.
    StreamCommand, "stream", Acl::STREAM;
    Xlen = row("xlen", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("5.0.0")
        .usage("key").summary("Counts the entries of a stream.");
}
