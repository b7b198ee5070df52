//! Locks and fences.

use super::*;

const CHANGE: Flags = Flags::WRITE.or(Flags::TORC).or(Flags::FAST);

const WAIT: Wait = Wait::Word {
    word: "WAIT",
    from: 2,
    forever: false,
    others: &[("TTL", Span::Of(2)), ("SHARED", Span::Of(1)), ("REQID", Span::Of(2)), ("OWNER", Span::Of(2))],
};

family! {
    /// Commands about locks and fences.
    LockCommand, "lock", Acl::LOCK;
    Fence = row("fence", -4).flags(Flags::WRITE.or(Flags::TORC).or(Flags::MOVABLEKEYS))
        .keys(KeySpec::Custom(keys::fenced)).route(Route::Key).wait(Wait::Inner(3)).since("torc 0.1.0")
        .complexity("That of the inner command.").usage("name token command [argument ...]")
        .summary("Executes a command unless its keys have seen a higher fencing token.");
    LockAcquire = row("lock.acquire", -4).flags(CHANGE.or(Flags::DENYOOM).or(Flags::BLOCKING)).keys(one(1))
        .route(Route::Key).wait(WAIT).since("torc 0.1.0").complexity("O(1), O(N) with N waiters when it waits")
        .usage("name TTL milliseconds [WAIT milliseconds] [SHARED] [REQID id] [OWNER text]")
        .summary("Takes a lock and gives its fencing token and remaining time.");
    LockExtend = row("lock.extend", -4).flags(CHANGE).keys(one(1)).route(Route::Key).since("torc 0.1.0")
        .usage("name token TTL milliseconds [OWNER text]").summary("Gives a held lock a new remaining time.");
    LockInfo = row("lock.info", 2).flags(Flags::READONLY.or(Flags::FAST).or(Flags::TORC)).keys(one(1))
        .route(Route::Key).since("torc 0.1.0").complexity("O(N) with N the number of holders")
        .usage("name").summary("Says who holds a lock, for how long, and how many wait.");
    LockRelease = row("lock.release", -3).flags(CHANGE).keys(one(1)).route(Route::Key).since("torc 0.1.0")
        .usage("name token [OWNER text]").summary("Gives a lock back.");
}
