//! The locks of one shard.
//!
//! On the primary every change goes through `acquire`, `extend`, `release`, `expire` and `cancel`; their effects
//! are replicated. On a replica everything goes through `apply`; nothing ends there by itself (the primary says
//! so), until it becomes primary and `begin_term` is called.

use super::held::{Holder, Lock, Waiter};
use super::{
    Acquire, Acquired, Granted, HolderInfo, LockEffect, LockError, LockInfo, LockLimits, Mode, Outcome,
    Token, WaiterId,
};
use crate::bugs::{Bug, planted};
use crate::ids::Term;
use std::collections::{BTreeSet, HashMap};

/// See the module.
#[derive(Clone, Debug)]
pub struct LockTable {
    limits: LockLimits,
    term: Term,
    /// Tokens given out in this term.
    given: u32,
    closed_until_ms: u64,
    locks: HashMap<Vec<u8>, Lock>,
    /// (when, name) of each lock's next event by itself.
    agenda: BTreeSet<(u64, Vec<u8>)>,
    waiters: usize,
    bytes: usize,
}

impl LockTable {
    pub fn new(limits: LockLimits) -> Self {
        LockTable {
            limits,
            term: Term::NONE,
            given: 0,
            closed_until_ms: 0,
            locks: HashMap::new(),
            agenda: BTreeSet::new(),
            waiters: 0,
            bytes: 0,
        }
    }

    pub fn limits(&self) -> &LockLimits {
        &self.limits
    }

    /// Settings changed. Holders keep what they have.
    pub fn set_limits(&mut self, limits: LockLimits) {
        self.limits = limits;
    }

    /// This node is primary of a new term: tokens start over in it. With `closed_until_ms` nothing is granted
    /// before (the shard lost its memory, someone may still hold a lock it knows nothing of), and not before what
    /// an earlier term or its primary said. Answers the
    /// waiters of the term before, who have to ask again.
    pub fn begin_term(&mut self, term: Term, closed_until_ms: u64) -> Vec<WaiterId> {
        self.term = term;
        self.given = 0;
        self.closed_until_ms = self.closed_until_ms.max(closed_until_ms);
        self.drop_waiters()
    }

    /// This node is the primary no more.
    pub fn end_term(&mut self) -> Vec<WaiterId> {
        self.drop_waiters()
    }

    fn drop_waiters(&mut self) -> Vec<WaiterId> {
        let mut dropped = Vec::new();
        let names: Vec<Vec<u8>> = self.locks.keys().cloned().collect();
        for name in names {
            self.change(&name, |lock| dropped.extend(lock.waiters.drain(..).map(|waiter| waiter.id)));
        }
        self.waiters = 0;
        dropped.sort_unstable();
        dropped
    }

    /// Locks that are held or waited for.
    pub fn len(&self) -> usize {
        self.locks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// Bytes that locks, holders and waiters take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn waiting(&self) -> usize {
        self.waiters
    }

    /// Tries to get a lock.
    pub fn acquire(
        &mut self,
        request: &Acquire<'_>,
        now_ms: u64,
        out: &mut Outcome,
    ) -> Result<Acquired, LockError> {
        self.check(request, now_ms)?;
        self.settle(request.name, now_ms, out);
        if let Some(lock) = self.locks.get_mut(request.name) {
            if let Some(holder) = lock.by_request(request.owner, request.request_id) {
                let remaining_ms = holder.expires_ms.saturating_sub(now_ms);
                return Ok(Acquired::Granted(Granted { token: lock.token, remaining_ms }));
            }
            let same = |waiter: &&mut Waiter| {
                !request.request_id.is_empty()
                    && waiter.request_id == request.request_id
                    && waiter.owner == request.owner
            };
            if let Some(waiter) = lock.waiters.iter_mut().find(same) {
                // The same request on another connection: it keeps its place.
                out.timed_out.push(std::mem::replace(&mut waiter.id, request.waiter));
                return Ok(Acquired::Queued { deadline_ms: waiter.deadline_ms });
            }
            if !(lock.waiters.is_empty() && lock.admits(request.mode)) {
                return self.queue(request, now_ms);
            }
            if lock.holders.len() >= self.limits.max_holders {
                return Err(LockError::Full);
            }
        } else if self.locks.len() >= self.limits.max_locks {
            return Err(LockError::Full);
        }
        self.check_memory(request)?;
        let waiter = waiter_of(request, now_ms);
        self.grant(request.name, waiter, now_ms, out).map(Acquired::Granted)
    }

