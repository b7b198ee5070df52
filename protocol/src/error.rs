//! Every error text that a client can see, each in one place. The texts are those of Redis 7 (also where they
//! are odd), without the leading `-`; what Redis has no word for is Torc's own.

use crate::resp::Args;

/// The command does not fit the type of the value.
pub const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub const SYNTAX: &str = "ERR syntax error";
pub const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub const NOT_A_FLOAT: &str = "ERR value is not a valid float";
pub const BUSYKEY: &str = "BUSYKEY Target key name already exists.";
pub const NO_SUCH_KEY: &str = "ERR no such key";
pub const OVERFLOW: &str = "ERR increment or decrement would overflow";
pub const DECR_OVERFLOW: &str = "ERR decrement would overflow";
pub const NAN_OR_INFINITY: &str = "ERR increment would produce NaN or Infinity";
pub const FIELDS_MISSING: &str = "ERR Mandatory argument FIELDS is missing or not at the right position";
pub const FIELDS_MISMATCH: &str = "ERR The `numfields` parameter must match the number of arguments";
pub const HASH_NOT_AN_INTEGER: &str = "ERR hash value is not an integer";
pub const HASH_NOT_A_FLOAT: &str = "ERR hash value is not a float";
pub const OFFSET_OUT_OF_RANGE: &str = "ERR offset is out of range";
pub const STRING_TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
pub const OUT_OF_RANGE: &str = "ERR value is out of range";
pub const OUT_OF_RANGE_POSITIVE: &str = "ERR value is out of range, must be positive";
pub const INDEX_OUT_OF_RANGE: &str = "ERR index out of range";
pub const SAME_OBJECT: &str = "ERR source and destination objects are the same";
pub const INVALID_CURSOR: &str = "ERR invalid cursor";
pub const NOVALUES_ELSEWHERE: &str = "ERR NOVALUES option can only be used in HSCAN";
pub const NOSCORES_ELSEWHERE: &str = "ERR NOSCORES option can only be used in ZSCAN";
pub const BIT_OFFSET: &str = "ERR bit offset is not an integer or out of range";
pub const BIT_VALUE: &str = "ERR bit is not an integer or out of range";
pub const BIT_ARGUMENT: &str = "ERR The bit argument must be 1 or 0.";
pub const BITOP_NOT: &str = "ERR BITOP NOT must be called with a single source key.";
pub const BITFIELD_TYPE: &str =
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
pub const BITFIELD_OVERFLOW: &str = "ERR Invalid OVERFLOW type specified";
pub const BITFIELD_RO: &str = "ERR BITFIELD_RO only supports the GET subcommand";
pub const HLL_WRONG_TYPE: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
pub const HLL_CORRUPTED: &str = "INVALIDOBJ Corrupted HLL object detected";
pub const HLL_NO_KEY: &str = "ERR The specified key does not exist";
pub const HLL_NOT_SPARSE: &str = "ERR HLL encoding is not sparse";
pub const LCS_TWO_STRINGS: &str = "ERR The specified keys must contain string values";
pub const LCS_LEN_AND_IDX: &str = "ERR If you want both the length and indexes, please just use IDX.";
pub const MSET_ARITY: &str = "ERR wrong number of arguments for 'mset' command";
pub const EXPIRE_NX_OR_XX: &str = "ERR NX and XX, GT or LT options at the same time are not compatible";
pub const EXPIRE_GT_OR_LT: &str = "ERR GT and LT options at the same time are not compatible";

pub const SCORE_RANGE: &str = "ERR min or max is not a float";
pub const LEX_RANGE: &str = "ERR min or max not valid string range item";
pub const COUNT_ABOVE_0: &str = "ERR count should be greater than 0";

pub const GETKEYS_ARITY: &str = "ERR Invalid number of arguments specified for command";
pub const GETKEYS_UNKNOWN: &str = "ERR Invalid command specified";
pub const GETKEYS_NONE: &str = "ERR The command has no key arguments";

