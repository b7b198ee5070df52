//! Slow readers, full buffers, too many clients, and a proxy that is stopped: each has its outcome.

mod common;

use std::time::Duration;

use common::client::Client;
use common::node::Act;
use common::{PATIENCE, World};
use torc_protocol::resp::encode_request;
use torc_proxy::ProxyConfig;

const BIG: usize = 64 * 1024;

#[tokio::test]
async fn a_slow_reader_is_not_read_from() {
    let config = ProxyConfig { client_output_soft_bytes: 256 * 1024, ..ProxyConfig::default() };
    let world = World::new(1, config).await;
    world.nodes[0].set("big", &"x".repeat(BIG));
    let mut slow = world.client().await;
    let mut bytes = Vec::new();
    for _ in 0..2000 {
        encode_request(&mut bytes, &["GET", "big"]);
    }
    slow.send_raw(&bytes).await;
    // 128 MB were asked for; only so much of it is fetched while nobody reads (sockets hold some megabytes).
    tokio::time::sleep(Duration::from_millis(500)).await;
    let fetched = world.nodes[0].count("GET big");
    assert!(fetched < 1200, "{fetched} values were fetched for a client that reads nothing");
    // Others are served meanwhile.
    assert_eq!(world.client().await.ask("SET a 1").await, "+OK\r\n");
    for _ in 0..2000 {
        assert_eq!(slow.reply().await.as_bytes().map(<[u8]>::len), Some(BIG));
    }
    world.end().await;
}

#[tokio::test]
async fn a_reader_beyond_the_bound_is_closed() {
    let config = ProxyConfig {
        client_output_soft_bytes: 64 * 1024,
        client_output_hard_bytes: 1024 * 1024,
        ..ProxyConfig::default()
    };
    let world = World::new(1, config).await;
    // One reply above all bounds: the requests were taken before anything came back.
    world.nodes[0].set("big", &"x".repeat(BIG));
    let mut slow = world.client().await;
    let mut bytes = Vec::new();
    for _ in 0..1000 {
        encode_request(&mut bytes, &["GET", "big"]);
    }
    slow.send_raw(&bytes).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let left = slow.rest().await;
    assert!(left.len() < 1000 * BIG, "closed before everything came");
    assert_eq!(world.client().await.ask("PING").await, "+PONG\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_full_upstream_holds_its_clients_up_and_lets_them_go() {
    let config = ProxyConfig { upstream_buffer_bytes: 64 * 1024, ..ProxyConfig::default() };
    let world = World::new(1, config).await;
    world.nodes[0].hook(|seen| match seen.args.get(1).map(String::as_str) {
        Some("first") => Act::Late(Duration::from_millis(200)),
        _ => Act::Usual,
    });
    let mut client = world.client().await;
    let (mut bytes, value) = (Vec::new(), "v".repeat(8 * 1024));
    encode_request(&mut bytes, &["SET", "first", "1"]);
    for n in 0..200 {
        encode_request(&mut bytes, &["SET", &format!("k{n}"), &value]);
    }
    let (mut reader, mut writer) = tokio::io::split(client.stream);
    let sender = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes).await.expect("writes");
        writer
    });
    let mut replies = Vec::new();
    while replies.len() < 201 * 5 {
        let read = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut replies);
        assert!(tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("reads") > 0);
    }
    assert_eq!(replies, b"+OK\r\n".repeat(201));
    client.stream = reader.unsplit(sender.await.expect("sent"));
    assert_eq!(client.ask("PING").await, "+PONG\r\n");
    world.end().await;
}

#[tokio::test]
async fn one_client_too_many() {
    let world = World::new(1, ProxyConfig { max_clients: 2, ..ProxyConfig::default() }).await;
    let mut first = world.client().await;
    let mut second = world.client().await;
    assert_eq!(first.ask("PING").await, "+PONG\r\n");
    assert_eq!(second.ask("PING").await, "+PONG\r\n");
    let mut third = world.client().await;
    assert_eq!(third.rest().await, b"-ERR max number of clients reached\r\n");
    assert_eq!(first.ask("CONFIG SET maxclients 3").await, "+OK\r\n");
    assert_eq!(first.ask("CONFIG GET maxclients").await, "*2\r\n$10\r\nmaxclients\r\n$1\r\n3\r\n");
    assert_eq!(world.client().await.ask("PING").await, "+PONG\r\n");
    world.end().await;
}

