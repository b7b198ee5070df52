//! The routing table: what a worker needs of the cluster map, laid out for looking up.
//!
//! Built once per map by the control thread and shared, unchanging, by all workers.

use std::sync::Arc;

use torc_cluster::map::{DEFAULT_MAX_STALENESS_MS, Policy};
use torc_cluster::{ClusterMap, Incarnation, NodeId, NodeInfo, ShardId};
use torc_protocol::context::{Ack, ReadFrom, ReadLevel};
use torc_protocol::slot::{SLOTS, Slot};

/// In `slots`: nobody owns it.
const NOBODY: u16 = u16::MAX;

/// A node as a worker dials it: another life or address is another target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which node.
    pub node: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// `host:port` of its RESP port.
    pub address: Arc<str>,
}

/// A shard as a worker sees it.
#[derive(Clone, Debug)]
pub struct ShardRoute {
    /// Its number.
    pub id: ShardId,
    /// Its primary, when it has one.
    pub primary: Option<Target>,
    /// Zone of the primary.
    pub zone: Box<str>,
    /// The other members of its in-sync set, with their zones.
    pub replicas: Vec<(Target, Box<str>)>,
}

/// What holds for keys with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The prefix.
    pub prefix: Box<[u8]>,
    /// Acknowledgement of writes.
    pub ack: Option<Ack>,
    /// Level of reads.
    pub read: Option<ReadLevel>,
    /// Whether hot keys may be answered with copies.
    pub copies: Option<bool>,
    /// Whether identical reads may share a request.
    pub coalesce: Option<bool>,
    /// Which members are read from.
    pub read_from: Option<ReadFrom>,
    /// How old what a replica shows may be (ms).
    pub max_staleness_ms: u32,
}

impl Rule {
    /// Whether a node may hold replies back until the in-sync set has caught up.
    pub fn is_slow(&self) -> bool {
        is_slow(self.ack, self.read)
    }
}

/// The same for any choice of levels.
pub fn is_slow(ack: Option<Ack>, read: Option<ReadLevel>) -> bool {
    ack == Some(Ack::InSync) || read == Some(ReadLevel::Strong)
}

/// See the module's text.
#[derive(Debug)]
pub struct RouteTable {
    /// Version of the map it was made from.
    pub epoch: u64,
    /// Place in `shards` of each slot's owner.
    slots: Vec<u16>,
    /// All shards, by ascending id.
    pub shards: Vec<ShardRoute>,
    /// The longest prefix first.
    pub rules: Vec<Rule>,
    /// Whether replies under any of the rules may be held back by the node.
    pub has_slow_rules: bool,
    /// Whether any of the rules lets replicas be read from.
    pub reads_replicas: bool,
    /// The map itself, for what is looked up seldom.
    pub map: Arc<ClusterMap>,
}

impl RouteTable {
    /// The table of a map; `own` are the proxy's policies, which hold before those of the map.
    pub fn new(map: Arc<ClusterMap>, own: &[Policy]) -> Self {
        let shards: Vec<ShardRoute> = map
            .shards
            .values()
            .map(|shard| {
                let target = |node: &NodeInfo| Target {
                    node: node.id,
                    incarnation: node.incarnation,
                    address: node.address().into(),
                };
                let primary = map.primary_of(shard.id);
                let zone = primary.map_or("", |(node, _)| &node.zone).into();
                let others = shard.in_sync.iter().filter(|member| shard.primary != Some(**member));
                let replicas = others
                    .filter_map(|member| map.node(member.node).filter(|node| node.member() == *member))
                    .map(|node| (target(node), node.zone.as_str().into()))
                    .collect();
                ShardRoute { id: shard.id, primary: primary.map(|(node, _)| target(node)), zone, replicas }
            })
            .collect();
        let mut slots = vec![NOBODY; usize::from(SLOTS)];
        for range in map.slots.ranges() {
            let index = shards.binary_search_by_key(&range.shard, |shard| shard.id);
            let Ok(index) = index.map(|index| u16::try_from(index).unwrap_or(NOBODY)) else { continue };
            if let Some(slots) = slots.get_mut(usize::from(range.first)..=usize::from(range.last)) {
                slots.fill(index);
            }
        }
        let rules = rules(own, &map.policies);
        let has_slow_rules = rules.iter().any(Rule::is_slow);
        let from_replicas = |rule: &Rule| rule.read_from.is_some_and(|from| from != ReadFrom::Primary);
        let reads_replicas = rules.iter().any(from_replicas);
        RouteTable { epoch: map.epoch.0, slots, shards, rules, has_slow_rules, reads_replicas, map }
    }

    /// The place in `shards` of a slot's owner.
    #[inline]
    pub fn shard_of(&self, slot: Slot) -> Option<usize> {
        self.slots.get(usize::from(slot)).filter(|index| **index != NOBODY).map(|index| usize::from(*index))
    }

    /// The place in `shards` of a shard.
    pub fn index_of(&self, shard: ShardId) -> Option<usize> {
        self.shards.binary_search_by_key(&shard, |shard| shard.id).ok()
    }

    /// Whether each slot has the same owner as there.
    pub fn has_slots_of(&self, other: &RouteTable) -> bool {
        let ids = |table: &RouteTable| table.shards.iter().map(|shard| shard.id).collect::<Vec<_>>();
        self.slots == other.slots && ids(self) == ids(other)
    }

    /// The rule with the longest prefix that fits a key.
    #[inline]
    pub fn rule(&self, key: &[u8]) -> Option<&Rule> {
        self.rules.iter().find(|rule| key.starts_with(&rule.prefix))
    }

    /// Whether every shard has a primary and every slot an owner.
    pub fn is_whole(&self) -> bool {
        !self.shards.is_empty()
            && self.shards.iter().all(|shard| shard.primary.is_some())
            && !self.slots.contains(&NOBODY)
    }
}

fn rules(own: &[Policy], of_map: &[Policy]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for policy in own.iter().chain(of_map) {
        let prefix = policy.prefix.as_bytes();
        if rules.iter().any(|rule| *rule.prefix == *prefix) {
            continue;
        }
        rules.push(Rule {
            prefix: prefix.into(),
            ack: policy.ack,
            read: policy.read,
            copies: policy.copies,
            coalesce: policy.coalesce,
            read_from: policy.read_from,
            max_staleness_ms: policy.max_staleness_ms.unwrap_or(DEFAULT_MAX_STALENESS_MS),
        });
    }
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.prefix.len()));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(prefix: &str, ack: Option<Ack>) -> Policy {
        Policy { prefix: prefix.into(), ack, ..Policy::default() }
    }

    #[test]
    fn the_longest_prefix_holds_and_the_proxys_own_before_the_maps() {
        let own = [policy("lock:", Some(Ack::InSync)), policy("", Some(Ack::Primary))];
        let map = ClusterMap {
            policies: vec![policy("lock:", Some(Ack::None)), policy("lock:fast:", Some(Ack::None))],
            ..ClusterMap::default()
        };
        let table = RouteTable::new(Arc::new(map), &own);
        let ack = |key: &str| table.rule(key.as_bytes()).and_then(|rule| rule.ack);
        assert_eq!(ack("lock:a"), Some(Ack::InSync));
        assert_eq!(ack("lock:fast:a"), Some(Ack::None));
        assert_eq!(ack("a"), Some(Ack::Primary));
        assert!(!table.is_whole());
        assert_eq!(table.shard_of(7), None);
    }
}