pub const NOT_AN_INT32: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";
pub const DB_OUT_OF_RANGE: &str = "ERR DB index is out of range";
pub const INVALID_FIRST_DB: &str = "ERR invalid first DB index";
pub const INVALID_SECOND_DB: &str = "ERR invalid second DB index";

pub const TIMEOUT_NOT_AN_INTEGER: &str = "ERR timeout is not an integer or out of range";
pub const TIMEOUT_NEGATIVE: &str = "ERR timeout is negative";
/// Why CONFIG SET refuses a value, without a code: it stands inside another text.
pub const CONFIG_NOT_AN_INTEGER: &str = "argument couldn't be parsed into an integer";
pub const CONFIG_NOT_A_SIZE: &str = "argument must be a memory value";
pub const CONFIG_IMMUTABLE: &str = "can't set immutable config";
pub const CONFIG_DUPLICATE: &str = "duplicate parameter";
pub const NO_CONFIG_FILE: &str = "ERR The server is running without a config file";

pub const STREAM_ID: &str = "ERR Invalid stream ID specified as stream command argument";
pub const STREAM_START: &str = "ERR invalid start ID for the interval";
pub const STREAM_END: &str = "ERR invalid end ID for the interval";
pub const XADD_ZERO: &str = "ERR The ID specified in XADD must be greater than 0-0";
pub const XADD_NOT_ABOVE: &str =
    "ERR The ID specified in XADD is equal or smaller than the target stream top item";
pub const XADD_EXHAUSTED: &str =
    "ERR The stream has exhausted the last possible ID, unable to add more items";
pub const XADD_TOO_LARGE: &str = "ERR Elements are too large to be stored";
pub const XTRIM_TWICE: &str =
    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
pub const XTRIM_MAXLEN: &str = "ERR The MAXLEN argument must be >= 0.";
pub const XTRIM_LIMIT: &str = "ERR The LIMIT argument must be >= 0.";
pub const XTRIM_LIMIT_ALONE: &str =
    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
pub const XTRIM_LIMIT_EXACT: &str = "ERR syntax error, LIMIT cannot be used without the special ~ option";
pub const XTRIM_NOTHING: &str = "ERR syntax error, XTRIM must be called with a trimming strategy";
pub const XSETID_ADDED_NEGATIVE: &str = "ERR entries_added must be positive";
pub const XSETID_BELOW_GIVEN: &str =
    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id";
pub const XSETID_BELOW_DELETED: &str =
    "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id";
pub const XSETID_BELOW_TOP: &str =
    "ERR The ID specified in XSETID is smaller than the target stream top item";
pub const XSETID_BELOW_LENGTH: &str =
    "ERR The entries_added specified in XSETID is smaller than the target stream length";
pub const XGROUP_NO_KEY: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may \
     want to use the MKSTREAM option to create an empty stream automatically.";
pub const XGROUP_ENTRIESREAD: &str = "ERR value for ENTRIESREAD must be positive or -1";
pub const BUSYGROUP: &str = "BUSYGROUP Consumer Group name already exists";
pub const XREAD_GROUP: &str =
    "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.";
pub const XREAD_NOACK: &str =
    "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.";
pub const XREAD_NEW: &str =
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.";
pub const XREAD_LAST_IS_ZERO: &str = "ERR the stream last element ID is 0-0";
pub const XREADGROUP_NO_GROUP: &str = "ERR Missing GROUP option for XREADGROUP";
pub const XREADGROUP_LAST: &str = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the \
     history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
     return an empty result set.";
pub const XREADGROUP_PLUS: &str = "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the \
     history of this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just \
     return an empty result set.";
pub const XCLAIM_MIN_IDLE: &str = "ERR Invalid min-idle-time argument for XCLAIM";
pub const XCLAIM_IDLE: &str = "ERR Invalid IDLE option argument for XCLAIM";
pub const XCLAIM_TIME: &str = "ERR Invalid TIME option argument for XCLAIM";
pub const XCLAIM_RETRYCOUNT: &str = "ERR Invalid RETRYCOUNT option argument for XCLAIM";
pub const XAUTOCLAIM_MIN_IDLE: &str = "ERR Invalid min-idle-time argument for XAUTOCLAIM";
pub const XAUTOCLAIM_COUNT: &str = "ERR COUNT must be > 0";

