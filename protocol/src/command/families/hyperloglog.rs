//! HyperLogLogs: estimates of how many different elements there were.

use super::*;

family! {
    /// Commands about HyperLogLogs.
    HyperloglogCommand, "hyperloglog", Acl::HYPERLOGLOG;
    Pfadd = row("pfadd", -2).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("2.8.9")
        .complexity("O(1) for each element").usage("key [element [element ...]]")
        .summary("Shows elements to a HyperLogLog, which is made when the key does not exist.");
    Pfcount = row("pfcount", -2).flags(READ).keys(range(1, -1, 1)).route(Route::Key).since("2.8.9")
        .complexity("O(1) for one key, O(N) for N keys, with a large constant").usage("key [key ...]")
        .summary("Estimates how many different elements one HyperLogLog has seen, or several together.");
    Pfdebug = row("pfdebug", 3).flags(WRITE_OOM.or(Flags::ADMIN)).keys(range(2, 2, 1)).route(Route::Key).since("2.8.9")
        .complexity("O(N) with N the number of registers").usage("GETREG | DECODE | ENCODING | TODENSE key")
        .summary("Shows the inside of a HyperLogLog, or makes it dense: for tests.");
    Pfmerge = row("pfmerge", -2).flags(WRITE_OOM).keys(range(1, -1, 1)).route(Route::Key).since("2.8.9")
        .complexity("O(N) with N the number of keys, with a large constant").usage("destination [source [source ...]]")
        .summary("Merges HyperLogLogs into one that has seen all their elements.");
    Pfselftest = row("pfselftest", 1).flags(Flags::ADMIN).route(Route::AnyShard).since("2.8.9")
        .complexity("O(N) with N the number of elements it tries").summary("Tests the registers and the estimates.");
}
