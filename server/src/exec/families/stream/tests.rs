use crate::exec::testing::{Harness, blocked, told};

const ONE: &str = "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\na\r\n$1\r\n2\r\n";

#[test]
fn readers_wait_for_what_comes_after_the_last_id_of_then() {
    let mut t = Harness::new();
    t.expect(&[("XADD s 1-1 a 1", "$3\r\n1-1\r\n")]);
    let mut first = blocked(&mut t, "XREAD BLOCK 0 STREAMS s $");
    let mut second = blocked(&mut t, "XREAD COUNT 5 BLOCK 100 STREAMS t s 0 1-1");
    t.expect(&[("XDEL s 1-1", ":1\r\n"), ("DEL s", ":1\r\n"), ("SET s v", "+OK\r\n"), ("DEL s", ":1\r\n")]);
    assert_eq!((told(&mut first), told(&mut second)), Default::default());
    t.expect(&[("XADD s 0-5 a 1", "$3\r\n0-5\r\n")]);
    assert_eq!((told(&mut first), told(&mut second)), Default::default());
    t.expect(&[("XADD s 2-1 a 2", "$3\r\n2-1\r\n")]);
    assert_eq!(told(&mut first), ONE);
    assert_eq!(told(&mut second), ONE);
}

#[test]
fn each_entry_is_one_consumers() {
    let mut t = Harness::new();
    t.expect(&[("XGROUP CREATE s g $ MKSTREAM", "+OK\r\n")]);
    let mut first = blocked(&mut t, "XREADGROUP GROUP g one BLOCK 0 STREAMS s >");
    let mut second = blocked(&mut t, "XREADGROUP GROUP g two BLOCK 0 STREAMS s >");
    t.expect(&[("XADD s 2-1 a 2", "$3\r\n2-1\r\n")]);
    assert_eq!(told(&mut first), ONE);
    assert_eq!(told(&mut second), "");
    t.expect(&[(
        "XPENDING s g",
        "*4\r\n:1\r\n$3\r\n2-1\r\n$3\r\n2-1\r\n*1\r\n*2\r\n$3\r\none\r\n$1\r\n1\r\n",
    )]);
    // What the group has read or acknowledged brings nothing new.
    t.expect(&[("XACK s g 2-1", ":1\r\n"), ("XGROUP CREATECONSUMER s g three", ":1\r\n")]);
    assert_eq!(told(&mut second), "");
}

#[test]
fn those_whose_group_goes_are_told() {
    let no_group = "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option\r\n";
    for (how, reply) in [
        ("XGROUP DESTROY s g", no_group),
        ("DEL s", no_group),
        ("FLUSHALL", no_group),
        ("RENAME s other", no_group),
        ("SET s v", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ] {
        let mut t = Harness::new();
        t.expect(&[("XGROUP CREATE s g $ MKSTREAM", "+OK\r\n")]);
        let mut waits = blocked(&mut t, "XREADGROUP GROUP g one BLOCK 0 STREAMS s >");
        let mut reads = blocked(&mut t, "XREAD BLOCK 0 STREAMS s $");
        t.run(how);
        assert_eq!(told(&mut waits), reply, "{how}");
        assert_eq!(told(&mut reads), "", "{how}");
    }
}

#[test]
fn streams_that_come_by_another_name_are_read() {
    let mut t = Harness::new();
    t.expect(&[
        ("XGROUP CREATE s g $ MKSTREAM", "+OK\r\n"),
        ("XADD other 2-1 a 2", "$3\r\n2-1\r\n"),
        ("XGROUP CREATE other g 0", "+OK\r\n"),
    ]);
    let mut waits = blocked(&mut t, "XREADGROUP GROUP g one BLOCK 0 STREAMS s >");
    t.expect(&[("RENAME other s", "+OK\r\n")]);
    assert_eq!(told(&mut waits), ONE);
}

#[test]
fn nothing_waits_where_something_is_or_where_it_may_not() {
    let mut t = Harness::new();
    t.expect(&[
        ("XADD s 2-1 a 2", "$3\r\n2-1\r\n"),
        ("XREAD BLOCK 0 STREAMS s 0", ONE),
        ("XREAD BLOCK 0 STREAMS s +", ONE),
        ("XGROUP CREATE s g 0", "+OK\r\n"),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS s 0", "*1\r\n*2\r\n$1\r\ns\r\n*0\r\n"),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", ONE),
        ("MULTI", "+OK\r\n"),
        ("XREAD BLOCK 0 STREAMS s $", "+QUEUED\r\n"),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "+QUEUED\r\n"),
        ("EXEC", "*2\r\n*-1\r\n*-1\r\n"),
    ]);
}

