//! `ClusterMap::apply`: one consensus-ordered command at a time. Total and deterministic: a command that does
//! not fit is refused with a reason and changes nothing.

use super::assign::{self, Loads};
use super::{
    ClusterMap, MAX_NAME_BYTES, MAX_NODES, MAX_POLICIES, MAX_REPLICAS, MAX_SHARDS, MAX_USERS, MapCommand,
    MapReply, NodeInfo, Policy, Promotion, PromotionCost, PromotionReason, Refusal, Settings, ShardState,
    User,
};
use crate::bugs::{Bug, planted};
use crate::ids::{Member, NodeId, SetVersion, ShardId, Term};
use crate::{SLOTS, Slot, ring};
use std::collections::BTreeSet;

/// `Ok(None)`: held already, nothing changed.
type Applied = Result<Option<MapReply>, Refusal>;
const DONE: Applied = Ok(Some(MapReply::Done));

impl ClusterMap {
    /// Applies a command. The epoch rises by one when (and only when) something changed.
    pub fn apply(&mut self, command: MapCommand) -> MapReply {
        match self.dispatch(command) {
            Ok(Some(reply)) => {
                self.epoch.0 = self.epoch.0.saturating_add(1);
                reply
            }
            Ok(None) => MapReply::Done,
            Err(refusal) => MapReply::Refused(refusal),
        }
    }

    fn dispatch(&mut self, command: MapCommand) -> Applied {
        use MapCommand as C;
        match command {
            C::InitCluster { name, shards, replicas, settings } => {
                self.init(name, shards, replicas, settings)
            }
            C::RegisterNode { info } => self.register(info),
            C::RemoveNode { node } => self.remove_node(node),
            C::SetVoter { node, voter } => self.set_voter(node, voter),
            C::BeginReign { expected } => {
                self.check_reign(expected)?;
                self.reign = self.reign.saturating_add(1);
                DONE
            }
            C::AllocateTerm { shard, expected_term } => self.allocate_term(shard, expected_term),
            C::Promote {
                shard,
                expected_term,
                expected_set_version,
                new_term,
                primary,
                in_sync,
                handed_back,
                cost,
                reign,
            } => {
                self.check_reign(reign)?;
                let reason =
                    if handed_back { PromotionReason::HandedBack } else { PromotionReason::LeaseExpired };
                let set = expected_set_version;
                let applied = self.promote(shard, expected_term, set, new_term, primary, in_sync, reason)?;
                let state = self.shards.get_mut(&shard);
                if let Some(promotion) = state.and_then(|state| state.last_promotion.as_mut()) {
                    promotion.cost = cost;
                }
                Ok(applied)
            }
            C::PromoteUnclean { shard, expected_term, new_term, primary, reign } => {
                self.check_reign(reign)?;
                self.start_alone(shard, expected_term, new_term, primary, PromotionReason::Unclean)
            }
            C::ResetShard { shard, expected_term, new_term, primary, reign } => {
                self.check_reign(reign)?;
                self.start_alone(shard, expected_term, new_term, primary, PromotionReason::Reset)
            }
            C::ProposeSet { shard, term, by, expected_set_version, in_sync, discard, eligible } => {
                self.propose_set(shard, term, by, expected_set_version, in_sync, discard, eligible)
            }
            C::AddShard { shard, weight, replicas, members } => {
                self.add_shard(shard, weight, replicas, members)
            }
            C::RemoveShard { shard } => self.remove_shard(shard),
            C::SetWeight { shard, weight } => self.set_weight(shard, weight),
            C::SetMembers { shard, members } => self.set_members(shard, members),
            C::MoveSlots { from, to, slots } => self.move_slots(from, to, slots),
            C::SetPolicy { policy } => self.set_policy(policy),
            C::RemovePolicy { prefix } => {
                let before = self.policies.len();
                self.policies.retain(|policy| policy.prefix != prefix);
                if self.policies.len() == before { Ok(None) } else { DONE }
            }
            C::SetUser { name, user } => self.set_user(name, user),
            C::RemoveUser { name } => {
                if self.users.remove(&name).is_some() {
                    DONE
                } else {
                    Ok(None)
                }
            }
            C::SetSettings { settings } => self.set_settings(settings),
        }
    }

