//! Leases on cached values over a whole cluster: one client loads, the others wait or use the old value, whoever asks
//! and whatever dies meanwhile.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use torc_tests::client::{Connection, Endpoint};
use torc_tests::cluster::Cluster;
use torc_tests::frame::{self, Node};

/// A memcached client of the proxy.
fn memcached(cluster: &Cluster) -> Connection {
    Connection::open(&Endpoint::Tcp(cluster.proxy().memcached())).expect("the proxy listens")
}

/// The answer to one meta request: its line, and the value if there is one.
fn meta(client: &mut Connection, request: &str) -> String {
    client.send(format!("{request}\r\nmn\r\n").as_bytes()).expect("sent");
    meta_answer(client)
}

fn meta_answer(client: &mut Connection) -> String {
    let (answer, _) = client.read_until(|bytes| bytes.ends_with(b"MN\r\n")).expect("an answer");
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.trim_end_matches("MN\r\n").trim_end().replace("\r\n", " | ")
}

/// The number behind a flag of an answer.
fn flag(answer: &str, flag: char) -> u64 {
    let words = answer.split(' ').filter_map(|word| word.strip_prefix(flag));
    words.filter_map(|number| number.parse().ok()).next().unwrap_or_else(|| panic!("no {flag} in {answer:?}"))
}

fn has(answer: &str, flag: &str) -> bool {
    answer.split(" | ").next().is_some_and(|line| line.split(' ').any(|word| word == flag))
}

/// What GETLEASE says first, and the number that follows "load" or "wait".
fn lease(client: &mut Connection, key: &str) -> (String, Option<u64>) {
    lease_of(&client.call(&["GETLEASE", key, "60000"]).expect("an answer"))
}

fn lease_of(reply: &Node) -> (String, Option<u64>) {
    let Node::Aggregate(_, parts) = reply else { panic!("no lease: {reply:?}") };
    let text = |at: usize| parts.get(at).and_then(Node::text);
    (text(0).unwrap_or_default(), text(1).and_then(|number| number.parse().ok()))
}

/// Others than the holder of a token, who ask meanwhile.
const OTHERS: usize = 8;

#[test]
fn who_holds_a_lease_can_fill_it_after_the_primary_was_killed() {
    let mut cluster = Cluster::start(2);
    let tag = cluster.tag(0);
    cluster.wait_in_sync(0, 2);
    let [missing, stale, shared] = ["missing", "stale", "resp"].map(|name| format!("{tag}{name}"));
    let (mut holder, mut resp) = (memcached(&cluster), cluster.connect());

    // A missing key, a stale one, and one of RESP: one client each has the token.
    let answer = meta(&mut holder, &format!("mg {missing} N60 v c"));
    assert!(has(&answer, "W"), "{answer}");
    let token = flag(&answer, 'c');
    assert_eq!(meta(&mut holder, &format!("ms {stale} 3 T600\r\nold")), "HD");
    assert_eq!(meta(&mut holder, &format!("md {stale} I T600")), "HD");
    let answer = meta(&mut holder, &format!("mg {stale} v c"));
    assert!(has(&answer, "W") && has(&answer, "X") && answer.ends_with("old"), "{answer}");
    let stale_token = flag(&answer, 'c');
    let (word, number) = lease(&mut resp, &shared);
    assert_eq!(word, "load");
    let shared_token = number.expect("a token");
    // The replica has all of it once it has what came last.
    for command in [&["CLIENT", "ACK", "in-sync"][..], &["SET", &format!("{tag}last"), "1"]] {
        let reply = resp.call(command).expect("an answer");
        assert_eq!(reply.text().as_deref(), Some("OK"), "{command:?}: {reply:?}");
    }

    let victim = cluster.primary(0);
    victim.signal(Signal::KILL);
    cluster.wait("another primary", || Some(cluster.primary(0)).filter(|now| now.name != victim.name));

    // The others are told that somebody loads, old clients of the proxy and new ones.
    for _ in 0..OTHERS {
        let mut other = memcached(&cluster);
        let answer = meta(&mut other, &format!("mg {missing} N60 v"));
        assert!(has(&answer, "Z") && !has(&answer, "W"), "{answer}");
        let answer = meta(&mut other, &format!("mg {stale} v"));
        assert!(has(&answer, "Z") && has(&answer, "X") && !has(&answer, "W"), "{answer}");
        assert!(answer.ends_with("old"), "{answer}");
        assert_eq!(lease(&mut cluster.connect(), &shared).0, "wait");
    }

    // Who has a token fills it.
    cluster.wait_in_sync(0, 2);
    assert_eq!(meta(&mut holder, &format!("ms {missing} 6 C{token}\r\nloaded")), "HD");
    assert_eq!(meta(&mut holder, &format!("ms {stale} 3 C{stale_token}\r\nnew")), "HD");
    let token = shared_token.to_string();
    let stored = resp.call(&["SETLEASE", &shared, &token, "value"]).expect("an answer");
    assert_eq!(stored.text().as_deref(), Some("1"), "{stored:?}");

    // Everybody has it; the token is used up.
    for _ in 0..OTHERS {
        let mut other = memcached(&cluster);
        assert_eq!(meta(&mut other, &format!("mg {missing} N60 v")), "VA 6 | loaded");
        assert_eq!(meta(&mut other, &format!("mg {stale} v")), "VA 3 | new");
        assert_eq!(lease(&mut cluster.connect(), &shared).0, "hit");
    }
    assert_eq!(meta(&mut holder, &format!("ms {stale} 4 C{stale_token}\r\nlate")), "EX");
    let again = resp.call(&["SETLEASE", &shared, &token, "late"]).expect("an answer");
    assert_eq!(again.text().as_deref(), Some("0"), "{again:?}");
    cluster.stop(Signal::INT);
}

