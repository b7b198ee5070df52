//! Hashes.

use super::*;

family! {
    /// Commands about hashes.
    HashCommand, "hash", Acl::HASH;
    Hdel = row("hdel", -3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(N) with N the number of fields").usage("key field [field ...]")
        .summary("Deletes fields; the key goes with its last field.");
    Hexists = row("hexists", 3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .usage("key field").summary("Says whether a field exists.");
    Hexpire = row("hexpire", -6).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("7.4.0")
        .complexity("O(N) with N the number of fields")
        .usage("key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .summary("Lets fields expire after some seconds.");
    Hexpireat = row("hexpireat", -6).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("7.4.0")
        .complexity("O(N) with N the number of fields")
        .usage("key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .summary("Lets fields expire at a time in seconds.");
    Hexpiretime = row("hexpiretime", -5).flags(READ_FAST).keys(one(1)).route(Route::Key).since("7.4.0")
        .complexity("O(N) with N the number of fields").usage("key FIELDS numfields field [field ...]")
        .summary("Says when fields expire, in seconds.");
    Hget = row("hget", 3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .usage("key field").summary("Gives the value of a field.");
    Hgetall = row("hgetall", 2).flags(READ).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(N) with N the number of fields").usage("key")
        .tips(&["nondeterministic_output_order"]).summary("Gives all fields and their values.");
    Hgetdel = row("hgetdel", -5).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("8.0.0")
        .complexity("O(N) with N the number of fields").usage("key FIELDS numfields field [field ...]")
        .summary("Gives the values of fields and deletes them.");
    Hgetex = row("hgetex", -5).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("8.0.0")
        .complexity("O(N) with N the number of fields")
        .usage("key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]")
        .summary("Gives the values of fields and changes when they expire.");
    Hincrby = row("hincrby", 4).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .usage("key field increment").summary("Adds a number to the integer of a field; a missing field counts as 0.");
    Hincrbyfloat = row("hincrbyfloat", 4).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("2.6.0")
        .usage("key field increment")
        .summary("Adds a decimal number to the number of a field; a missing field counts as 0.");
    Hkeys = row("hkeys", 2).flags(READ).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(N) with N the number of fields").usage("key")
        .tips(&["nondeterministic_output_order"]).summary("Gives all fields.");
    Hlen = row("hlen", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .usage("key").summary("Counts the fields.");
    Hmget = row("hmget", -3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(N) with N the number of fields").usage("key field [field ...]")
        .summary("Gives the values of several fields.");
    Hmset = row("hmset", -4).flags(WRITE_OOM_FAST.or(Flags::IDEMPOTENT)).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(N) with N the number of fields").usage("key field value [field value ...]")
        .summary("Sets several fields: the old name of HSET.");
    Hpersist = row("hpersist", -5).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("7.4.0")
        .complexity("O(N) with N the number of fields").usage("key FIELDS numfields field [field ...]")
        .summary("Lets fields stay that would expire.");
    Hpexpire = row("hpexpire", -6).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("7.4.0")
        .complexity("O(N) with N the number of fields")
        .usage("key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .summary("Lets fields expire after some milliseconds.");
    Hpexpireat = row("hpexpireat", -6).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("7.4.0")
        .complexity("O(N) with N the number of fields")
        .usage("key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .summary("Lets fields expire at a time in milliseconds.");
    Hpexpiretime = row("hpexpiretime", -5).flags(READ_FAST).keys(one(1)).route(Route::Key).since("7.4.0")
        .complexity("O(N) with N the number of fields").usage("key FIELDS numfields field [field ...]")
        .summary("Says when fields expire, in milliseconds.");
    Hpttl = row("hpttl", -5).flags(READ_FAST).keys(one(1)).route(Route::Key).since("7.4.0")
        .complexity("O(N) with N the number of fields").usage("key FIELDS numfields field [field ...]")
        .summary("Says in how many milliseconds fields expire.");
    Hrandfield = row("hrandfield", -2).flags(READ).keys(one(1)).route(Route::Key).since("6.2.0")
        .complexity("O(N) with N the number of fields that are given").usage("key [count [WITHVALUES]]")
        .tips(&["nondeterministic_output"]).summary("Gives fields by chance.");
    Hscan = row("hscan", -3).flags(READ).keys(one(1)).route(Route::Key).since("2.8.0")
        .complexity("O(1) for each call, O(N) for a whole iteration")
        .usage("key cursor [MATCH pattern] [COUNT count] [NOVALUES]")
        .tips(&["nondeterministic_output"]).summary("Walks through the fields and values.");
    Hset = row("hset", -4).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(N) with N the number of fields").usage("key field value [field value ...]")
        .summary("Sets fields and counts the new ones.");
    Hsetex = row("hsetex", -6).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("8.0.0")
        .complexity("O(N) with N the number of fields")
        .usage("key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]")
        .summary("Sets fields and when they expire, also only when all or none of them exist.");
    Hsetnx = row("hsetnx", 4).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .usage("key field value").summary("Sets a field only when it does not exist.");
    Hstrlen = row("hstrlen", 3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("3.2.0")
        .usage("key field").summary("Gives the length of a field's value in bytes.");
    Httl = row("httl", -5).flags(READ_FAST).keys(one(1)).route(Route::Key).since("7.4.0")
        .complexity("O(N) with N the number of fields").usage("key FIELDS numfields field [field ...]")
        .summary("Says in how many seconds fields expire.");
    Hvals = row("hvals", 2).flags(READ).keys(one(1)).route(Route::Key).since("2.0.0")
        .complexity("O(N) with N the number of fields").usage("key")
        .tips(&["nondeterministic_output_order"]).summary("Gives all values.");
}