    fn check(&self, request: &Acquire<'_>, now_ms: u64) -> Result<(), LockError> {
        let limits = &self.limits;
        if request.ttl_ms == 0 || request.ttl_ms > limits.max_ttl_ms {
            return Err(LockError::Ttl { max_ttl_ms: limits.max_ttl_ms });
        }
        if request.wait_ms > limits.max_wait_ms {
            return Err(LockError::Wait { max_wait_ms: limits.max_wait_ms });
        }
        if request.owner.len().max(request.request_id.len()) > limits.max_text_bytes {
            return Err(LockError::TextTooLong { max_bytes: limits.max_text_bytes });
        }
        self.check_open(now_ms)
    }

    fn check_memory(&self, request: &Acquire<'_>) -> Result<(), LockError> {
        let max_bytes = self.limits.max_bytes;
        let more = 2 * request.name.len() + request.owner.len() + request.request_id.len();
        if self.bytes.saturating_add(more) > max_bytes {
            Err(LockError::Memory { max_bytes })
        } else {
            Ok(())
        }
    }

    /// What a replica has to know beside the locks: how much longer this table is closed.
    pub fn closure(&self, now_ms: u64) -> Option<LockEffect> {
        let remaining_ms = self.closed_until_ms.saturating_sub(now_ms);
        (remaining_ms > 0).then_some(LockEffect::Closed { remaining_ms })
    }

    /// Until when nothing is granted; 0 or in the past: open.
    pub fn closed_until_ms(&self) -> u64 {
        self.closed_until_ms
    }

    /// Whether locks may be granted: not while closed after a loss of memory.
    pub fn check_open(&self, now_ms: u64) -> Result<(), LockError> {
        match self.closed_until_ms.saturating_sub(now_ms) {
            0 => Ok(()),
            remaining_ms => Err(LockError::Closed { remaining_ms }),
        }
    }

    fn queue(&mut self, request: &Acquire<'_>, now_ms: u64) -> Result<Acquired, LockError> {
        let full = self.waiters >= self.limits.max_waiters;
        let per_lock = self.limits.max_waiters_per_lock;
        let Some(lock) = self.locks.get(request.name) else { return Err(LockError::NotHolder) };
        if request.wait_ms == 0 {
            return Ok(Acquired::Busy { remaining_ms: lock.free_at_ms().saturating_sub(now_ms) });
        }
        if full || lock.waiters.len() >= per_lock {
            return Err(LockError::Full);
        }
        self.check_memory(request)?;
        let deadline_ms = now_ms.saturating_add(request.wait_ms);
        let waiter = waiter_of(request, deadline_ms);
        self.waiters += 1;
        self.change(request.name, |lock| lock.waiters.push_back(waiter));
        Ok(Acquired::Queued { deadline_ms })
    }

    /// Gives the lock to a request that it admits. A run of shared holders keeps its token.
    fn grant(
        &mut self,
        name: &[u8],
        waiter: Waiter,
        now_ms: u64,
        out: &mut Outcome,
    ) -> Result<Granted, LockError> {
        let running = self.locks.get(name).filter(|lock| !lock.holders.is_empty()).map(|lock| lock.token);
        let token = match running {
            Some(token) => token,
            None => {
                let number = self.given.checked_add(1).ok_or(LockError::TokensExhausted)?;
                let token = Token::new(self.term, number).ok_or(LockError::TokensExhausted)?;
                self.given = number;
                token
            }
        };
        let Waiter { mode, ttl_ms, owner, request_id, .. } = waiter;
        out.effects.push(LockEffect::Grant {
            name: name.to_vec(),
            token,
            mode,
            owner: owner.clone(),
            request_id: request_id.clone(),
            remaining_ms: if planted(Bug::LockTtlOnWallTime) { now_ms + ttl_ms } else { ttl_ms },
        });
        self.change(name, |lock| {
            lock.token = token;
            lock.mode = mode;
            lock.holders.push(Holder { owner, request_id, expires_ms: now_ms.saturating_add(ttl_ms) });
        });
        Ok(Granted { token, remaining_ms: ttl_ms })
    }

    /// Sets the end of a holder's time to `ttl_ms` from now.
    pub fn extend(
        &mut self,
        name: &[u8],
        token: Token,
        owner: &[u8],
        ttl_ms: u64,
        now_ms: u64,
        out: &mut Outcome,
    ) -> Result<Granted, LockError> {
        if ttl_ms == 0 || ttl_ms > self.limits.max_ttl_ms {
            return Err(LockError::Ttl { max_ttl_ms: self.limits.max_ttl_ms });
        }
        self.settle(name, now_ms, out);
        let index = self.holder(name, token, owner).ok_or(LockError::NotHolder)?;
        self.change(name, |lock| {
            if let Some(holder) = lock.holders.get_mut(index) {
                holder.expires_ms = now_ms.saturating_add(ttl_ms);
                out.effects.push(LockEffect::Extend {
                    name: name.to_vec(),
                    token,
                    owner: holder.owner.clone(),
                    request_id: holder.request_id.clone(),
                    remaining_ms: ttl_ms,
                });
            }
        });
        Ok(Granted { token, remaining_ms: ttl_ms })
    }