#[tokio::test]
async fn clients_can_be_listed_and_closed() {
    let world = World::new(1, ProxyConfig { threads: 2, ..ProxyConfig::default() }).await;
    let (mut first, mut second) = (world.client().await, world.client().await);
    assert_eq!(first.ask("CLIENT SETNAME one").await, "+OK\r\n");
    assert_eq!(second.ask("CLIENT SETNAME two").await, "+OK\r\n");
    let list = first.ask("CLIENT LIST").await;
    assert!(
        list.contains("name=one") && list.contains("name=two") && list.contains("cmd=client|list"),
        "{list}"
    );
    let id = second.reply_of("CLIENT ID").await;
    assert_eq!(first.ask(&format!("CLIENT KILL ID {id}")).await, ":1\r\n");
    assert_eq!(second.rest().await, b"");
    assert_eq!(first.ask("CLIENT KILL 1.2.3.4:5").await, "-ERR No such client\r\n");
    // The mode of replies.
    first
        .send_raw(
            b"CLIENT REPLY OFF\r\nPING\r\nGET a\r\nCLIENT REPLY ON\r\nCLIENT REPLY SKIP\r\nGET a\r\nPING\r\n",
        )
        .await;
    assert_eq!(first.reply_bytes().await, "+OK\r\n");
    assert_eq!(first.reply_bytes().await, "+PONG\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_stopped_proxy_answers_what_it_has_taken() {
    let world = World::new(1, ProxyConfig::default()).await;
    world.nodes[0].hook(|_| Act::Late(Duration::from_millis(300)));
    let (mut busy, mut idle) = (world.client().await, world.client().await);
    assert_eq!(idle.ask("PING").await, "+PONG\r\n");
    busy.send("SET a 1").await;
    world.until(|world| world.nodes[0].count("SET a 1") == 1).await;
    let port = world.proxy.addresses().port;
    let end = tokio::spawn(world.end());
    assert_eq!(busy.reply_bytes().await, "+OK\r\n");
    assert_eq!(busy.rest().await, b"");
    assert_eq!(idle.rest().await, b"");
    end.await.expect("ends");
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn metrics_and_readiness() {
    let mut world = World::new(2, ProxyConfig::default()).await;
    let mut client = world.client().await;
    client.ask("SET a 1").await;
    client.ask("GET a").await;
    client.ask("NOSUCH").await;
    let port = world.proxy.addresses().http_port;
    let mut http = Client::connect(port).await;
    http.send_raw(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let text = String::from_utf8(http.rest().await).expect("text");
    for line in [
        "torc_proxy_requests_total{command=\"get\"} 1",
        "torc_proxy_requests_total{command=\"set\"} 1",
        "torc_proxy_clients{protocol=\"resp\"} 1",
        "torc_proxy_shards 2",
        "torc_proxy_request_seconds_count{command=\"get\"} 1",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert!(text.contains("torc_proxy_upstream_requests_total{"), "{text}");
    let status = async |port| {
        let mut http = Client::connect(port).await;
        http.send_raw(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        String::from_utf8(http.rest().await).expect("text").split(' ').nth(1).map(str::to_owned)
    };
    assert_eq!(status(port).await.as_deref(), Some("200"));
    world.set_map(&[None, Some(world.nodes[1].port)]);
    world.until(|world| world.proxy.ready().is_err()).await;
    assert_eq!(status(port).await.as_deref(), Some("503"));
    world.end().await;
}

/// Sends the beginning of a SET of `bytes` bytes: all but the last one.
async fn begin_set(client: &mut Client, bytes: usize) {
    client.send_raw(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${bytes}\r\n").as_bytes()).await;
    // Whoever is closed meanwhile finds out later.
    let chunk = vec![b'x'; 256 * 1024];
    let mut left = bytes - 1;
    while left > 0 {
        let part = left.min(chunk.len());
        let sent = tokio::time::timeout(
            PATIENCE,
            tokio::io::AsyncWriteExt::write_all(&mut client.stream, &chunk[..part]),
        );
        if !matches!(sent.await, Ok(Ok(()))) {
            return;
        }
        left -= part;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_requests_are_bounded_together() {
    const MIB: usize = 1024 * 1024;
    let config = ProxyConfig { max_buffer_bytes: 48 * MIB, ..ProxyConfig::default() };
    let world = World::new(1, config).await;
    // Ten clients begin 160 MB.
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut client = world.client().await;
        senders.spawn(async move {
            begin_set(&mut client, 16 * MIB).await;
            // The last byte and the end of the line.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, b"x\r\n").await;
            client.rest_or_reply().await
        });
    }
    let (mut stored, mut closed, mut most) = (0, 0, 0.0_f64);
    loop {
        tokio::select! {
            ended = senders.join_next() => match ended {
                Some(reply) => match reply.expect("ends") == "+OK\r\n" {
                    true => stored += 1,
                    false => closed += 1,
                },
                None => break,
            },
            () = tokio::time::sleep(Duration::from_millis(30)) => {
                most = most.max(gauge(&world, "torc_proxy_buffered_bytes").await);
            }
        }
    }
    println!("{stored} stored, {closed} closed, at most {most} bytes in buffers");
    assert!(stored > 0, "some of them got through");
    // One request more than the bound, in the buffers of both sides.
    assert!(most < (48 + 2 * 32) as f64 * MIB as f64, "{most} bytes in buffers");
    assert_eq!(gauge(&world, "torc_proxy_input_closed_total").await, f64::from(closed));
    assert_eq!(world.client().await.ask("PING").await, "+PONG\r\n");
    world.end().await;
}

#[tokio::test]
async fn more_clients_than_one_look_tells_of_are_served_at_once() {
    let world = World::new(2, ProxyConfig::default()).await;
    let mut clients = Vec::new();
    for _ in 0..600 {
        clients.push(world.client().await);
    }
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&format!("SET k{number} {round}.{number}")).await;
            client.send(&format!("GET k{number}")).await;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.reply_bytes().await, "+OK\r\n");
            assert_eq!(client.reply().await.as_str(), Some(&*format!("{round}.{number}")));
        }
        // Their places are free for the others' calls.
        clients.truncate(clients.len() / 2);
    }
    let left = clients.len() + 1;
    let mut other = world.client().await;
    while other.ask("CLIENT LIST").await.matches(" addr=").count() > left {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.end().await;
}

/// A metric without labels.
async fn gauge(world: &World, name: &str) -> f64 {
    let mut http = Client::connect(world.proxy.addresses().http_port).await;
    http.send_raw(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let text = String::from_utf8(http.rest().await).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("no {name}"))
}
