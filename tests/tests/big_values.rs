//! A value of 500 MB through the proxy, both ways: it passes in pieces, the proxy's memory stays where it was, and other
//! clients are served meanwhile. `TORC_BIG_VALUE_MB` takes another size.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use torc_tests::client::{Connection, Endpoint};
use torc_tests::fleet::{Fleet, Place, Plan};

/// What the proxy may need beside what it had: some megabytes for each of the two ways, and what the allocator keeps.
const MOST_MIB: u64 = 48;
const MIB: usize = 1024 * 1024;
/// Bytes written or read at once.
const PIECE: usize = 256 * 1024;

/// The most resident memory of a process since this was called last (MiB).
fn peak_mib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    // Begins again from what is resident now.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("one's own process");
    kib / 1024
}

/// The byte of the value at this place.
fn byte(at: usize) -> u8 {
    (at % 251) as u8 ^ (at / 65_536) as u8
}

fn connect(endpoint: &Endpoint) -> TcpStream {
    let Endpoint::Tcp(address) = endpoint else { panic!("the proxy listens on TCP") };
    TcpStream::connect(address).expect("the proxy accepts")
}

#[test]
fn a_value_of_500_mb_passes_in_pieces() {
    let megabytes = std::env::var("TORC_BIG_VALUE_MB").ok().and_then(|text| text.parse().ok());
    let bytes = megabytes.unwrap_or(500) * 1_000_000;
    let fleet = Fleet::start(Plan { shards: 1, replicas: 0, hosts: 1 }, Place::Loopback);
    let (proxy, pid) = (fleet.proxy(), fleet.proxy_pid());
    // A node that is not optimised takes its time with so much.
    let reply =
        fleet.connect().call(&["CONFIG", "SET", "proxy-request-timeout-ms", "120000"]).expect("an answer");
    assert!(!reply.is_error(), "{reply:?}");
    std::thread::sleep(Duration::from_millis(300));
    // Others, who write and read small things all the time. The node itself, with one worker and not optimised, may leave
    // them without an answer while it takes the value in: that is not the proxy's doing.
    let stop = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..4)
        .map(|number| {
            let (proxy, stop) = (proxy.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut open = Connection::open(&proxy).expect("the proxy accepts");
                let (key, mut turns) = (format!("small{number}"), 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    let wanted = (turns + 1).to_string();
                    let written = open.call(&["SET", &key, &wanted]).expect("an answer");
                    let shown = open.call(&["GET", &key]).expect("an answer");
                    if !written.is_error() && !shown.is_error() {
                        assert_eq!(shown.text(), Some(wanted));
                        turns += 1;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                turns
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let before = peak_mib(pid);

    let mut client = connect(&proxy);
    let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${bytes}\r\n");
    client.write_all(head.as_bytes()).expect("written");
    let mut piece = Vec::with_capacity(PIECE);
    for start in (0..bytes).step_by(PIECE) {
        piece.clear();
        piece.extend((start..bytes.min(start + PIECE)).map(byte));
        client.write_all(&piece).expect("written");
    }
    client.write_all(b"\r\n").expect("written");
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("an answer");
        answer.extend(byte);
    }
    assert_eq!(String::from_utf8_lossy(&answer), "+OK\r\n");
    let setting = peak_mib(pid);

    // A reader that takes its time, and one that takes none.
    let lazy = {
        let mut lazy = connect(&proxy);
        lazy.write_all(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n").expect("written");
        lazy
    };
    client.write_all(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n").expect("written");
    let head = format!("${bytes}\r\n");
    let mut shown = vec![0; head.len()];
    client.read_exact(&mut shown).expect("a header");
    assert_eq!(shown, head.as_bytes());
    let mut piece = vec![0; PIECE];
    for start in (0..bytes).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(bytes - start)];
        client.read_exact(piece).expect("a piece");
        if let Some(at) = (0..piece.len()).find(|at| piece[*at] != byte(start + at)) {
            panic!("another byte at {}", start + at);
        }
        if (start / PIECE).is_multiple_of(64) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let mut end = [0; 2];
    client.read_exact(&mut end).expect("an end");
    assert_eq!(&end, b"\r\n");
    let getting = peak_mib(pid);
    drop(lazy);

    stop.store(true, Ordering::Relaxed);
    let turns: u64 = others.into_iter().map(|it| it.join().expect("served all the time")).sum();
    println!(
        "{} MiB: the proxy had {before} MiB, at most {setting} while it was set, {getting} while two read it; \
         {turns} turns of others",
        bytes / MIB
    );
    assert!(turns > 0, "others were served");
    assert!(setting <= before + MOST_MIB, "{setting} MiB while it was set, {before} before");
    assert!(getting <= setting.max(before) + MOST_MIB, "{getting} MiB while it was read, {before} before");
    let mut open = fleet.connect();
    assert_eq!(open.call(&["STRLEN", "big"]).expect("an answer").text(), Some(bytes.to_string()));
}
