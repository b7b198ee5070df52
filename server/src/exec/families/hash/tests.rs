use crate::exec::testing::{Harness, START_MS};
use crate::shard::Role;

#[test]
fn fields_expire_one_by_one() {
    let mut t = Harness::new();
    t.expect(&[
        ("HSET h a 1 b 2 c 3", ":3\r\n"),
        ("HPEXPIRE h 100 FIELDS 2 a b", "*2\r\n:1\r\n:1\r\n"),
        ("HPTTL h FIELDS 4 a b c d", "*4\r\n:100\r\n:100\r\n:-1\r\n:-2\r\n"),
        ("OBJECT ENCODING h", "$10\r\nlistpackex\r\n"),
        ("HSET h b new", ":0\r\n"),
        ("HINCRBY h a 1", ":2\r\n"),
        ("HPTTL h FIELDS 2 a b", "*2\r\n:100\r\n:-1\r\n"),
        ("SADD ids h", ":1\r\n"),
    ]);
    t.advance(99);
    t.expect(&[("HGET h a", "$1\r\n2\r\n"), ("SORT ids BY nosort GET *->a", "*1\r\n$1\r\n2\r\n")]);
    t.advance(1);
    t.expect(&[
        ("SORT ids BY nosort GET *->a", "*1\r\n$-1\r\n"),
        ("HGET h a", "$-1\r\n"),
        ("HLEN h", ":2\r\n"),
        ("HEXISTS h a", ":0\r\n"),
        ("HGETALL h", "*4\r\n$1\r\nb\r\n$3\r\nnew\r\n$1\r\nc\r\n$1\r\n3\r\n"),
        ("OBJECT ENCODING h", "$8\r\nlistpack\r\n"),
        ("HPEXPIRE h 10 FIELDS 2 b c", "*2\r\n:1\r\n:1\r\n"),
    ]);
    t.advance(10);
    t.expect(&[
        ("HSETNX h b again", ":1\r\n"),
        ("HLEN h", ":1\r\n"),
        ("HPEXPIRE h 10 FIELDS 1 b", "*1\r\n:1\r\n"),
        ("HINCRBY h n 1", ":1\r\n"),
    ]);
    t.advance(10);
    t.expect(&[("HINCRBY h b 5", ":5\r\n"), ("HDEL h b n", ":2\r\n"), ("EXISTS h", ":0\r\n")]);
}

#[test]
fn a_hash_goes_with_its_last_field() {
    let mut t = Harness::new();
    t.expect(&[
        ("HSET h a 1", ":1\r\n"),
        ("HPEXPIRE h 5 FIELDS 1 a", "*1\r\n:1\r\n"),
        ("HSET g a 1", ":1\r\n"),
        ("HPEXPIREAT g 1 FIELDS 1 a", "*1\r\n:2\r\n"),
        ("EXISTS g", ":0\r\n"),
    ]);
    t.advance(5);
    t.expect(&[("EXISTS h", ":0\r\n"), ("TYPE h", "+none\r\n"), ("DBSIZE", ":0\r\n")]);
}

#[test]
fn times_go_where_the_hash_goes() {
    let mut t = Harness::new();
    t.expect(&[
        ("HSET {x}h a 1 b 2", ":2\r\n"),
        ("HPEXPIRE {x}h 50 FIELDS 1 a", "*1\r\n:1\r\n"),
        ("COPY {x}h {x}copy", ":1\r\n"),
        ("RENAME {x}h {x}to", "+OK\r\n"),
        ("MOVE {x}to 3", ":1\r\n"),
        ("SELECT 3", "+OK\r\n"),
        ("HPTTL {x}to FIELDS 2 a b", "*2\r\n:50\r\n:-1\r\n"),
        ("SELECT 0", "+OK\r\n"),
        ("HPTTL {x}copy FIELDS 2 a b", "*2\r\n:50\r\n:-1\r\n"),
    ]);
    let dump = t.run_args(["DUMP", "{x}copy"]);
    let at = dump.windows(2).position(|w| w == b"\r\n").map_or(0, |at| at + 2);
    let payload = &dump[at..dump.len() - 2];
    assert_eq!(t.run_args([&b"RESTORE"[..], b"{x}new", b"0", payload]), b"+OK\r\n");
    t.expect(&[("HPTTL {x}new FIELDS 2 a b", "*2\r\n:50\r\n:-1\r\n")]);
    t.advance(50);
    t.expect(&[("HLEN {x}new", ":1\r\n"), ("COPY {x}copy {x}late", ":1\r\n"), ("HLEN {x}late", ":1\r\n")]);
}

#[test]
fn a_replica_hides_what_its_primary_has_not_removed() {
    let mut t = Harness::primary();
    t.run("HSET h a 1 b 2");
    t.run("HPEXPIRE h 10 FIELDS 1 a");
    t.run("HSET all a 1");
    t.run("HPEXPIRE all 10 FIELDS 1 a");
    t.records();
    let closed = t.node.shard.gate.close();
    t.node.shard.set_role(&closed, Role::Replica, t.node.shard.term());
    drop(closed);
    t.session.readonly = true;
    t.expect(&[("HLEN h", ":2\r\n")]);
    t.advance(10);
    t.expect(&[
        ("HLEN h", ":1\r\n"),
        ("HGET h a", "$-1\r\n"),
        ("HGETALL h", "*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
        ("HSCAN h 0", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
        ("HRANDFIELD h", "$1\r\nb\r\n"),
        ("HRANDFIELD h -3", "*3\r\n$1\r\nb\r\n$1\r\nb\r\n$1\r\nb\r\n"),
        ("HTTL h FIELDS 1 a", "*1\r\n:-2\r\n"),
        ("HLEN all", ":0\r\n"),
        ("HRANDFIELD all", "$-1\r\n"),
        ("HRANDFIELD all -3", "*0\r\n"),
        ("HRANDFIELD all 3", "*0\r\n"),
        ("HKEYS all", "*0\r\n"),
        ("DBSIZE", ":2\r\n"),
    ]);
    assert!(t.records().is_empty());
}

#[test]
fn expired_fields_are_an_effect_of_a_read() {
    let mut t = Harness::primary();
    t.run("HSET h a 1 b 2");
    t.run(&format!("HPEXPIREAT h {} FIELDS 1 a", START_MS + 10));
    t.records();
    t.advance(10);
    assert_eq!(t.run("HLEN h"), ":1\r\n");
    assert!(!t.records().is_empty());
    assert_eq!(t.run("HLEN h"), ":1\r\n");
    assert!(t.records().is_empty());
}