    /// A holder leaves. Whoever is next gets the lock at once.
    pub fn release(
        &mut self,
        name: &[u8],
        token: Token,
        owner: &[u8],
        now_ms: u64,
        out: &mut Outcome,
    ) -> Result<(), LockError> {
        self.settle(name, now_ms, out);
        let index = self.holder(name, token, owner).ok_or(LockError::NotHolder)?;
        self.remove_holder(name, index, out);
        self.serve(name, now_ms, out);
        Ok(())
    }

    fn holder(&self, name: &[u8], token: Token, owner: &[u8]) -> Option<usize> {
        self.locks.get(name).filter(|lock| lock.token == token)?.holder_of(owner)
    }

    /// A parked request is no more (its client hung up).
    pub fn cancel(&mut self, name: &[u8], waiter: WaiterId, now_ms: u64, out: &mut Outcome) {
        let mut found = 0;
        self.change(name, |lock| {
            let before = lock.waiters.len();
            lock.waiters.retain(|other| other.id != waiter);
            found = before - lock.waiters.len();
        });
        self.waiters = self.waiters.saturating_sub(found);
        self.settle(name, now_ms, out);
        self.serve(name, now_ms, out);
    }

    /// What ends by itself until now: holders' times and waiters' patience. At most `max_events` of them.
    pub fn expire(&mut self, now_ms: u64, max_events: usize, out: &mut Outcome) {
        for _ in 0..max_events {
            let Some((when_ms, name)) = self.agenda.first().cloned() else { return };
            if when_ms > now_ms {
                return;
            }
            self.settle(&name, now_ms, out);
        }
    }

    /// The lock in which something ends by itself until now, the earliest first.
    pub fn due(&self, now_ms: u64) -> Option<&[u8]> {
        self.agenda.first().filter(|(when_ms, _)| *when_ms <= now_ms).map(|(_, name)| name.as_slice())
    }

    /// As [`LockTable::expire`] for one lock: for who must hold something of the name's while it changes.
    pub fn expire_one(&mut self, name: &[u8], now_ms: u64, out: &mut Outcome) {
        self.settle(name, now_ms, out);
    }

    /// When `expire` has something to do next.
    pub fn next_event_ms(&self) -> Option<u64> {
        self.agenda.first().map(|(when_ms, _)| *when_ms)
    }

    /// Who holds a lock and since when; `None` for one that is free.
    pub fn info(&self, name: &[u8], now_ms: u64) -> Option<LockInfo> {
        let lock = self.locks.get(name)?;
        let holders: Vec<HolderInfo> = lock
            .holders
            .iter()
            .filter(|holder| holder.expires_ms > now_ms)
            .map(|holder| HolderInfo {
                owner: holder.owner.clone(),
                remaining_ms: holder.expires_ms - now_ms,
            })
            .collect();
        (!holders.is_empty()).then_some(LockInfo {
            token: lock.token,
            mode: lock.mode,
            holders,
            waiters: lock.waiters.len(),
        })
    }

    /// Whether somebody holds the lock under this very token now: the check of a fence whose lock lies on the
    /// same slot.
    pub fn is_held(&self, name: &[u8], token: Token, now_ms: u64) -> bool {
        self.locks
            .get(name)
            .is_some_and(|lock| lock.token == token && lock.holders.iter().any(|h| h.expires_ms > now_ms))
    }

    /// Takes an effect of the primary.
    pub fn apply(&mut self, effect: LockEffect, now_ms: u64) {
        match effect {
            LockEffect::Grant { name, token, mode, owner, request_id, remaining_ms } => {
                let from_ms = if planted(Bug::LockTtlOnWallTime) { 0 } else { now_ms };
                let expires_ms = from_ms.saturating_add(remaining_ms);
                self.change(&name, |lock| {
                    if token < lock.token {
                        return;
                    }
                    // An exclusive one may come twice: in a full sync and as the record after it.
                    if token > lock.token || mode == Mode::Exclusive {
                        lock.holders.clear();
                    }
                    lock.token = token;
                    lock.mode = mode;
                    lock.holders.push(Holder { owner, request_id, expires_ms });
                });
            }
            LockEffect::Extend { name, token, owner, request_id, remaining_ms } => {
                let expires_ms = now_ms.saturating_add(remaining_ms);
                self.change(&name, |lock| {
                    if let Some(index) = lock.position(token, &owner, &request_id)
                        && let Some(holder) = lock.holders.get_mut(index)
                    {
                        holder.expires_ms = expires_ms;
                    }
                });
            }
            LockEffect::Closed { remaining_ms } => {
                self.closed_until_ms = self.closed_until_ms.max(now_ms.saturating_add(remaining_ms));
            }
            LockEffect::Release { name, token, owner, request_id } => self.change(&name, |lock| {
                if let Some(index) = lock.position(token, &owner, &request_id) {
                    lock.holders.swap_remove(index);
                }
            }),
        }
    }