    fn init(&mut self, name: String, shards: u16, replicas: u8, settings: Settings) -> Applied {
        if self.is_initialised() {
            return Err(Refusal::AlreadyInitialised(self.cluster_name.clone()));
        }
        check_name("cluster name", &name, false)?;
        check_settings(&settings)?;
        check_replicas(replicas)?;
        if shards == 0 || usize::from(shards) > MAX_SHARDS {
            return Err(Refusal::Invalid(format!("shards must be between 1 and {MAX_SHARDS}")));
        }
        let wanted = usize::from(replicas) + 1;
        let usable = self.nodes.values().filter(|node| node.weight > 0).count();
        if usable < wanted {
            return Err(Refusal::NotEnoughNodes { needed: wanted, registered: usable });
        }
        for (id, members) in (0..shards).zip(assign::spread(&self.nodes, shards, wanted)) {
            self.shards.insert(ShardId(id), new_shard(ShardId(id), 1, replicas, members));
        }
        self.cluster_name = name;
        self.longest_lease_ms = self.longest_lease_ms.max(settings.lease_ms);
        self.settings = settings;
        let shards: Vec<_> = self.shards.keys().map(|shard| (*shard, 1)).collect();
        self.slots = ring::assign(&shards, ring::DEFAULT_EPSILON);
        DONE
    }

    fn register(&mut self, info: NodeInfo) -> Applied {
        check_name("host", &info.host, false)?;
        check_name("zone", &info.zone, true)?;
        let member = info.member();
        match self.nodes.get(&info.id) {
            Some(known) if known.incarnation > info.incarnation => {
                return Err(Refusal::StaleIncarnation { node: info.id, current: known.incarnation });
            }
            Some(known) if *known == info => return Ok(None),
            Some(_) => {}
            None if self.nodes.len() >= MAX_NODES => {
                return Err(Refusal::TooMany { what: "nodes".into(), limit: MAX_NODES });
            }
            None => {}
        }
        self.nodes.insert(info.id, info);
        for shard in self.shards.values_mut() {
            let gone = |other: &Member| other.node == member.node && other.incarnation < member.incarnation;
            let before = shard.in_sync.len() + shard.eligible.len();
            if planted(Bug::IncarnationIgnored) {
                let same = |other: &Member| if gone(other) { member } else { *other };
                shard.in_sync = shard.in_sync.iter().map(same).collect();
                shard.eligible = shard.eligible.iter().map(same).collect();
                continue;
            }
            shard.in_sync.retain(|other| !gone(other));
            shard.eligible.retain(|other| !gone(other));
            if shard.in_sync.len() + shard.eligible.len() != before {
                bump(&mut shard.set_version);
            }
        }
        self.fill_shards();
        DONE
    }

    /// Gives shards with too few members another node. Nobody is taken away from a shard here.
    fn fill_shards(&mut self) {
        let mut loads = Loads::new(&self.nodes);
        self.shards.values().for_each(|shard| loads.count(&shard.members));
        let mut filled = Vec::new();
        for shard in self.shards.values() {
            let wanted = usize::from(shard.replicas_wanted) + 1;
            if shard.members.len() < wanted {
                let members = loads.fill(shard.members.clone(), wanted);
                loads.count(members.get(shard.members.len()..).unwrap_or_default());
                filled.push((shard.id, members));
            }
        }
        for (id, members) in filled {
            if let Some(shard) = self.shards.get_mut(&id) {
                shard.members = members;
            }
        }
    }

    fn remove_node(&mut self, node: NodeId) -> Applied {
        if !self.nodes.contains_key(&node) {
            return Err(Refusal::UnknownNode(node));
        }
        let needed = |shard: &&ShardState| {
            shard.candidates().iter().any(|member| member.node == node)
                || shard.primary.is_some_and(|primary| primary.node == node)
        };
        if let Some(shard) = self.shards.values().find(needed) {
            return Err(Refusal::NodeInUse { node, shard: shard.id });
        }
        self.nodes.remove(&node);
        for shard in self.shards.values_mut() {
            shard.members.retain(|member| *member != node);
        }
        self.fill_shards();
        DONE
    }

