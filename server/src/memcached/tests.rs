//! The executor through connections and through MC requests.

use proptest::prelude::*;
use torc_protocol::context::Context;

use crate::exec::testing::Harness;
use crate::settings::Settings;

#[track_caller]
fn talk(t: &mut Harness, dialogue: &[(&str, &str)]) {
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
            ("set a 0 0 6\nsecret\n", "CLIENT_ERROR authentication failure\n"),
            ("set a 0 0 11 noreply\nuser secret\nget a\n", "STORED\nEND\n"),
        ],
    );
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

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        Harness::new().memcached(bytes);
    }

    #[test]
    fn random_requests_never_panic(
        lines in prop::collection::vec(
            "(set|add|cas|append|incr|decr|gat|gats|get|touch|delete|flush_all|stats|verbosity) [ab]? ?[0-9-]{0,3} ?[0-9]{0,2} ?[0-3]? ?[0-9]?( noreply)?\r\n(a{0,3}\r\n)?",
            0..20,
        ),
    ) {
        Harness::new().memcached(lines.concat());
    }
}
