//! One shard as one of its nodes sees it: which role the node has, which terms it still listens to, whether
//! what it holds is whole. The rules of sealing, following, discarding and leading are here; the store, the
//! sockets and the threads are the server's.
//!
//! ```text
//!              Lead                      map: another primary, or sealed above
//!   Idle ───────────────► Primary ───────────────────────────────┐
//!    │  Follow                                                    ▼
//!    └──────────► Replica: Apart ─hello─► Greeted ─Continue─► Streaming
//!                            ▲              │ Resync, Compare     ▲
//!                            └──── Wait ────┴───► Syncing ─done───┘
//! ```
//!
//! Owned by the node's control or replication thread; stepped with the time in ns of CLOCK_BOOTTIME. Workers
//! look at copies (the lease's end, the term, the mark) in atomics that the owner writes.

use crate::bugs::{Bug, planted};
use crate::history::{History, OutOfOrder};
use crate::ids::{Member, Offset, Position, ShardId, StreamId, Term};
use crate::lease::LeaseHolder;
use crate::map::{ClusterMap, PromotionReason, ShardState};
use crate::message::{Grant, HelloReply, ReplicaHello, SealReply, SealRequest, ShardReport};
use crate::replica_set::ReplicaSet;

/// What the node has to do after a map came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Be the primary of this term (serve only under a lease: send a heartbeat at once). `empty`: drop whatever is
    /// held first. After a loss of the shard's memory locks and fences stay closed for `max_lock_ttl_ms`, over
    /// failovers too: until `locks_closed_until_ns` by this node's clock; 0 or in the past is open.
    Lead { term: Term, empty: bool, locks_closed_until_ns: u64 },
    /// Be a replica: connect to this primary and say hello. Stop serving if it was the primary.
    Follow { term: Term, primary: Option<Member> },
    /// No longer assigned: stop serving, drop what is held.
    Leave,
}

/// What a replica does with the answer to its hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Take records after this offset. `clear`: drop what is held first, it was not whole.
    Stream { after: Offset, clear: bool },
    /// Discard every slot touched after `common` and take it anew, then call [`ShardMember::sync_done`].
    Sync { common: Offset },
    /// Compare what is held with the primary's, take records after `after` and what differs, then call
    /// [`ShardMember::sync_done`].
    Compare { common: Offset, after: Offset },
    /// Say hello again in a moment.
    Retry,
    /// Not from the primary that is followed.
    Ignore,
}

/// A record that a replica does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefused {
    #[error("term {sealed} is sealed, the record comes from the primary of term {term}")]
    Sealed { sealed: Term, term: Term },
    #[error("not following that primary")]
    NotFollowing,
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Apart,
    Greeted,
    Streaming,
    Syncing,
}

// One per shard and node: the size of the larger variant does not matter.
#[allow(clippy::large_enum_variant)]
enum Role {
    Idle,
    Replica { term: Term, primary: Option<Member>, link: Link },
    Primary { term: Term, lease: LeaseHolder, set: ReplicaSet, stepping_down_ns: Option<u64> },
}

/// See the module.
pub struct ShardMember {
    shard: ShardId,
    me: Member,
    /// Records of a lower term are refused.
    sealed: Term,
    history: History,
    /// Everything the history names is held. Not so in the middle of a sync.
    whole: bool,
    /// The high-water mark as learnt from primaries.
    mark: Offset,
    role: Role,
    /// The last loss of memory that a map told of; `None` before the first map.
    known_reset: Option<Option<Term>>,
    /// After a loss locks stay closed until then, whoever leads meanwhile.
    locks_closed_until_ns: u64,
    /// This member came after the loss, and does not know when that was: its primary's full sync tells. An empty
    /// one may do without such a sync, and counts from its first map.
    closed_unless_synced: bool,
}

fn lock_ttl_ns(map: &ClusterMap) -> u64 {
    map.settings.max_lock_ttl_ms.saturating_mul(1_000_000)
}

