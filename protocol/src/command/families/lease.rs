//! Leases: of many clients that miss a key one loads it.

use super::*;

const CHANGE: Flags = Flags::WRITE.or(Flags::TORC).or(Flags::FAST);

family! {
    /// Commands about leases.
    LeaseCommand, "lease", Acl::STRING;
    Dellease = row("dellease", 3).flags(CHANGE).keys(one(1)).route(Route::Key).since("torc 0.1.0")
        .usage("key token").summary("Gives a lease back without a value, so that another client may load it.");
    Getlease = row("getlease", -3).flags(CHANGE).keys(one(1)).route(Route::Key)
        .since("torc 0.1.0").usage("key milliseconds [REFRESH milliseconds]")
        .summary("Gives the string of a key, or a lease to load it, or how long to wait for who has the lease.");
    Invalidate = row("invalidate", -2).flags(CHANGE).keys(one(1)).route(Route::Key).since("torc 0.1.0")
        .usage("key [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds]")
        .summary("Marks the string of a key as stale: it may be used while one client loads a new one.");
    Setlease = row("setlease", -4).flags(CHANGE.or(Flags::DENYOOM)).keys(one(1)).route(Route::Key)
        .since("torc 0.1.0")
        .usage("key token value [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds]")
        .summary("Sets a key if the lease of this token still holds.");
}
