//! Strings.

use super::*;

family! {
    /// Commands about strings.
    StringCommand, "string", Acl::STRING;
    Append = row("append", 3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("2.0.0")
        .usage("key value").summary("Adds to the end of a string, which is made when the key does not exist.");
    Decr = row("decr", 2).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").summary("Takes one from the integer of a key; a missing key counts as 0.");
    Decrby = row("decrby", 3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key decrement").summary("Takes a number from the integer of a key; a missing key counts as 0.");
    Delifeq = row("delifeq", 3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("9.0.0")
        .usage("key value").summary("Deletes a key if its string is this one.");
    Get = row("get", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").summary("Gives the string of a key.");
    Getdel = row("getdel", 2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("6.2.0")
        .usage("key").summary("Gives the string of a key and deletes the key.");
    Getex = row("getex", -2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("6.2.0")
        .usage("key [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | PERSIST]")
        .summary("Gives the string of a key and sets or removes its expiry.");
    Getrange = row("getrange", 4).flags(READ).keys(one(1)).route(Route::Key).since("2.4.0")
        .complexity("O(N) with N the length of the answer").usage("key start end")
        .summary("Gives a part of a string.");
    Getset = row("getset", 3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key value").summary("Sets a key and gives its former string.");
    Incr = row("incr", 2).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").summary("Adds one to the integer of a key; a missing key counts as 0.");
    Incrby = row("incrby", 3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key increment").summary("Adds a number to the integer of a key; a missing key counts as 0.");
    Incrbyfloat = row("incrbyfloat", 3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("2.6.0")
        .usage("key increment").summary("Adds a decimal number to the number of a key; a missing key counts as 0.");
    Lcs = row("lcs", -3).flags(READ).keys(range(1, 2, 1)).route(Route::Key).since("7.0.0")
        .complexity("O(N*M) with N and M the lengths of the strings")
        .usage("key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]")
        .summary("Finds the longest common subsequence of two strings.");
    Mget = row("mget", -2).flags(READ_FAST).keys(range(1, -1, 1)).route(Route::SplitKeys).merge(Merge::InOrder)
        .since("1.0.0").complexity("O(N) with N the number of keys").usage("key [key ...]")
        .summary("Gives the strings of several keys.");
    Mset = row("mset", -3).flags(WRITE_OOM.or(Flags::IDEMPOTENT)).keys(range(1, -1, 2)).route(Route::SplitKeys)
        .merge(Merge::AllOk).since("1.0.1").complexity("O(N) with N the number of keys")
        .usage("key value [key value ...]")
        .summary("Sets several keys; all at once within one shard, shard by shard otherwise.");
    Msetnx = row("msetnx", -3).flags(WRITE_OOM).keys(range(1, -1, 2)).route(Route::Key).since("1.0.1")
        .complexity("O(N) with N the number of keys").usage("key value [key value ...]")
        .summary("Sets several keys, but only when none of them exists.");
    Psetex = row("psetex", 4).flags(WRITE_OOM.or(Flags::IDEMPOTENT)).keys(one(1)).route(Route::Key).since("2.6.0")
        .usage("key milliseconds value").summary("Sets a key that expires after milliseconds.");
    Set = row("set", -3).flags(WRITE_OOM.or(Flags::IDEMPOTENT)).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key value [NX | XX | IFEQ comparison] [GET] [EX seconds | PX milliseconds | EXAT unix-seconds | \
                PXAT unix-milliseconds | KEEPTTL]")
        .summary("Sets the string of a key, whatever it held before.");
    Setex = row("setex", 4).flags(WRITE_OOM.or(Flags::IDEMPOTENT)).keys(one(1)).route(Route::Key).since("2.0.0")
        .usage("key seconds value").summary("Sets a key that expires after seconds.");
    Setnx = row("setnx", 3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key value").summary("Sets a key only when it does not exist.");
    Setrange = row("setrange", 4).flags(WRITE_OOM.or(Flags::IDEMPOTENT)).keys(one(1)).route(Route::Key).since("2.2.0")
        .complexity("O(M) with M the length of the value").usage("key offset value")
        .summary("Overwrites a part of a string, which grows with zero bytes where needed.");
    Strlen = row("strlen", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.2.0")
        .usage("key").summary("Gives the length of a string in bytes.");
    Substr = row("substr", 4).flags(READ).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the length of the answer").usage("key start end")
        .summary("Gives a part of a string: the old name of GETRANGE.");
}