#[test]
fn active_times_are_shown_beside_seen_times() {
    let mut t = Harness::new();
    t.resp3();
    t.expect(&[
        ("XADD s 2-1 a 2", "$3\r\n2-1\r\n"),
        ("XGROUP CREATE s g 0", "+OK\r\n"),
        ("XGROUP CREATECONSUMER s g c", ":1\r\n"),
    ]);
    t.advance(5);
    let shown = |idle: &str, inactive: &str, pending: &str| {
        format!(
            "*1\r\n%4\r\n$4\r\nname\r\n$1\r\nc\r\n$7\r\npending\r\n:{pending}\r\n$4\r\nidle\r\n:{idle}\r\n\
             $8\r\ninactive\r\n:{inactive}\r\n"
        )
    };
    assert_eq!(t.run("XINFO CONSUMERS s g"), shown("5", "-1", "0"));
    t.run("XREADGROUP GROUP g c STREAMS s >");
    t.advance(5);
    t.run("XREADGROUP GROUP g c STREAMS s >");
    t.advance(2);
    assert_eq!(t.run("XINFO CONSUMERS s g"), shown("2", "7", "1"));
}

#[test]
fn a_look_that_finds_nothing_leaves_no_record() {
    let mut t = Harness::primary();
    t.session.ack = Some(torc_protocol::context::Ack::Primary);
    t.expect(&[("XGROUP CREATE s g $ MKSTREAM", "+OK\r\n")]);
    let mut first = blocked(&mut t, "XREADGROUP GROUP g one BLOCK 0 STREAMS s >");
    let mut others: Vec<_> =
        (0..5).map(|_| blocked(&mut t, "XREADGROUP GROUP g two BLOCK 0 STREAMS s >")).collect();
    t.records();
    t.advance(5);
    t.expect(&[("XADD s 2-1 a 2", "$3\r\n2-1\r\n")]);
    assert_eq!(told(&mut first), ONE);
    let (mut records, mut count) = (&t.records()[..], 0);
    while let Some((_, len)) = crate::effect::record(records).expect("sound") {
        (records, count) = (&records[len..], count + 1);
    }
    assert_eq!(count, 2, "that of XADD, and of the one who was served");
    // They wait on.
    t.expect(&[("XADD s 2-2 a 3", "$3\r\n2-2\r\n")]);
    assert_ne!(told(&mut others[0]), "");
    assert_eq!(told(&mut others[1]), "");
}

#[test]
fn what_was_done_before_there_was_no_room_to_wait_stays() {
    let mut t = Harness::primary();
    t.session.ack = Some(torc_protocol::context::Ack::Primary);
    t.expect(&[("XGROUP CREATE s g $ MKSTREAM", "+OK\r\n")]);
    t.records();
    assert!(t.node.blocked.reserve(crate::blocked::MAX_WAITING_BYTES));
    let (reply, done) = t.execute("XREADGROUP GROUP g c BLOCK 0 STREAMS s >".split(' '));
    assert_eq!(reply, b"-ERR too many requests wait in blocking commands\r\n");
    // Its consumer is there, so it counts as executed.
    assert_eq!(done.kind, crate::exec::ReplyKind::Read);
    assert!(!t.records().is_empty());
    let (reply, done) = t.execute("GET".split(' '));
    assert!(reply.starts_with(b"-ERR"));
    assert_eq!(done.kind, crate::exec::ReplyKind::Local);
}