pub const NOAUTH: &str = "NOAUTH Authentication required.";
pub const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
pub const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for the default user. \
     Are you sure your configuration is correct?";
pub const NOPROTO: &str = "NOPROTO unsupported protocol version";
pub const HELLO_VERSION: &str = "ERR Protocol version is not an integer or out of range";
pub const HELLO_NOAUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
     HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
     version at the same time";
pub const CLIENT_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
pub const NO_TRACKING: &str = "ERR client-side caching is not served: the server does not track which keys clients \
     have read; use keyspace events or short expiries";
pub const INVALID_CLIENT_ID: &str = "ERR Invalid client ID";
pub const CLIENT_ID_ABOVE_0: &str = "ERR client-id should be greater than 0";
pub const MAX_AGE_NOT_AN_INTEGER: &str = "ERR maxage is not an integer or out of range";
pub const MAX_AGE_ABOVE_0: &str = "ERR maxage should be greater than 0";
pub const UNBLOCK_REASON: &str = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
pub const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
pub const NO_SUCH_CLIENT: &str = "ERR No such client";

pub const EXECABORT: &str = "EXECABORT Transaction discarded because of previous errors.";
pub const NESTED_MULTI: &str = "ERR MULTI calls can not be nested";
pub const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";
pub const DISCARD_WITHOUT_MULTI: &str = "ERR DISCARD without MULTI";
pub const WATCH_INSIDE_MULTI: &str = "ERR WATCH inside MULTI is not allowed";
pub const NOT_IN_TRANSACTION: &str = "ERR Command not allowed inside a transaction";

/// A bound of Torc: Redis has none.
pub const TOO_MANY_SUBSCRIPTIONS: &str = "ERR a connection may not listen to so many channels";

/// Likewise, for all connections of a node.
pub const TOO_MANY_SUBSCRIPTIONS_HERE: &str = "ERR this node has as many subscriptions as it may have";

pub const ONE_USER: &str =
    "ERR users cannot be made or changed: there is one, 'default', whose password is that of requirepass";
pub const ACL_KEEP_DEFAULT: &str = "ERR The 'default' user cannot be removed";
pub const NO_ACL_FILE: &str = "ERR This Redis instance is not configured to use an ACL file.";
pub const ACL_GENPASS_BITS: &str = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096";
pub const ACL_WRONG_ARGUMENTS: &str = "ERR wrong number of arguments for 'acl' command";

pub const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
pub const NO_FUNCTION: &str = "ERR Function not found";
pub const NO_LIBRARY: &str = "ERR Library not found";
pub const NO_FUNCTIONS: &str = "ERR functions are not served; use EVAL or SCRIPT LOAD";
pub const NOTBUSY: &str = "NOTBUSY No scripts in execution right now.";
pub const BUSY_SCRIPT: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
pub const UNKILLABLE: &str = "UNKILLABLE Sorry the script already executed write commands against the dataset. \
     You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.";
pub const TOO_MANY_KEYS: &str = "ERR Number of keys can't be greater than number of args";
pub const NEGATIVE_KEYS: &str = "ERR Number of keys can't be negative";
pub const NUMKEYS_ABOVE_0: &str = "ERR numkeys should be greater than 0";
pub const LIMIT_NEGATIVE: &str = "ERR LIMIT can't be negative";
pub const OUT_OF_RANGE_LONG: &str =
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
pub const SCRIPT_WRITE_IN_RO: &str = "ERR Write commands are not allowed from read-only scripts.";

