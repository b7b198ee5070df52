//! Handlers of the internal family: what only other parts of Torc may say.

use rand::TryRngCore;
use rand::rngs::OsRng;
use torc_protocol::command::InternalCommand;
use torc_protocol::error as text;
use torc_protocol::handshake::{HandshakeError, Nonce, ServerHandshake};
use torc_protocol::resp::{Args, Version, parse_i64};
use torc_protocol::trace::Trace;

use super::gather;
use crate::blocked::{Block, Null, Wanted, timeout_seconds};
use crate::exec::{CommandError, CommandResult, Cx, Depth, Flow, Park};
use crate::pubsub::{self, Subscriptions, TooMany};
use crate::shard::Role;
use crate::store::value::stream::StreamValue;
use crate::store::value::{Kind, ListValue, SortedSetValue};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: InternalCommand, args: &Args<'_>) -> CommandResult {
    match command {
        InternalCommand::TorcHello => closing(cx, |cx| hello(cx, args)),
        InternalCommand::TorcAuth => closing(cx, |cx| auth(cx, args)),
        // The executor has unwrapped the prefix; one inside another says nothing.
        InternalCommand::Ctx => Err(text::SYNTAX.into()),
        // The executor runs it itself, unless it was queued.
        InternalCommand::Mc => Err(text::NOT_IN_TRANSACTION.into()),
        InternalCommand::TorcWait => wait(cx, args),
        InternalCommand::TorcAwait => wait_for_keys(cx, args),
        InternalCommand::TorcListen => listen(cx, args),
        InternalCommand::TorcTrack => {
            vouch(cx);
            Ok(())
        }
        InternalCommand::TorcCollect => gather::collect(cx, args),
        InternalCommand::TorcGiven => gather::given(cx, args),
        InternalCommand::TorcPfmerge => gather::pfmerge(cx, args),
    }
}

/// Whoever fails the handshake is answered and hung up on.
fn closing(
    cx: &mut Cx<'_, '_>,
    step: impl FnOnce(&mut Cx<'_, '_>) -> Result<(), HandshakeError>,
) -> CommandResult {
    if let Err(error) = step(cx) {
        tracing::warn!(client = cx.session.id, %error, "a peer failed the handshake");
        cx.session.handshake = None;
        CommandError::from(format!("ERR {error}")).write(&mut cx.reply());
        cx.flow = Flow::Close;
    }
    Ok(())
}

