//! MULTI … EXEC with and without WATCH, commands that wait, and WAIT.

mod common;

use std::time::Duration;

use common::node::Act;
use common::{World, key_on};
use torc_proxy::ProxyConfig;

#[tokio::test]
async fn multi_and_exec() {
    let world = World::new(2, ProxyConfig::default()).await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut client = world.client().await;
    assert_eq!(client.ask("MULTI").await, "+OK\r\n");
    assert_eq!(client.ask("MULTI").await, "-ERR MULTI calls can not be nested\r\n");
    // As in Valkey 8: the error of a nested MULTI aborts.
    assert!(client.ask("EXEC").await.starts_with("-EXECABORT"));
    client.ask("MULTI").await;
    assert_eq!(client.ask(&format!("SET {a} 1")).await, "+QUEUED\r\n");
    assert_eq!(client.ask(&format!("INCR {a}")).await, "+QUEUED\r\n");
    assert_eq!(client.ask(&format!("GET none{{{a}}}")).await, "+QUEUED\r\n");
    assert_eq!(world.nodes[0].seen().len(), 0);
    assert_eq!(client.ask("EXEC").await, "*3\r\n+OK\r\n:2\r\n$-1\r\n");
    // Keys of two slots, an unknown command, a wrong number of arguments: all abort.
    for bad in [format!("SET {b} 1"), "NOSUCH".into(), "GET".into(), "DBSIZE".into()] {
        client.ask("MULTI").await;
        client.ask(&format!("SET {a} 9")).await;
        assert!(client.ask(&bad).await.starts_with('-'), "{bad}");
        assert!(client.ask("EXEC").await.starts_with("-EXECABORT"), "{bad}");
    }
    client.ask("MULTI").await;
    client.ask(&format!("SET {a} 9")).await;
    assert_eq!(client.ask("DISCARD").await, "+OK\r\n");
    assert_eq!(client.ask("EXEC").await, "-ERR EXEC without MULTI\r\n");
    assert_eq!(client.ask("DISCARD").await, "-ERR DISCARD without MULTI\r\n");
    client.ask("MULTI").await;
    assert_eq!(client.ask("EXEC").await, "*0\r\n");
    assert_eq!(world.nodes[0].value(&a).as_deref(), Some("2"));
    // All of it went over the one shared connection.
    assert_eq!(world.nodes[0].connections(), 1);
    world.end().await;
}