pub const CROSSSLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
pub const CLUSTER_DISABLED: &str = "ERR This instance has cluster support disabled";
pub const CLUSTERDOWN: &str = "CLUSTERDOWN The cluster is down";
pub const CLUSTERDOWN_SLOT: &str = "CLUSTERDOWN Hash slot not served";
pub const CLUSTERDOWN_LEASE: &str = "CLUSTERDOWN this node no longer holds the lease of the shard";
pub const TRYAGAIN: &str = "TRYAGAIN Multiple keys request during rehashing of slot";
pub const INVALID_SLOT: &str = "ERR Invalid or out of range slot";
pub const READONLY: &str = "READONLY You can't write against a read only replica.";
/// Keys of several shards whose values are too big to be brought together.
pub const GATHER_TOO_LARGE: &str = "CROSSSLOT the keys belong to several shards and hold more together than the proxy \
     gathers (gather_bytes): give them one {hash tag}";
/// A replica cannot say that its data is as fresh as the read asks for: nothing was executed.
pub const REPLICA_STALE: &str =
    "TRYAGAIN the data of this replica is older than the read allows; not executed";
/// A replica does not have what the reader itself has written: nothing was executed.
pub const REPLICA_BEHIND: &str =
    "TRYAGAIN this replica does not have the reader's latest write yet; not executed";
/// A replica found that what is read has to change with it (a memcached item that one client is to be told to load anew):
/// nothing was executed.
pub const REPLICA_CANNOT: &str = "TRYAGAIN only the primary can answer this read; not executed";
/// Records wait for their place in the history: nothing was executed.
pub const REPLICATION_BEHIND: &str = "TRYAGAIN replication has to place too many records first; not executed";
pub const NOREPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";
/// A strong read that could not be confirmed before its deadline.
pub const NOREPLICAS_READ: &str = "NOREPLICAS the read could not be confirmed by the in-sync set in time";
/// After execution, and only then: the effect may or may not survive, and happened at most once.
pub const UNCERTAIN: &str =
    "UNCERTAIN the command was executed, but the acknowledgement that was asked for did not come in time";
/// The primary lost its lease between execution and reply.
pub const UNCERTAIN_LEASE: &str =
    "UNCERTAIN the command was executed, but the lease of the shard ended before the reply";
/// The connection to the node broke after the request was sent.
pub const UNCERTAIN_UPSTREAM: &str =
    "UNCERTAIN the connection to the shard broke after the command was sent; it happened at most once";
/// The request was executed under this id before, with a reply that was not kept.
pub const UNCERTAIN_REPLY: &str =
    "UNCERTAIN the command was executed once, but its reply was too long to be kept for a second sending";
/// Says nothing about an earlier sending.
pub const REQUEST_ID_TOO_OLD: &str =
    "ERR the request id is older than the window of remembered ids; this sending was not executed";
pub const STALE_EPOCH: &str = "TRYAGAIN the request was routed by an old map";
pub const DEADLINE_EXCEEDED: &str = "BUSY the deadline of the request passed before it was executed";
pub const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
pub const LOADING: &str = "LOADING Redis is loading the dataset in memory";
pub const MASTERDOWN: &str =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
/// A whole reply: it is written to connections that nobody owns yet.
pub const MAX_CLIENTS_REPLY: &[u8] = b"-ERR max number of clients reached\r\n";
pub const BUSY_GATE: &str = "BUSY the store is held by a script or a command over all keys";
pub const MEMORY_ONLY: &str =
    "ERR data is kept in memory only; there is nothing to save to. Replicas keep it over the loss of a node.";
pub const NOT_A_PROXY: &str =
    "ERR PROXY is answered by a proxy, and this is a node; ask at the proxy's address";
pub const REPLICAOF: &str = "ERR replication is decided by the cluster's map; use torc cluster to change it";

pub const FENCED: &str = "FENCED the fencing token is older than one that was already used";
pub const LOCK_TTL: &str = "ERR the TTL is above max_lock_ttl";
pub const LOCK_HELD: &str = "LOCKED the lock is held by another owner";
pub const NO_SUCH_LOCK: &str = "NOLOCK the lock is not held with this token";

/// `ERR wrong number of arguments for '…' command`; `name` as in the table (`client|list`).
pub fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