    /// What a replica needs to hold the same: for a full sync, or with a filter for the move of a slot.
    pub fn export(&self, wanted: impl Fn(&[u8]) -> bool, now_ms: u64) -> Vec<LockEffect> {
        let mut effects = Vec::new();
        for (name, lock) in self.locks.iter().filter(|(name, _)| wanted(name)) {
            effects.extend(lock.holders.iter().map(|holder| LockEffect::Grant {
                name: name.clone(),
                token: lock.token,
                mode: lock.mode,
                owner: holder.owner.clone(),
                request_id: holder.request_id.clone(),
                remaining_ms: holder.expires_ms.saturating_sub(now_ms),
            }));
        }
        effects
    }

    /// Drops locks, as before a full sync or after the move of a slot. Answers their waiters.
    pub fn forget(&mut self, unwanted: impl Fn(&[u8]) -> bool) -> Vec<WaiterId> {
        let names: Vec<Vec<u8>> = self.locks.keys().filter(|name| unwanted(name)).cloned().collect();
        let mut dropped = Vec::new();
        for name in names {
            self.change(&name, |lock| {
                dropped.extend(lock.waiters.drain(..).map(|waiter| waiter.id));
                lock.holders.clear();
            });
        }
        self.waiters = self.waiters.saturating_sub(dropped.len());
        dropped
    }

    /// Ends what is over in one lock, and serves its queue.
    fn settle(&mut self, name: &[u8], now_ms: u64, out: &mut Outcome) {
        let Some(lock) = self.locks.get(name) else { return };
        if lock.next_event_ms().is_none_or(|next_ms| next_ms > now_ms) {
            return;
        }
        while let Some(index) = self
            .locks
            .get(name)
            .and_then(|lock| lock.holders.iter().position(|holder| holder.expires_ms <= now_ms))
        {
            self.remove_holder(name, index, out);
        }
        let before = out.timed_out.len();
        self.change(name, |lock| {
            lock.waiters.retain(|waiter| {
                let over = waiter.deadline_ms <= now_ms;
                if over {
                    out.timed_out.push(waiter.id);
                }
                !over
            });
        });
        self.waiters = self.waiters.saturating_sub(out.timed_out.len() - before);
        self.serve(name, now_ms, out);
    }

    fn remove_holder(&mut self, name: &[u8], index: usize, out: &mut Outcome) {
        self.change(name, |lock| {
            if index < lock.holders.len() {
                let holder = lock.holders.swap_remove(index);
                out.effects.push(LockEffect::Release {
                    name: name.to_vec(),
                    token: lock.token,
                    owner: holder.owner,
                    request_id: holder.request_id,
                });
            }
        });
    }

    /// Gives the lock to the head of its queue, and to those behind it that share it.
    fn serve(&mut self, name: &[u8], now_ms: u64, out: &mut Outcome) {
        loop {
            let max_holders = self.limits.max_holders;
            let mut next = None;
            if let Some(lock) = self.locks.get(name)
                && lock
                    .waiters
                    .front()
                    .is_some_and(|w| lock.admits(w.mode) && lock.holders.len() < max_holders)
            {
                self.change(name, |lock| next = lock.waiters.pop_front());
            }
            let Some(waiter) = next else { return };
            self.waiters = self.waiters.saturating_sub(1);
            let id = waiter.id;
            match self.grant(name, waiter, now_ms, out) {
                Ok(granted) => out.granted.push((id, granted)),
                Err(_) => out.timed_out.push(id),
            }
        }
    }

    /// Changes a lock (a new one where there is none) and keeps the agenda and the table in step.
    fn change(&mut self, name: &[u8], change: impl FnOnce(&mut Lock)) {
        let mut lock = self.locks.remove(name).unwrap_or_else(Lock::new);
        let before = lock.next_event_ms();
        self.bytes -= lock.bytes(name);
        change(&mut lock);
        let after = lock.next_event_ms();
        if before != after {
            if let Some(when_ms) = before {
                self.agenda.remove(&(when_ms, name.to_vec()));
            }
            if let Some(when_ms) = after {
                self.agenda.insert((when_ms, name.to_vec()));
            }
        }
        if after.is_some() {
            self.bytes += lock.bytes(name);
            self.locks.insert(name.to_vec(), lock);
        }
    }
}

fn waiter_of(request: &Acquire<'_>, deadline_ms: u64) -> Waiter {
    Waiter {
        id: request.waiter,
        mode: request.mode,
        ttl_ms: request.ttl_ms,
        deadline_ms,
        owner: request.owner.to_vec(),
        request_id: request.request_id.to_vec(),
    }
}
