//! Between parts of Torc. After the handshake only; for everybody else these names do not exist.

use super::*;

const INSIDE: Flags = Flags::INTERNAL.or(Flags::TORC).or(SESSION);

family! {
    /// Commands that a proxy sends to a server.
    InternalCommand, "internal", Acl::NONE;
    Ctx = row("ctx", -3).flags(INSIDE.or(Flags::FAST)).since("torc 0.1.0").usage("context command [argument ...]")
        .summary("Executes a command for the client that the context describes.");
    Mc = row("mc", -2).flags(INSIDE).keys(KeySpec::Memcached).route(Route::Key).merge(Merge::Custom)
        .since("torc 0.1.0").usage("request-line [data]").summary("Executes a memcached request.");
    TorcAuth = row("torc.auth", 2).flags(INSIDE.or(Flags::NO_AUTH)).since("torc 0.1.0").usage("proof")
        .summary("Proves the cluster secret: the second step of the handshake.");
    TorcHello = row("torc.hello", 5).flags(INSIDE.or(Flags::NO_AUTH)).since("torc 0.1.0")
        .usage("version role name nonce").summary("Opens the handshake between parts of Torc.");
    TorcWait = row("torc.wait", 4).flags(INSIDE.or(Flags::BLOCKING)).since("torc 0.1.0")
        .usage("offset numreplicas timeout-milliseconds")
        .summary("Waits until replicas have a shard's records up to an offset; counts them.");
}
