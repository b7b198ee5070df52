//! Server and administration.

use super::*;

const ADMIN: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(ALWAYS);
const EVERYWHERE_ADMIN: Flags = Flags::ADMIN.or(ALWAYS);
const DEBUG: Flags = EVERYWHERE_ADMIN.or(Flags::NOSCRIPT);
const LATENCY: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(ALWAYS);
const USE_TORC_CLUSTER: &str = "replication is decided by the cluster's map; use torc cluster to change it";

family! {
    /// Commands about the server.
    ServerCommand, "server", Acl::NONE;
    Acl = row("acl", -2).flags(Flags::CONTAINER).since("6.0.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about users: there is one, default.");
    AclCat = row("acl|cat", -2).flags(SESSION).since("6.0.0").complexity("O(N) with N the number of commands")
        .usage("[category]").summary("Gives the categories of commands, or the commands of one.");
    AclDeluser = row("acl|deluser", -3).flags(ADMIN).since("6.0.0").complexity("O(N) with N the number of names")
        .usage("username [username ...]").summary("Removes nobody: there is one user, who stays.");
    AclDryrun = row("acl|dryrun", -4).flags(ADMIN).since("7.0.0").usage("username command [argument ...]")
        .summary("Says whether a user may run a command.");
    AclGenpass = row("acl|genpass", -2).flags(SESSION).since("6.0.0").usage("[bits]")
        .summary("Gives a random password.");
    AclGetuser = row("acl|getuser", 3).flags(ADMIN).since("6.0.0").usage("username")
        .summary("Describes a user: what default may do, and the digest of its password.");
    AclHelp = row("acl|help", 2).flags(ALWAYS).since("6.0.0").summary("Explains the subcommands.");
    AclList = row("acl|list", 2).flags(ADMIN).since("6.0.0").summary("Describes the users as rules.");
    AclLoad = row("acl|load", 2).flags(ADMIN).since("6.0.0").summary("Refused: there is no file of users.");
    AclLog = row("acl|log", -2).flags(ADMIN).since("6.0.0").usage("[count | RESET]")
        .summary("Gives what was denied by rules: nothing.");
    AclSave = row("acl|save", 2).flags(ADMIN).since("6.0.0").summary("Refused: there is no file of users.");
    AclSetuser = row("acl|setuser", -3).flags(ADMIN).since("6.0.0").usage("username [rule ...]")
        .summary("Refused: there is one user, default, whose password is requirepass.");
    AclUsers = row("acl|users", 2).flags(SESSION.or(Flags::ADMIN)).since("6.0.0").summary("Gives the names of the users.");
    AclWhoami = row("acl|whoami", 2).flags(SESSION).since("6.0.0").summary("Gives the user of the connection.");
    Bgsave = row("bgsave", -1).flags(Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING)).route(Route::AllShards)
        .merge(Merge::AllOk).since("1.0.0").usage("[SCHEDULE]").summary("Refused: data are kept in memory only.");
    Command = row("command", -1).flags(ALWAYS.or(Flags::CONTAINER)).acl(Acl::CONNECTION).since("2.8.13")
        .complexity("O(N) with N the number of commands").tips(&["nondeterministic_output_order"])
        .summary("Describes all commands.");
    CommandCount = row("command|count", 2).flags(ALWAYS).acl(Acl::CONNECTION).since("2.8.13")
        .summary("Counts the commands.");
    CommandDocs = row("command|docs", -2).flags(ALWAYS).acl(Acl::CONNECTION).since("7.0.0")
        .complexity("O(N) with N the number of commands").usage("[command-name ...]")
        .tips(&["nondeterministic_output_order"]).summary("Gives the documentation of commands.");
    CommandGetkeys = row("command|getkeys", -3).flags(ALWAYS).acl(Acl::CONNECTION).since("2.8.13")
        .complexity("O(N) with N the number of arguments").usage("command [argument ...]")
        .summary("Finds the keys in a command.");
    CommandGetkeysandflags = row("command|getkeysandflags", -3).flags(ALWAYS).acl(Acl::CONNECTION).since("7.0.0")
        .complexity("O(N) with N the number of arguments").usage("command [argument ...]")
        .summary("Finds the keys in a command, and what it does with them.");
    CommandHelp = row("command|help", 2).flags(ALWAYS).acl(Acl::CONNECTION).since("5.0.0")
        .summary("Explains the subcommands.");
    CommandInfo = row("command|info", -2).flags(ALWAYS).acl(Acl::CONNECTION).since("2.8.13")
        .complexity("O(N) with N the number of commands").usage("[command-name ...]")
        .tips(&["nondeterministic_output_order"]).summary("Describes some or all commands.");
    CommandList = row("command|list", -2).flags(ALWAYS).acl(Acl::CONNECTION).since("7.0.0")
        .complexity("O(N) with N the number of commands")
        .usage("[FILTERBY MODULE name | ACLCAT category | PATTERN pattern]")
        .tips(&["nondeterministic_output_order"]).summary("Gives the names of commands.");
    Config = row("config", -2).flags(Flags::CONTAINER).since("2.0.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about the configuration.");
    ConfigGet = row("config|get", -3).flags(ADMIN).route(Route::AnyShard).since("2.0.0")
        .complexity("O(N) with N the number of parameters").usage("parameter [parameter ...]")
        .summary("Gives parameters of the configuration.");
    ConfigHelp = row("config|help", 2).flags(ALWAYS).since("5.0.0").summary("Explains the subcommands.");
    ConfigResetstat = row("config|resetstat", 2).flags(ADMIN).route(Route::AllShards).merge(Merge::AllOk)
        .since("2.0.0").summary("Sets the statistics back to zero.");
    ConfigRewrite = row("config|rewrite", 2).flags(ADMIN).route(Route::AllShards).merge(Merge::AllOk).since("2.8.0")
        .summary("Writes the configuration into its file.");
    ConfigSet = row("config|set", -4).flags(ADMIN.or(Flags::IDEMPOTENT)).route(Route::AllShards).merge(Merge::AllOk)
        .since("2.0.0").complexity("O(N) with N the number of parameters")
        .usage("parameter value [parameter value ...]").summary("Changes parameters of the configuration.");
    Dbsize = row("dbsize", 1).flags(READ_FAST).acl(Acl::KEYSPACE).route(Route::AllShards).merge(Merge::Sum)
        .since("1.0.0").summary("Counts the keys of the database.");
    Debug = row("debug", -2).flags(EVERYWHERE_ADMIN.or(Flags::NOSCRIPT).or(Flags::CONTAINER)).since("1.0.0")
        .complexity("Depends on the subcommand.").usage("subcommand [argument ...]")
        .summary("A container for commands for testing; off unless the configuration allows them.");
    DebugChangeReplId = row("debug|change-repl-id", 2).flags(DEBUG).route(Route::AnyShard).since("3.2.0")
        .summary("Does nothing: histories have terms.");
    DebugDictResizing = row("debug|dict-resizing", 3).flags(DEBUG).route(Route::AnyShard).since("7.2.0").usage("0 | 1")
        .summary("Does nothing: tables grow in steps.");
    DebugDigest = row("debug|digest", 2).flags(DEBUG)
        .route(Route::Refuse("DEBUG DIGEST covers the data of one node; connect to it directly")).since("1.0.0")
        .complexity("O(N) with N the number of elements of all values")
        .summary("Gives a digest of all data, the same for the same data.");
    DebugDigestValue = row("debug|digest-value", -2).flags(DEBUG).keys(range(2, -1, 1)).route(Route::Key).since("5.0.0")
        .complexity("O(N) with N the number of elements of the values").usage("[key ...]")
        .summary("Gives digests of values.");
    DebugHelp = row("debug|help", 2).flags(ALWAYS).since("6.2.0").summary("Explains the subcommands.");
    DebugListpack = row("debug|listpack", 3).flags(DEBUG).keys(one(2)).route(Route::Key).since("7.0.0").usage("key")
        .summary("Looks for a key; says nothing of its packed form.");
    DebugLoadaof = row("debug|loadaof", 2).flags(DEBUG).route(Route::AnyShard).since("1.0.0").summary("Refused: data are kept in memory only.");
    DebugObject = row("debug|object", -3).flags(EVERYWHERE_ADMIN.or(Flags::NOSCRIPT)).keys(one(2)).route(Route::Key)
        .since("1.0.0").usage("key").summary("Describes the value of a key.");
    DebugPopulate = row("debug|populate", -3).flags(DEBUG.or(WRITE)).route(Route::Refuse(
        "DEBUG POPULATE makes keys of every slot; connect to a node without a cluster",
    )).since("1.0.0").complexity("O(N) with N the number of keys").usage("count [prefix] [size]")
        .summary("Makes so many strings, of a size in bytes, as prefix:0 and so on.");
    DebugProtocol = row("debug|protocol", 3).flags(DEBUG).route(Route::AnyShard).since("6.0.0").usage("type")
        .summary("Answers with a reply of a type of the protocol.");
    DebugQuicklistPackedThreshold = row("debug|quicklist-packed-threshold", 3)
        .flags(EVERYWHERE_ADMIN.or(Flags::NOSCRIPT)).route(Route::AnyShard).since("7.0.0").usage("size")
        .summary("Does nothing: large elements of lists need no form of their own here.");
    DebugReload = row("debug|reload", -2).flags(EVERYWHERE_ADMIN.or(Flags::NOSCRIPT)).route(Route::AllShards)
        .merge(Merge::AllOk).since("1.0.0").complexity("O(N) with N the size of all collections")
        .usage("[option ...]").summary("Writes every collection in the form of a dump and reads it again.");
    DebugPauseCron = row("debug|pause-cron", 3).flags(DEBUG).route(Route::AnyShard).since("7.2.0").usage("0 | 1").summary("Does nothing.");
    DebugReplybuffer = row("debug|replybuffer", -3).flags(DEBUG).route(Route::AnyShard).since("7.0.0").usage("subcommand argument")
        .summary("Does nothing: buffers are shared by the connections of a worker.");
    DebugSetActiveExpire = row("debug|set-active-expire", 3).flags(EVERYWHERE_ADMIN.or(Flags::NOSCRIPT))
        .route(Route::AllShards).merge(Merge::AllOk).since("2.8.0").usage("0 | 1")
        .summary("Switches the search for expired keys off and on.");
    DebugSleep = row("debug|sleep", 3).flags(EVERYWHERE_ADMIN.or(Flags::NOSCRIPT)).route(Route::AnyShard)
        .since("1.0.0").usage("seconds").summary("Keeps a worker busy for a while.");
    DebugSetDisableDenyScripts = row("debug|set-disable-deny-scripts", 3).flags(DEBUG).route(Route::AnyShard).since("7.2.0").usage("0 | 1")
        .summary("Does nothing.");
    DebugStringmatchLen = row("debug|stringmatch-len", 4).flags(DEBUG).route(Route::AnyShard).since("6.0.10")
        .complexity("O(N) with N the length").usage("length pattern")
        .summary("Matches a pattern against a long text.");
    Failover = row("failover", -1).flags(Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE))
        .route(Route::Refuse(USE_TORC_CLUSTER)).since("6.2.0").usage("[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]")
        .summary("Refused: the cluster's map decides who is primary.");
    Flushall = row("flushall", -1).flags(WRITE).acl(Acl::KEYSPACE.or(Acl::DANGEROUS)).route(Route::AllShards)
        .merge(Merge::AllOk).since("1.0.0").complexity("O(N) with N the number of keys").usage("[ASYNC | SYNC]")
        .summary("Deletes all keys of all databases.");
    Flushdb = row("flushdb", -1).flags(WRITE).acl(Acl::KEYSPACE.or(Acl::DANGEROUS)).route(Route::AllShards)
        .merge(Merge::AllOk).since("1.0.0").complexity("O(N) with N the number of keys").usage("[ASYNC | SYNC]")
        .summary("Deletes all keys of the database.");
    Info = row("info", -1).flags(ALWAYS).acl(Acl::DANGEROUS).since("1.0.0").usage("[section ...]")
        .tips(&["nondeterministic_output"]).summary("Describes the server and its statistics.");
    Lastsave = row("lastsave", 1).flags(ALWAYS.or(Flags::FAST)).acl(Acl::ADMIN.or(Acl::DANGEROUS))
        .route(Route::AllShards).merge(Merge::Custom).since("1.0.0").tips(&["nondeterministic_output"])
        .summary("Says when data were saved: the time of the start.");
    Latency = row("latency", -2).flags(Flags::CONTAINER).since("2.8.13").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about latency.");
    LatencyDoctor = row("latency|doctor", 2).flags(LATENCY)
        .route(Route::AllShards).merge(Merge::Custom).since("2.8.13")
        .tips(&["nondeterministic_output"]).summary("Judges the measurements of all events.");
    LatencyGraph = row("latency|graph", 3).flags(LATENCY)
        .route(Route::AllShards).merge(Merge::Custom).since("2.8.13").usage("event")
        .tips(&["nondeterministic_output"]).summary("Draws the latest measurements of an event.");
    LatencyHelp = row("latency|help", 2).flags(ALWAYS).since("2.8.13").summary("Explains the subcommands.");
    LatencyHistogram = row("latency|histogram", -2).flags(LATENCY)
        .route(Route::AllShards).merge(Merge::Custom).since("7.0.0")
        .complexity("O(N) with N the number of commands").usage("[command ...]").tips(&["nondeterministic_output"])
        .summary("Gives how often commands took how long.");
    LatencyHistory = row("latency|history", 3).flags(LATENCY)
        .route(Route::AllShards).merge(Merge::Custom).since("2.8.13").usage("event")
        .tips(&["nondeterministic_output"]).summary("Gives the latest measurements of an event.");
    LatencyLatest = row("latency|latest", 2).flags(LATENCY)
        .route(Route::AllShards).merge(Merge::Custom).since("2.8.13")
        .tips(&["nondeterministic_output"]).summary("Gives the latest measurement of each event.");
    LatencyReset = row("latency|reset", -2).flags(LATENCY).route(Route::AllShards).merge(Merge::Sum).since("2.8.13")
        .usage("[event ...]").summary("Forgets measurements.");
    Lolwut = row("lolwut", -1).flags(Flags::READONLY.or(Flags::FAST)).since("5.0.0").usage("[VERSION version]")
        .summary("Shows a small picture and the version.");
    Memory = row("memory", -2).flags(Flags::CONTAINER).since("4.0.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about memory.");
    MemoryDoctor = row("memory|doctor", 2).route(Route::AllShards).merge(Merge::Custom).since("4.0.0")
        .tips(&["nondeterministic_output"])
        .summary("Judges the use of memory.");
    MemoryHelp = row("memory|help", 2).flags(ALWAYS).since("4.0.0").summary("Explains the subcommands.");
    MemoryMallocStats = row("memory|malloc-stats", 2).route(Route::AllShards).merge(Merge::Custom).since("4.0.0")
        .tips(&["nondeterministic_output"]).summary("Gives what the allocator says of itself.");
    MemoryPurge = row("memory|purge", 2).route(Route::AllShards).merge(Merge::AllOk).since("4.0.0")
        .summary("Does nothing: the allocator gives memory back by itself.");
    MemoryStats = row("memory|stats", 2).route(Route::AllShards).merge(Merge::Custom).since("4.0.0")
        .tips(&["nondeterministic_output"])
        .summary("Gives figures about the use of memory.");
    MemoryUsage = row("memory|usage", -3).flags(READ).keys(one(2)).route(Route::Key).since("4.0.0")
        .complexity("O(N) with N the number of samples").usage("key [SAMPLES count]")
        .summary("Says how many bytes a key takes.");
    Module = row("module", -2).flags(Flags::CONTAINER).since("4.0.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about modules.");
    ModuleHelp = row("module|help", 2).flags(ALWAYS).since("5.0.0").summary("Explains the subcommands.");
    ModuleList = row("module|list", 2).flags(Flags::ADMIN.or(Flags::NOSCRIPT)).route(Route::AnyShard).since("4.0.0")
        .summary("Gives the modules: none.");
    ModuleLoad = row("module|load", -3).flags(Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING)).route(Route::AnyShard).since("4.0.0")
        .usage("path [argument ...]").summary("Refused: there are no modules.");
    Monitor = row("monitor", 1).flags(ADMIN).since("1.0.0").summary("Shows every command that the server gets.");
    Proxy = row("proxy", -2).flags(ALWAYS.or(Flags::CONTAINER).or(Flags::TORC)).since("torc 0.1.0")
        .complexity("Depends on the subcommand.").usage("subcommand [argument ...]")
        .summary("A container for commands about the proxy itself.");
    ProxyExplain = row("proxy|explain", -3).flags(SESSION.or(Flags::TORC).or(Flags::NO_MULTI)).since("torc 0.1.0")
        .complexity("O(N) with N the number of keys").usage("command [argument ...]")
        .tips(&["nondeterministic_output"])
        .summary("Says where the proxy would send a command, and under which policy, without sending it.");
    ProxyHelp = row("proxy|help", 2).flags(ALWAYS.or(Flags::TORC)).since("torc 0.1.0").summary("Explains the subcommands.");
    ProxyHot = row("proxy|hot", -2).flags(SESSION.or(Flags::ADMIN).or(Flags::TORC).or(Flags::NO_MULTI))
        .since("torc 0.1.0").complexity("O(N) with N the number of keys").usage("[count | RESET]")
        .tips(&["nondeterministic_output"]).summary("Gives the keys that the proxy is asked for most, or forgets them.");
    ProxySlowlog = row("proxy|slowlog", -2).flags(SESSION.or(Flags::ADMIN).or(Flags::TORC).or(Flags::NO_MULTI))
        .since("torc 0.1.0").complexity("O(N) with N the number of entries").usage("[count | RESET]")
        .tips(&["nondeterministic_output"]).summary("Gives the latest requests that took the proxy long, or forgets them.");
    Replicaof = row("replicaof", 3).flags(Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE).or(Flags::NO_ASYNC_LOADING))
        .route(Route::Refuse(USE_TORC_CLUSTER)).since("5.0.0").usage("host port | NO ONE")
        .summary("Refused: the cluster's map decides who replicates whom.");
    Role = row("role", 1).flags(SESSION.or(Flags::FAST)).acl(Acl::ADMIN.or(Acl::DANGEROUS)).since("2.8.12")
        .summary("Says whether the server is a primary or a replica, and how far.");
    Save = row("save", 1).flags(Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING).or(Flags::NO_MULTI))
        .route(Route::AllShards).merge(Merge::AllOk).since("1.0.0")
        .complexity("O(N) with N the number of keys").summary("Refused: data are kept in memory only.");
    Shutdown = row("shutdown", -1).flags(ADMIN.or(Flags::NO_MULTI).or(Flags::ALLOW_BUSY))
        .route(Route::Refuse("SHUTDOWN stops one node; connect to it directly, or use torc cluster drain"))
        .since("1.0.0").usage("[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]").summary("Stops the server.");
    Slaveof = row("slaveof", 3).flags(Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE).or(Flags::NO_ASYNC_LOADING))
        .route(Route::Refuse(USE_TORC_CLUSTER)).since("1.0.0").usage("host port | NO ONE")
        .summary("Refused: the old name of REPLICAOF.");
    Slowlog = row("slowlog", -2).flags(Flags::CONTAINER).since("2.2.12").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about slow requests.");
    SlowlogGet = row("slowlog|get", -2).flags(EVERYWHERE_ADMIN).route(Route::AllShards).merge(Merge::Concat).since("2.2.12")
        .complexity("O(N) with N the number of entries").usage("[count]").tips(&["nondeterministic_output"])
        .summary("Gives the latest slow requests.");
    SlowlogHelp = row("slowlog|help", 2).flags(ALWAYS).since("6.2.0").summary("Explains the subcommands.");
    SlowlogLen = row("slowlog|len", 2).flags(EVERYWHERE_ADMIN).route(Route::AllShards).merge(Merge::Sum).since("2.2.12")
        .tips(&["nondeterministic_output"]).summary("Counts the slow requests that are remembered.");
    SlowlogReset = row("slowlog|reset", 2).flags(EVERYWHERE_ADMIN).route(Route::AllShards).merge(Merge::AllOk)
        .since("2.2.12").complexity("O(N) with N the number of entries").summary("Forgets the slow requests.");
    Swapdb = row("swapdb", 3).flags(WRITE_FAST).acl(Acl::KEYSPACE.or(Acl::DANGEROUS)).route(Route::AllShards)
        .merge(Merge::AllOk).since("4.0.0").usage("index1 index2").summary("Exchanges two databases.");
    Time = row("time", 1).flags(ALWAYS.or(Flags::FAST)).since("2.6.0")
        .tips(&["nondeterministic_output"]).summary("Gives the server's time in seconds and microseconds.");
    Wait = row("wait", 3).flags(Flags::BLOCKING).acl(Acl::CONNECTION).group("generic").since("3.0.0")
        .usage("numreplicas timeout-milliseconds")
        .summary("Waits until replicas have all writes of this connection; counts them.");
    Waitaof = row("waitaof", 4).flags(Flags::BLOCKING.or(Flags::NOSCRIPT)).acl(Acl::CONNECTION).group("generic").since("7.2.0")
        .usage("numlocal numreplicas timeout-milliseconds").summary("Refused: there is no append-only file.");
}
