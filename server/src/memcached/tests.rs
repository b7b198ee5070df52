//! The executor through connections and through MC requests.

use std::sync::Arc;

use torc_protocol::context::Context;
use torc_protocol::login::MemcachedUsers;

use crate::effect::{self, EffectWriter};
use crate::effect_apply;
use crate::exec::testing::Harness;
use crate::settings::Settings;
use crate::store::STRIPES;

#[track_caller]
pub(super) fn talk(t: &mut Harness, dialogue: &[(&str, &str)]) {
    for (request, reply) in dialogue {
        let crlf = |text: &str| text.replace('\n', "\r\n");
        assert_eq!(t.memcached(crlf(request)), crlf(reply), "reply to {request:?}");
    }
}

#[test]
fn storing_and_reading() {
    let mut t = Harness::new();
    talk(
        &mut t,
        &[
            ("get k\n", "END\n"),
            ("set k 5 0 2\nab\n", "STORED\n"),
            ("get k nokey k\n", "VALUE k 5 2\nab\nVALUE k 5 2\nab\nEND\n"),
            ("add k 0 0 1\nx\n", "NOT_STORED\n"),
            ("replace nokey 0 0 1\nx\n", "NOT_STORED\n"),
            ("append nokey 0 0 1\nx\n", "NOT_STORED\n"),
            ("append k 9 1 1\nc\nprepend k 9 1 1\nz\nget k\n", "STORED\nSTORED\nVALUE k 5 4\nzabc\nEND\n"),
            ("replace k 6 0 1\ny\nget k\n", "STORED\nVALUE k 6 1\ny\nEND\n"),
            ("set k 0 0 1 noreply\nn\nget k\n", "VALUE k 0 1\nn\nEND\n"),
            ("delete k\ndelete k\n", "DELETED\nNOT_FOUND\n"),
            ("delete k noreply\nverbosity 1\n", "OK\n"),
            ("version\nquit\n", "VERSION 1.6.18-torc-0.1.0\n<closed>"),
        ],
    );
}

#[test]
fn arithmetic_writes_in_place() {
    let mut t = Harness::new();
    talk(
        &mut t,
        &[
            ("incr k 1\n", "NOT_FOUND\n"),
            ("set k 5 0 2\n10\ndecr k 1\nget k\n", "STORED\n9\nVALUE k 5 2\n9 \nEND\n"),
            ("incr k 999\nget k\n", "1008\nVALUE k 5 4\n1008\nEND\n"),
            ("decr k 5000\nget k\n", "0\nVALUE k 5 4\n0   \nEND\n"),
            ("set k 0 0 20\n18446744073709551615\nincr k 2\n", "STORED\n1\n"),
            ("set k 0 0 5\n   12\nincr k 1\nget k\n", "STORED\n13\nVALUE k 0 5\n13   \nEND\n"),
            (
                "set k 0 0 2\nab\nincr k 1\n",
                "STORED\nCLIENT_ERROR cannot increment or decrement non-numeric value\n",
            ),
            (
                "set k 0 0 0\n\nincr k 1\n",
                "STORED\nCLIENT_ERROR cannot increment or decrement non-numeric value\n",
            ),
        ],
    );
    assert_eq!(t.run("SET n 41"), "+OK\r\n");
    talk(&mut t, &[("incr n 1\n", "42\n")]);
    assert_eq!(t.run("GET n"), "$2\r\n42\r\n");
}

#[test]
fn cas_follows_every_change() {
    let mut t = Harness::new();
    let unique = |t: &mut Harness| {
        let reply = t.memcached("gets k\r\n");
        reply.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned()
    };
    talk(&mut t, &[("cas k 0 0 1 7\nx\n", "NOT_FOUND\n"), ("set k 0 0 1\na\n", "STORED\n")]);
    let first = unique(&mut t);
    assert_eq!(t.memcached(format!("cas k 0 0 1 {first}\r\nb\r\n")), "STORED\r\n");
    assert_eq!(t.memcached(format!("cas k 0 0 1 {first}\r\nc\r\n")), "EXISTS\r\n");
    let second = unique(&mut t);
    // A look or a touch leaves it.
    talk(&mut t, &[("touch k 100\n", "TOUCHED\n"), ("gat 100 k\n", "VALUE k 0 1\nb\nEND\n")]);
    assert_eq!(unique(&mut t), second);
    assert_eq!(t.run("SET k other"), "+OK\r\n");
    assert_eq!(t.memcached(format!("cas k 0 0 1 {second}\r\nc\r\n")), "EXISTS\r\n");
}

