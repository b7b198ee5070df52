//! The last changes of primaries in the whole cluster, as this node saw them: for status pages.

use std::collections::VecDeque;

use parking_lot::Mutex;
use torc_cluster::map::ClusterMap;

use super::admin::SeenPromotion;

/// Changes that are remembered; older ones are forgotten.
pub const MAX_PROMOTIONS: usize = 64;

/// See the module's text. The lock is held for the length of a copy.
#[derive(Debug, Default)]
pub struct Promotions(Mutex<VecDeque<SeenPromotion>>);

impl Promotions {
    /// Notes what is new in a map. What happened before the first map of this life is not known to be new: a
    /// node that starts notes nothing of it. Of several changes of one shard between two maps only the last is seen.
    pub fn note(&self, before: &ClusterMap, after: &ClusterMap, unix_ms: u64) {
        if !before.is_initialised() {
            return;
        }
        let mut seen = self.0.lock();
        for shard in after.shards.values() {
            let Some(promotion) = &shard.last_promotion else { continue };
            if before.shard(shard.id).is_some_and(|known| known.term >= promotion.term) {
                continue;
            }
            if seen.len() >= MAX_PROMOTIONS {
                seen.pop_front();
            }
            let promotion = promotion.clone();
            seen.push_back(SeenPromotion { shard: shard.id, at_unix_ms: unix_ms, promotion });
        }
    }

    /// All that are remembered, oldest first.
    pub fn list(&self) -> Vec<SeenPromotion> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torc_cluster::ids::{Incarnation, Member, NodeId, ShardId, Term};
    use torc_cluster::map::{Promotion, PromotionCost, PromotionReason, ShardState};

    fn map(terms: &[u64]) -> ClusterMap {
        let mut map = ClusterMap { cluster_name: "c".to_owned(), ..ClusterMap::default() };
        for (id, term) in terms.iter().enumerate() {
            let (id, term) = (ShardId(id as u16), Term(*term));
            let to = Member::new(NodeId(1), Incarnation(1));
            let reason = PromotionReason::LeaseExpired;
            let last = Promotion { from: None, to, term, reason, cost: PromotionCost::default() };
            let state = ShardState { id, term, last_promotion: Some(last), ..ShardState::default() };
            map.shards.insert(id, state);
        }
        map
    }

    #[test]
    fn new_terms_are_noted_once_and_the_oldest_are_forgotten() {
        let promotions = Promotions::default();
        promotions.note(&ClusterMap::default(), &map(&[1, 2]), 10);
        assert_eq!(promotions.list(), vec![], "that was before");
        promotions.note(&map(&[1, 2]), &map(&[3, 2]), 20);
        promotions.note(&map(&[3, 2]), &map(&[3, 2]), 30);
        let list = promotions.list();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].shard, list[0].at_unix_ms, list[0].promotion.term), (ShardId(0), 20, Term(3)));
        for term in 3..200 {
            promotions.note(&map(&[term]), &map(&[term + 1]), 40);
        }
        let list = promotions.list();
        assert_eq!(list.len(), MAX_PROMOTIONS);
        assert_eq!(list.last().map(|seen| seen.promotion.term), Some(Term(200)));
    }
}