impl ShardMember {
    /// A member that holds nothing yet.
    pub fn new(shard: ShardId, me: Member) -> Self {
        ShardMember {
            shard,
            me,
            sealed: Term::NONE,
            history: History::default(),
            whole: true,
            mark: Offset(0),
            role: Role::Idle,
            known_reset: None,
            locks_closed_until_ns: 0,
            closed_unless_synced: false,
        }
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    /// The last record held.
    pub fn last(&self) -> Position {
        self.history.last()
    }

    pub fn sealed(&self) -> Term {
        self.sealed
    }

    /// Whether all that the history names is held.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The term it leads or follows.
    pub fn term(&self) -> Term {
        match &self.role {
            Role::Idle => Term::NONE,
            Role::Replica { term, .. } | Role::Primary { term, .. } => *term,
        }
    }

    /// The high-water mark it knows; its own one when it is the primary.
    pub fn mark(&self) -> Offset {
        self.set().map_or(self.mark, ReplicaSet::high_water_mark)
    }

    /// The in-sync set, when it is the primary.
    pub fn set(&self) -> Option<&ReplicaSet> {
        match &self.role {
            Role::Primary { set, .. } => Some(set),
            _ => None,
        }
    }

    /// As [`ShardMember::set`], to step it.
    pub fn set_mut(&mut self) -> Option<&mut ReplicaSet> {
        match &mut self.role {
            Role::Primary { set, .. } => Some(set),
            _ => None,
        }
    }

    /// The lease, when it is the primary.
    pub fn lease(&self) -> Option<&LeaseHolder> {
        match &self.role {
            Role::Primary { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// The primary it follows.
    pub fn following(&self) -> Option<Member> {
        match &self.role {
            Role::Replica { primary, .. } => *primary,
            _ => None,
        }
    }

    /// Takes a map. `None`: nothing to do.
    pub fn on_map(&mut self, map: &ClusterMap, now_ns: u64) -> Option<Change> {
        let state = map.shard(self.shard).filter(|state| state.members.contains(&self.me.node));
        let Some(state) = state else {
            if matches!(self.role, Role::Idle) {
                return None;
            }
            self.role = Role::Idle;
            self.forget();
            return Some(Change::Leave);
        };
        let first = self.known_reset.is_none();
        if state.reset_term > self.known_reset.flatten() {
            self.locks_closed_until_ns = now_ns.saturating_add(lock_ttl_ns(map));
            self.closed_unless_synced = first;
        }
        self.known_reset = self.known_reset.max(Some(state.reset_term));
        // An older map tells nothing, and neither does a term that is sealed away.
        if state.term < self.term() || state.term < self.sealed {
            if let Role::Primary { term, set, .. } = &mut self.role
                && *term == state.term
            {
                set.on_map(map, state, now_ns);
            }
            return None;
        }
        if state.primary == Some(self.me) && state.term > Term::NONE {
            return self.lead(map, state, now_ns);
        }
        let primary = state.primary.filter(|primary| map.is_current(*primary));
        match &self.role {
            Role::Replica { term, primary: known, .. } if *term == state.term && *known == primary => None,
            _ => {
                self.sealed = self.sealed.max(state.term);
                self.role = Role::Replica { term: state.term, primary, link: Link::Apart };
                Some(Change::Follow { term: state.term, primary })
            }
        }
    }

    fn lead(&mut self, map: &ClusterMap, state: &ShardState, now_ns: u64) -> Option<Change> {
        if let Role::Primary { term, set, .. } = &mut self.role
            && *term == state.term
        {
            set.on_map(map, state, now_ns);
            return None;
        }
        self.sealed = state.term;
        let reason = state.last_promotion.as_ref().map(|promotion| promotion.reason);
        let locks_closed_until_ns = if planted(Bug::LocksOpenAfterReset) {
            0
        } else if state.reset_term == Some(state.term) {
            now_ns.saturating_add(lock_ttl_ns(map))
        } else if planted(Bug::LocksOpenAfterFailover) {
            0
        } else {
            self.locks_closed_until_ns
        };
        // What is not whole can be made primary only by a person, who gives it up.
        let empty = matches!(reason, Some(PromotionReason::First | PromotionReason::Reset)) || !self.whole;
        if empty {
            self.forget();
        }
        let set = ReplicaSet::new(self.me, map, state, self.history.last().offset, self.mark, now_ns);
        self.role = Role::Primary {
            term: state.term,
            lease: LeaseHolder::new(state.term),
            set,
            stepping_down_ns: None,
        };
        Some(Change::Lead { term: state.term, empty, locks_closed_until_ns })
    }

    fn forget(&mut self) {
        self.history = History::default();
        self.whole = true;
        self.mark = Offset(0);
    }

    /// Seals a term: no record of a lower one is taken from here on, and nothing is served in one. Before this
    /// is called the history must hold every record that was given an offset. `None`: a higher term is sealed.
    pub fn on_seal(&mut self, request: SealRequest) -> Option<SealReply> {
        if request.shard != self.shard || request.term < self.sealed {
            return None;
        }
        if let Role::Primary { term, lease, .. } = &mut self.role
            && *term < request.term
        {
            lease.hand_back();
        }
        if !planted(Bug::ReportWithoutSeal) {
            self.sealed = request.term;
        }
        // What is not whole is no candidate.
        let last =
            if self.whole || planted(Bug::HalfSyncCounts) { self.history.last() } else { Position::ZERO };
        Some(SealReply { from: self.me, shard: self.shard, term: request.term, last })
    }

    // ---- as a primary

    /// Whether requests may be executed: the primary, not stepping down, nothing above its term sealed, and
    /// under a lease. `now_ns` freshly read.
    pub fn may_execute(&self, now_ns: u64) -> bool {
        match &self.role {
            Role::Primary { stepping_down_ns, .. } => stepping_down_ns.is_none() && self.may_reply(now_ns),
            _ => false,
        }
    }

    /// Whether what was executed may be answered as done. `now_ns` freshly read, after the execution.
    pub fn may_reply(&self, now_ns: u64) -> bool {
        match &self.role {
            Role::Primary { term, lease, .. } => self.sealed <= *term && lease.valid_at(now_ns),
            _ => false,
        }
    }

    /// The place of the next record that this primary writes.
    pub fn next_position(&self) -> Option<Position> {
        match &self.role {
            Role::Primary { term, .. } if self.sealed <= *term => {
                Some(Position::new(*term, self.history.last().offset.next()))
            }
            _ => None,
        }
    }

    /// The primary wrote all records up to `last`, in its term. To be told before `on_seal` and `on_map`: a
    /// record that is in the store and not in the history would make two members differ at one offset.
    pub fn wrote(&mut self, last: Offset) -> Result<(), OutOfOrder> {
        if let Role::Primary { term, set, .. } = &mut self.role {
            self.history.extend(*term, last)?;
            set.appended(last);
        }
        Ok(())
    }

    /// A replica presents itself to this primary, on a connection that has its number from the primary.
    pub fn on_hello(
        &mut self,
        hello: &ReplicaHello,
        stream: StreamId,
        backlog_after: Offset,
        now_ns: u64,
    ) -> HelloReply {
        match &mut self.role {
            Role::Primary { term, set, .. } if *term == hello.term && self.sealed <= *term => {
                if !hello.history.is_sound() {
                    return HelloReply::Wait;
                }
                set.hello(hello, stream, &self.history, backlog_after, now_ns)
            }
            _ => HelloReply::NotPrimary { term: self.sealed },
        }
    }

    /// Asked to step down: nothing new is executed; [`ShardMember::tick`] hands the lease back once the in-sync
    /// set holds everything.
    pub fn step_down(&mut self, of_term: Term, now_ns: u64) {
        if let Role::Primary { term, stepping_down_ns, .. } = &mut self.role
            && *term == of_term
        {
            stepping_down_ns.get_or_insert(now_ns);
        }
    }

    /// Whether a lease is about to be handed back: [`ShardMember::tick`] often, requests wait.
    pub fn is_stepping_down(&self) -> bool {
        match &self.role {
            Role::Primary { lease, stepping_down_ns, .. } => {
                stepping_down_ns.is_some() && !lease.is_handed_back()
            }
            _ => false,
        }
    }

    /// Time passed. Answers `true` when the lease was handed back just now (say so in a heartbeat at once).
    /// `settled`: all that was executed has been said by [`ShardMember::wrote`]. After `patience_ns` of stepping down it is
    /// handed back whoever holds what.
    pub fn tick(&mut self, now_ns: u64, patience_ns: u64, settled: bool) -> bool {
        let Role::Primary { lease, set, stepping_down_ns: Some(since_ns), .. } = &mut self.role else {
            return false;
        };
        let all_hold = settled
            && set.effective().iter().all(|member| {
                *member == self.me || set.acked_by(*member).is_some_and(|acked| acked >= set.last())
            });
        if lease.is_handed_back() || !(all_hold || now_ns.saturating_sub(*since_ns) >= patience_ns) {
            return false;
        }
        lease.hand_back();
        true
    }

    /// Gives the lease back now (a hang, a shutdown). Nothing may be served by it any more.
    pub fn hand_back(&mut self) {
        if let Role::Primary { lease, .. } = &mut self.role {
            lease.hand_back();
        }
    }

    /// A heartbeat with this number is about to be sent.
    pub fn renewal_sent(&mut self, sent_id: u64, sent_ns: u64) {
        if let Role::Primary { lease, .. } = &mut self.role {
            lease.requested(sent_id, sent_ns);
        }
    }

    /// A renewal was granted.
    pub fn granted(&mut self, grant: &Grant, sent_id: u64) -> bool {
        match &mut self.role {
            Role::Primary { lease, .. } => lease.granted(grant.term, sent_id, grant.lease_ms),
            _ => false,
        }
    }

    /// What the node's next heartbeat says of this shard.
    pub fn report(&self) -> ShardReport {
        let handed_back = match &self.role {
            Role::Primary { lease, .. } => Some(lease.is_handed_back()),
            _ => None,
        };
        ShardReport {
            shard: self.shard,
            term: self.term(),
            last: self.history.last(),
            whole: self.whole,
            mark: self.mark(),
            wants_lease: handed_back == Some(false),
            handed_back: handed_back == Some(true),
        }
    }

    // ---- as a replica

    /// The hello for the primary that is followed. `None` when there is none.
    pub fn hello(&mut self) -> Option<(Member, ReplicaHello)> {
        let Role::Replica { term, primary: Some(primary), link } = &mut self.role else { return None };
        *link = Link::Greeted;
        let history = if self.whole || planted(Bug::HalfSyncCounts) {
            self.history.clone()
        } else {
            History::default()
        };
        // Whoever has the store knows what it holds.
        let holds_data = false;
        Some((*primary, ReplicaHello { from: self.me, shard: self.shard, term: *term, history, holds_data }))
    }

    /// The answer to the last hello, from the primary of `from_term`.
    pub fn on_hello_reply(&mut self, from_term: Term, reply: &HelloReply) -> Next {
        let sealed = self.sealed;
        let Role::Replica { term, link, .. } = &mut self.role else { return Next::Ignore };
        if from_term != *term || from_term < sealed || *link != Link::Greeted {
            return Next::Ignore;
        }
        match reply {
            HelloReply::Continue { after } => {
                let clear = !self.whole;
                let nothing = clear && !planted(Bug::HalfSyncCounts);
                let offered = if nothing { Offset(0) } else { self.history.last().offset };
                if *after != offered {
                    // Not what was offered: start over, as little whole as before.
                    *link = Link::Apart;
                    return Next::Retry;
                }
                if nothing {
                    self.history = History::default();
                    self.mark = Offset(0);
                }
                self.whole = true;
                *link = Link::Streaming;
                Next::Stream { after: *after, clear }
            }
            HelloReply::Resync { common } => {
                *link = Link::Syncing;
                let common = if self.whole { *common } else { Offset(0) };
                self.whole = false;
                Next::Sync { common }
            }
            HelloReply::Compare { common, after } => {
                *link = Link::Syncing;
                let common = if self.whole { *common } else { Offset(0) };
                self.whole = false;
                Next::Compare { common, after: *after }
            }
            HelloReply::Wait => {
                *link = Link::Apart;
                Next::Retry
            }
            HelloReply::NotPrimary { .. } => {
                *link = Link::Apart;
                Next::Retry
            }
        }
    }

    /// A record from the primary of `from_term`, whose own place is `record` (its term may be older: the backlog
    /// is sent by a later primary). To be applied only when this says so.
    pub fn on_record(&mut self, from_term: Term, record: Position) -> Result<(), RecordRefused> {
        if from_term < self.sealed {
            return Err(RecordRefused::Sealed { sealed: self.sealed, term: from_term });
        }
        match &self.role {
            Role::Replica { term, link: Link::Streaming, .. } if *term == from_term => {
                Ok(self.history.append(record)?)
            }
            _ => Err(RecordRefused::NotFollowing),
        }
    }

    /// The mark that came with records from the primary of `from_term`.
    pub fn on_mark(&mut self, from_term: Term, mark: Offset) {
        if let Role::Replica { term, link: Link::Streaming, .. } = &self.role
            && *term == from_term
            && from_term >= self.sealed
        {
            self.mark = self.mark.max(mark.min(self.history.last().offset));
        }
    }

    /// A sync is done: exactly what `history` names is held. `false`: it came from a primary that is not
    /// followed any more, start over. An unsound history is refused too.
    pub fn sync_done(&mut self, from_term: Term, history: History, mark: Offset) -> bool {
        let sealed = self.sealed;
        match &mut self.role {
            Role::Replica { term, link: link @ Link::Syncing, .. }
                if *term == from_term && from_term >= sealed && history.is_sound() =>
            {
                *link = Link::Streaming;
                self.mark = mark.min(history.last().offset);
                self.history = history;
                self.whole = true;
                if std::mem::take(&mut self.closed_unless_synced) {
                    self.locks_closed_until_ns = 0;
                }
                true
            }
            _ => false,
        }
    }

    /// The connection to the primary is gone. Say hello again.
    pub fn disconnected(&mut self) {
        if let Role::Replica { link, .. } = &mut self.role {
            *link = Link::Apart;
        }
    }

    /// Whether a hello is due: a primary is known and no connection with it stands.
    pub fn wants_hello(&self) -> bool {
        matches!(&self.role, Role::Replica { primary: Some(_), link: Link::Apart, .. })
    }

    /// Whether records are taken.
    pub fn is_streaming(&self) -> bool {
        matches!(&self.role, Role::Replica { link: Link::Streaming, .. })
    }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
