//! SET in all its forms, MGET and MSET, numbers, parts of strings, LCS.

use crate::exec::testing::{Harness, START_MS};

#[test]
fn set_and_get() {
    let mut t = Harness::new();
    t.expect(&[
        ("GET k", "$-1\r\n"),
        ("SET k v", "+OK\r\n"),
        ("GET k", "$1\r\nv\r\n"),
        ("SET k w NX", "$-1\r\n"),
        ("SET k w NX GET", "$1\r\nv\r\n"),
        ("SET k w XX GET", "$1\r\nv\r\n"),
        ("SET n w XX", "$-1\r\n"),
        ("SET n w NX GET", "$-1\r\n"),
        ("GET n", "$1\r\nw\r\n"),
        ("SET k v NX XX", "-ERR syntax error\r\n"),
        ("SET k v EX", "-ERR syntax error\r\n"),
        ("SET k v EX 1 PX 1", "-ERR syntax error\r\n"),
        ("SET j v EX 1 EX 9", "+OK\r\n"),
        ("TTL j", ":9\r\n"),
        ("SET k v EX 1 KEEPTTL", "-ERR syntax error\r\n"),
        ("SET k v EX x", "-ERR value is not an integer or out of range\r\n"),
        ("SET k v EX 0", "-ERR invalid expire time in 'set' command\r\n"),
        ("SET k v EX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"),
        ("SET k v PX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"),
        ("GET k", "$1\r\nw\r\n"),
        ("SET k past PXAT 1", "+OK\r\n"),
        ("GET k", "$-1\r\n"),
    ]);
}

#[test]
fn set_with_a_time() {
    let mut t = Harness::new();
    t.expect(&[("SET k v PX 1000", "+OK\r\n"), ("SET k w KEEPTTL", "+OK\r\n")]);
    t.advance(999);
    t.expect(&[("GET k", "$1\r\nw\r\n")]);
    t.advance(1);
    t.expect(&[("GET k", "$-1\r\n"), ("SET k v EX 1", "+OK\r\n"), ("SET k v", "+OK\r\n")]);
    t.advance(5000);
    t.expect(&[("GET k", "$1\r\nv\r\n")]);
    let at = START_MS / 1000 + 10;
    assert_eq!(t.run(&format!("SET k v EXAT {at}")), "+OK\r\n");
    t.advance(4000);
    t.expect(&[("GET k", "$-1\r\n")]);
}

#[test]
fn set_with_other_words() {
    let mut t = Harness::new();
    t.expect(&[
        ("SETNX k 1", ":1\r\n"),
        ("SETNX k 2", ":0\r\n"),
        ("SETEX k 10 v", "+OK\r\n"),
        ("SETEX k 0 v", "-ERR invalid expire time in 'setex' command\r\n"),
        ("PSETEX k -1 v", "-ERR invalid expire time in 'psetex' command\r\n"),
        ("GETSET k w", "$1\r\nv\r\n"),
        ("GETEX k PX 100 EX 3", "-ERR syntax error\r\n"),
        ("GETEX k PERSIST PERSIST", "$1\r\nw\r\n"),
        ("GETEX k EX 1 PERSIST", "-ERR syntax error\r\n"),
        ("GETEX k PERSIST EX 1", "-ERR syntax error\r\n"),
        ("GETEX k EX 7 EX 9", "$1\r\nw\r\n"),
        ("TTL k", ":9\r\n"),
        ("PERSIST k", ":1\r\n"),
        ("GETEX missing EX 0", "$-1\r\n"),
        ("GETEX k EX 0", "-ERR invalid expire time in 'getex' command\r\n"),
        ("GETEX k PX 100", "$1\r\nw\r\n"),
        ("GETEX k PERSIST", "$1\r\nw\r\n"),
    ]);
    t.advance(20_000);
    t.expect(&[("GETDEL k", "$1\r\nw\r\n"), ("GETDEL k", "$-1\r\n")]);
    t.run("HSET h f v");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    for line in
        ["GET h", "SET h v GET", "GETSET h v", "GETDEL h", "GETEX h", "INCR h", "APPEND h v", "STRLEN h"]
    {
        assert_eq!(t.run(line), wrong, "{line}");
    }
    t.expect(&[("HGET h f", "$1\r\nv\r\n"), ("SET h v", "+OK\r\n")]);
}

