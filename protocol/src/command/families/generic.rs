//! Keys of any type.

use super::*;

family! {
    /// Commands about keys, whatever their values are.
    GenericCommand, "generic", Acl::KEYSPACE;
    Copy = row("copy", -3).flags(WRITE_OOM).keys(range(1, 2, 1)).route(Route::Key).since("6.2.0")
        .complexity("O(N) with N the number of elements of the value")
        .usage("source destination [DB index] [REPLACE]").summary("Copies a key.");
    Del = row("del", -2).flags(WRITE).keys(range(1, -1, 1)).route(Route::SplitKeys).merge(Merge::Sum).since("1.0.0")
        .complexity("O(N) with N the number of keys").usage("key [key ...]")
        .summary("Deletes keys and counts those that existed.");
    Dump = row("dump", 2).flags(READ).keys(one(1)).route(Route::Key).since("2.6.0")
        .complexity("O(N) with N the bytes of the value").usage("key").tips(&["nondeterministic_output"])
        .summary("Gives a key's value as bytes that RESTORE of this or another server takes.");
    Exists = row("exists", -2).flags(READ_FAST).keys(range(1, -1, 1)).route(Route::SplitKeys).merge(Merge::Sum)
        .since("1.0.0").complexity("O(N) with N the number of keys").usage("key [key ...]")
        .summary("Counts the keys that exist; a key named twice counts twice.");
    Expire = row("expire", -3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key seconds [NX | XX | GT | LT]").summary("Lets a key expire after seconds.");
    Expireat = row("expireat", -3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.2.0")
        .usage("key unix-seconds [NX | XX | GT | LT]").summary("Lets a key expire at a time in seconds.");
    Expiretime = row("expiretime", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("7.0.0")
        .usage("key").summary("Says at which time, in seconds, a key expires.");
    Keys = row("keys", 2).flags(READ).acl(Acl::DANGEROUS).route(Route::AllShards).merge(Merge::Concat).since("1.0.0")
        .complexity("O(N) with N the number of keys in the database").usage("pattern")
        .tips(&["nondeterministic_output_order"]).summary("Gives all keys that match a pattern.");
    Migrate = row("migrate", -6).flags(WRITE.or(Flags::MOVABLEKEYS)).acl(Acl::DANGEROUS).keys(one(3))
        .route(Route::Key).since("2.6.0")
        .usage("host port key|\"\" db timeout [COPY] [REPLACE] [AUTH password | AUTH2 user password] [KEYS key [key ...]]")
        .tips(&["nondeterministic_output"]).summary("Refused: keys go elsewhere by DUMP and RESTORE.");
    Move = row("move", 3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key db").summary("Moves a key to another database.");
    Object = row("object", -2).flags(Flags::CONTAINER).since("2.2.3").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands that look at a key's value.");
    ObjectEncoding = row("object|encoding", 3).flags(READ).keys(one(2)).route(Route::Key).since("2.2.3")
        .usage("key").tips(&["nondeterministic_output"]).summary("Names the encoding of a key's value.");
    ObjectFreq = row("object|freq", 3).flags(READ).keys(one(2)).route(Route::Key).since("4.0.0")
        .usage("key").tips(&["nondeterministic_output"])
        .summary("Gives the access frequency of a key under an LFU policy.");
    ObjectHelp = row("object|help", 2).flags(ALWAYS).since("6.2.0").summary("Explains the subcommands.");
    ObjectIdletime = row("object|idletime", 3).flags(READ).keys(one(2)).route(Route::Key).since("2.2.3")
        .usage("key").tips(&["nondeterministic_output"]).summary("Says how many seconds a key has not been used.");
    ObjectRefcount = row("object|refcount", 3).flags(READ).keys(one(2)).route(Route::Key).since("2.2.3")
        .usage("key").tips(&["nondeterministic_output"]).summary("Gives the reference count of a key's value.");
    Persist = row("persist", 2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("2.2.0")
        .usage("key").summary("Removes the expiry of a key.");
    Pexpire = row("pexpire", -3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("2.6.0")
        .usage("key milliseconds [NX | XX | GT | LT]").summary("Lets a key expire after milliseconds.");
    Pexpireat = row("pexpireat", -3).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("2.6.0")
        .usage("key unix-milliseconds [NX | XX | GT | LT]").summary("Lets a key expire at a time in milliseconds.");
    Pexpiretime = row("pexpiretime", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("7.0.0")
        .usage("key").summary("Says at which time, in milliseconds, a key expires.");
    Pttl = row("pttl", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.6.0")
        .usage("key").tips(&["nondeterministic_output"]).summary("Says in how many milliseconds a key expires.");
    Randomkey = row("randomkey", 1).flags(READ).route(Route::AnyShard).merge(Merge::First).since("1.0.0")
        .tips(&["nondeterministic_output"]).summary("Gives a key by chance.");
    Rename = row("rename", 3).flags(WRITE).keys(range(1, 2, 1)).route(Route::Key).since("1.0.0")
        .usage("key newkey").summary("Renames a key over whatever has the new name.");
    Renamenx = row("renamenx", 3).flags(WRITE_FAST).keys(range(1, 2, 1)).route(Route::Key).since("1.0.0")
        .usage("key newkey").summary("Renames a key only when nothing has the new name.");
    Restore = row("restore", -4).flags(WRITE_OOM).acl(Acl::DANGEROUS).keys(one(1)).route(Route::Key).since("2.6.0")
        .complexity("O(N) with N the bytes of the value; O(N log N) for sorted sets")
        .usage("key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
        .summary("Makes a key of the bytes that DUMP gave.");
    Scan = row("scan", -2).flags(READ).route(Route::Cursor).merge(Merge::Custom).since("2.8.0")
        .complexity("O(1) for each call, O(N) for a whole iteration")
        .usage("cursor [MATCH pattern] [COUNT count] [TYPE type]")
        .tips(&["nondeterministic_output"]).summary("Walks through the keys of the database.");
    Touch = row("touch", -2).flags(READ_FAST).keys(range(1, -1, 1)).route(Route::SplitKeys).merge(Merge::Sum)
        .since("3.2.1").complexity("O(N) with N the number of keys").usage("key [key ...]")
        .summary("Marks keys as used and counts those that exist.");
    Ttl = row("ttl", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").tips(&["nondeterministic_output"]).summary("Says in how many seconds a key expires.");
    Type = row("type", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").summary("Names the type of a key's value.");
    Unlink = row("unlink", -2).flags(WRITE_FAST).keys(range(1, -1, 1)).route(Route::SplitKeys).merge(Merge::Sum)
        .since("4.0.0").complexity("O(1) for each key; its memory is freed later").usage("key [key ...]")
        .summary("Deletes keys and frees large values off the request path.");
}