#[tokio::test]
async fn transactions_of_many_clients_do_not_mix() {
    let world = World::new(1, ProxyConfig::default()).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(world.client().await);
    }
    for round in 0..20 {
        for (n, client) in clients.iter_mut().enumerate() {
            let text =
                format!("MULTI\r\nGETX {{k}}c{n}r{round}\r\nSTRLEN {{k}}c{n}r{round}\r\nEXEC\r\nPING\r\n");
            client.send_raw(text.replace("GETX", "TTL").as_bytes()).await;
        }
        for (n, client) in clients.iter_mut().enumerate() {
            for wanted in ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"] {
                assert_eq!(client.reply_bytes().await, wanted);
            }
            let replies = client.reply().await.into_array().expect("an array");
            assert_eq!(replies[0].as_str(), Some(format!("TTL {{k}}c{n}r{round}").as_str()));
            assert_eq!(replies[1].as_str(), Some(format!("STRLEN {{k}}c{n}r{round}").as_str()));
            assert_eq!(client.reply_bytes().await, "+PONG\r\n");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn a_refused_transaction_is_tried_again_whole() {
    let world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.client().await;
    let (mut left, mut spoilt) = (2, false);
    world.nodes[0].hook(move |seen| match seen.args[0].as_str() {
        "INCR" if left > 0 => {
            left -= 1;
            spoilt = true;
            Act::Reply("-CLUSTERDOWN Hash slot not served\r\n".into())
        }
        "EXEC" if std::mem::take(&mut spoilt) => {
            Act::Reply("-EXECABORT Transaction discarded because of previous errors.\r\n".into())
        }
        _ => Act::Usual,
    });
    client.ask("MULTI").await;
    client.ask("SET n 4").await;
    client.ask("INCR n").await;
    let reply = client.ask("EXEC").await;
    assert!(reply.starts_with("*"), "{reply}");
    assert_eq!(world.nodes[0].value("n").as_deref(), Some("5"));
    // Lost on the way: sent again under its id.
    let mut lost = 0;
    world.nodes[0].hook(move |seen| {
        lost += usize::from(seen.args[0] == "EXEC");
        if seen.args[0] == "EXEC" && lost == 1 { Act::Drop } else { Act::Usual }
    });
    client.ask("MULTI").await;
    client.ask("SET n 4").await;
    assert_eq!(client.ask("EXEC").await, "*1\r\n+OK\r\n");
    let execs: Vec<_> = world.nodes[0].seen().into_iter().filter(|seen| seen.args[0] == "EXEC").collect();
    let [.., first, second] = &execs[..] else { panic!("{execs:?}") };
    assert_eq!((first.id.map(|id| id.seq), first.repeated), (second.id.map(|id| id.seq), false));
    assert!(first.id.is_some() && second.repeated);
    world.end().await;
}

#[tokio::test]
async fn watch() {
    let world = World::new(1, ProxyConfig::default()).await;
    let (mut client, mut other) = (world.client().await, world.client().await);
    for (changed, wanted) in [(false, "*1\r\n+OK\r\n"), (true, "*-1\r\n")] {
        assert_eq!(client.ask("WATCH n").await, "+OK\r\n");
        client.ask("GET n").await;
        if changed {
            other.ask("SET n other").await;
        }
        client.ask("MULTI").await;
        assert_eq!(client.ask("WATCH n").await, "-ERR WATCH inside MULTI is not allowed\r\n");
        client.ask("DISCARD").await;
        assert_eq!(client.ask("WATCH n").await, "+OK\r\n");
        if changed {
            other.ask("SET n other").await;
        }
        client.ask("MULTI").await;
        client.ask("SET n mine").await;
        assert_eq!(client.ask("EXEC").await, wanted);
    }
    assert_eq!(client.ask("WATCH n").await, "+OK\r\n");
    assert_eq!(client.ask("UNWATCH").await, "+OK\r\n");
    client.ask("MULTI").await;
    assert_eq!(client.ask("EXEC").await, "*0\r\n");
    // The connection that watched breaks: nobody can vouch for the key any more.
    client.ask("WATCH n").await;
    world.nodes[0].hook(|seen| if seen.args[0] == "MULTI" { Act::Drop } else { Act::Usual });
    client.ask("MULTI").await;
    client.ask("SET n x").await;
    let reply = client.ask("EXEC").await;
    assert!(reply == "*-1\r\n" || reply.starts_with("-UNCERTAIN "), "{reply}");
    world.end().await;
}

#[tokio::test]
async fn a_waiting_command_holds_up_nobody_else() {
    let world = World::new(1, ProxyConfig::default()).await;
    let (mut waiting, mut other) = (world.client().await, world.client().await);
    world.nodes[0].hook(|seen| match seen.args[0].as_str() {
        "LOCK.ACQUIRE" => Act::Late(Duration::from_millis(300)),
        _ => Act::Usual,
    });
    waiting.send_raw(b"SET a 1\r\nLOCK.ACQUIRE l TTL 1000 WAIT 2000\r\nGET a\r\nSET a 2\r\n").await;
    assert_eq!(waiting.reply_bytes().await, "+OK\r\n");
    assert_eq!(other.ask("GET a").await, "$1\r\n1\r\n");
    assert!(waiting.is_silent(50).await, "it should still wait");
    // What comes after it is executed after it.
    assert_eq!(world.nodes[0].count("SET a 2"), 0);
    assert_eq!(waiting.reply_bytes().await, ":77\r\n");
    assert_eq!(waiting.reply_bytes().await, "$1\r\n1\r\n");
    assert_eq!(waiting.reply_bytes().await, "+OK\r\n");
    let seen = world.nodes[0].seen();
    let lock = seen.iter().find(|seen| seen.args[0] == "LOCK.ACQUIRE").expect("asked");
    assert_eq!(lock.deadline_ms, 7000);
    assert!(
        seen.iter()
            .filter(|seen| seen.args[0] != "LOCK.ACQUIRE")
            .all(|seen| seen.connection != lock.connection)
    );
    // A client that goes away takes its connection with it; the next one gets a new one or a clean one.
    world.nodes[0].hook(|seen| if seen.args[0] == "LOCK.ACQUIRE" { Act::Never } else { Act::Usual });
    let mut gone = world.client().await;
    gone.send("LOCK.ACQUIRE l TTL 1000 WAIT 60000").await;
    world.until(|world| world.nodes[0].seen().iter().any(|seen| seen.deadline_ms == 65_000)).await;
    drop(gone);
    world.nodes[0].unhook();
    assert_eq!(other.ask("LOCK.ACQUIRE l TTL 1000 WAIT 10").await, ":77\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_reply_that_is_held_back_delays_nobody_else() {
    let world = World::new(1, ProxyConfig::default()).await;
    let (mut careful, mut other) = (world.client().await, world.client().await);
    world.nodes[0].hook(|seen| match seen.ack {
        Some(torc_protocol::context::Ack::InSync) => Act::Late(Duration::from_millis(300)),
        _ => Act::Usual,
    });
    // The lane changes between two requests of one client: the second waits for the first.
    careful.send_raw(b"SET a 1\r\nCLIENT ACK in-sync\r\nINCR a\r\nCLIENT ACK primary\r\nINCR a\r\n").await;
    for wanted in ["+OK\r\n", "+OK\r\n"] {
        assert_eq!(careful.reply_bytes().await, wanted);
    }
    world.until(|world| world.nodes[0].count("INCR a") == 1).await;
    assert_eq!(other.ask("SET b 1").await, "+OK\r\n");
    assert!(careful.is_silent(50).await, "its reply should still be held back");
    for wanted in [":2\r\n", "+OK\r\n", ":3\r\n"] {
        assert_eq!(careful.reply_bytes().await, wanted);
    }
    assert_eq!(world.nodes[0].connections(), 2);
    world.end().await;
}

#[tokio::test]
async fn wait_asks_every_shard_that_was_written_to() {
    let mut world = World::new(2, ProxyConfig::default()).await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut client = world.client().await;
    assert_eq!(client.ask("WAIT 0 10").await, ":1\r\n");
    client
        .send_raw(format!("SET {a} 1\r\nSET {a} 2\r\nSET {b} 1\r\nGET {b}\r\nWAIT 1 100\r\n").as_bytes())
        .await;
    for wanted in ["+OK\r\n", "+OK\r\n", "+OK\r\n", "$1\r\n1\r\n", ":1\r\n"] {
        assert_eq!(client.reply_bytes().await, wanted);
    }
    assert_eq!(world.nodes[0].count("TORC.WAIT 2 1 100"), 1);
    assert_eq!(world.nodes[1].count("TORC.WAIT 1 1 100"), 1);
    // In a new term nobody vouches for what was written in an older one.
    world.set_map(&world.ports());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(client.ask("WAIT 1 100").await, ":0\r\n");
    world.end().await;
}