#[test]
fn times() {
    let mut t = Harness::new();
    talk(&mut t, &[("set k 1 10 1\na\n", "STORED\n")]);
    t.advance(9_999);
    talk(&mut t, &[("gat 5 k\n", "VALUE k 1 1\na\nEND\n")]);
    t.advance(4_999);
    talk(&mut t, &[("touch k 1\n", "TOUCHED\n")]);
    t.advance(1_000);
    talk(&mut t, &[("get k\ntouch k 1\ngat 1 k\n", "END\nNOT_FOUND\nEND\n")]);
    talk(&mut t, &[("set k 0 -1 1\na\nget k\n", "STORED\nEND\n")]);
    talk(&mut t, &[("set k 0 0 1\na\ntouch k -1\nget k\n", "STORED\nTOUCHED\nEND\n")]);
    talk(&mut t, &[("set k 0 5 1\na\nset k 0 0 1\na\n", "STORED\nSTORED\n")]);
    t.advance(6_000);
    talk(&mut t, &[("get k\n", "VALUE k 0 1\na\nEND\n")]);
    // What one protocol set the other sees.
    assert_eq!(t.run("SET r v PX 1500"), "+OK\r\n");
    t.advance(1_500);
    talk(&mut t, &[("get r\n", "END\n")]);
}

#[test]
fn meta_flags_in_their_order() {
    let mut t = Harness::new();
    talk(
        &mut t,
        &[
            ("mg k v k O1\nmg k q\nmn\n", "EN kk O1\nMN\n"),
            ("ms k 2 T100 F5 c k\nab\n", "HD c1 kk\n"),
            ("mg k t c f s h k O9 v\n", "VA 2 t100 c1 f5 s2 h0 kk O9\nab\n"),
            ("mg k v C1 h\nmg k v C2 h\n", "HD h1\nVA 2 h1\nab\n"),
            ("mg k t T20 t T\n", "CLIENT_ERROR duplicate flag\n"),
            ("mg k T20 t\nmg k t\n", "HD t20\nHD t20\n"),
            ("ms k 1 MA C1 s\nc\nms k 1 MP C1\nc\nmg k v\n", "HD s3\nEX\nVA 3\nabc\n"),
            ("ms new 1 MA N30 F3\nx\nmg new v t f\n", "HD\nVA 1 t30 f3\nx\n"),
            ("md k q\nmd k k\n", "NF kk\n"),
        ],
    );
    t.advance(7_000);
    talk(&mut t, &[("mg new l u\nmg new l\nmg new l\n", "HD l7\nHD l7\nHD l0\n")]);
    talk(&mut t, &[("ma n N0 J7 D3 v\nma n D3 v c\n", "VA 1\n7\nVA 2 c2\n10\n")]);
    talk(&mut t, &[("ma n C9\nma n C2 MD v\nmg n v\n", "EX\nVA 1\n9\nVA 2\n9 \n")]);
}

#[test]
fn clients_may_give_the_cas_value() {
    let mut t = Harness::new();
    talk(
        &mut t,
        &[
            ("ms k 1 E18446744073709551615 c\na\n", "HD c18446744073709551615\n"),
            ("gets k\n", "VALUE k 0 1 18446744073709551615\na\nEND\n"),
            ("cas k 0 0 1 18446744073709551615\nb\nmg k c\n", "STORED\nHD c2\n"),
            ("mg v N30 E77 c\nma n N0 E5 c\nma n E6 c\nma n c\n", "HD c77 W\nHD c5\nHD c6\nHD c3\n"),
            ("md k x E9\nmg k c v\n", "HD\nVA 0 c9\n\n"),
            ("md k I E12\nmg k c\n", "HD\nHD c12 X W\n"),
            ("ms k 1 I C11\nz\nmg k v\n", "HD\nVA 1 Z X\nz\n"),
            ("ms k 1 MA E50 c\ny\nmg k v c\n", "HD c50\nVA 2 c50\nzy\n"),
        ],
    );
}