    fn set_voter(&mut self, node: NodeId, voter: bool) -> Applied {
        let info = self.nodes.get_mut(&node).ok_or(Refusal::UnknownNode(node))?;
        if info.control_voter == voter {
            return Ok(None);
        }
        info.control_voter = voter;
        DONE
    }

    fn check_reign(&self, reign: u64) -> Result<(), Refusal> {
        if self.reign != reign && !planted(Bug::ReignIgnored) {
            return Err(Refusal::StaleReign { current: self.reign });
        }
        Ok(())
    }

    fn allocate_term(&mut self, shard: ShardId, expected_term: Term) -> Applied {
        let state = self.shards.get_mut(&shard).ok_or(Refusal::UnknownShard(shard))?;
        if state.term != expected_term {
            return Err(Refusal::StaleTerm { current: state.term });
        }
        if let Some(pending) = state.pending_term {
            return Ok(Some(MapReply::Term(pending)));
        }
        let term = self.last_term.next().ok_or(Refusal::TermsExhausted)?;
        if !planted(Bug::TermRepeats) {
            self.last_term = term;
        }
        state.pending_term = Some(term);
        Ok(Some(MapReply::Term(term)))
    }

    #[allow(clippy::too_many_arguments)] // The fields of one command.
    fn promote(
        &mut self,
        shard: ShardId,
        expected_term: Term,
        expected_set_version: SetVersion,
        new_term: Term,
        primary: Member,
        in_sync: BTreeSet<Member>,
        reason: PromotionReason,
    ) -> Applied {
        let current = self.is_current(primary);
        let state = self.shards.get(&shard).ok_or(Refusal::UnknownShard(shard))?;
        let min = self.min_in_sync(state);
        check_pending(state, expected_term, new_term)?;
        if state.set_version != expected_set_version {
            return Err(Refusal::StaleSetVersion { current: state.set_version });
        }
        if !current {
            return Err(Refusal::NotCurrent(primary));
        }
        if !in_sync.contains(&primary) {
            return Err(Refusal::SetWithoutPrimary);
        }
        if let Some(stranger) = in_sync.iter().find(|member| !state.is_candidate(**member)) {
            return Err(Refusal::NotCandidate(*stranger));
        }
        let others: BTreeSet<Member> = state.candidates().difference(&in_sync).copied().collect();
        let eligible = if in_sync.len() < min { others } else { BTreeSet::new() };
        self.crown(shard, new_term, primary, in_sync, eligible, reason);
        DONE
    }

    /// A new term with nobody but its primary in the set: an empty start, or an unclean promotion.
    fn start_alone(
        &mut self,
        shard: ShardId,
        expected_term: Term,
        new_term: Term,
        primary: Member,
        reason: PromotionReason,
    ) -> Applied {
        let current = self.is_current(primary);
        let state = self.shards.get(&shard).ok_or(Refusal::UnknownShard(shard))?;
        check_pending(state, expected_term, new_term)?;
        if !current {
            return Err(Refusal::NotCurrent(primary));
        }
        if !state.members.contains(&primary.node) {
            return Err(Refusal::NotAssigned(primary.node));
        }
        if reason == PromotionReason::Reset
            && !planted(Bug::ResetWhileRemembered)
            && let Some(member) = state.candidates().first()
        {
            return Err(Refusal::StillRemembered(*member));
        }
        let first = state.term == Term::NONE;
        let reason = if first { PromotionReason::First } else { reason };
        self.crown(shard, new_term, primary, BTreeSet::from([primary]), BTreeSet::new(), reason);
        DONE
    }

