//! Sorted sets.

use super::*;

const MANY: Flags = READ.or(Flags::MOVABLEKEYS);
const MANY_STORED: Flags = WRITE_OOM.or(Flags::MOVABLEKEYS);
const LISTED: KeySpec = numkeys(1, 2);
const STORED: KeySpec = KeySpec::Found { first: 1, find: keys::stored_from_list };

family! {
    /// Commands about sorted sets.
    SortedSetCommand, "sorted-set", Acl::SORTEDSET;
    Bzmpop = row("bzmpop", -5).flags(WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS)).keys(numkeys(2, 3))
        .route(Route::Key).wait(Wait::Seconds(1)).since("7.0.0")
        .complexity("O(K + M*log(N)) with K the number of keys, M the members that are given, N the size of the set")
        .usage("timeout numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .summary("Takes members from the first sorted set that has any, and waits for one if need be.");
    Bzpopmax = row("bzpopmax", -3).flags(WRITE_FAST.or(Flags::BLOCKING)).keys(range(1, -2, 1)).route(Route::Key)
        .wait(Wait::Seconds(-1)).since("5.0.0").complexity("O(log(N)) with N the size of the sorted set")
        .usage("key [key ...] timeout")
        .summary("Takes the member with the highest score from the first set that has any, and waits for one if need be.");
    Bzpopmin = row("bzpopmin", -3).flags(WRITE_FAST.or(Flags::BLOCKING)).keys(range(1, -2, 1)).route(Route::Key)
        .wait(Wait::Seconds(-1)).since("5.0.0").complexity("O(log(N)) with N the size of the sorted set")
        .usage("key [key ...] timeout")
        .summary("Takes the member with the lowest score from the first set that has any, and waits for one if need be.");
    Zadd = row("zadd", -4).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.2.0")
        .complexity("O(log(N)) for each member, with N the size of the sorted set")
        .usage("key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]")
        .summary("Adds members with their scores, or changes the scores of those that exist.");
    Zcard = row("zcard", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.2.0")
        .usage("key").summary("Counts the members of a sorted set.");
    Zcount = row("zcount", 4).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(log(N)) with N the size of the sorted set").usage("key min max")
        .summary("Counts the members whose scores lie in a range.");
    Zdiff = row("zdiff", -3).flags(MANY).keys(LISTED).route(Route::Key).since("6.2.0")
        .complexity("O(L + (N-K)log(N)) with L the members of all sets, N those of the first, K those of the result")
        .usage("numkeys key [key ...] [WITHSCORES]").summary("Gives the members of the first set that no other has.");
    Zdiffstore = row("zdiffstore", -4).flags(MANY_STORED).keys(STORED).route(Route::Key).since("6.2.0")
        .complexity("O(L + (N-K)log(N)) with L the members of all sets, N those of the first, K those of the result")
        .usage("destination numkeys key [key ...]").summary("Keeps what ZDIFF would give under a key.");
    Zincrby = row("zincrby", 4).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.2.0")
        .complexity("O(log(N)) with N the size of the sorted set").usage("key increment member")
        .summary("Adds a number to the score of a member; a missing one counts as 0.");
    Zinter = row("zinter", -3).flags(MANY).keys(LISTED).route(Route::Key).since("6.2.0")
        .complexity("O(N*K + M*log(M)) with N the smallest set, K the number of sets, M the size of the result")
        .usage("numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]")
        .summary("Gives the members that all sets have.");
    Zintercard = row("zintercard", -3).flags(MANY).keys(LISTED).route(Route::Key).since("7.0.0")
        .complexity("O(N*K) with N the smallest set and K the number of sets").usage("numkeys key [key ...] [LIMIT limit]")
        .summary("Counts the members that all sets have.");
    Zinterstore = row("zinterstore", -4).flags(MANY_STORED).keys(STORED).route(Route::Key).since("2.0.0")
        .complexity("O(N*K + M*log(M)) with N the smallest set, K the number of sets, M the size of the result")
        .usage("destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]")
        .summary("Keeps what ZINTER would give under a key.");
    Zlexcount = row("zlexcount", 4).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.8.9")
        .complexity("O(log(N)) with N the size of the sorted set").usage("key min max")
        .summary("Counts the members between two strings, where all scores are the same.");
    Zmpop = row("zmpop", -4).flags(WRITE.or(Flags::MOVABLEKEYS)).keys(LISTED).route(Route::Key).since("7.0.0")
        .complexity("O(K + M*log(N)) with K the number of keys, M the members that are given, N the size of the set")
        .usage("numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .summary("Takes the members with the lowest or highest scores out of the first set that has any.");
    Zmscore = row("zmscore", -3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("6.2.0")
        .complexity("O(N) with N the number of members that are asked for").usage("key member [member ...]")
        .summary("Gives the scores of several members.");
    Zpopmax = row("zpopmax", -2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("5.0.0")
        .complexity("O(log(N)*M) with M the members that are given and N the size of the sorted set").usage("key [count]")
        .summary("Takes out the members with the highest scores.");
    Zpopmin = row("zpopmin", -2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("5.0.0")
        .complexity("O(log(N)*M) with M the members that are given and N the size of the sorted set").usage("key [count]")
        .summary("Takes out the members with the lowest scores.");
    Zrandmember = row("zrandmember", -2).flags(READ).keys(one(1)).route(Route::Key).since("6.2.0")
        .complexity("O(N) with N the number of members that are given").usage("key [count [WITHSCORES]]")
        .tips(&["nondeterministic_output"]).summary("Gives members by chance.");
    Zrange = row("zrange", -4).flags(READ).keys(one(1)).route(Route::Key).since("1.2.0")
        .complexity("O(log(N) + M) with N the size of the sorted set and M the members that are given")
        .usage("key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]")
        .summary("Gives the members of a range of ranks, scores or strings.");
    Zrangebylex = row("zrangebylex", -4).flags(READ).keys(one(1)).route(Route::Key).since("2.8.9")
        .complexity("O(log(N) + M) with N the size of the sorted set and M the members that are given")
        .usage("key min max [LIMIT offset count]")
        .summary("Gives the members between two strings, where all scores are the same.");
    Zrangebyscore = row("zrangebyscore", -4).flags(READ).keys(one(1)).route(Route::Key).since("1.0.5")
        .complexity("O(log(N) + M) with N the size of the sorted set and M the members that are given")
        .usage("key min max [WITHSCORES] [LIMIT offset count]")
        .summary("Gives the members whose scores lie in a range.");
    Zrangestore = row("zrangestore", -5).flags(WRITE_OOM).keys(range(1, 2, 1)).route(Route::Key).since("6.2.0")
        .complexity("O(log(N) + M) with N the size of the sorted set and M the members that are kept")
        .usage("dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]")
        .summary("Keeps what ZRANGE would give under a key.");
    Zrank = row("zrank", -3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(log(N))").usage("key member [WITHSCORE]")
        .summary("Says at which place a member stands, from the lowest score on.");
    Zrem = row("zrem", -3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.2.0")
        .complexity("O(M*log(N)) with N the size of the sorted set and M the members that are removed")
        .usage("key member [member ...]").summary("Removes members; the key goes with the last one.");
    Zremrangebylex = row("zremrangebylex", 4).flags(WRITE).keys(one(1)).route(Route::Key).since("2.8.9")
        .complexity("O(M*log(N)) with N the size of the sorted set and M the members that are removed")
        .usage("key min max").summary("Removes the members between two strings, where all scores are the same.");
    Zremrangebyrank = row("zremrangebyrank", 4).flags(WRITE).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(M*log(N)) with N the size of the sorted set and M the members that are removed")
        .usage("key start stop").summary("Removes the members of a range of ranks.");
    Zremrangebyscore = row("zremrangebyscore", 4).flags(WRITE).keys(one(1)).route(Route::Key).since("1.2.0")
        .complexity("O(M*log(N)) with N the size of the sorted set and M the members that are removed")
        .usage("key min max").summary("Removes the members whose scores lie in a range.");
    Zrevrange = row("zrevrange", -4).flags(READ).keys(one(1)).route(Route::Key).since("1.2.0")
        .complexity("O(log(N) + M) with N the size of the sorted set and M the members that are given")
        .usage("key start stop [WITHSCORES]").summary("Gives a range of ranks, counted from the highest score on.");
    Zrevrangebylex = row("zrevrangebylex", -4).flags(READ).keys(one(1)).route(Route::Key).since("2.8.9")
        .complexity("O(log(N) + M) with N the size of the sorted set and M the members that are given")
        .usage("key max min [LIMIT offset count]")
        .summary("Gives the members between two strings, from the last one on, where all scores are the same.");
    Zrevrangebyscore = row("zrevrangebyscore", -4).flags(READ).keys(one(1)).route(Route::Key).since("2.2.0")
        .complexity("O(log(N) + M) with N the size of the sorted set and M the members that are given")
        .usage("key max min [WITHSCORES] [LIMIT offset count]")
        .summary("Gives the members whose scores lie in a range, from the highest on.");
    Zrevrank = row("zrevrank", -3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(log(N))").usage("key member [WITHSCORE]")
        .summary("Says at which place a member stands, from the highest score on.");
    Zscan = row("zscan", -3).flags(READ).keys(one(1)).route(Route::Key).since("2.8.0")
        .complexity("O(1) for each call, O(N) for a whole iteration")
        .usage("key cursor [MATCH pattern] [COUNT count] [NOSCORES]")
        .tips(&["nondeterministic_output"]).summary("Walks through the members and scores.");
    Zscore = row("zscore", 3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.2.0")
        .usage("key member").summary("Gives the score of a member.");
    Zunion = row("zunion", -3).flags(MANY).keys(LISTED).route(Route::Key).since("6.2.0")
        .complexity("O(N + M*log(M)) with N the members of all sets and M the size of the result")
        .usage("numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]")
        .summary("Gives the members that any set has.");
    Zunionstore = row("zunionstore", -4).flags(MANY_STORED).keys(STORED).route(Route::Key).since("2.0.0")
        .complexity("O(N + M*log(M)) with N the members of all sets and M the size of the result")
        .usage("destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]")
        .summary("Keeps what ZUNION would give under a key.");
}
