//! Requests with the replies that a Redis 7 gave to them (BITCOUNT with a start alone: a Valkey 8), one after another
//! on one connection.
//!
//! Each line of a file in `vectors/` is `request => "reply"`, the reply escaped as a Rust string is.

use torc_server::exec::testing::Harness;

fn replay(mut t: Harness, recorded: &str) {
    for line in recorded.lines() {
        let Some((request, reply)) = line.split_once(" => ") else { panic!("no reply in {line:?}") };
        assert_eq!(format!("{:?}", t.run(request)), reply, "{request}");
    }
}

#[test]
fn data_commands_in_resp2() {
    replay(Harness::new(), include_str!("vectors/data_resp2.txt"));
}

#[test]
fn data_commands_in_resp3() {
    let mut t = Harness::new();
    t.resp3();
    replay(t, include_str!("vectors/data_resp3.txt"));
}

#[test]
fn a_primary_answers_the_same() {
    let mut t = Harness::primary();
    t.through_proxy();
    replay(t, include_str!("vectors/data_resp2.txt"));
}

/// What Redis documents since 7.4; not recorded.
#[test]
fn fields_that_expire() {
    replay(Harness::new(), include_str!("vectors/field_expiry.txt"));
    let mut t = Harness::primary();
    t.through_proxy();
    replay(t, include_str!("vectors/field_expiry.txt"));
}
