//! Clients that come and go in the middle of pipelines, nodes that break and refuse: no reply ever reaches the wrong
//! client or the wrong place. Every reply says which request it belongs to.
//!
//! Proved by breaking it: a connection that forgets the requests of clients who left, instead of keeping their places,
//! is found at once.
//!
//! `TORC_PROXY_SEED` and `TORC_PROXY_SEEDS` choose the seeds.

mod common;

use std::time::Duration;

use common::client::Client;
use common::node::Act;
use common::{PATIENCE, World};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use torc_protocol::resp::encode_request;
use torc_proxy::ProxyConfig;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One client's life: pipelines of requests, each reply checked; sometimes it leaves without reading.
async fn live(port: u16, seed: u64, id: usize, rounds: usize) {
    let mut random = SmallRng::seed_from_u64(seed);
    for round in 0..rounds {
        let mut client = Client::connect(port).await;
        for batch in 0..random.random_range(1..4) {
            let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
            for n in 0..random.random_range(1..40) {
                let tag = format!("{id}.{round}.{batch}.{n}");
                match random.random_range(0..12) {
                    0 => {
                        encode_request(&mut bytes, &["PING", &tag]);
                        wanted.push(tag);
                    }
                    // Split over the shards: the answers of each come back as the keys' own values.
                    1 => {
                        let keys: Vec<String> = (0..4).map(|key| format!("{tag}.{key}")).collect();
                        let mut args = vec!["MGET"];
                        args.extend(keys.iter().map(String::as_str));
                        encode_request(&mut bytes, &args);
                        wanted.push(keys.join(","));
                    }
                    2 => {
                        encode_request(&mut bytes, &["MULTI"]);
                        encode_request(&mut bytes, &["STRLEN", &tag]);
                        encode_request(&mut bytes, &["EXEC"]);
                        wanted.extend(["OK".into(), "QUEUED".into(), format!("STRLEN {tag}")]);
                    }
                    3 => {
                        encode_request(&mut bytes, &["APPEND", &tag, "x"]);
                        wanted.push(format!("APPEND {tag} x"));
                    }
                    _ => {
                        encode_request(&mut bytes, &["STRLEN", &tag]);
                        wanted.push(format!("STRLEN {tag}"));
                    }
                }
            }
            client.send_raw(&bytes).await;
            let leaves = random.random_range(0..4) == 0;
            let reads = if leaves { random.random_range(0..wanted.len()) } else { wanted.len() };
            for wanted in &wanted[..reads] {
                let reply = client.reply().await;
                let text = match &reply {
                    reply if reply.is_error() => {
                        let error = reply.as_error().expect("an error").into_owned();
                        panic!("seed {seed}: {error} for {wanted}");
                    }
                    reply if reply.as_array().is_some() => {
                        let items = reply.as_array().unwrap_or_default().iter();
                        items
                            .map(|item| item.as_str().unwrap_or("?").to_owned())
                            .collect::<Vec<_>>()
                            .join(",")
                    }
                    reply => reply.as_str().unwrap_or("?").to_owned(),
                };
                assert_eq!(&text, wanted, "seed {seed}: another request's reply");
            }
            if leaves {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_belongs_to_its_request() {
    for seed in setting("TORC_PROXY_SEED", 1)..setting("TORC_PROXY_SEED", 1) + setting("TORC_PROXY_SEEDS", 2)
    {
        let config = ProxyConfig {
            threads: 2,
            request_timeout_ms: PATIENCE.as_millis() as u32,
            ..ProxyConfig::default()
        };
        let world = World::new(3, config).await;
        for (n, node) in world.nodes.iter().enumerate() {
            let mut random = SmallRng::seed_from_u64(seed * 31 + n as u64);
            node.hook(move |seen| {
                // A key's value is the key itself.
                let usual = match seen.args[0].as_str() {
                    "MGET" => {
                        let values = seen.args[1..].iter().map(|key| format!("${}\r\n{key}\r\n", key.len()));
                        Act::Reply(format!("*{}\r\n{}", seen.args.len() - 1, values.collect::<String>()))
                    }
                    _ => Act::Usual,
                };
                match random.random_range(0..400) {
                    0 => Act::Drop,
                    1 => Act::ExecuteAndDrop,
                    2..6 if !matches!(seen.args[0].as_str(), "MULTI" | "EXEC") => {
                        Act::Reply("-CLUSTERDOWN Hash slot not served\r\n".into())
                    }
                    6..10 if seen.args[0] != "MGET" => Act::Late(Duration::from_millis(3)),
                    _ => usual,
                }
            });
        }
        let port = world.proxy.addresses().port;
        let mut clients = tokio::task::JoinSet::new();
        for id in 0..12 {
            clients.spawn(live(port, seed * 1000 + id as u64, id, 12));
        }
        while let Some(client) = clients.join_next().await {
            client.expect("each reply belongs to its request");
        }
        world.end().await;
    }
}
