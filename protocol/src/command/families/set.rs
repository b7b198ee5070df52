//! Sets.

use super::*;

family! {
    /// Commands about sets.
    SetCommand, "set", Acl::SET;
    Sadd = row("sadd", -3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of members that are given").usage("key member [member ...]")
        .summary("Puts members into a set, which is made when the key does not exist; counts the new ones.");
    Scard = row("scard", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").summary("Counts the members of a set.");
    Sdiff = row("sdiff", -2).flags(READ).keys(range(1, -1, 1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the members of all sets together").usage("key [key ...]")
        .tips(&["nondeterministic_output_order"]).summary("Gives the members of the first set that no other set has.");
    Sdiffstore = row("sdiffstore", -3).flags(WRITE_OOM).keys(range(1, -1, 1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the members of all sets together").usage("destination key [key ...]")
        .summary("Stores the members of the first set that no other set has.");
    Sinter = row("sinter", -2).flags(READ).keys(range(1, -1, 1)).route(Route::Key).since("1.0.0")
        .complexity("O(N*M) at worst, with N the size of the smallest set and M the number of sets")
        .usage("key [key ...]").tips(&["nondeterministic_output_order"])
        .summary("Gives the members that all sets have.");
    Sintercard = row("sintercard", -3).flags(READ.or(Flags::MOVABLEKEYS)).keys(numkeys(1, 2)).route(Route::Key).since("7.0.0")
        .complexity("O(N*M) at worst, with N the size of the smallest set and M the number of sets")
        .usage("numkeys key [key ...] [LIMIT limit]").summary("Counts the members that all sets have.");
    Sinterstore = row("sinterstore", -3).flags(WRITE_OOM).keys(range(1, -1, 1)).route(Route::Key).since("1.0.0")
        .complexity("O(N*M) at worst, with N the size of the smallest set and M the number of sets")
        .usage("destination key [key ...]").summary("Stores the members that all sets have.");
    Sismember = row("sismember", 3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key member").summary("Says whether a member is in a set.");
    Smembers = row("smembers", 2).flags(READ).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the size of the set").usage("key")
        .tips(&["nondeterministic_output_order"]).summary("Gives all members.");
    Smismember = row("smismember", -3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("6.2.0")
        .complexity("O(N) with N the number of members that are asked for").usage("key member [member ...]")
        .summary("Says of each of several members whether it is in a set.");
    Smove = row("smove", 4).flags(WRITE_FAST).keys(range(1, 2, 1)).route(Route::Key).since("1.0.0")
        .usage("source destination member").summary("Moves a member from one set to another.");
    Spop = row("spop", -2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(1) without a count, else O(N) with N the count").usage("key [count]")
        .tips(&["nondeterministic_output"]).summary("Takes members out by chance and gives them.");
    Srandmember = row("srandmember", -2).flags(READ).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(1) without a count, else O(N) with N the count").usage("key [count]")
        .tips(&["nondeterministic_output"]).summary("Gives members by chance; a negative count may repeat them.");
    Srem = row("srem", -3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of members that are given").usage("key member [member ...]")
        .summary("Takes members out and counts them; the key goes with its last member.");
    Sscan = row("sscan", -3).flags(READ).keys(one(1)).route(Route::Key).since("2.8.0")
        .complexity("O(1) for each call, O(N) for a whole iteration")
        .usage("key cursor [MATCH pattern] [COUNT count]")
        .tips(&["nondeterministic_output"]).summary("Walks through the members.");
    Sunion = row("sunion", -2).flags(READ).keys(range(1, -1, 1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the members of all sets together").usage("key [key ...]")
        .tips(&["nondeterministic_output_order"]).summary("Gives the members that any of the sets has.");
    Sunionstore = row("sunionstore", -3).flags(WRITE_OOM).keys(range(1, -1, 1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the members of all sets together").usage("destination key [key ...]")
        .summary("Stores the members that any of the sets has.");
}
