//! Transactions.

use super::*;

const QUICK: Flags = SESSION.or(Flags::FAST).or(Flags::ALLOW_BUSY);

family! {
    /// Commands about transactions.
    TransactionCommand, "transactions", Acl::TRANSACTION;
    Discard = row("discard", 1).flags(QUICK).route(Route::Transaction).since("2.0.0")
        .complexity("O(N) with N the number of queued commands").summary("Forgets the queued commands.");
    Exec = row("exec", 1).flags(SESSION.or(Flags::SKIP_SLOWLOG)).route(Route::Transaction).since("1.2.0")
        .complexity("Depends on the commands.").summary("Executes the queued commands, all or none.");
    Multi = row("multi", 1).flags(QUICK).route(Route::Transaction).since("1.2.0")
        .summary("Begins a transaction.");
    Unwatch = row("unwatch", 1).flags(QUICK).route(Route::Transaction).since("2.2.0")
        .summary("Forgets the watched keys.");
    Watch = row("watch", -2).flags(QUICK).keys(range(1, -1, 1)).route(Route::Transaction).since("2.2.0")
        .complexity("O(N) with N the number of keys").usage("key [key ...]")
        .summary("Lets EXEC do nothing when one of the keys changes before.");
}