#[test]
fn a_lease_is_given_to_one() {
    let mut t = Harness::new();
    talk(&mut t, &[("mg k N30 v t\nmg k N30 v t\nmg k v\n", "VA 0 t30 W\n\nVA 0 t30 Z\n\nVA 0 Z\n\n")]);
    t.advance(30_000);
    // Nobody loaded it: the next one may.
    talk(&mut t, &[("mg k N30 v\nms k 1 T100\na\nmg k v\n", "VA 0 W\n\nHD\nVA 1\na\n")]);
    t.advance(80_000);
    talk(&mut t, &[("mg k R10\nmg k R30\nmg k R30\n", "HD\nHD W\nHD Z\n")]);
    talk(&mut t, &[("md k I T60 q\nmg k v t\nmg k v\n", "VA 1 t60 X W\na\nVA 1 Z X\na\n")]);
    talk(&mut t, &[("ms k 1\nb\nmg k v\n", "HD\nVA 1\nb\n")]);
    let (granted, waited) =
        (t.node.total(|s| s.leases_granted.get()), t.node.total(|s| s.leases_waited.get()));
    assert_eq!((granted, waited), (4, 4));
}

/// Another node, which has what `bytes`, whole records, say.
pub(super) fn replica_of(bytes: &[u8]) -> Harness {
    let replica = Harness::new();
    let mut rest = bytes;
    while let Some((record, len)) = effect::record(rest).expect("sound") {
        for effect in effect::effects(record.body) {
            effect_apply::apply(&replica.node, &effect.expect("sound"), 0);
        }
        rest = &rest[len..];
    }
    replica
}

#[test]
fn leases_live_on_with_the_replica() {
    let mut t = Harness::primary();
    talk(
        &mut t,
        &[("mg k N30\nms s 1\na\nmd s I\nms f 1 E7\na\nget f\n", "HD W\nHD\nHD\nHD\nVALUE f 0 1\na\nEND\n")],
    );
    let mut snapshot = EffectWriter::new(true);
    for index in 0..STRIPES as u16 {
        effect_apply::snapshot_stripe(&t.node, &t.node.store.stripe(index), index, &mut snapshot, 0);
    }
    let mut full = Vec::new();
    snapshot.take_record(1, 1, &mut full);
    for records in [t.records(), full] {
        let mut replica = replica_of(&records);
        talk(&mut replica, &[("mg k N30\nmg f c\n", "HD Z\nHD c7\n")]);
        talk(&mut replica, &[("mg s v\nmg s v\n", "VA 1 X W\na\nVA 1 Z X\na\n")]);
    }
}

#[test]
fn binary_keys() {
    let mut t = Harness::new();
    talk(
        &mut t,
        &[
            ("ms Zm9vIGJhcg== 1 b k\nx\n", "HD kZm9vIGJhcg== b\n"),
            ("mg Zm9vIGJhcg== b k v\nme Zm9vIGJhcg== c\n", "VA 1 kZm9vIGJhcg== b\nx\nEN\n"),
            ("lru_crawler mgdump all\n", "mg Zm9vIGJhcg== b\nEN\n"),
            ("ms Zm9vIGJhcg== 2000000 b\n", "SERVER_ERROR object too large for cache\n"),
        ],
    );
    assert_eq!(t.run_args([&b"EXISTS"[..], b"foo bar"]), b":0\r\n");
}

