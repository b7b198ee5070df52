//! The routing table together with this worker's links.

use std::rc::Rc;
use std::sync::Arc;

use torc_cluster::{ClusterMap, ShardId};

use super::Worker;
use crate::table::{RouteTable, Target};
use crate::text;
use crate::upstream::link::Link;
use crate::upstream::pending::{Dest, Way};

/// A table and the link to each shard's primary. Never changed: a new map makes new routes.
#[derive(Debug)]
pub struct Routes {
    /// The table.
    pub table: Arc<RouteTable>,
    links: Vec<Option<Rc<Link>>>,
    members: Vec<Members>,
}

/// Whom of a shard a read may be sent to beside its primary.
#[derive(Debug, Default)]
pub struct Members {
    /// Whether the primary is in the proxy's zone.
    pub primary_is_near: bool,
    /// The other members of the in-sync set, and whether each is in the proxy's zone.
    pub replicas: Vec<(Rc<Link>, bool)>,
}

impl Routes {
    /// Before the first map.
    pub fn none() -> Self {
        Routes {
            table: Arc::new(RouteTable::new(Arc::new(ClusterMap::default()), &[])),
            links: Vec::new(),
            members: Vec::new(),
        }
    }

    /// The link to a shard's primary.
    #[inline]
    pub fn link(&self, index: usize) -> Option<&Rc<Link>> {
        self.links.get(index)?.as_ref()
    }

    /// The members of a shard.
    pub fn members(&self, index: usize) -> Option<&Members> {
        self.members.get(index)
    }

    /// The place of the shard that a request has to go to.
    #[inline]
    pub fn place(&self, dest: Dest) -> Option<usize> {
        match dest {
            Dest::Slot(slot) => self.table.shard_of(slot),
            Dest::Shard(shard) => self.table.index_of(shard),
        }
    }

    /// Whether all slots are of one shard, the only one.
    pub fn is_one_shard(&self) -> bool {
        self.shards() == 1
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.table.shards.len()
    }

    /// The shard at a place below [`Routes::shards`].
    pub fn shard_id(&self, index: usize) -> ShardId {
        self.table.shards.get(index).map_or(ShardId(u16::MAX), |shard| shard.id)
    }
}

impl Worker {
    /// Takes a new map: links to new primaries, farewell to old ones, and another try for what is held.
    pub(super) fn set_table(self: &Rc<Self>, table: Arc<RouteTable>) {
        let mut links = self.links.borrow_mut();
        let mut link_to = |target: &Target, leads: bool| {
            let link = links.entry(target.clone()).or_insert_with(|| {
                let metrics = self.shared.node_metrics(self.index, target);
                Rc::new(Link::new(target.clone(), metrics, self.shared.config.connections_per_node))
            });
            link.set_leads(leads);
            Rc::clone(link)
        };
        let zone = &self.shared.config.zone;
        let is_near = |of: &str| !zone.is_empty() && of == zone;
        let (mut used, mut members) = (Vec::with_capacity(table.shards.len()), Vec::new());
        for shard in &table.shards {
            used.push(shard.primary.as_ref().map(|target| link_to(target, true)));
            let replicas = shard.replicas.iter();
            members.push(Members {
                primary_is_near: is_near(&shard.zone),
                replicas: replicas.map(|(target, of)| (link_to(target, false), is_near(of))).collect(),
            });
        }
        let is_named = |target: &Target| {
            table.shards.iter().any(|shard| {
                shard.primary.as_ref() == Some(target)
                    || shard.replicas.iter().any(|(known, _)| known == target)
            })
        };
        let gone: Vec<Rc<Link>> =
            links.extract_if(|target, _| !is_named(target)).map(|(_, link)| link).collect();
        drop(links);
        let epoch = table.epoch;
        let routes = Rc::new(Routes { table, links: used, members });
        let old = self.routes.replace(Rc::clone(&routes));
        self.recall_copies(&old, &routes);
        tracing::debug!(worker = self.index, epoch, "took a new map");
        self.recall(&old, &routes);
        gone.iter().for_each(|link| self.recall_reads(link, 0));
        for link in gone {
            link.retire(self);
            self.retired.borrow_mut().push(link);
        }
        self.warm_up();
        self.follow_map(&routes);
        self.retry(true);
    }

    /// Requests under way to a node that is not the primary of their shard any more: what may be sent again goes
    /// to the new one at once, without waiting for the old one to answer or to break.
    fn recall(self: &Rc<Self>, old: &Routes, new: &Routes) {
        for index in 0..old.shards() {
            let Some(link) = old.link(index) else { continue };
            let shard = old.shard_id(index);
            let now = new.table.index_of(shard).and_then(|index| new.link(index));
            if now.is_some_and(|now| Rc::ptr_eq(now, link)) {
                continue;
            }
            for connection in link.connections() {
                let orphans = connection.take_in_order(false, |pending| {
                    pending.way == Way::Shared && !pending.replica && old.place(pending.dest) == Some(index)
                });
                for mut orphan in orphans {
                    orphan.pending.doubtful |= orphan.sent;
                    self.hold(orphan.pending, orphan.bytes);
                }
            }
        }
    }

    /// Answers what waits for a shard that the map has no more.
    pub(super) fn fail_homeless(&self, dest: Dest) -> Option<&'static str> {
        let routes = self.routes.borrow();
        match dest {
            Dest::Shard(_) if routes.shards() > 0 && routes.place(dest).is_none() => Some(text::NO_SHARD),
            _ => None,
        }
    }
}
