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