#[test]
fn many_keys() {
    let mut t = Harness::new();
    t.expect(&[
        ("MSET a 1 b 2", "+OK\r\n"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n"),
        ("MGET a missing b", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n"),
        ("MSETNX c 1 a 2", ":0\r\n"),
        ("MSETNX c 1 c 2", ":1\r\n"),
        ("MSETNX c", "-ERR wrong number of arguments for 'msetnx' command\r\n"),
        ("MGET c", "*1\r\n$1\r\n2\r\n"),
    ]);
}

#[test]
fn numbers() {
    let mut t = Harness::new();
    t.expect(&[
        ("INCR n", ":1\r\n"),
        ("INCRBY n 41", ":42\r\n"),
        ("DECRBY n 2", ":40\r\n"),
        ("DECR n", ":39\r\n"),
        ("DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n"),
        ("INCRBY n 9223372036854775807", "-ERR increment or decrement would overflow\r\n"),
        ("INCRBY n x", "-ERR value is not an integer or out of range\r\n"),
        ("SET s 07", "+OK\r\n"),
        ("INCR s", "-ERR value is not an integer or out of range\r\n"),
        ("INCRBYFLOAT n 0.5", "$4\r\n39.5\r\n"),
        ("INCRBYFLOAT n x", "-ERR value is not a valid float\r\n"),
        ("INCRBYFLOAT n inf", "-ERR increment would produce NaN or Infinity\r\n"),
        ("INCRBYFLOAT new -1.5e1", "$3\r\n-15\r\n"),
    ]);
    t.run("SET k 1 PX 50");
    t.run("INCR k");
    t.advance(50);
    t.expect(&[("INCR k", ":1\r\n")]);
}

#[test]
fn parts_of_strings() {
    let mut t = Harness::new();
    t.expect(&[
        ("APPEND k hello", ":5\r\n"),
        ("APPEND k \" world\"", ":11\r\n"),
        ("GETRANGE k 0 4", "$5\r\nhello\r\n"),
        ("GETRANGE k -5 -1", "$5\r\nworld\r\n"),
        ("GETRANGE k -1 -5", "$0\r\n\r\n"),
        ("GETRANGE k 5 3", "$0\r\n\r\n"),
        ("GETRANGE k -100 100", "$11\r\nhello world\r\n"),
        ("GETRANGE k 0 -9223372036854775808", "$1\r\nh\r\n"),
        ("SUBSTR k 0 0", "$1\r\nh\r\n"),
        ("GETRANGE missing 0 -1", "$0\r\n\r\n"),
        ("STRLEN k", ":11\r\n"),
        ("STRLEN missing", ":0\r\n"),
        ("SETRANGE k 6 redis", ":11\r\n"),
        ("GET k", "$11\r\nhello redis\r\n"),
        ("SETRANGE k -1 x", "-ERR offset is out of range\r\n"),
        ("SETRANGE k 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
        ("SETRANGE missing 3 \"\"", ":0\r\n"),
        ("GET missing", "$-1\r\n"),
        ("SETRANGE pad 3 x", ":4\r\n"),
        ("GET pad", "$4\r\n\0\0\0x\r\n"),
        ("SETRANGE k 2000 z", ":2001\r\n"),
        ("GETRANGE k 1999 2000", "$2\r\n\0z\r\n"),
        ("OBJECT ENCODING k", "$3\r\nraw\r\n"),
    ]);
}

#[test]
fn common_subsequences() {
    let mut t = Harness::new();
    t.run("MSET a ohmytext b mynewtext");
    t.expect(&[
        ("LCS a b", "$6\r\nmytext\r\n"),
        ("LCS a b LEN", ":6\r\n"),
        ("LCS a b LEN IDX", "-ERR If you want both the length and indexes, please just use IDX.\r\n"),
        ("LCS a b WHAT", "-ERR syntax error\r\n"),
        ("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
         "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n$3\r\nlen\r\n:6\r\n"),
        ("LCS a missing", "$0\r\n\r\n"),
    ]);
    t.run("HSET h f v");
    t.expect(&[("LCS a h", "-ERR The specified keys must contain string values\r\n")]);
    t.resp3();
    assert!(t.run("LCS a b IDX").starts_with("%2\r\n$7\r\nmatches\r\n*2\r\n*2\r\n*2\r\n:4\r\n"));
}

#[test]
fn only_what_is_as_expected_is_changed() {
    let mut t = Harness::new();
    t.expect(&[
        ("SET k v IFEQ x", "$-1\r\n"),
        ("EXISTS k", ":0\r\n"),
        ("SET k 1", "+OK\r\n"),
        ("SET k 2 IFEQ 1", "+OK\r\n"),
        ("SET k 3 IFEQ 1", "$-1\r\n"),
        ("SET k 3 IFEQ 2 GET EX 10", "$1\r\n2\r\n"),
        ("SET k 4 IFEQ 2 GET", "$1\r\n3\r\n"),
        ("GET k", "$1\r\n3\r\n"),
        ("TTL k", ":10\r\n"),
        ("SET k 4 IFEQ 3 NX", "-ERR syntax error\r\n"),
        ("SET k 4 XX IFEQ 3", "-ERR syntax error\r\n"),
        ("SET k 4 IFEQ", "-ERR syntax error\r\n"),
        ("DELIFEQ k 4", ":0\r\n"),
        ("DELIFEQ k 3", ":1\r\n"),
        ("DELIFEQ k 3", ":0\r\n"),
        ("HSET h f v", ":1\r\n"),
    ]);
    for line in ["SET h v IFEQ v", "DELIFEQ h v"] {
        assert!(t.run(line).starts_with("-WRONGTYPE"), "{line}");
    }
}
