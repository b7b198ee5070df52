//! A proxy in front of nodes that are given by address, without a control plane: for trying and measuring.
//!
//! ```sh
//! front --port 7000 --memcached-port 7001 --http-port 7002 --threads 1 --secret-file F 127.0.0.1:6379 127.0.0.1:6380
//! ```
//! Each node is a shard with an equal share of the slots. Without a secret nodes are asked without the handshake.

use std::error::Error;
use std::sync::Arc;

use tokio::sync::watch;
use torc_cluster::{
    ClusterMap, Epoch, Incarnation, Member, NodeId, NodeInfo, ShardId, ShardState, Term, ring,
};
use torc_protocol::handshake::Secret;
use torc_proxy::{Listeners, MapSource, ProxyConfig, Setup};
use torc_runtime::listen::{Address, Listener, SocketOptions, bind};
use torc_runtime::shutdown::on_signals;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = ProxyConfig::default();
    let (mut listeners, mut secret, mut nodes) = (Listeners::default(), None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--port" => listeners.resp.push(listener(&value()?)?),
            "--memcached-port" => listeners.memcached.push(listener(&value()?)?),
            "--http-port" => listeners.http.push(listener(&value()?)?),
            "--threads" => config.threads = value()?.parse()?,
            "--secret-file" => secret = Some(Secret::from_hex(&std::fs::read_to_string(value()?)?)?),
            _ => nodes.push(word.parse::<Address>()?),
        }
    }
    let (_maps, receiver) = watch::channel(Arc::new(map(&nodes)?));
    let shutdown = on_signals()?;
    let maps = MapSource::Given(receiver);
    let proxy = torc_proxy::start(Setup { config, listeners, secret, maps, shutdown, read_again: None })?;
    let addresses = proxy.addresses();
    println!("RESP {}, memcached {}, HTTP {}", addresses.port, addresses.memcached_port, addresses.http_port);
    proxy.join();
    Ok(())
}

fn listener(port: &str) -> Result<Listener, Box<dyn Error>> {
    Ok(bind(&Address::tcp("127.0.0.1", port.parse()?), &SocketOptions::default())?)
}

fn map(nodes: &[Address]) -> Result<ClusterMap, Box<dyn Error>> {
    let mut map = ClusterMap { epoch: Epoch(1), cluster_name: "front".into(), ..ClusterMap::default() };
    let mut weights = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let Address::Tcp { host, port } = node else { return Err("nodes are reached over TCP".into()) };
        let (id, shard) = (NodeId(index as u64 + 1), ShardId(index as u16));
        let info = NodeInfo {
            id,
            incarnation: Incarnation(1),
            host: host.clone(),
            port: *port,
            ..NodeInfo::default()
        };
        map.nodes.insert(id, info);
        let primary = Some(Member::new(id, Incarnation(1)));
        map.shards.insert(
            shard,
            ShardState { id: shard, weight: 1, term: Term(1), primary, ..ShardState::default() },
        );
        weights.push((shard, 1));
    }
    map.slots = ring::assign(&weights, ring::DEFAULT_EPSILON);
    Ok(map)
}