    fn crown(
        &mut self,
        shard: ShardId,
        term: Term,
        primary: Member,
        in_sync: BTreeSet<Member>,
        eligible: BTreeSet<Member>,
        reason: PromotionReason,
    ) {
        let Some(state) = self.shards.get_mut(&shard) else { return };
        state.last_promotion = Some(Promotion {
            from: state.primary,
            to: primary,
            term,
            reason,
            cost: PromotionCost::default(),
        });
        state.term = term;
        state.pending_term = None;
        state.primary = Some(primary);
        state.in_sync = in_sync;
        state.eligible = eligible;
        bump(&mut state.set_version);
        match reason {
            PromotionReason::First => {}
            PromotionReason::LeaseExpired | PromotionReason::HandedBack => state.failovers += 1,
            PromotionReason::Reset => {
                state.resets += 1;
                state.reset_term = Some(term);
            }
            PromotionReason::Unclean => {
                state.unclean += 1;
                state.reset_term = Some(term);
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // The fields of one command.
    fn propose_set(
        &mut self,
        shard: ShardId,
        term: Term,
        by: Member,
        expected_set_version: SetVersion,
        in_sync: BTreeSet<Member>,
        discard: BTreeSet<Member>,
        eligible: BTreeSet<Member>,
    ) -> Applied {
        let state = self.shards.get(&shard).ok_or(Refusal::UnknownShard(shard))?;
        let min = self.min_in_sync(state);
        if state.term != term {
            return Err(Refusal::StaleTerm { current: state.term });
        }
        if let Some(pending) = state.pending_term {
            return Err(Refusal::FailoverPending(pending));
        }
        if state.primary != Some(by) {
            return Err(Refusal::NotPrimary(by));
        }
        if state.set_version != expected_set_version {
            return Err(Refusal::StaleSetVersion { current: state.set_version });
        }
        if !in_sync.contains(&by) || discard.contains(&by) {
            return Err(Refusal::SetWithoutPrimary);
        }
        if let Some(both) = in_sync.intersection(&discard).next() {
            return Err(Refusal::Invalid(format!("{both} can not be in-sync and discard what it holds")));
        }
        if let Some(both) =
            eligible.iter().find(|member| in_sync.contains(member) || discard.contains(member))
        {
            return Err(Refusal::Invalid(format!(
                "{both} can not be eligible and in-sync, or discard what it holds"
            )));
        }
        // Where either set is large enough the mark may move, now or before this was applied, without who is outside.
        let stands_still = state.in_sync.len() < min && in_sync.len() < min;
        if !eligible.is_empty() && !stands_still && !planted(Bug::EligibleOverMinimum) {
            return Err(Refusal::Invalid("nobody becomes eligible while the mark may move".into()));
        }
        for member in in_sync.difference(&state.in_sync).chain(eligible.difference(&state.eligible)) {
            if !self.is_current(*member) {
                return Err(Refusal::NotCurrent(*member));
            }
            if !state.members.contains(&member.node) {
                return Err(Refusal::NotAssigned(member.node));
            }
        }
        let eligible = if in_sync.len() < min || planted(Bug::EligibleOverMinimum) {
            // The mark stands still from here on, so who leaves holds everything up to it.
            let mut all = state.candidates();
            all.extend(eligible);
            all.retain(|member| !in_sync.contains(member) && !discard.contains(member));
            all
        } else {
            BTreeSet::new()
        };
        if let Some(state) = self.shards.get_mut(&shard) {
            state.in_sync = in_sync;
            state.eligible = eligible;
            bump(&mut state.set_version);
        }
        DONE
    }

    fn add_shard(&mut self, shard: ShardId, weight: u32, replicas: u8, members: Vec<NodeId>) -> Applied {
        if !self.is_initialised() {
            return Err(Refusal::NotInitialised);
        }
        if self.shards.contains_key(&shard) {
            return Err(Refusal::ShardExists(shard));
        }
        if self.shards.len() >= MAX_SHARDS || shard.0 == u16::MAX {
            return Err(Refusal::TooMany { what: "shards".into(), limit: MAX_SHARDS });
        }
        check_replicas(replicas)?;
        check_weight(weight)?;
        self.check_members(&members)?;
        let wanted = usize::from(replicas) + 1;
        let mut loads = Loads::new(&self.nodes);
        self.shards.values().for_each(|other| loads.count(&other.members));
        let members = loads.fill(members, wanted);
        if members.is_empty() {
            return Err(Refusal::NotEnoughNodes { needed: wanted, registered: self.nodes.len() });
        }
        self.shards.insert(shard, new_shard(shard, weight, replicas, members));
        DONE
    }

    fn remove_shard(&mut self, shard: ShardId) -> Applied {
        if !self.shards.contains_key(&shard) {
            return Err(Refusal::UnknownShard(shard));
        }
        let slots = self.slots.count_of(shard);
        if slots > 0 {
            return Err(Refusal::ShardOwnsSlots { shard, slots });
        }
        self.shards.remove(&shard);
        DONE
    }

    fn set_weight(&mut self, shard: ShardId, weight: u32) -> Applied {
        check_weight(weight)?;
        let state = self.shards.get_mut(&shard).ok_or(Refusal::UnknownShard(shard))?;
        if state.weight == weight {
            return Ok(None);
        }
        state.weight = weight;
        DONE
    }

    fn set_members(&mut self, shard: ShardId, members: Vec<NodeId>) -> Applied {
        self.check_members(&members)?;
        let state = self.shards.get_mut(&shard).ok_or(Refusal::UnknownShard(shard))?;
        if members.is_empty() {
            return Err(Refusal::NotEnoughNodes { needed: 1, registered: 0 });
        }
        if let Some(primary) = state.primary
            && !members.contains(&primary.node)
        {
            return Err(Refusal::NodeInUse { node: primary.node, shard });
        }
        if state.members == members {
            return Ok(None);
        }
        let stays = |member: &Member| members.contains(&member.node);
        let candidates = state.candidates();
        if let Some(last) = candidates.first().filter(|_| !candidates.iter().any(stays)) {
            return Err(Refusal::NodeInUse { node: last.node, shard });
        }
        state.replicas_wanted = u8::try_from(members.len() - 1).unwrap_or(MAX_REPLICAS);
        // Who is left out drops what it holds. The others hold everything up to the mark as before; where they are enough
        // it moves on without the eligible members, as after `SetSettings`.
        state.in_sync.retain(stays);
        state.eligible.retain(stays);
        state.members = members;
        bump(&mut state.set_version);
        let enough =
            self.shards.get(&shard).is_some_and(|state| state.in_sync.len() >= self.min_in_sync(state));
        if let Some(state) = self.shards.get_mut(&shard).filter(|_| enough) {
            state.eligible.clear();
        }
        DONE
    }

    fn check_members(&self, members: &[NodeId]) -> Result<(), Refusal> {
        if members.len() > usize::from(MAX_REPLICAS) + 1 {
            return Err(Refusal::TooMany { what: "members".into(), limit: usize::from(MAX_REPLICAS) + 1 });
        }
        if let Some(unknown) = members.iter().find(|node| !self.nodes.contains_key(node)) {
            return Err(Refusal::UnknownNode(*unknown));
        }
        if members.iter().collect::<BTreeSet<_>>().len() != members.len() {
            return Err(Refusal::Invalid("a node is named twice".into()));
        }
        Ok(())
    }

    fn move_slots(&mut self, from: ShardId, to: ShardId, slots: BTreeSet<Slot>) -> Applied {
        for shard in [from, to] {
            if !self.shards.contains_key(&shard) {
                return Err(Refusal::UnknownShard(shard));
            }
        }
        if let Some(slot) =
            slots.iter().find(|slot| **slot >= SLOTS || self.slots.owner(**slot) != Some(from))
        {
            return Err(Refusal::NotOwner(*slot));
        }
        if slots.is_empty() || from == to {
            return Ok(None);
        }
        for slot in slots {
            self.slots.set(slot, to);
        }
        DONE
    }

    fn set_policy(&mut self, policy: Policy) -> Applied {
        check_name("prefix", &policy.prefix, true)?;
        policy.check().map_err(|problem| Refusal::Invalid(format!("policy: {problem}")))?;
        let full = self.policies.len() >= MAX_POLICIES;
        match self.policies.iter_mut().find(|other| other.prefix == policy.prefix) {
            Some(known) if *known == policy => return Ok(None),
            Some(known) => *known = policy,
            None if full => return Err(Refusal::TooMany { what: "policies".into(), limit: MAX_POLICIES }),
            None => self.policies.push(policy),
        }
        DONE
    }

    fn set_user(&mut self, name: String, user: User) -> Applied {
        check_name("user", &name, false)?;
        if user.password_sha256.len() > 16 || user.rules.len() > 1_024 {
            return Err(Refusal::TooMany { what: "passwords or rules of a user".into(), limit: 1_024 });
        }
        if user.rules.iter().chain(&user.password_sha256).any(|word| word.len() > MAX_NAME_BYTES) {
            return Err(Refusal::TooMany { what: "bytes of a rule".into(), limit: MAX_NAME_BYTES });
        }
        if self.users.len() >= MAX_USERS && !self.users.contains_key(&name) {
            return Err(Refusal::TooMany { what: "users".into(), limit: MAX_USERS });
        }
        if self.users.get(&name) == Some(&user) {
            return Ok(None);
        }
        self.users.insert(name, user);
        DONE
    }

    fn set_settings(&mut self, settings: Settings) -> Applied {
        check_settings(&settings)?;
        if self.settings == settings {
            return Ok(None);
        }
        let min_changed = self.settings.min_in_sync != settings.min_in_sync;
        self.longest_lease_ms = self.longest_lease_ms.max(settings.lease_ms);
        self.settings = settings;
        if min_changed {
            // A primary that still counts with the old minimum must not change a set by it: its proposals
            // carry the old version. Where the set is large enough now the mark will move on without the
            // eligible members.
            let enough: Vec<(ShardId, bool)> =
                self.shards.values().map(|s| (s.id, s.in_sync.len() >= self.min_in_sync(s))).collect();
            for (id, enough) in enough {
                if let Some(shard) = self.shards.get_mut(&id) {
                    bump(&mut shard.set_version);
                    if enough {
                        shard.eligible.clear();
                    }
                }
            }
        }
        DONE
    }
}

fn new_shard(id: ShardId, weight: u32, replicas: u8, members: Vec<NodeId>) -> ShardState {
    ShardState { id, weight, replicas_wanted: replicas, members, ..ShardState::default() }
}

fn bump(version: &mut SetVersion) {
    version.0 = version.0.saturating_add(1);
}

fn check_pending(state: &ShardState, expected_term: Term, new_term: Term) -> Result<(), Refusal> {
    if state.term != expected_term {
        return Err(Refusal::StaleTerm { current: state.term });
    }
    if state.pending_term != Some(new_term) || new_term <= state.term {
        return Err(Refusal::TermNotAllocated(new_term));
    }
    Ok(())
}

fn check_settings(settings: &Settings) -> Result<(), Refusal> {
    settings.check().map_err(|text| Refusal::Invalid(text.into()))
}

fn check_replicas(replicas: u8) -> Result<(), Refusal> {
    if replicas > MAX_REPLICAS {
        return Err(Refusal::TooMany { what: "replicas".into(), limit: usize::from(MAX_REPLICAS) });
    }
    Ok(())
}

fn check_weight(weight: u32) -> Result<(), Refusal> {
    if weight == 0 || weight > ring::MAX_WEIGHT {
        return Err(Refusal::Invalid(format!("weight must be between 1 and {}", ring::MAX_WEIGHT)));
    }
    Ok(())
}

fn check_name(what: &str, name: &str, may_be_empty: bool) -> Result<(), Refusal> {
    if name.is_empty() && !may_be_empty {
        return Err(Refusal::Invalid(format!("{what} must not be empty")));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Refusal::TooMany { what: format!("bytes of {what}"), limit: MAX_NAME_BYTES });
    }
    Ok(())
}