/// Clients that miss the same key.
const HERD: usize = 1000;
/// Threads that drive them.
const DRIVERS: usize = 10;

/// Lets the test have a thousand connections.
fn raise_files() {
    let wanted = 2 * HERD as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|now| now < wanted) {
        limit.current = limit.maximum.map_or(Some(wanted), |most| Some(most.min(wanted)));
        setrlimit(Resource::Nofile, limit).expect("open files up to the hard limit");
    }
}

/// A thousand clients ask at once, and again once the one that was told to load has done so. `ask` sends the request,
/// `told` reads what its client shall do, `fill` stores under a token.
fn herd(
    endpoint: &Endpoint,
    ask: impl Fn(&mut Connection) + Sync,
    told: impl Fn(&mut Connection) -> Told + Sync,
    fill: impl Fn(&mut Connection, u64) + Sync,
) {
    raise_files();
    let (loads, waits, hits) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = Barrier::new(DRIVERS);
    std::thread::scope(|scope| {
        for _ in 0..DRIVERS {
            scope.spawn(|| {
                let mut clients: Vec<_> = (0..HERD / DRIVERS)
                    .map(|_| Connection::open(endpoint).expect("the proxy listens"))
                    .collect();
                barrier.wait();
                clients.iter_mut().for_each(&ask);
                let mut loader = None;
                for (index, client) in clients.iter_mut().enumerate() {
                    match told(client) {
                        Told::Load(token) => {
                            loads.fetch_add(1, Ordering::Relaxed);
                            loader = Some((index, token));
                        }
                        Told::Wait => {
                            waits.fetch_add(1, Ordering::Relaxed);
                        }
                        Told::Hit => panic!("there is nothing to have yet"),
                    }
                }
                // Loading takes until all of them have asked.
                barrier.wait();
                if let Some((index, token)) = loader {
                    fill(&mut clients[index], token);
                }
                barrier.wait();
                clients.iter_mut().for_each(&ask);
                for client in &mut clients {
                    if told(client) == Told::Hit {
                        hits.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let counts = [&loads, &waits, &hits].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [1, HERD - 1, HERD], "loads, clients that wait, hits");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Load(u64),
    Wait,
    Hit,
}

#[test]
fn a_thousand_clients_that_miss_a_key_cause_one_load() {
    let mut cluster = Cluster::start(2);
    herd(
        &Endpoint::Tcp(cluster.proxy().resp()),
        |client| client.send_command(&["GETLEASE", "popular", "60000"]).expect("sent"),
        |client| {
            let frame = client.read_frame().expect("an answer");
            let (reply, _) = frame::decode(&frame).expect("RESP").expect("whole");
            match lease_of(&reply) {
                (word, Some(token)) if word == "load" => Told::Load(token),
                (word, _) if word == "wait" => Told::Wait,
                (word, _) => {
                    assert_eq!(word, "hit");
                    Told::Hit
                }
            }
        },
        |client, token| {
            let reply =
                client.call(&["SETLEASE", "popular", &token.to_string(), "value"]).expect("an answer");
            assert_eq!(reply.text().as_deref(), Some("1"));
        },
    );
    herd(
        &Endpoint::Tcp(cluster.proxy().memcached()),
        |client| client.send(b"mg well-known N60 v c\r\nmn\r\n").expect("sent"),
        |client| {
            let answer = meta_answer(client);
            match answer.as_str() {
                answer if has(answer, "W") => Told::Load(flag(answer, 'c')),
                answer if has(answer, "Z") => Told::Wait,
                answer => {
                    assert!(answer.ends_with("value"), "{answer}");
                    Told::Hit
                }
            }
        },
        |client, token| {
            assert_eq!(meta(client, &format!("ms well-known 5 C{token}\r\nvalue")), "HD");
        },
    );
    cluster.stop(Signal::INT);
}
