//! The proxy's own error texts, without the leading `-`. Texts that a node may give too are in
//! `torc_protocol::error`. Each says whether anything was executed.

/// The connection on which a big request was passed on broke before its end.
pub const UPLOAD_LOST: &str = "CLUSTERDOWN the connection to the shard broke before the request was whole; the command was not executed";
/// A node refused a big request whose bytes are not there any more.
pub const UPLOAD_REFUSED: &str = "TRYAGAIN the shard could not take the request, which is too big to be kept; the command was not executed";
/// The deadline passed while the request was held back.
pub const NO_PRIMARY: &str =
    "CLUSTERDOWN the shard had no reachable primary in time; the command was not executed";
/// Other CONFIG SETs of nodes' options took all the time there was.
pub const NO_TURN: &str =
    "TRYAGAIN other clients change the nodes' configuration; the command was not executed";
/// Too many requests are held back already.
pub const TOO_MANY_HELD: &str =
    "CLUSTERDOWN too many requests wait for a primary of the shard; the command was not executed";
/// There is no map yet, or it has no owner for the slot.
pub use torc_protocol::error::CLUSTERDOWN_SLOT as NO_MAP;
/// A request that may be sent again was sent, and not answered in time.
pub const READ_TIMEOUT: &str = "CLUSTERDOWN the shard did not answer in time";
/// A write was sent and not answered in time.
pub const WRITE_TIMEOUT: &str =
    "UNCERTAIN the shard did not answer in time; the command may have been executed, at most once";
/// A node answered with bytes that are no reply.
pub const BAD_REPLY: &str = "ERR the node's reply could not be understood";
/// All dedicated connections to the node are in use.
pub const NO_BLOCKING: &str = "BUSY all connections of the proxy for commands that wait are in use \
    (blocking_connections); the command was not executed";
/// All connections for WATCH and locks are in use.
pub const NO_DEDICATED: &str = "BUSY all connections of the proxy for WATCH and waiting locks are in use \
    (dedicated_connections); the command was not executed";
/// The shard that a cursor or a request names is gone.
pub const NO_SHARD: &str =
    "CLUSTERDOWN the shard is not part of the cluster any more; the command was not executed";
/// This thread of the proxy listens to as much as it may.
pub const TOO_MANY_SUBSCRIPTIONS: &str = "ERR this proxy has as many subscriptions as it may have";
/// A command that a node cannot execute inside a proxy's transaction.
pub const NOT_IN_TRANSACTION: &str = "is not supported inside a transaction through the proxy";
/// A WATCH on another slot than the ones before.
pub const WATCH_SLOT: &str = "CROSSSLOT all watched keys must hash to the same slot";
/// memcached's `watch`: begins as memcached does where it was started without.
pub const WATCH_NODES: &str =
    "CLIENT_ERROR watch commands not allowed: a proxy has no log of items, watch the nodes";
/// Keys of several slots in a command that works on all of them at once.
pub use torc_protocol::error::CROSSSLOT as CROSS_SLOT;
/// The same for a client: what to do.
pub const CROSS_SLOT_ADVICE: &str =
    "CROSSSLOT Keys in request don't hash to the same slot: give them one {hash tag}";
/// More commands than a transaction may queue.
pub const TOO_MANY_QUEUED: &str = "ERR too many commands in one transaction";
