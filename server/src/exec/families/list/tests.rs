use crate::blocked::Turn;
use crate::exec::testing::{Harness, blocked, told};

#[test]
fn pushes_and_pops() {
    let mut t = Harness::new();
    t.expect(&[
        ("RPUSH l a b c", ":3\r\n"),
        ("LPUSH l x y", ":5\r\n"),
        ("LPOP l", "$1\r\ny\r\n"),
        ("RPOP l 2", "*2\r\n$1\r\nc\r\n$1\r\nb\r\n"),
        ("LPOP l 0", "*0\r\n"),
        ("LPOP l -1", "-ERR value is out of range, must be positive\r\n"),
        ("LPOP l 9", "*2\r\n$1\r\nx\r\n$1\r\na\r\n"),
        ("EXISTS l", ":0\r\n"),
        ("LPOP l 1", "*-1\r\n"),
        ("LPOP l", "$-1\r\n"),
        ("SET s 1", "+OK\r\n"),
        ("LPOP s", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("BLPOP s l 1", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("BLPOP l x", "-ERR timeout is not a float or out of range\r\n"),
        ("BLPOP l -1", "-ERR timeout is negative\r\n"),
    ]);
}

#[test]
fn waiters_are_served_in_their_order() {
    let mut t = Harness::new();
    let (mut first, mut second) = (blocked(&mut t, "BLPOP a b 0"), blocked(&mut t, "BRPOP b 0"));
    assert_eq!(t.node.blocked.key_counts().0, 2);
    t.expect(&[("RPUSH b 1 2 3", ":3\r\n"), ("LLEN b", ":1\r\n")]);
    assert_eq!(told(&mut first), "*2\r\n$1\r\nb\r\n$1\r\n1\r\n");
    assert_eq!(told(&mut second), "*2\r\n$1\r\nb\r\n$1\r\n3\r\n");
    for place in [first, second] {
        place.leave(&t.node.store);
    }
    assert_eq!(t.node.blocked.key_counts().0, 0);
    t.expect(&[("RPUSH a 1", ":1\r\n"), ("LLEN a", ":1\r\n")]);
}

#[test]
fn who_has_gone_is_passed_over() {
    let mut t = Harness::new();
    let gone = blocked(&mut t, "BLPOP a 0");
    let dead = blocked(&mut t, "BLPOP a 0");
    let mut last = blocked(&mut t, "BLPOP a 0");
    gone.leave(&t.node.store);
    drop(dead);
    t.expect(&[("RPUSH a 1", ":1\r\n"), ("EXISTS a", ":0\r\n")]);
    assert_eq!(told(&mut last), "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
}

#[test]
fn a_transaction_serves_at_its_end() {
    let mut t = Harness::new();
    let mut waits = blocked(&mut t, "BLPOP a 0");
    t.expect(&[
        ("MULTI", "+OK\r\n"),
        ("RPUSH a 1", "+QUEUED\r\n"),
        ("LPUSH a 2", "+QUEUED\r\n"),
        ("BLPOP b 0", "+QUEUED\r\n"),
        ("EXEC", "*3\r\n:1\r\n:2\r\n*-1\r\n"),
    ]);
    assert_eq!(told(&mut waits), "*2\r\n$1\r\na\r\n$1\r\n2\r\n");
    let mut waits = blocked(&mut t, "BLPOP c 0");
    t.expect(&[("MULTI", "+OK\r\n"), ("RPUSH c 1", "+QUEUED\r\n"), ("DEL c", "+QUEUED\r\n")]);
    t.run("EXEC");
    assert_eq!(told(&mut waits), "");
    t.expect(&[("EVAL \"return redis.call('blpop', 'x', 0)\" 1 x", "$-1\r\n")]);
    t.expect(&[("EVAL \"redis.call('rpush', 'c', 5) return 1\" 1 c", ":1\r\n"), ("EXISTS c", ":0\r\n")]);
    assert_eq!(told(&mut waits), "*2\r\n$1\r\nc\r\n$1\r\n5\r\n");
}

#[test]
fn other_types_wake_nobody() {
    let mut t = Harness::new();
    let mut waits = blocked(&mut t, "BLPOP a 0");
    t.expect(&[("SET a 1", "+OK\r\n"), ("DEL a", ":1\r\n"), ("HSET a f v", ":1\r\n")]);
    assert_eq!(told(&mut waits), "");
    t.expect(&[("RPUSH b 1", ":1\r\n"), ("RENAME b a", "+OK\r\n")]);
    assert_eq!(told(&mut waits), "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
}

#[test]
fn databases_that_are_exchanged_bring_lists() {
    let mut t = Harness::new();
    t.expect(&[("SELECT 1", "+OK\r\n"), ("RPUSH a 1", ":1\r\n"), ("SELECT 0", "+OK\r\n")]);
    let mut waits = blocked(&mut t, "BLPOP a 0");
    t.expect(&[("SWAPDB 0 1", "+OK\r\n")]);
    assert_eq!(told(&mut waits), "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
}

#[test]
fn each_effect_has_its_record_and_the_answer_its_term() {
    let mut t = Harness::primary();
    t.session.ack = Some(torc_protocol::context::Ack::Primary);
    let mut waits = blocked(&mut t, "BLPOP a 0");
    t.records();
    let done = t.execute(["RPUSH", "a", "1"]).1;
    assert_eq!(done.barrier, 0);
    let Ok(Turn::Served(answer)) = waits.told.try_recv() else { panic!("not served") };
    assert_eq!((answer.depends.map(|d| d.term), answer.offset), (Some(1), 2));
    let records = t.records();
    let (_, len) = crate::effect::record(&records).expect("sound").expect("whole");
    assert!(len < records.len(), "two records");
}

#[test]
fn a_node_that_leads_no_more_sends_them_away() {
    let mut t = Harness::new();
    let mut waits = blocked(&mut t, "BLPOP a 0");
    t.node.blocked.send_away();
    assert_eq!(told(&mut waits), "away");
    t.expect(&[("RPUSH a 1", ":1\r\n"), ("LLEN a", ":1\r\n")]);
}

#[test]
fn another_map_makes_waiters_look_at_their_place_only() {
    let mut t = Harness::new();
    let waits = blocked(&mut t, "BLPOP a 0");
    t.node.blocked.nudge_all();
    assert!(!waits.waiter.wants_look());
    waits.waiter.nudge();
    t.node.blocked.nudge_all();
    assert!(waits.waiter.wants_look());
    waits.waiter.looked();
    assert!(!waits.waiter.wants_look());
}

#[test]
fn keys_and_arguments_count_where_waiting_is_bounded() {
    let mut t = Harness::new();
    let keys: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    let waits = blocked(&mut t, &format!("BLPOP {} 0", keys.join(" ")));
    assert!(waits.waiter.bytes() > 1000 * (256 + 16) + size_of::<crate::blocked::Waiter>());
}
