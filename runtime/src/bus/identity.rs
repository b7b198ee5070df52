//! Who we are to the other end, and who the other end is.

use std::net::SocketAddr;

use torc_protocol::handshake::{Role, Secret};

/// What this process shows in a handshake, and the secret that proves it.
#[derive(Clone, Debug)]
pub struct BusIdentity {
    /// The cluster secret; its `Debug` shows nothing of it.
    pub secret: Secret,
    /// What this process is.
    pub role: Role,
    /// Its name: [`node_name`] for a node.
    pub name: String,
}

impl BusIdentity {
    /// The identity of a node.
    pub fn node(secret: Secret, id: u64, incarnation: u64) -> Self {
        Self { secret, role: Role::Node, name: node_name(id, incarnation) }
    }
}

/// The other end of a connection, after its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusPeer {
    /// What it is.
    pub role: Role,
    /// Its name. Whoever knows the secret is believed about it.
    pub name: String,
    /// Where it connected from, or where we dialled.
    pub address: SocketAddr,
}

impl BusPeer {
    /// Node id and incarnation, when the peer is a node.
    pub fn member(&self) -> Option<(u64, u64)> {
        if self.role == Role::Node { parse_node_name(&self.name) } else { None }
    }
}

/// The name of a node's process: `ID@INCARNATION`.
pub fn node_name(id: u64, incarnation: u64) -> String {
    format!("{id}@{incarnation}")
}

/// Reads [`node_name`].
pub fn parse_node_name(name: &str) -> Option<(u64, u64)> {
    let (id, incarnation) = name.split_once('@')?;
    Some((id.parse().ok()?, incarnation.parse().ok()?))
}

#[cfg(test)]
mod names {
    use super::*;

    #[test]
    fn node_names_read_back() {
        assert_eq!(parse_node_name(&node_name(7, u64::MAX)), Some((7, u64::MAX)));
        for bad in ["", "7", "7@", "@7", "a@1", "7@1@2"] {
            assert_eq!(parse_node_name(bad), None);
        }
    }
}
