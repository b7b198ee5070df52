//! Sorting of lists, sets and sorted sets.

use super::*;

const SORTED: KeySpec = KeySpec::Found { first: 1, find: keys::sort };
const WRITE_SORTED: Flags = WRITE_OOM.or(Flags::MOVABLEKEYS);
const READ_SORTED: Flags = READ.or(Flags::MOVABLEKEYS);
const ELEMENTS: &str =
    "O(N + M*log(M)) with N the number of elements and M the number of those that are given";

family! {
    /// SORT and SORT_RO.
    SortCommand, "generic", Acl::SET.or(Acl::SORTEDSET).or(Acl::LIST).or(Acl::DANGEROUS);
    Sort = row("sort", -2).flags(WRITE_SORTED).keys(SORTED).route(Route::Key).since("1.0.0").complexity(ELEMENTS)
        .usage("key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] \
            [STORE destination]")
        .summary("Gives the elements of a list, set or sorted set in order, or keeps them as a list.");
    SortRo = row("sort_ro", -2).flags(READ_SORTED).keys(one(1)).route(Route::Key).since("7.0.0").complexity(ELEMENTS)
        .usage("key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]")
        .summary("Gives the elements of a list, set or sorted set in order; never writes.");
}