/// `ERR Unknown option … for CONFIG SET - '…'`; `name` as it was given.
pub fn unknown_option(name: &str) -> String {
    format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
}

/// `ERR CONFIG SET failed … '…' - …`: why an option cannot be set.
pub fn config_set_failed(name: &str, why: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
}

/// `ERR invalid expire time in '…' command`.
pub fn invalid_expire(name: &str) -> String {
    format!("ERR invalid expire time in '{name}' command")
}

/// What a client of RESP2 hears that listens to channels and asks for something else.
pub fn only_listens(command: &str) -> String {
    format!(
        "ERR Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context"
    )
}

/// `NOPERM` for a command.
pub fn no_permission(user: &str, command: &str) -> String {
    format!("NOPERM User {user} has no permissions to run the '{command}' command")
}

/// `NOPERM` for a key.
pub const NOPERM_KEY: &str = "NOPERM No permissions to access a key";

/// `MOVED`: the slot is served by another node for good.
pub fn moved(slot: crate::slot::Slot, host: &str, port: u16) -> String {
    format!("MOVED {slot} {host}:{port}")
}

/// `ASK`: only the next request about the slot goes to another node.
pub fn ask(slot: crate::slot::Slot, host: &str, port: u16) -> String {
    format!("ASK {slot} {host}:{port}")
}

/// How many bytes of a name, and of all arguments together, an error repeats.
const PREVIEW_BYTES: usize = 128;

fn preview(bytes: &[u8]) -> &[u8] {
    // Redis formats with %.128s: a C string ends at its first NUL.
    let bytes = memchr::memchr(0, bytes).map_or(bytes, |end| &bytes[..end]);
    &bytes[..bytes.len().min(PREVIEW_BYTES)]
}

/// `ERR unknown command 'foo', with args beginning with: 'a' 'b' `, as bytes: they may be no UTF-8.
pub fn unknown_command(args: Args<'_>) -> Vec<u8> {
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(preview(args.get(0).unwrap_or_default()));
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for arg in args.iter().skip(1) {
        let used = text.len() - start;
        if used >= PREVIEW_BYTES {
            break;
        }
        let shown = preview(arg);
        text.push(b'\'');
        text.extend_from_slice(&shown[..shown.len().min(PREVIEW_BYTES - used)]);
        text.extend_from_slice(b"' ");
    }
    text
}

/// `ERR unknown subcommand 'x'. Try CLIENT HELP.`, as bytes.
pub fn unknown_subcommand(container: &[u8], sub: &[u8]) -> Vec<u8> {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(preview(sub));
    text.extend_from_slice(b"'. Try ");
    text.extend(preview(container).iter().map(u8::to_ascii_uppercase));
    text.extend_from_slice(b" HELP.");
    text
}

/// `ERR Unbalanced 'xread' list of streams: …`
pub fn unbalanced_streams(name: &str, symbol: char) -> String {
    format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be specified."
    )
}

/// `ERR unknown subcommand or wrong number of arguments for 'x'. Try CLIENT HELP.`, as bytes.
pub fn subcommand_syntax(container: &[u8], sub: &[u8]) -> Vec<u8> {
    let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
    text.extend_from_slice(preview(sub));
    text.extend_from_slice(b"'. Try ");
    text.extend(preview(container).iter().map(u8::to_ascii_uppercase));
    text.extend_from_slice(b" HELP.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn unknown_commands() {
        let args = OwnedArgs::new(["foo", "a", "b"]);
        assert_eq!(
            unknown_command(args.view()),
            b"ERR unknown command 'foo', with args beginning with: 'a' 'b' "
        );
        let long = "x".repeat(200);
        let args = OwnedArgs::new(["foo", &long, "never shown"]);
        let text = String::from_utf8_lossy(&unknown_command(args.view())).into_owned();
        assert_eq!(
            text,
            format!("ERR unknown command 'foo', with args beginning with: '{}' ", "x".repeat(128))
        );
        assert_eq!(unknown_subcommand(b"client", b"x"), b"ERR unknown subcommand 'x'. Try CLIENT HELP.");
    }
}