/// TORC.HELLO: this side proves the secret first.
fn hello(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> Result<(), HandshakeError> {
    if cx.session.trusted || cx.session.handshake.is_some() {
        return Err(HandshakeError::OutOfOrder);
    }
    let hello = ServerHandshake::parse_hello(args)?;
    let Some(secret) = cx.node.secret.clone() else {
        return Err(HandshakeError::Malformed("this node has no cluster secret"));
    };
    let mut nonce = Nonce::default();
    OsRng
        .try_fill_bytes(&mut nonce)
        .map_err(|_| HandshakeError::Malformed("the system gave no random bytes"))?;
    let (handshake, reply) = ServerHandshake::accept(secret, hello, nonce)?;
    reply.write(&mut cx.reply());
    cx.session.handshake = Some(Box::new(handshake));
    Ok(())
}

/// TORC.AWAIT: the first key that has something to take, for a proxy whose client waits at several shards: it takes
/// nothing, so that of all that find something one can be chosen. A `group` has something when the stream holds what
/// the group of that name was not given yet, and when it is not there (XREADGROUP says so).
fn wait_for_keys(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let timeout = timeout_seconds(args.get(1).unwrap_or_default())?;
    let (kind, name) = (args.get(2).unwrap_or_default(), args.get(3).unwrap_or_default());
    let wanted = match kind {
        b"list" => Wanted::only(Kind::List),
        b"zset" => Wanted::only(Kind::SortedSet),
        b"group" => Wanted { kind: Kind::Stream, anything: true },
        _ => return Err(text::SYNTAX.into()),
    };
    let keys = args.tail(4);
    for bytes in keys {
        let key = cx.key(bytes);
        let has_some = match kind {
            b"list" => cx.peek_as::<&ListValue>(&key).is_ok_and(|list| list.is_some()),
            b"zset" => cx.peek_as::<&SortedSetValue>(&key).is_ok_and(|set| set.is_some()),
            _ => match cx.peek_as::<&StreamValue>(&key) {
                Ok(Some(stream)) => stream
                    .groups
                    .get(name)
                    .is_none_or(|group| stream.log.last_entry().is_some_and(|last| last > group.last_id)),
                Ok(None) | Err(_) => true,
            },
        };
        if has_some {
            cx.reply().bulk(bytes);
            return Ok(());
        }
    }
    let keys = keys.iter().map(Box::from).collect();
    cx.block(Block { keys, wanted, timeout_ms: timeout, null: Null::Bulk, rewritten: None });
    Ok(())
}

/// TORC.LISTEN: a proxy listens for so many of its clients. Its connection gets each message once; PUBLISH counts the
/// clients.
fn listen(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let kind = match args.get(1) {
        Some(b"channel") => pubsub::Kind::Channel,
        Some(b"pattern") => pubsub::Kind::Pattern,
        Some(b"shard") => pubsub::Kind::Shard,
        // Only asks whether the node is there, and has done what came before.
        Some(b"none") => {
            cx.reply().ok();
            return Ok(());
        }
        _ => return Err(text::SYNTAX.into()),
    };
    let name = args.get(2).unwrap_or_default();
    let clients = args.get(3).and_then(parse_i64).and_then(|clients| u32::try_from(clients).ok());
    let clients = clients.ok_or(text::NOT_AN_INTEGER)?;
    let Some(client) = cx.session.client.clone().filter(|_| !cx.proxied && cx.depth == Depth::Command) else {
        return Err(text::SYNTAX.into());
    };
    let (version, registry) = (cx.version, &cx.node.pubsub);
    let subscriptions = cx
        .session
        .subscriptions
        .get_or_insert_with(|| Box::new(Subscriptions::new(registry.clone(), client, version)));
    match subscriptions.listen_for(kind, name, clients) {
        Ok(()) => cx.reply().ok(),
        Err(TooMany::OfConnection) => return Err(text::TOO_MANY_SUBSCRIPTIONS.into()),
        Err(TooMany::OfNode) => return Err(text::TOO_MANY_SUBSCRIPTIONS_HERE.into()),
    }
    Ok(())
}

/// TORC.TRACK: for how many milliseconds from now nobody else can serve what this node serves, and its term. A proxy goes
/// by the values it keeps no longer; the answer comes behind all changes that were told before.
fn vouch(cx: &mut Cx<'_, '_>) {
    let (shard, now_ns) = (&cx.node.shard, cx.now.boottime_ns);
    let left_ms = match shard.role() {
        Role::Plain => -1,
        Role::Primary if shard.may_execute(now_ns) => {
            (shard.lease_until_ns().saturating_sub(now_ns) / 1_000_000) as i64
        }
        Role::Primary | Role::Replica | Role::Joining => 0,
    };
    let term = shard.term().0 as i64;
    let mut reply = cx.reply();
    reply.array(2);
    reply.integer(left_ms);
    reply.integer(term);
}

/// TORC.WAIT: a proxy's WAIT for a position that it knows.
fn wait(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let number = |at: usize| args.get(at).and_then(parse_i64).and_then(|number| u64::try_from(number).ok());
    let (Some(offset), Some(replicas), Some(timeout_ms)) = (number(1), number(2), number(3)) else {
        return Err(text::NOT_AN_INTEGER.into());
    };
    let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
    cx.flow = Flow::Park(Park::Replicas { offset, replicas, timeout_ms });
    Ok(())
}

/// TORC.AUTH: from here on the peer is trusted, and the connection speaks RESP3.
fn auth(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> Result<(), HandshakeError> {
    let handshake = cx.session.handshake.take().ok_or(HandshakeError::OutOfOrder)?;
    let connection = handshake.connection();
    let peer = handshake.finish(&ServerHandshake::parse_auth(args)?)?;
    tracing::debug!(client = cx.session.id, role = %peer.role, name = peer.name, "a peer proved the secret");
    cx.session.trace = Trace { connection, request: 0 };
    cx.session.trusted = true;
    cx.session.authenticated = true;
    cx.session.version = Version::Resp3;
    cx.session.set_name(peer.name.as_bytes());
    // By this number others may speak of the connection (CLIENT UNBLOCK).
    let id = cx.session.id;
    cx.reply().simple(&format!("OK {id}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use torc_protocol::context::{Context, RequestId};
    use torc_protocol::error as text;
    use torc_protocol::handshake::{ClientHandshake, HelloReply, Role, Secret};
    use torc_protocol::resp::{Args, Limits, RequestParser, Value};

    use crate::effect::Records;
    use crate::exec::Flow;
    use crate::exec::testing::Harness;

    fn secret(byte: u8) -> Secret {
        Secret::new(&[byte; 32]).expect("long enough")
    }

    fn send(t: &mut Harness, request: &[u8]) -> (Vec<u8>, Flow) {
        let frame = RequestParser::new(Limits::default()).next(request).expect("sound").expect("whole");
        let args = Args::new(request, &frame.args);
        let (reply, done) = t.execute(args.iter());
        (reply, done.flow)
    }

    fn shake(t: &mut Harness, secret: Secret) -> Result<Flow, String> {
        let client = ClientHandshake::new(secret, Role::Proxy, "edge", [1; 16]);
        let mut request = Vec::new();
        client.hello_request(&mut request);
        let (reply, _) = send(t, &request);
        let (value, _) = Value::decode(&reply).expect("sound").expect("whole");
        let reply = HelloReply::from_value(&value).map_err(|e| e.to_string())?;
        let proof = client.prove(&reply).map_err(|e| e.to_string())?;
        request.clear();
        ClientHandshake::auth_request(&mut request, &proof);
        Ok(send(t, &request).1)
    }

    #[test]
    fn the_context_is_for_those_who_proved_the_secret() {
        let mut t = Harness::with_secret(secret(1));
        let mut context = Vec::new();
        Context { db: 3, ..Context::default() }.encode(&mut context);
        let ask = |t: &mut Harness, line: [&[u8]; 3]| {
            String::from_utf8_lossy(&t.run_args([b"CTX", &context[..], line[0], line[1], line[2]]))
                .into_owned()
        };
        assert!(ask(&mut t, [b"SET", b"k", b"v"]).starts_with("-ERR unknown command 'CTX'"));
        assert!(matches!(shake(&mut t, secret(1)), Ok(Flow::Continue)));
        assert!(t.session.trusted && t.session.authenticated);
        assert_eq!(ask(&mut t, [b"SET", b"k", b"v"]), "+OK\r\n");
        assert_eq!(t.run("GET k"), "_\r\n");
        t.session.db = 3;
        assert_eq!(t.run("GET k"), "$1\r\nv\r\n");
        assert!(matches!(shake(&mut t, secret(1)), Err(e) if e.contains("out of order")));
    }

    /// Sends a request under an id, and perhaps a fence.
    fn under(t: &mut Harness, seq: u64, fence: Option<u64>, words: &[&str]) -> String {
        let id = RequestId { origin: 1, seq, settled: 0 };
        in_context(t, &Context { request_id: Some(id), fence, ..Context::default() }, words)
    }

    fn in_context(t: &mut Harness, context: &Context<'_>, words: &[&str]) -> String {
        let context = {
            let mut record = Vec::new();
            context.encode(&mut record);
            record
        };
        let args = [b"CTX", &context[..]].into_iter().chain(words.iter().map(|word| word.as_bytes()));
        String::from_utf8_lossy(&t.run_args(args)).into_owned()
    }

    #[test]
    fn a_request_that_comes_twice_happens_once() {
        for mut t in [Harness::new(), Harness::primary()] {
            t.session.trusted = true;
            assert_eq!(under(&mut t, 1, None, &["INCR", "k"]), ":1\r\n");
            assert_eq!(under(&mut t, 1, None, &["INCR", "k"]), ":1\r\n");
            assert_eq!(under(&mut t, 2, None, &["INCR", "k"]), ":2\r\n");
            // What had no effect is simply executed again.
            assert_eq!(under(&mut t, 3, None, &["GET", "k"]), "$1\r\n2\r\n");
            assert_eq!(under(&mut t, 4, None, &["MC", "append k 0 0 1", "0"]), "$8\r\nSTORED\r\n\r\n");
            assert_eq!(under(&mut t, 4, None, &["MC", "append k 0 0 1", "0"]), "$8\r\nSTORED\r\n\r\n");
            for _ in 0..2 {
                assert_eq!(under(&mut t, 5, None, &["MULTI"]), "+OK\r\n");
                assert_eq!(under(&mut t, 6, None, &["INCR", "k"]), "+QUEUED\r\n");
                assert_eq!(under(&mut t, 7, None, &["EXEC"]), "*1\r\n:21\r\n");
            }
            assert_eq!(t.run("GET k"), "$2\r\n21\r\n");
        }
    }

    #[test]
    fn a_second_sending_is_remembered_whatever_it_did() {
        let mut t = Harness::primary();
        t.session.trusted = true;
        let id = RequestId { origin: 1, seq: 1, settled: 0 };
        let again = |seq, settled| {
            let request_id = Some(RequestId { seq, settled, ..id });
            Context { request_id, repeated: true, want_position: true, ..Context::default() }
        };
        // The first sending may come after the second one: it must not do what the second one did not.
        t.run("SET k v");
        assert!(in_context(&mut t, &again(1, 0), &["SETNX", "k", "x"]).ends_with(":0\r\n"));
        t.run("DEL k");
        assert_eq!(under(&mut t, 1, None, &["SETNX", "k", "x"]), ":0\r\n");
        assert!(
            in_context(&mut t, &again(2, 0), &["INCRBYFLOAT", "k", "x"]).starts_with("-ERR value is not")
        );
        assert!(under(&mut t, 2, None, &["INCRBYFLOAT", "k", "1"]).starts_with("-ERR value is not"));
        assert_eq!(t.run("EXISTS k"), ":0\r\n");
        // A reply given again tells a position too: everything up to now.
        let reply = in_context(&mut t, &again(2, 0), &["INCRBYFLOAT", "k", "1"]);
        assert!(reply.starts_with("|1\r\n+pos\r\n+"), "{reply}");
        // What is settled is refused.
        in_context(&mut t, &again(9, 8), &["SET", "k", "1"]);
        assert_eq!(
            in_context(&mut t, &again(2, 0), &["SETNX", "k", "x"]),
            format!("-{}\r\n", text::REQUEST_ID_TOO_OLD)
        );
        // How much time a lock has left is not said twice.
        in_context(&mut t, &again(10, 0), &["LOCK.ACQUIRE", "{k}l", "TTL", "500", "REQID", "a"]);
        let stripe = crate::store::stripe_of(t.node.store.key(b"k").slot);
        let kept = t.node.store.stripe(stripe).remembered().map_or(0, |table| table.replies().count());
        assert_eq!(kept, 1);
    }

    #[test]
    fn who_awaits_takes_nothing() {
        let mut t = Harness::primary();
        t.session.trusted = true;
        let context = Context { no_wait: true, ..Context::default() };
        let ask = |t: &mut Harness, words: &[&str]| in_context(t, &context, words);
        assert_eq!(ask(&mut t, &["BLPOP", "l", "z", "0"]), "_\r\n");
        assert_eq!(ask(&mut t, &["TORC.AWAIT", "0", "list", "-", "l", "z"]), "_\r\n");
        t.run("RPUSH l a");
        t.run("ZADD z 1 m");
        assert_eq!(ask(&mut t, &["TORC.AWAIT", "0", "list", "-", "z", "l"]), "$1\r\nl\r\n");
        assert_eq!(ask(&mut t, &["TORC.AWAIT", "0", "zset", "-", "l", "z"]), "$1\r\nz\r\n");
        assert_eq!(t.run("LLEN l"), ":1\r\n");
        assert_eq!(ask(&mut t, &["BLPOP", "l", "0"]), "*2\r\n$1\r\nl\r\n$1\r\na\r\n");
        // A group that was given everything waits; one that is not there has something to say.
        t.run("XADD s 1-1 f v");
        assert_eq!(ask(&mut t, &["TORC.AWAIT", "0", "group", "g", "s"]), "$1\r\ns\r\n");
        t.run("XGROUP CREATE s g 0");
        assert_eq!(ask(&mut t, &["TORC.AWAIT", "0", "group", "g", "s"]), "$1\r\ns\r\n");
        t.run("XREADGROUP GROUP g c STREAMS s >");
        assert_eq!(ask(&mut t, &["TORC.AWAIT", "0", "group", "g", "s"]), "_\r\n");
        assert!(ask(&mut t, &["TORC.AWAIT", "x", "list", "-", "l"]).starts_with("-ERR timeout"));
        assert!(ask(&mut t, &["TORC.AWAIT", "0", "set", "-", "l"]).starts_with("-ERR syntax"));
    }

    #[test]
    fn a_proxys_connection_stands_for_many_clients() {
        let mut t = Harness::primary();
        assert!(t.run("TORC.LISTEN channel a 3").starts_with("-ERR unknown command"));
        t.session.trusted = true;
        t.resp3();
        assert_eq!(t.run("TORC.LISTEN channel a 3"), "+OK\r\n");
        assert_eq!(t.run("TORC.LISTEN pattern a* 2"), "+OK\r\n");
        assert_eq!(t.run("TORC.LISTEN shard a 5"), "+OK\r\n");
        assert_eq!(t.node.pubsub.publish(b"a", b"x"), 5);
        assert_eq!(t.node.pubsub.publish_shard(b"a", b"x"), 5);
        t.run("TORC.LISTEN channel a 1");
        t.run("TORC.LISTEN pattern a* 0");
        assert_eq!(t.node.pubsub.publish(b"a", b"x"), 1);
        assert!(t.run("TORC.LISTEN channel a -1").starts_with("-ERR value"));
        assert!(t.run("TORC.LISTEN x a 1").starts_with("-ERR syntax"));
    }

    /// What the connection was told since it was asked last.
    fn told(t: &mut Harness) -> String {
        let mut out = Vec::new();
        if let Some(subscriptions) = &t.session.subscriptions {
            subscriptions.mailbox().take(&mut out);
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    fn change(db: u8, key: &str) -> String {
        format!(">3\r\n$10\r\ninvalidate\r\n$1\r\n{db}\r\n${}\r\n{key}\r\n", key.len())
    }

    #[test]
    fn who_keeps_a_value_is_told_of_each_kind_of_change_once() {
        let mut t = Harness::primary();
        t.session.trusted = true;
        let context = Context { track: true, ..Context::default() };
        let read = |t: &mut Harness, words: &[&str]| in_context(t, &context, words);
        t.run("SET k v");
        for (set, kind_of_change) in [
            ("SET k v", "SET k w"),
            ("SET k v", "APPEND k w"),
            ("SET k v", "DEL k"),
            ("SET k v", "EXPIRE k 100"),
            ("SET k v EX 100", "PERSIST k"),
            ("SET k v", "RENAME k {k}j"),
            ("DEL k", "SET k v"),
            ("SET k v", r#"EVAL "redis.call('set',KEYS[1],'x')" 1 k"#),
            ("SET k v", "FLUSHALL"),
            ("SET k v", "FLUSHDB"),
            ("SET k v", "SWAPDB 0 1"),
            ("SET k v", "INVALIDATE k"),
            ("SET k v", "SETBIT k 0 1"),
            ("SET k v", "GETEX k PX 5"),
            ("SET k 5", "INCR k"),
        ] {
            t.run(set);
            told(&mut t);
            assert!(read(&mut t, &["GET", "k"]).starts_with("|1\r\n+track\r\n:"), "{kind_of_change}");
            t.run("SET other x");
            assert_eq!(told(&mut t), "", "{kind_of_change}");
            t.run(kind_of_change);
            assert_eq!(told(&mut t), change(0, "k"), "{kind_of_change}");
            t.run("SET k again");
            assert_eq!(told(&mut t), "", "{kind_of_change}");
        }
        // Another database, a transaction, a memcached read, a hash.
        t.run("SELECT 3");
        t.run("SET k v");
        let third = Context { db: 3, ..context };
        in_context(&mut t, &third, &["GET", "k"]);
        t.run("MULTI");
        t.run("INCR {k}n");
        t.run("SET k w");
        assert_eq!(told(&mut t), "");
        t.run("EXEC");
        assert_eq!(told(&mut t), change(3, "k"));
        t.run("SELECT 0");
        t.run("SET k v");
        told(&mut t);
        let reply = read(&mut t, &["MC", "get k"]);
        assert!(reply.starts_with("|1\r\n+track\r\n:-1\r\n$"), "{reply}");
        t.run("SET k w");
        assert_eq!(told(&mut t), change(0, "k"));
        for line in ["touch k 100", "gat 100 k", "incr k 1", "delete k", "mg k N30 v", "md k", "flush_all"] {
            t.run("SET k 7");
            told(&mut t);
            read(&mut t, &["MC", "gets k"]);
            if line.starts_with("mg") {
                t.run("DEL k");
                told(&mut t);
                read(&mut t, &["MC", "gets k"]);
            }
            in_context(&mut t, &Context::default(), &["MC", line]);
            assert_eq!(told(&mut t), change(0, "k"), "{line}");
        }
        t.run("HSET h f v");
        read(&mut t, &["HGETALL", "h"]);
        t.run("HSET h f w");
        assert_eq!(told(&mut t), change(0, "h"));
    }

    #[test]
    fn what_cannot_be_kept_is_not_tracked() {
        let mut t = Harness::primary();
        t.session.trusted = true;
        let context = Context { track: true, ..Context::default() };
        t.run("RPUSH l a");
        for words in [&["GET", "l"][..], &["SET", "k", "v"], &["PING"], &["MC", "get a b"]] {
            let reply = in_context(&mut t, &context, words);
            assert!(!reply.starts_with('|'), "{reply}");
        }
        assert_eq!(t.node.pubsub.tracking().keys.load(std::sync::atomic::Ordering::Relaxed), 0);
        // How long it lives is said, and that of a hash's fields.
        t.run("SET k v PX 5000");
        assert!(in_context(&mut t, &context, &["GET", "k"]).starts_with("|1\r\n+track\r\n:5000\r\n"));
        t.run("HSET h f v");
        t.run("HPEXPIRE h 700 FIELDS 1 f");
        assert!(in_context(&mut t, &context, &["HGET", "h", "f"]).starts_with("|1\r\n+track\r\n:700\r\n"));
    }

    #[test]
    fn forgotten_keys_are_told_of() {
        let mut t = Harness::primary();
        t.session.trusted = true;
        let context = Context { track: true, ..Context::default() };
        let keys: Vec<String> = (0..2_000).map(|n| format!("{{same}}{n}")).collect();
        keys.iter().for_each(|key| drop(in_context(&mut t, &context, &["GET", key])));
        let told = told(&mut t).matches("invalidate").count() as u64;
        let tracking = t.node.pubsub.tracking();
        let now = tracking.keys.load(std::sync::atomic::Ordering::Relaxed);
        assert!(now < 1_000 && now + told == 2_000, "{now} {told}");
        assert_eq!(tracking.overflows.load(std::sync::atomic::Ordering::Relaxed), told);
        // A connection that ends leaves nothing that is in the way.
        t.session.subscriptions = None;
        keys.iter().for_each(|key| drop(t.run(&format!("SET {key} x"))));
        assert_eq!(t.node.pubsub.tracking().keys.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[test]
    fn a_node_vouches_for_as_long_as_its_lease() {
        let mut t = Harness::primary();
        assert!(t.run("TORC.TRACK").starts_with("-ERR unknown command"));
        t.session.trusted = true;
        let reply = t.run("TORC.TRACK");
        let (value, _) = Value::decode(reply.as_bytes()).expect("sound").expect("whole");
        let words = value.into_array().expect("two numbers");
        assert!(words[0].as_int() > Some(0) && words[1].as_int() == Some(1), "{words:?}");
        t.node.shard.stop_accepting();
        assert_eq!(t.run("TORC.TRACK"), "*2\r\n:0\r\n:1\r\n");
        let mut plain = Harness::new();
        plain.session.trusted = true;
        assert!(plain.run("TORC.TRACK").starts_with("*2\r\n:-1\r\n"));
    }

    #[test]
    fn writes_wait_while_replication_is_behind() {
        let mut t = Harness::primary();
        t.run("SET k v");
        let short = vec![0; crate::shard::MAX_UNPLACED_BYTES + 1];
        let mut records = Records { short, long: Vec::new() };
        let amount = records.amount();
        t.node.shard.hand_over(0, &mut records);
        let refusal = format!("-{}\r\n", text::REPLICATION_BEHIND);
        assert_eq!(t.run("SET k x"), refusal);
        t.run("MULTI");
        assert_eq!(t.run("SET k x"), "+QUEUED\r\n");
        assert_eq!(t.run("EXEC"), refusal);
        assert_eq!(t.run("GET k"), "$1\r\nv\r\n");
        t.node.shard.placed(amount);
        assert_eq!(t.run("SET k x"), "+OK\r\n");
    }

    #[test]
    fn a_script_that_failed_after_it_wrote_is_not_run_again() {
        let mut t = Harness::primary();
        t.session.trusted = true;
        let script = "redis.call('incr', KEYS[1]) error('late')";
        for _ in 0..2 {
            let reply = under(&mut t, 1, None, &["EVAL", script, "1", "k"]);
            assert!(reply.starts_with("-ERR"), "{reply}");
            assert_eq!(t.run("GET k"), "$1\r\n1\r\n");
        }
    }

    #[test]
    fn the_position_of_a_transaction_stands_before_its_reply() {
        let mut t = Harness::primary();
        t.session.trusted = true;
        let mut context = Vec::new();
        Context { want_position: true, ..Context::default() }.encode(&mut context);
        let mut ask = |words: &[&[u8]]| {
            let args = [b"CTX", &context[..]].into_iter().chain(words.iter().copied());
            String::from_utf8_lossy(&t.run_args(args)).into_owned()
        };
        ask(&[b"MULTI"]);
        ask(&[b"SET", b"k", b"v"]);
        assert_eq!(ask(&[b"EXEC"]), "|1\r\n+pos\r\n+1:1\r\n*1\r\n+OK\r\n");
    }

    #[test]
    fn a_replica_remembers_too() {
        let mut t = Harness::primary();
        t.session.trusted = true;
        assert_eq!(under(&mut t, 1, None, &["INCR", "k"]), ":1\r\n");
        let records = t.records();
        let mut replica = Harness::primary();
        replica.session.trusted = true;
        let (record, _) = crate::effect::record(&records).expect("sound").expect("whole");
        for effect in crate::effect::effects(record.body) {
            crate::effect_apply::apply(&replica.node, &effect.expect("sound"), replica.now.boottime_ns);
        }
        assert_eq!(under(&mut replica, 1, None, &["INCR", "k"]), ":1\r\n");
        // A full sync carries it as well.
        let index = crate::store::stripe_of(t.node.store.key(b"k").slot);
        let mut writer = crate::effect::EffectWriter::new(true);
        let stripe = t.node.store.stripe(index);
        crate::effect_apply::snapshot_stripe(&t.node, &stripe, index, &mut writer, t.now.boottime_ns);
        drop(stripe);
        let mut fresh = Harness::primary();
        fresh.session.trusted = true;
        for effect in crate::effect::effects(&writer.take_bytes()) {
            crate::effect_apply::apply(&fresh.node, &effect.expect("sound"), fresh.now.boottime_ns);
        }
        assert_eq!(under(&mut fresh, 1, None, &["INCR", "k"]), ":1\r\n");
        assert_eq!(under(&mut fresh, 2, None, &["INCR", "k"]), ":2\r\n");
    }

    #[test]
    fn a_fence_in_the_context_counts_as_fence() {
        let mut t = Harness::new();
        t.session.trusted = true;
        assert_eq!(under(&mut t, 1, Some(10), &["SET", "k", "v"]), "+OK\r\n");
        assert!(under(&mut t, 2, Some(9), &["GET", "k"]).starts_with("-FENCED token 9 is below 10"));
        assert!(under(&mut t, 3, Some(11), &["MC", "get k"]).starts_with("-ERR a fence goes before"));
        assert_eq!(under(&mut t, 4, Some(11), &["GET", "k"]), "$1\r\nv\r\n");
    }

    #[test]
    fn who_has_another_secret_is_hung_up_on() {
        let mut t = Harness::with_secret(secret(1));
        // An honest client sees it first; a dishonest one is seen by the server.
        assert!(shake(&mut t, secret(2)).is_err());
        let (_, flow) = send(&mut t, b"*2\r\n$9\r\nTORC.AUTH\r\n$2\r\nxx\r\n");
        assert!(matches!(flow, Flow::Close));
        assert!(!t.session.trusted);
    }

    #[test]
    fn without_a_secret_nobody_knows_the_handshake() {
        let mut t = Harness::new();
        assert!(shake(&mut t, secret(1)).is_err_and(|e| e.contains("unknown command")));
    }
}
