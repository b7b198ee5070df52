//! Fencing registers of one slot: the highest token that each key has seen.
//!
//! A register lives `max_age_ms` from its last use, and there are at most `max_registers`; one that has to go
//! raises the slot's *floor* to its token, so that nothing below it gets in afterwards. A token below the floor
//! is refused for every key of the slot: safe, and the reason why the age should be well above the longest time
//! a lock is held.

use super::Token;
use crate::bugs::{Bug, planted};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// Bounds of a slot's registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceLimits {
    pub max_registers: usize,
    /// To be above `max_lock_ttl_ms`.
    pub max_age_ms: u64,
}

impl Default for FenceLimits {
    fn default() -> Self {
        FenceLimits { max_registers: 10_000, max_age_ms: 3_600_000 }
    }
}

/// What replicas are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FenceEffect {
    Raise { key: Vec<u8>, token: Token },
    Floor { token: Token },
}

/// What becomes of a fenced request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceVerdict {
    /// Execute it.
    Pass,
    /// A higher token was here.
    Refused { register: Token },
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct FenceTable {
    registers: HashMap<Vec<u8>, (Token, u64)>,
    /// (last use, key), oldest first.
    by_age: BTreeSet<(u64, Vec<u8>)>,
    floor: Token,
    bytes: usize,
}

/// Bytes that a key's register takes, about: the key is in two places.
fn register_bytes(key: &[u8]) -> usize {
    const FIXED_BYTES: usize = 128;
    FIXED_BYTES + 2 * key.len()
}

impl FenceTable {
    pub fn new() -> Self {
        FenceTable::default()
    }

    pub fn len(&self) -> usize {
        self.registers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.floor == Token(0)
    }

    pub fn floor(&self) -> Token {
        self.floor
    }

    /// Bytes that the registers take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that a request with a token for this key would add.
    pub fn growth(&self, key: &[u8]) -> usize {
        if self.registers.contains_key(key) { 0 } else { register_bytes(key) }
    }

    /// The token below which a key refuses.
    pub fn register(&self, key: &[u8]) -> Token {
        self.registers.get(key).map_or(self.floor, |(token, _)| (*token).max(self.floor))
    }

    /// A request with a token comes to a key, reads too. Pass with a higher token raises the register.
    pub fn check(
        &mut self,
        key: &[u8],
        token: Token,
        limits: &FenceLimits,
        now_ms: u64,
        effects: &mut Vec<FenceEffect>,
    ) -> FenceVerdict {
        let register = self.register(key);
        if token < register {
            return FenceVerdict::Refused { register };
        }
        let known = self.registers.get(key).map(|(token, _)| *token);
        if known != Some(token) && !planted(Bug::FenceNotReplicated) {
            effects.push(FenceEffect::Raise { key: key.to_vec(), token });
        }
        self.touch(key, token, now_ms);
        self.shrink(limits, now_ms, effects);
        FenceVerdict::Pass
    }

    /// Takes an effect of the primary. Registers never fall.
    pub fn apply(&mut self, effect: FenceEffect, now_ms: u64) {
        match effect {
            FenceEffect::Raise { key, token } => {
                if token >= self.register(&key) {
                    self.touch(&key, token, now_ms);
                }
            }
            FenceEffect::Floor { token } => {
                self.floor = self.floor.max(token);
                let floor = self.floor;
                let (by_age, bytes) = (&mut self.by_age, &mut self.bytes);
                self.registers.retain(|key, (token, used_ms)| {
                    let keep = *token > floor;
                    if !keep {
                        by_age.remove(&(*used_ms, key.clone()));
                        *bytes -= register_bytes(key);
                    }
                    keep
                });
            }
        }
    }

    /// What a replica or the new owner of the slot needs to hold the same.
    pub fn export(&self) -> Vec<FenceEffect> {
        let mut effects = Vec::with_capacity(self.registers.len() + 1);
        if self.floor > Token(0) {
            effects.push(FenceEffect::Floor { token: self.floor });
        }
        effects.extend(
            self.registers
                .iter()
                .map(|(key, (token, _))| FenceEffect::Raise { key: key.clone(), token: *token }),
        );
        effects
    }

    /// Lets go of what is too old or too much; the floor keeps the promise.
    pub fn shrink(&mut self, limits: &FenceLimits, now_ms: u64, effects: &mut Vec<FenceEffect>) {
        let mut floor = self.floor;
        while let Some((used_ms, key)) = self.by_age.first().cloned() {
            let too_old = now_ms.saturating_sub(used_ms) > limits.max_age_ms;
            if !too_old && self.registers.len() <= limits.max_registers {
                break;
            }
            self.by_age.remove(&(used_ms, key.clone()));
            if let Some((token, _)) = self.registers.remove(&key) {
                floor = floor.max(token);
                self.bytes -= register_bytes(&key);
            }
        }
        if floor > self.floor {
            let effect = FenceEffect::Floor { token: floor };
            self.apply(effect.clone(), now_ms);
            effects.push(effect);
        }
    }

    fn touch(&mut self, key: &[u8], token: Token, now_ms: u64) {
        if let Some((_, used_ms)) = self.registers.insert(key.to_vec(), (token, now_ms)) {
            self.by_age.remove(&(used_ms, key.to_vec()));
        } else {
            self.bytes += register_bytes(key);
        }
        self.by_age.insert((now_ms, key.to_vec()));
    }
}