#[test]
fn a_hash_is_no_item() {
    let mut t = Harness::new();
    t.run("HSET h f v");
    let wrong = "SERVER_ERROR the key holds a value that is not a string\n";
    for request in [
        "get h",
        "gat 0 h",
        "append h 0 0 1\nx",
        "incr h 1",
        "mg h v",
        "ms h 1 MA\nx",
        "ma h",
        "md h I",
        "me h",
    ] {
        talk(&mut t, &[(&format!("{request}\nmn\n"), &format!("{wrong}MN\n"))]);
    }
    talk(&mut t, &[("touch h 100\ndelete h\nms h 1\nx\n", "TOUCHED\nDELETED\nHD\n")]);
}

#[test]
fn dumps() {
    let mut t = Harness::new();
    talk(&mut t, &[("set a%b 5 0 2\nab\nget a%b\n", "STORED\nVALUE a%b 5 2\nab\nEND\n")]);
    let text = t.memcached("lru_crawler metadump all\r\n");
    assert!(text.starts_with("key=a%25b exp=-1 la=") && text.ends_with("\nEND\r\n"), "{text}");
    assert!(text.contains(" cas=1 fetch=yes cls=1 size="), "{text}");
    talk(&mut t, &[("stats cachedump 1 0\n", "ITEM a%b [2 b; 0 s]\nEND\n")]);
    for id in 0..5_000 {
        t.memcached(format!("set k{id} 0 0 0 noreply\r\n\r\n"));
    }
    assert_eq!(t.memcached("lru_crawler mgdump all\r\n").lines().count(), 5_002);
    talk(&mut t, &[("lru_crawler metadump x\nlru_crawler foo\n", "BADCLASS invalid class id\nERROR\n")]);
}

#[test]
fn flushing_now_and_later() {
    let mut t = Harness::new();
    talk(&mut t, &[("set k 0 0 1\na\nflush_all\nget k\n", "STORED\nOK\nEND\n")]);
    talk(&mut t, &[("flush_all 10\nset k 0 0 1\na\nget k\n", "OK\nSTORED\nVALUE k 0 1\na\nEND\n")]);
    t.advance(10_000);
    assert_eq!(t.run("GET k"), "$-1\r\n");
    talk(
        &mut t,
        &[("set k 0 0 1\na\nflush_all 10\nflush_all\nset k 0 0 1\na\n", "STORED\nOK\nOK\nSTORED\n")],
    );
    t.advance(10_000);
    talk(&mut t, &[("get k\n", "VALUE k 0 1\na\nEND\n")]);
}

#[test]
fn too_large_is_refused_and_unlinks() {
    let settings = Settings { max_item_bytes: 8, ..Settings::default() };
    let mut t = Harness::with_settings(settings);
    talk(
        &mut t,
        &[
            ("set k 0 0 1\na\n", "STORED\n"),
            ("set k 0 0 9\n123456789\nget k\n", "SERVER_ERROR object too large for cache\nEND\n"),
            (
                "set k 0 0 8\n12345678\nappend k 0 0 1\n9\n",
                "STORED\nSERVER_ERROR out of memory storing object\n",
            ),
        ],
    );
}

#[test]
fn the_password_comes_first() {
    let settings = Settings { requirepass: "secret".into(), ..Settings::default() };
    let mut t = Harness::with_settings(settings);
    t.session.authenticated = false;
    talk(
        &mut t,
        &[
            ("get k\nversion\nnosuch\n", &"CLIENT_ERROR unauthenticated\n".repeat(3)),
            ("set a 0 0 10\nuser wrong\n", "CLIENT_ERROR authentication failure\n"),
            ("set a 0 0 6\nsecret\n", "CLIENT_ERROR bad authentication token format\n"),
            (
                "set a 0 0 6\nsecrets\n",
                "CLIENT_ERROR bad command line termination\nCLIENT_ERROR unauthenticated\n",
            ),
            ("set a 0 0 11 noreply\nuser secret\nget a\n", "STORED\nEND\n"),
        ],
    );
}

