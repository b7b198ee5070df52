//! What the map knows of a node.

use crate::ids::{Incarnation, Member, NodeId};
use serde::{Deserialize, Serialize};

/// A registered node: one life of it, and where it listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub id: NodeId,
    pub incarnation: Incarnation,
    /// Address that the others and the clients dial; all ports are on it.
    pub host: String,
    /// RESP port.
    pub port: u16,
    /// 0: none.
    pub memcached_port: u16,
    pub bus_port: u16,
    /// 0: none.
    pub http_port: u16,
    /// Failure domain; replicas of a shard are spread over zones. Empty: not stated.
    pub zone: String,
    /// Share of shards this node wants beside others; 0: none.
    pub weight: u32,
    /// Whether the node votes in the control plane.
    pub control_voter: bool,
}

/// Where to reach a node's control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlAddress {
    pub node: NodeId,
    pub host: String,
    pub bus_port: u16,
}

impl NodeInfo {
    pub fn member(&self) -> Member {
        Member::new(self.id, self.incarnation)
    }

    /// `host:port` of RESP.
    pub fn address(&self) -> String {
        join(&self.host, self.port)
    }

    /// `host:port` of the bus.
    pub fn bus_address(&self) -> String {
        join(&self.host, self.bus_port)
    }

    pub fn control_address(&self) -> ControlAddress {
        ControlAddress { node: self.id, host: self.host.clone(), bus_port: self.bus_port }
    }
}

/// `host:port`, with brackets round an IPv6 address.
fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
