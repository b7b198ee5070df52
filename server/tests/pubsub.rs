//! Channels over real sockets: several workers, many listeners, and one that does not read.

mod common;

use common::{Client, config, eventually, start, stop};

const SUBSCRIBED: &str = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";

#[test]
fn every_listener_gets_every_message_in_order() {
    let server = start(&config());
    let port = server.addresses.port;
    let mut listeners: Vec<_> = (0..20).map(|_| Client::connect(port)).collect();
    for listener in &mut listeners {
        listener.ask("SUBSCRIBE c", SUBSCRIBED);
    }
    // Two that speak at once: all hear them in the same order.
    let speakers: Vec<_> = (0..2)
        .map(|speaker| {
            std::thread::spawn(move || {
                let mut client = Client::connect(port);
                let requests: String = (0..200).map(|n| format!("PUBLISH c {speaker}{n:03}\r\n")).collect();
                client.send(requests);
                client.expect(":20\r\n".repeat(200));
            })
        })
        .collect();
    speakers.into_iter().for_each(|speaker| speaker.join().expect("no panic"));
    let mut heard: Vec<Vec<String>> = Vec::new();
    for listener in &mut listeners {
        let mut all = Vec::new();
        for _ in 0..400 {
            listener.expect("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n");
            all.push(listener.line());
        }
        heard.push(all);
    }
    assert!(heard.iter().all(|one| *one == heard[0]));
    for speaker in ["0", "1"] {
        let mine: Vec<_> = heard[0].iter().filter(|text| text.starts_with(speaker)).collect();
        assert!(mine.len() == 200 && mine.is_sorted());
    }
    // A connection that ends takes its subscription along.
    listeners.truncate(5);
    let mut client = Client::connect(port);
    eventually("the end of the subscriptions", || {
        client.send("PUBLISH c x\r\n");
        client.line() == ":5\r\n"
    });
    stop(server);
}

#[test]
fn messages_come_behind_replies_and_never_inside() {
    let server = start(&config());
    let mut client = Client::connect(server.addresses.port);
    client.send("HELLO 3\r\n");
    eventually("the end of HELLO's reply", || client.line() == "*0\r\n");
    client.ask("SUBSCRIBE c", ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    let message = |text: &str| format!(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n{text}\r\n");
    let (a, b) = (message("a"), message("b"));
    client.ask(
        "PUBLISH c a\r\nPING\r\nMULTI\r\nPUBLISH c a\r\nPING\r\nPUBLISH c b\r\nEXEC\r\nPING",
        format!(
            ":1\r\n{a}+PONG\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1\r\n+PONG\r\n:1\r\n{a}{b}+PONG\r\n"
        ),
    );
    // One that waits in a command is still told.
    let mut other = Client::connect(server.addresses.port);
    client.send("WAIT 5 0\r\n");
    eventually("the waiting", || {
        other.send("INFO clients\r\n");
        let mut blocked = false;
        eventually("the end of INFO", || {
            let line = other.line();
            blocked |= line == "blocked_clients:1\r\n";
            line == "total_blocking_keys_on_nokey:0\r\n"
        });
        other.line();
        blocked
    });
    other.ask("PUBLISH c b", ":1\r\n");
    client.expect(&b);
    // Replies that are switched off do not switch messages off.
    other.ask(
        "SUBSCRIBE c\r\nUNSUBSCRIBE c",
        format!("{SUBSCRIBED}*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n"),
    );
    other.ask("CLIENT REPLY OFF\r\nPING\r\nSUBSCRIBE c", SUBSCRIBED);
    stop(server);
}

#[test]
fn who_does_not_read_is_closed() {
    let server = start(&config());
    let port = server.addresses.port;
    let mut client = Client::connect(port);
    client.ask("CONFIG SET client-output-buffer-limit \"pubsub 1mb 0 0\"", "+OK\r\n");
    let mut slow = Client::connect(port);
    slow.ask("SUBSCRIBE c", SUBSCRIBED);
    let mut good = Client::connect(port);
    good.ask("SUBSCRIBE c", SUBSCRIBED);
    let text = "x".repeat(100_000);
    let message = format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$100000\r\n{text}\r\n");
    let mut receivers = String::new();
    for _ in 0..500 {
        client.send(format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$100000\r\n{text}\r\n"));
        receivers = client.line();
        good.expect(&message);
        if receivers == ":1\r\n" {
            break;
        }
    }
    assert_eq!(receivers, ":1\r\n", "the slow one was closed, the other was not");
    stop(server);
}

#[test]
fn a_monitor_sees_what_all_do_but_no_secrets() {
    let server = start(&config());
    let mut monitor = Client::connect(server.addresses.port);
    monitor.ask("MONITOR", "+OK\r\n");
    let mut client = Client::connect(server.addresses.port);
    client.ask("SET k v\r\nAUTH default secret\r\nCONFIG GET port-x\r\nMULTI\r\nGET k\r\nEXEC", "+OK\r\n");
    for shown in [
        "\"SET\" \"k\" \"v\"",
        "\"AUTH\" \"(redacted)\" \"(redacted)\"",
        "\"MULTI\"",
        "\"GET\" \"k\"",
        "\"EXEC\"",
    ] {
        let line = monitor.line();
        assert!(line.starts_with('+') && line.ends_with(&format!("] {shown}\r\n")), "{line}");
    }
    monitor.ask("RESET", "+RESET\r\n");
    client.ask("", "");
    monitor.expect_silence();
    stop(server);
}