#[test]
fn a_stranger_makes_nobody_keep_much() {
    let mut t = Harness::with_settings(Settings { requirepass: "secret".into(), ..Settings::default() });
    t.session.authenticated = false;
    let long = format!("set x 0 0 2049\r\n{}\r\n", "x".repeat(2049));
    assert_eq!(t.memcached(&long), "CLIENT_ERROR unauthenticated\r\n");
    // Nothing of a value that is announced is kept; behind it the connection goes on.
    assert_eq!(
        t.memcached(format!("{long}set x 0 0 8\r\na secret\r\n{long}get k\r\n")),
        "CLIENT_ERROR unauthenticated\r\nSTORED\r\nSTORED\r\nEND\r\n"
    );
}

#[test]
fn users_of_a_file_come_in() {
    let users = Arc::new(MemcachedUsers::parse(b"user:secret\nother:word\n").expect("sound"));
    let settings = Settings { requirepass: "default".into(), memcached_users: users, ..Settings::default() };
    for (login, answer) in [
        ("user secret", "STORED\n"),
        ("other word", "STORED\n"),
        ("other secret", "CLIENT_ERROR authentication failure\n"),
        ("any default", "CLIENT_ERROR authentication failure\n"),
    ] {
        let mut t = Harness::with_settings(settings.clone());
        t.session.authenticated = false;
        talk(&mut t, &[(&format!("set a 0 0 {}\n{login}\n", login.len()), answer)]);
    }
}

#[test]
fn statistics() {
    let mut t = Harness::new();
    talk(&mut t, &[("set k 0 0 1\na\nget k\nget nokey\n", "STORED\nVALUE k 0 1\na\nEND\nEND\n")]);
    let stats = t.memcached("stats\r\n");
    for line in
        ["STAT cmd_get 2", "STAT get_hits 1", "STAT get_misses 1", "STAT cmd_set 1", "STAT curr_items 1"]
    {
        assert!(stats.contains(&format!("{line}\r\n")), "{line} in {stats}");
    }
    assert!(stats.ends_with("END\r\n"));
    talk(&mut t, &[("set e 0 1 1\na\nset f 0 1 1\na\nget f\n", "STORED\nSTORED\nVALUE f 0 1\na\nEND\n")]);
    t.advance(1_000);
    talk(&mut t, &[("get e f\nmg e v\nget e\n", "END\nEN\nEND\n")]);
    let stats = t.memcached("stats\r\n");
    for line in ["STAT get_expired 2", "STAT expired_unfetched 1", "STAT evicted_unfetched 0"] {
        assert!(stats.contains(&format!("{line}\r\n")), "{line} in {stats}");
    }
    talk(&mut t, &[("set e 0 1 1\na\n", "STORED\n")]);
    t.advance(1_000);
    talk(&mut t, &[("mg e v\n", "EN\n")]);
    assert!(t.memcached("stats\r\n").contains("STAT get_expired 3\r\n"));
    talk(&mut t, &[("stats reset\n", "RESET\n"), ("stats nosuch\n", "ERROR\n")]);
    assert!(t.memcached("stats\r\n").contains("STAT cmd_get 0\r\n"));
    for kind in ["settings", "items", "slabs", "sizes", "conns"] {
        assert!(t.memcached(format!("stats {kind}\r\n")).ends_with("END\r\n"));
    }
}

#[test]
fn a_proxy_gets_bulk_strings() {
    let mut t = Harness::primary();
    t.session.trusted = true;
    let mut context = Vec::new();
    Context { want_position: true, ..Context::default() }.encode(&mut context);
    let mut ask = |args: &[&str]| {
        let args = [b"CTX", &context[..], b"MC"].into_iter().chain(args.iter().map(|a| a.as_bytes()));
        String::from_utf8_lossy(&t.run_args(args)).into_owned()
    };
    assert_eq!(ask(&["set k 3 0 2", "ab"]), "|1\r\n+pos\r\n+1:1\r\n$8\r\nSTORED\r\n\r\n");
    assert_eq!(ask(&["get k"]), "$17\r\nVALUE k 3 2\r\nab\r\n\r\n");
    assert_eq!(ask(&["get nokey"]), "$0\r\n\r\n");
    assert_eq!(ask(&["set k 3 0 2", "abc"]), "$29\r\nCLIENT_ERROR bad data chunk\r\n\r\n");
    assert_eq!(ask(&["nosuch"]), "$7\r\nERROR\r\n\r\n");
    assert_eq!(ask(&["incr k 1 noreply"]), "$0\r\n\r\n");
}

