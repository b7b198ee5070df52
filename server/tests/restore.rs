//! Values through DUMP and RESTORE: they come back as they went, and nothing that somebody makes of a payload ends the
//! process.

use std::cell::RefCell;

use proptest::prelude::*;
use torc_server::exec::testing::Harness;
use torc_server::rdb::payload;

/// Values of every type and encoding, under keys that are their place in this list.
const VALUES: &[&str] = &[
    "SET 0 text",
    "SET 1 12345",
    "HSET 2 a 1 b text c -70000",
    "RPUSH 3 a 1 -5 text 4294967296",
    "SADD 4 1 2 70000",
    "SADD 5 a b 3",
    "ZADD 6 1 a 2.5 b -inf c",
    "XADD 7 1-1 f v g w",
];

/// Commands that make large values under the next keys.
const LARGE: &[&str] = &["SET", "HSET", "RPUSH", "ZADD", "SADD", "SADD", "XADD"];

fn large(t: &mut Harness, key: usize, command: &str, integers: bool) {
    let long = "x".repeat(100);
    for n in 0..300 {
        let line = match command {
            "SET" => format!("APPEND {key} {n}-{long}"),
            "HSET" => format!("HSET {key} {n} {long}"),
            "RPUSH" => format!("RPUSH {key} {n}{long}"),
            "SADD" if integers => format!("SADD {key} {}", n * 3),
            "SADD" => format!("SADD {key} {n}{long}"),
            "ZADD" => format!("ZADD {key} {n} {n}"),
            _ => format!("XADD {key} {}-0 field {n}", n + 1),
        };
        let reply = t.run(&line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
}

/// A store with all values, and how many there are.
fn filled() -> (Harness, usize) {
    let mut t = Harness::new();
    for line in VALUES {
        let reply = t.run(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    for (place, command) in LARGE.iter().enumerate() {
        large(&mut t, VALUES.len() + place, command, place == 5);
    }
    for line in ["XGROUP CREATE 7 g 0", "XREADGROUP GROUP g c STREAMS 7 >", "XADD 7 2-0 f v", "XDEL 7 1-1"] {
        let reply = t.run(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    let count = VALUES.len() + LARGE.len();
    t.run(&format!("XGROUP CREATE {} g 0", count - 1));
    (t, count)
}

fn dump(t: &mut Harness, key: &str) -> Vec<u8> {
    let reply = t.run_args(["DUMP", key]);
    let body = reply.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    reply.get(body..reply.len() - 2).unwrap_or_default().to_vec()
}

fn restore(t: &mut Harness, key: &str, bytes: &[u8]) -> Vec<u8> {
    t.run_args([b"RESTORE", key.as_bytes(), b"0", bytes, b"REPLACE"])
}

/// Reads that are the same of a value that came back.
const SAME: &[&str] = &[
    "TYPE K",
    "OBJECT ENCODING K",
    "GET K",
    "HLEN K",
    "HMGET K a b c 17 299",
    "LRANGE K 0 -1",
    "SCARD K",
    "ZRANGE K 0 -1 WITHSCORES",
    "SMISMEMBER K a 1 70000 30",
    "XRANGE K - +",
    "XPENDING K g",
];

/// Reads that are not: by time, by size or by chance.
const OTHERS: &[&str] = &[
    "HGETALL K",
    "HSCAN K 0 COUNT 1000",
    "HRANDFIELD K -3 WITHVALUES",
    "SMEMBERS K",
    "SRANDMEMBER K -5",
    "ZRANGEBYLEX K - +",
    "XINFO STREAM K FULL",
    "MEMORY USAGE K",
];

fn looks(t: &mut Harness, key: &str, reads: &[&str]) -> Vec<String> {
    reads.iter().map(|line| t.run(&line.replace('K', key))).collect()
}

/// Changes that touch all parts of a value.
fn change(t: &mut Harness, key: &str) {
    for line in [
        "APPEND K x",
        "HSET K a 2",
        "HDEL K b",
        "RPUSH K z",
        "LPOP K",
        "LREM K 0 1",
        "LINSERT K BEFORE text new",
        "SADD K z",
        "SREM K 1",
        "SPOP K",
        "ZADD K 7 a",
        "ZREM K b",
        "ZPOPMIN K",
        "XADD K * f v",
        "XTRIM K MAXLEN 1",
        "XREADGROUP GROUP g d STREAMS K >",
        "XACK K g 1-1",
        "XAUTOCLAIM K g d 0 0",
    ] {
        t.run(&line.replace('K', key));
    }
}

#[test]
fn values_come_back_as_they_went() {
    let (mut t, count) = filled();
    for key in (0..count).map(|key| key.to_string()) {
        let bytes = dump(&mut t, &key);
        assert_eq!(restore(&mut t, "copy", &bytes), b"+OK\r\n", "{key}");
        assert_eq!(looks(&mut t, &key, SAME), looks(&mut t, "copy", SAME), "{key}");
    }
}

fn seal_again(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len().saturating_sub(10));
    payload::seal(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 600 } else { 20_000 }))]

    #[test]
    fn damaged_values_never_panic(
        which in any::<prop::sample::Index>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        thread_local!(static STORE: RefCell<(Harness, usize)> = RefCell::new(filled()));
        STORE.with_borrow_mut(|(t, count)| -> Result<(), TestCaseError> {
            let mut bytes = dump(t, &which.index(*count).to_string());
            prop_assume!(bytes.len() > 10);
            for (place, byte) in places {
                let at = place.index(bytes.len() - 10);
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() - 10) + 10);
            }
            seal_again(&mut bytes);
            let reply = restore(t, "broken", &bytes);
            if reply == b"+OK\r\n" {
                for reads in [SAME, OTHERS] {
                    looks(t, "broken", reads);
                }
                change(t, "broken");
                looks(t, "broken", SAME);
                let again = dump(t, "broken");
                if !again.is_empty() {
                    assert_eq!(restore(t, "again", &again), b"+OK\r\n");
                }
            } else {
                assert_eq!(reply, b"-ERR Bad data format\r\n");
            }
            Ok(())
        })?;
    }

    #[test]
    fn bytes_of_nobody_never_panic(kind in 0u8..24, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut t = Harness::new();
        let mut bytes = [&[kind], &body[..]].concat();
        payload::seal(&mut bytes);
        restore(&mut t, "k", &bytes);
        looks(&mut t, "k", SAME);
        looks(&mut t, "k", OTHERS);
    }
}
