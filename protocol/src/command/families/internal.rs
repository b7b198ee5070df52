//! Between parts of Torc. After the handshake only; for everybody else these names do not exist.

use super::*;

const INSIDE: Flags = Flags::INTERNAL.or(Flags::TORC).or(SESSION);
const DOOR: Flags = INSIDE.or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY);

family! {
    /// Commands that a proxy sends to a server.
    InternalCommand, "internal", Acl::NONE;
    Ctx = row("ctx", -3).flags(INSIDE.or(Flags::FAST)).since("torc 0.1.0").usage("context command [argument ...]")
        .summary("Executes a command for the client that the context describes.");
    Mc = row("mc", -2).flags(INSIDE).keys(KeySpec::Memcached).route(Route::Key).merge(Merge::Custom)
        .since("torc 0.1.0").usage("request-line [data]").summary("Executes a memcached request.");
    TorcAuth = row("torc.auth", 2).flags(DOOR).since("torc 0.1.0").usage("proof")
        .summary("Proves the cluster secret: the second step of the handshake.");
    TorcHello = row("torc.hello", 5).flags(DOOR).since("torc 0.1.0")
        .usage("version role name nonce").summary("Opens the handshake between parts of Torc.");
    TorcAwait = row("torc.await", -5).flags(INSIDE.or(Flags::READONLY).or(Flags::BLOCKING)).keys(range(4, -1, 1))
        .route(Route::Key).wait(Wait::Seconds(1)).since("torc 0.1.0")
        .complexity("O(N) with N the number of keys").usage("timeout-seconds list | zset | group name key [key ...]")
        .summary("Waits until one of the keys has something to take, and takes nothing.");
    TorcCollect = row("torc.collect", -3).flags(INSIDE.or(Flags::READONLY)).keys(range(2, -1, 1)).route(Route::Key)
        .since("torc 0.1.0").complexity("O(N) with N the size of the values").usage("max-bytes key [key ...]")
        .summary("Gives several values as DUMP writes them, unless they are too big together.");
    TorcGiven = row("torc.given", -5).flags(INSIDE.or(Flags::IDEMPOTENT)).since("torc 0.1.0")
        .complexity("That of the command.").usage("count key payload [key payload ...] command [argument ...]")
        .summary("Runs a command that reads on given values, without looking at those of the node.");
    TorcPfmerge = row("torc.pfmerge", -2).flags(INSIDE.or(WRITE_OOM)).keys(one(1)).route(Route::Key).since("torc 0.1.0")
        .complexity("O(N) with N the number of payloads").usage("destination [payload ...]")
        .summary("Merges given HyperLogLogs into one, as PFMERGE does.");
    TorcListen = row("torc.listen", 4).flags(INSIDE.or(Flags::PUBSUB)).since("torc 0.1.0")
        .usage("channel | pattern | shard | none name clients")
        .summary("Listens for a number of a proxy's clients; with none it ends that.");
    TorcTrack = row("torc.track", 1).flags(INSIDE.or(Flags::FAST)).since("torc 0.1.0")
        .summary("Says for how many milliseconds the node may vouch for what it serves (-1: no end), and its term.");
    TorcWait = row("torc.wait", 4).flags(INSIDE.or(Flags::BLOCKING)).since("torc 0.1.0")
        .usage("offset numreplicas timeout-milliseconds")
        .summary("Waits until replicas have a shard's records up to an offset; counts them.");
}