/// The keyspace events since the last call, in their order.
fn events(t: &Harness) -> String {
    let mut out = Vec::new();
    if let Some(subscriptions) = &t.session.subscriptions {
        subscriptions.mailbox().take(&mut out);
    }
    let text = String::from_utf8_lossy(&out).into_owned();
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("__keyevent@0__:")).collect();
    names.join(" ")
}

#[test]
fn changes_raise_events() {
    let mut t = Harness::new();
    t.resp3();
    t.run("CONFIG SET notify-keyspace-events EA");
    t.run("PSUBSCRIBE *");
    for (request, wanted) in [
        ("ms k 1 MA N60\nx\n", "set"),
        ("ms k 1 MA\nx\n", "append"),
        ("md k x\n", "set"),
        ("md k I\n", ""),
        ("md k I T60\n", "expire"),
        ("mg k T30\n", "expire"),
        ("md k I T-1\n", "del"),
        ("ms k 1 T-1\nx\n", "set del"),
        ("ms k 1 MP N-1\nx\n", "set del"),
        ("ms k 1\n1\nma k T-1\n", "set incrby del"),
        ("ms k 1\n1\nmg k T-1\n", "set del"),
        ("ms k 1\n1\nmd k x T-1\n", "set set del"),
    ] {
        t.memcached(request.replace('\n', "\r\n"));
        assert_eq!(events(&t), wanted, "{request:?}");
    }
}

#[test]
fn a_token_is_given_only_where_its_value_would_be_taken() {
    let mut t = Harness::primary();
    t.run("CONFIG SET default-ack in-sync");
    t.node.shard.set_in_sync_enough(true);
    talk(&mut t, &[("ms k 1\nx\nmd k I\n", "HD\nHD\n")]);
    t.node.shard.set_in_sync_enough(false);
    let _ = t.records();
    talk(&mut t, &[("mg k v\n", "VA 1 Z X\nx\n")]);
    assert!(t.records().is_empty());
    t.node.shard.set_in_sync_enough(true);
    talk(&mut t, &[("mg k v\n", "VA 1 X W\nx\n"), ("mg k v\n", "VA 1 Z X\nx\n")]);
}

#[test]
fn who_only_looks_does_not_wait_for_a_script() {
    let mut t = Harness::new();
    t.run("SET k v");
    t.node.store.set_lock_timeout(std::time::Duration::from_millis(1));
    let node = t.node.clone();
    let held = node.store.stripe(crate::store::stripe_of(torc_protocol::slot::key_slot(b"other")));
    assert!(t.memcached("stats\r\n").contains("STAT curr_items 1\r\n"));
    for request in ["lru_crawler metadump all", "lru_crawler mgdump all", "stats cachedump 1 0"] {
        let reply = t.memcached(format!("{request}\r\n"));
        assert!(reply.lines().last().is_some_and(|line| line.starts_with("SERVER_ERROR")), "{reply}");
    }
    drop(held);
    assert!(t.memcached("stats cachedump 1 0\r\n").starts_with("ITEM k [1 b; 0 s]"));
}

#[test]
fn what_tunes_the_insides_is_answered() {
    let mut t = Harness::new();
    talk(
        &mut t,
        &[
            ("lru_crawler enable\nlru_crawler disable\n", "OK\nOK\n"),
            ("slabs reassign 1 2\n", "CLIENT_ERROR slab reassignment disabled\n"),
            ("slabs automove 1\nslabs automove x\n", "OK\nCLIENT_ERROR bad command line format\n"),
            ("lru mode flat\nlru tune 50 50 1 1\n", "OK\nERROR hot and warm pcts must not exceed 80\n"),
            ("extstore free_memchunks 1 1\nrefresh_certs\n", "ERROR\nERROR\n"),
        ],
    );
}
