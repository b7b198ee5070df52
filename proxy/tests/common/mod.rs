//! What the tests of the proxy stand on: nodes that pretend, a proxy between them, and a plain client.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod client;
pub mod node;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use torc_cluster::{ClusterMap, Epoch, Incarnation, Member, NodeId, NodeInfo, ShardId, ShardState, Term};
use torc_protocol::handshake::Secret;
use torc_protocol::slot::{SLOTS, key_slot};
use torc_proxy::{Listeners, MapSource, ProxyConfig, ProxyHandle, Setup};
use torc_runtime::listen::{Address, Listener, SocketOptions, bind};
use torc_runtime::shutdown::Shutdown;

use client::Client;
use node::FakeNode;

/// Longer than anything should take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn secret() -> Secret {
    Secret::new(&[9; 32]).expect("long enough")
}

pub fn listener() -> Listener {
    bind(&Address::tcp("127.0.0.1", 0), &SocketOptions::default()).expect("a free port")
}

/// A map in which shard `i` is led by the node on `primaries[i]` (none: no primary), each with an equal share of the
/// slots in one piece.
pub fn map(epoch: u64, primaries: &[Option<u16>]) -> ClusterMap {
    let mut map = ClusterMap { epoch: Epoch(epoch), cluster_name: "test".into(), ..ClusterMap::default() };
    let share = usize::from(SLOTS).div_ceil(primaries.len());
    for (index, port) in primaries.iter().enumerate() {
        let shard = ShardId(index as u16);
        let id = NodeId(u64::from(port.unwrap_or(0)));
        let member = Member::new(id, Incarnation(1));
        if let Some(port) = port {
            let info = NodeInfo {
                id,
                incarnation: Incarnation(1),
                host: "127.0.0.1".into(),
                port: *port,
                ..NodeInfo::default()
            };
            map.nodes.insert(id, info);
        }
        let state = ShardState {
            id: shard,
            weight: 1,
            term: Term(epoch),
            primary: port.map(|_| member),
            in_sync: BTreeSet::from([member]),
            ..ShardState::default()
        };
        map.shards.insert(shard, state);
        for slot in (index * share)..((index + 1) * share).min(usize::from(SLOTS)) {
            map.slots.set(slot as u16, shard);
        }
    }
    map
}

/// A map in which each shard has a primary and a replica.
pub fn with_replicas(epoch: u64, nodes: &[[FakeNode; 2]]) -> ClusterMap {
    let ports: Vec<Option<u16>> = nodes.iter().map(|[primary, _]| Some(primary.port)).collect();
    let mut map = map(epoch, &ports);
    for (shard, [_, replica]) in map.shards.values_mut().zip(nodes) {
        let id = NodeId(u64::from(replica.port));
        shard.in_sync.insert(Member::new(id, Incarnation(1)));
        let info = NodeInfo {
            id,
            incarnation: Incarnation(1),
            host: "127.0.0.1".into(),
            port: replica.port,
            ..NodeInfo::default()
        };
        map.nodes.insert(id, info);
    }
    map
}

/// The shard of a key in a map of [`map`].
pub fn shard_of(key: &str, shards: usize) -> usize {
    usize::from(key_slot(key.as_bytes())) / usize::from(SLOTS).div_ceil(shards)
}

/// A key on that shard.
pub fn key_on(shard: usize, shards: usize, salt: &str) -> String {
    (0..).map(|n| format!("{salt}{n}")).find(|key| shard_of(key, shards) == shard).expect("some key")
}

/// A proxy with its nodes.
pub struct World {
    pub nodes: Vec<FakeNode>,
    pub maps: watch::Sender<Arc<ClusterMap>>,
    pub proxy: ProxyHandle,
    pub shutdown: Shutdown,
    pub epoch: u64,
}

impl World {
    /// As many shards as said, each with a node.
    pub async fn new(shards: usize, config: ProxyConfig) -> World {
        let mut nodes = Vec::new();
        for _ in 0..shards {
            nodes.push(FakeNode::start(Some(secret())).await);
        }
        let ports: Vec<Option<u16>> = nodes.iter().map(|node| Some(node.port)).collect();
        let (maps, receiver) = watch::channel(Arc::new(map(1, &ports)));
        let shutdown = Shutdown::new();
        let proxy = torc_proxy::start(Setup {
            config,
            listeners: Listeners {
                resp: vec![listener()],
                memcached: vec![listener()],
                http: vec![listener()],
            },
            secret: Some(secret()),
            maps: MapSource::Given(receiver),
            shutdown: shutdown.clone(),
            read_again: None,
        })
        .expect("starts");
        let world = World { nodes, maps, proxy, shutdown, epoch: 1 };
        world.until(|world| world.proxy.ready().is_ok()).await;
        world
    }

    /// A new map.
    pub fn set_map(&mut self, primaries: &[Option<u16>]) {
        self.epoch += 1;
        self.maps.send_replace(Arc::new(map(self.epoch, primaries)));
    }

    pub fn ports(&self) -> Vec<Option<u16>> {
        self.nodes.iter().map(|node| Some(node.port)).collect()
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.proxy.addresses().port).await
    }

    pub async fn memcached(&self) -> Client {
        Client::connect(self.proxy.addresses().memcached_port).await
    }

    /// Waits until something is so.
    pub async fn until(&self, so: impl Fn(&World) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !so(self) {
            assert!(tokio::time::Instant::now() < deadline, "waited in vain");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the proxy; its threads are gone when this returns.
    pub async fn end(self) {
        self.shutdown.trigger();
        let proxy = self.proxy;
        tokio::task::spawn_blocking(move || proxy.join()).await.expect("ends");
    }
}
