//! Streams.

use super::*;

/// The answer depends on more than the keys.
const BY_CHANCE: &[&str] = &["nondeterministic_output"];
const BLOCKING_READ: Flags = Flags::READONLY.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS);
const BLOCKING_WRITE: Flags = Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS);

/// Without the option nothing waits.
const BLOCK: Wait = Wait::Word {
    word: "BLOCK",
    from: 1,
    forever: true,
    others: &[
        ("COUNT", Span::Of(2)),
        ("GROUP", Span::Of(3)),
        ("NOACK", Span::Of(1)),
        ("STREAMS", Span::Rest),
    ],
};

family! {
    /// Commands about streams.
    StreamCommand, "stream", Acl::STREAM;
    Xack = row("xack", -4).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("5.0.0")
        .complexity("O(1) for each ID").usage("key group id [id ...]")
        .summary("Tells a group that entries were dealt with.");
    Xadd = row("xadd", -5).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("5.0.0").tips(BY_CHANCE)
        .complexity("O(1); O(N) with N entries that are trimmed")
        .usage("key [NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT count]] * | id field value \
                [field value ...]")
        .summary("Adds an entry at the end of a stream, which is made when the key does not exist.");
    Xautoclaim = row("xautoclaim", -6).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("6.2.0")
        .tips(BY_CHANCE).complexity("O(1) for a bounded COUNT")
        .usage("key group consumer min-idle-time start [COUNT count] [JUSTID]")
        .summary("Gives a consumer what others of its group have left unacknowledged for long.");
    Xclaim = row("xclaim", -6).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("5.0.0").tips(BY_CHANCE)
        .complexity("O(log(N)) for each ID, with N the entries that are pending")
        .usage("key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] \
                [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]")
        .summary("Gives a consumer entries that another one of its group has not acknowledged.");
    Xdel = row("xdel", -3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("5.0.0")
        .complexity("O(1) for each ID").usage("key id [id ...]").summary("Deletes entries; counts them.");
    Xgroup = row("xgroup", -2).flags(Flags::CONTAINER).since("5.0.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about consumer groups.");
    XgroupCreate = row("xgroup|create", -5).flags(WRITE_OOM).keys(one(2)).route(Route::Key).since("5.0.0")
        .usage("key group id | $ [MKSTREAM] [ENTRIESREAD entries-read]").summary("Makes a consumer group.");
    XgroupCreateconsumer = row("xgroup|createconsumer", 5).flags(WRITE_OOM).keys(one(2)).route(Route::Key)
        .since("6.2.0").usage("key group consumer").summary("Makes a consumer in a group.");
    XgroupDelconsumer = row("xgroup|delconsumer", 5).flags(WRITE).keys(one(2)).route(Route::Key).since("5.0.0")
        .usage("key group consumer")
        .summary("Removes a consumer from a group; counts the entries that it had not acknowledged.");
    XgroupDestroy = row("xgroup|destroy", 4).flags(WRITE).keys(one(2)).route(Route::Key).since("5.0.0")
        .complexity("O(N) with N the entries that are pending").usage("key group")
        .summary("Removes a consumer group.");
    XgroupHelp = row("xgroup|help", 2).flags(ALWAYS).since("5.0.0").summary("Explains the subcommands.");
    XgroupSetid = row("xgroup|setid", -5).flags(WRITE).keys(one(2)).route(Route::Key).since("5.0.0")
        .usage("key group id | $ [ENTRIESREAD entries-read]")
        .summary("Sets the entry that a group was given last.");
    Xinfo = row("xinfo", -2).flags(Flags::CONTAINER).since("5.0.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands that describe streams.");
    XinfoConsumers = row("xinfo|consumers", 4).flags(READ).keys(one(2)).route(Route::Key).since("5.0.0")
        .tips(BY_CHANCE).usage("key group").summary("Describes the consumers of a group.");
    XinfoGroups = row("xinfo|groups", 3).flags(READ).keys(one(2)).route(Route::Key).since("5.0.0")
        .usage("key").summary("Describes the consumer groups of a stream.");
    XinfoHelp = row("xinfo|help", 2).flags(ALWAYS).since("5.0.0").summary("Explains the subcommands.");
    XinfoStream = row("xinfo|stream", -3).flags(READ).keys(one(2)).route(Route::Key).since("5.0.0")
        .usage("key [FULL [COUNT count]]").summary("Describes a stream.");
    Xlen = row("xlen", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("5.0.0")
        .usage("key").summary("Counts the entries of a stream.");
    Xpending = row("xpending", -3).flags(READ).keys(one(1)).route(Route::Key).since("5.0.0").tips(BY_CHANCE)
        .complexity("O(N) with N the entries of the answer; O(N) with N the consumers without a range")
        .usage("key group [[IDLE min-idle-time] start end count [consumer]]")
        .summary("Shows what the consumers of a group have not acknowledged.");
    Xrange = row("xrange", -4).flags(READ).keys(one(1)).route(Route::Key).since("5.0.0")
        .complexity("O(N) with N the entries of the answer").usage("key start end [COUNT count]")
        .summary("Gives the entries between two IDs.");
    Xread = row("xread", -4).flags(BLOCKING_READ).keys(KeySpec::Streams).route(Route::Key).wait(BLOCK).since("5.0.0")
        .complexity("O(N) with N the entries of the answer")
        .usage("[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]")
        .summary("Gives the entries of streams after an ID; may wait for one.");
    Xreadgroup = row("xreadgroup", -7).flags(BLOCKING_WRITE).keys(KeySpec::Streams).route(Route::Key)
        .wait(BLOCK).since("5.0.0").complexity("O(M) with M the entries of the answer")
        .usage("GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]")
        .summary("Gives a consumer entries that its group was not given yet, or its own again; may wait for one.");
    Xrevrange = row("xrevrange", -4).flags(READ).keys(one(1)).route(Route::Key).since("5.0.0")
        .complexity("O(N) with N the entries of the answer").usage("key end start [COUNT count]")
        .summary("Gives the entries between two IDs, the last one first.");
    Xsetid = row("xsetid", -3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("5.0.0")
        .usage("key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]")
        .summary("Sets the ID that a stream gave last.");
    Xtrim = row("xtrim", -4).flags(WRITE).keys(one(1)).route(Route::Key).since("5.0.0").tips(BY_CHANCE)
        .complexity("O(N) with N the entries that go").usage("key MAXLEN | MINID [= | ~] threshold [LIMIT count]")
        .summary("Deletes entries at the front of a stream.");
}
