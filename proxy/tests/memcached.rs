//! memcached clients.

mod common;

use common::node::Act;
use common::{World, key_on};
use torc_proxy::ProxyConfig;

#[tokio::test]
async fn classic_commands() {
    let world = World::new(3, ProxyConfig::default()).await;
    let mut client = world.memcached().await;
    let keys: Vec<String> = (0..3).map(|shard| key_on(shard, 3, "k")).collect();
    for (n, key) in keys.iter().enumerate() {
        client.send_raw(format!("set {key} 0 0 2\r\nv{n}\r\n").as_bytes()).await;
        assert_eq!(client.until("\r\n").await, "STORED\r\n");
    }
    client.send_raw(format!("get {}\r\n", keys[1]).as_bytes()).await;
    assert_eq!(client.until("END\r\n").await, format!("VALUE {} 0 2\r\nv1\r\nEND\r\n", keys[1]));
    // Over all shards, in the order of the request, without what is not there.
    client.send_raw(format!("get {} nothing {} {}\r\n", keys[2], keys[0], keys[1]).as_bytes()).await;
    let wanted: String = [2, 0, 1].iter().map(|n| format!("VALUE {} 0 2\r\nv{n}\r\n", keys[*n])).collect();
    assert_eq!(client.until("END\r\n").await, wanted + "END\r\n");
    // noreply says nothing; the pipeline keeps its order.
    let text =
        format!("set {0} 0 0 1 noreply\r\nx\r\nget {0}\r\nversion\r\nbogus\r\nverbosity 1\r\n", keys[0]);
    client.send_raw(text.as_bytes()).await;
    let reply = client.until("OK\r\n").await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        reply,
        format!("VALUE {} 0 1\r\nx\r\nEND\r\nVERSION 1.6.18-torc-{version}\r\nERROR\r\nOK\r\n", keys[0])
    );
    // Counters of the nodes are added up.
    client.send_raw(b"stats\r\n").await;
    let stats = client.until("END\r\n").await;
    assert!(stats.contains("STAT cmd_get 6\r\n") && stats.contains("STAT engine torc\r\n"), "{stats}");
    assert!(stats.contains("STAT curr_connections 1\r\n"), "{stats}");
    client.send_raw(b"flush_all\r\n").await;
    assert_eq!(client.until("\r\n").await, "OK\r\n");
    client.send_raw(format!("get {}\r\nquit\r\n", keys.join(" ")).as_bytes()).await;
    assert_eq!(client.rest().await, b"END\r\n");
    world.end().await;
}

#[tokio::test]
async fn bad_input() {
    let config = ProxyConfig { memcached_item_bytes: 10, ..ProxyConfig::default() };
    let world = World::new(1, config).await;
    let mut client = world.memcached().await;
    // The block is longer than announced: what is left of it is read as a command.
    client.send_raw(b"set k 0 0 2\r\nold\r\nset k 0 0 20\r\n01234567890123456789\r\nverbosity 1\r\n").await;
    let wanted = "CLIENT_ERROR bad data chunk\r\nERROR\r\nSERVER_ERROR object too large for cache\r\nOK\r\n";
    assert_eq!(client.until("OK\r\n").await, wanted);
    // Too large a value: the old one is not to be read any more.
    assert_eq!(world.nodes[0].count("MC delete k"), 1);
    // The same for a key in base64; mn waits for all that came before it.
    client.send_raw(b"ms Zm9v 20 b\r\n01234567890123456789\r\nmg k z\r\nmg k v\r\nmn\r\n").await;
    let wanted = "SERVER_ERROR object too large for cache\r\nCLIENT_ERROR invalid flag\r\nERROR\r\nMN\r\n";
    assert_eq!(client.until("MN\r\n").await, wanted);
    assert_eq!((world.nodes[0].count("MC md Zm9v b"), world.nodes[0].count("MC mg k v")), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn watch_is_for_nodes() {
    let world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.memcached().await;
    client.send_raw(b"watch mutations\r\nmn\r\n").await;
    assert_eq!(
        client.until("MN\r\n").await,
        "CLIENT_ERROR watch commands not allowed: a proxy has no log of items, watch the nodes\r\nMN\r\n"
    );
    world.end().await;
}

#[tokio::test]
async fn the_password_comes_first() {
    let config = ProxyConfig { requirepass: "secret".into(), ..ProxyConfig::default() };
    let world = World::new(1, config).await;
    let mut client = world.memcached().await;
    client.send_raw(b"get k\r\nset x 0 0 10\r\nuser wrong\r\nset x 0 0 11\r\nuser secret\r\nget k\r\n").await;
    assert_eq!(
        client.until("END\r\n").await,
        "CLIENT_ERROR unauthenticated\r\nCLIENT_ERROR authentication failure\r\nSTORED\r\nEND\r\n"
    );
    world.end().await;
}

#[tokio::test]
async fn users_of_a_file_come_in() {
    let file = std::env::temp_dir().join(format!("torc-proxy-users-{}", std::process::id()));
    std::fs::write(&file, "user:secret\n").expect("written");
    let config = ProxyConfig { memcached_auth_file: Some(file.clone()), ..ProxyConfig::default() };
    let world = World::new(1, config).await;
    std::fs::remove_file(&file).expect("there");
    let mut client = world.memcached().await;
    let text =
        "get k\r\nset x 0 0 6\r\nsecret\r\nset x 0 0 12\r\nother secret\r\nset x 0 0 11\r\nuser secret\r\n";
    client.send_raw(text.as_bytes()).await;
    assert_eq!(
        client.until("STORED\r\n").await,
        "CLIENT_ERROR unauthenticated\r\nCLIENT_ERROR bad authentication token format\r\n\
         CLIENT_ERROR authentication failure\r\nSTORED\r\n"
    );
    world.end().await;
}

#[tokio::test]
async fn what_is_lost_is_asked_again_and_done_once() {
    let world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.memcached().await;
    let mut lost = Vec::new();
    world.nodes[0].hook(move |seen| {
        // Connections after a lost one are probed by a command without arguments.
        let Some(line) = seen.args.get(1).cloned() else { return Act::Usual };
        if lost.contains(&line) {
            return Act::Usual;
        }
        lost.push(line);
        Act::ExecuteAndDrop
    });
    client.send_raw(b"set k 0 0 1\r\nv\r\n").await;
    assert_eq!(client.until("\r\n").await, "STORED\r\n");
    client.send_raw(b"get k\r\n").await;
    assert_eq!(client.until("END\r\n").await, "VALUE k 0 1\r\nv\r\nEND\r\n");
    client.send_raw(b"incr k 1\r\n").await;
    // The pretended node knows no incr; it says so once.
    assert_eq!(client.until("\r\n").await, "ERROR\r\n");
    client.send_raw(b"flush_all\r\n").await;
    assert!(client.until("\r\n").await.starts_with("SERVER_ERROR UNCERTAIN "));
    world.end().await;
}
