//! 12: tokens rise per lock, one exclusive holder at a time, a fenced write below the register is never done.

use super::super::message::{Key, Value};
use super::super::network::MS;
use super::Checker;
use crate::lock::Token;
use std::collections::BTreeMap;

/// Beliefs of one lock that are kept.
const BELIEFS: usize = 32;

/// A client takes itself for the holder, from when it heard of it until it gave the lock back or its time is over.
#[derive(Debug)]
struct Belief {
    client: usize,
    token: Token,
    from: u64,
    until: u64,
}

#[derive(Default)]
pub(super) struct Locks {
    /// The highest token that was told to anybody.
    granted: BTreeMap<Key, Token>,
    beliefs: BTreeMap<Key, Vec<Belief>>,
    /// The highest token under which a write was acknowledged.
    fences: BTreeMap<Key, Token>,
}

impl Locks {
    /// Registers are lost with a shard's memory; whose are not told apart here.
    pub(super) fn forget_fences(&mut self) {
        self.fences.clear();
    }
}

impl Checker {
    pub(in super::super) fn newest_token(&self, name: Key) -> Token {
        self.locks.granted.get(&name).copied().unwrap_or_default()
    }

    pub(in super::super) fn newest_fence(&self, key: Key) -> Token {
        self.locks.fences.get(&key).copied().unwrap_or_default()
    }

    /// A client heard that it holds the lock, granted at `executed`; by its own count until `until`.
    #[allow(clippy::too_many_arguments)]
    pub(in super::super) fn granted(
        &mut self,
        client: usize,
        name: Key,
        token: Token,
        newest: Token,
        executed: u64,
        now: u64,
        until: u64,
    ) {
        self.demand(12, token > newest, || format!("lock {name}: token {token} after {newest}"));
        let beliefs = self.locks.beliefs.entry(name).or_default();
        let other = beliefs
            .iter()
            .find(|other| {
                other.client != client
                    && other.token < token
                    && other.from <= other.until
                    && other.until > executed
            })
            .map(|other| format!("{other:?}"));
        beliefs.push(Belief { client, token, from: now, until });
        if beliefs.len() > BELIEFS {
            beliefs.remove(0);
        }
        let highest = self.locks.granted.entry(name).or_default();
        *highest = (*highest).max(token);
        self.demand(12, other.is_none(), || {
            format!(
                "lock {name} was granted to client {client} under {token} at {} ms while {other:?}",
                executed / MS
            )
        });
    }

    /// A client is about to give its lock back: it believes in it no more.
    pub(in super::super) fn released(&mut self, client: usize, token: Token, now: u64) {
        for belief in self.locks.beliefs.values_mut().flatten() {
            if belief.client == client && belief.token == token {
                belief.until = belief.until.min(now);
            }
        }
    }

    /// A fenced write was acknowledged; `newest`: the highest token that had been when it was asked.
    pub(in super::super) fn fence_passed(&mut self, key: Key, token: Token, newest: Token, value: Value) {
        self.acknowledged(value);
        self.demand(12, token >= newest, || {
            format!("write {value} of key {key} was done under token {token}, after one under {newest}")
        });
        let highest = self.locks.fences.entry(key).or_default();
        *highest = (*highest).max(token);
    }
}
