//! The options of a node.
//!
//! [`Settings`] holds what CONFIG SET may change while the node runs; what is fixed at the start (ports, threads)
//! is in [`crate::config`].

pub mod file;
mod kept;
pub mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use torc_protocol::context::Ack;

use crate::store::PackedLimits;

/// What to remove when memory is full; Redis's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// Refuse writes.
    #[default]
    NoEviction,
    /// The least recently used of all keys.
    AllKeysLru,
    /// The least frequently used of all keys.
    AllKeysLfu,
    /// Any key.
    AllKeysRandom,
    /// The least recently used key with an expiry.
    VolatileLru,
    /// The least frequently used key with an expiry.
    VolatileLfu,
    /// Any key with an expiry.
    VolatileRandom,
    /// The key that expires first.
    VolatileTtl,
}

impl EvictionPolicy {
    /// All policies with their names in `maxmemory-policy`.
    pub const NAMES: [(&'static str, EvictionPolicy); 8] = [
        ("noeviction", EvictionPolicy::NoEviction),
        ("allkeys-lru", EvictionPolicy::AllKeysLru),
        ("allkeys-lfu", EvictionPolicy::AllKeysLfu),
        ("allkeys-random", EvictionPolicy::AllKeysRandom),
        ("volatile-lru", EvictionPolicy::VolatileLru),
        ("volatile-lfu", EvictionPolicy::VolatileLfu),
        ("volatile-random", EvictionPolicy::VolatileRandom),
        ("volatile-ttl", EvictionPolicy::VolatileTtl),
    ];

    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<EvictionPolicy> {
        Self::NAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, p)| *p)
    }

    /// Whether uses of keys are counted rather than their times kept.
    pub fn is_lfu(self) -> bool {
        matches!(self, EvictionPolicy::AllKeysLfu | EvictionPolicy::VolatileLfu)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, p)| *p == self).map_or("noeviction", |(n, _)| n)
    }
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Password of the default user; empty: none is needed.
    pub requirepass: String,
    /// Bytes that the store may take; 0: no limit.
    pub maxmemory: u64,
    /// What is removed when they are used.
    pub maxmemory_policy: EvictionPolicy,
    /// Candidates that are compared for one eviction.
    pub maxmemory_samples: u32,
    /// When packed hashes become tables.
    pub hash_packed: PackedLimits,
    /// The longest bulk string that is accepted, bytes.
    pub proto_max_bulk_bytes: u64,
    /// memcached's largest item, bytes.
    pub max_item_bytes: u64,
    /// Acknowledgement of writes whose client chose none.
    pub default_ack: Ack,
    /// DEBUG is answered.
    pub enable_debug: bool,
    /// Milliseconds after which scripts may be killed and others are answered BUSY.
    pub busy_reply_ms: u64,
    /// Commands above this many microseconds enter the slow log; negative: none does.
    pub slowlog_slower_than_us: i64,
    /// Entries of the slow log.
    pub slowlog_max_len: usize,
    /// Events above this many milliseconds enter the latency monitor; 0: none does.
    pub latency_threshold_ms: u64,
    /// Seconds of silence after which a client is closed; 0: never.
    pub timeout_s: u64,
    /// Seconds of silence after which TCP asks whether the peer still lives; 0: never.
    pub tcp_keepalive_s: u64,
    /// Connections that may be open at a time.
    pub max_clients: usize,
    /// Bytes of replies that a client may leave unread before it is closed; 0: no limit but
    /// [`Settings::client_unread_bound`].
    pub output_hard_bytes: u64,
    /// Bytes of replies that a client may leave unread for `output_soft_s`; 0: no limit.
    pub output_soft_bytes: u64,
    /// See above.
    pub output_soft_s: u64,
    /// Bytes of unread replies above which no further requests of a client are read.
    pub client_unread_bound: usize,
    /// Without a password only clients on this machine are served.
    pub protected_mode: bool,
    /// How long a reply may wait for its acknowledgement when the request does not say, milliseconds.
    pub ack_timeout_ms: u32,
    /// Options of Redis that have no meaning here, kept as they were set: name → value.
    pub kept: BTreeMap<String, String>,
    /// Facts of the start that CONFIG GET shows and CONFIG SET cannot change: name → value.
    pub fixed: BTreeMap<&'static str, String>,
    /// Where CONFIG REWRITE writes.
    pub config_file: Option<PathBuf>,
    /// Names of the options that were set, for CONFIG REWRITE.
    pub changed: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            requirepass: String::new(),
            maxmemory: 0,
            maxmemory_policy: EvictionPolicy::NoEviction,
            maxmemory_samples: 5,
            hash_packed: PackedLimits::default(),
            proto_max_bulk_bytes: 512 << 20,
            max_item_bytes: 1 << 20,
            default_ack: Ack::Primary,
            enable_debug: false,
            busy_reply_ms: 5000,
            slowlog_slower_than_us: 10_000,
            slowlog_max_len: 128,
            latency_threshold_ms: 0,
            timeout_s: 0,
            tcp_keepalive_s: 300,
            max_clients: crate::clients::DEFAULT_MAX_CLIENTS,
            output_hard_bytes: 0,
            output_soft_bytes: 0,
            output_soft_s: 0,
            client_unread_bound: 256 << 20,
            protected_mode: true,
            ack_timeout_ms: 5000,
            kept: BTreeMap::new(),
            fixed: BTreeMap::new(),
            config_file: None,
            changed: BTreeSet::new(),
        }
    }
}

/// Reads a size as Redis does: a number with an optional unit (b, k, kb, m, mb, g, gb; `k` is 1000, `kb` 1024).
pub fn parse_memory(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// How uses of keys are noted for eviction, in an entry's four access bytes: under an LRU policy the second of the
/// last use; under an LFU policy its minute (24 bits) and a counter (8 bits) that grows ever more slowly with each
/// use and falls by one each minute. When the policy changes, old notes are misread until they are renewed.
#[derive(Clone, Copy, Debug)]
pub struct EvictionClock {
    now_s: u32,
    lfu: bool,
    noise: u64,
}

/// The counter of a new key, so that it is not removed at once.
const LFU_START: u32 = 5;

/// How many uses it takes, about, times the counter, to raise the counter by one.
const LFU_FACTOR: u32 = 10;

impl EvictionClock {
    /// The clock at this time.
    #[inline]
    pub fn at(now_ms: u64, lfu: bool) -> EvictionClock {
        EvictionClock { now_s: (now_ms / 1000) as u32, lfu, noise: now_ms }
    }

    /// Whether uses are counted; then [`EvictionClock::with_noise`] is worth its while.
    #[inline]
    pub fn is_lfu(self) -> bool {
        self.lfu
    }

    /// The clock with a random number for the next use.
    pub fn with_noise(self, noise: u64) -> EvictionClock {
        EvictionClock { noise, ..self }
    }

    fn counted(self, counter: u32) -> u32 {
        (self.now_s / 60) << 8 | counter
    }

    /// The access field of a key that is used now and had `old` before.
    #[inline]
    pub fn touched(self, old: u32) -> u32 {
        if !self.lfu {
            return self.now_s;
        }
        let counter = self.frequency(old);
        let grows = self.noise.is_multiple_of(u64::from(counter.saturating_sub(LFU_START) * LFU_FACTOR + 1));
        self.counted((counter + u32::from(grows)).min(255))
    }

    /// The access field of a new key.
    #[inline]
    pub fn fresh(self) -> u32 {
        if self.lfu { self.counted(LFU_START) } else { self.now_s }
    }

    /// Seconds since the last use (LRU).
    pub fn idle_s(self, access: u32) -> u32 {
        self.now_s.saturating_sub(access)
    }

    /// The counter of uses as it is by now, 0 to 255 (LFU).
    pub fn frequency(self, access: u32) -> u32 {
        let minutes = (self.now_s / 60).wrapping_sub(access >> 8) & 0xff_ffff;
        (access & 0xff).saturating_sub(minutes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_counted_and_forgotten() {
        let minute = 60_000;
        let mut access = EvictionClock::at(minute, true).fresh();
        for noise in 0..100_000u64 {
            let clock =
                EvictionClock::at(minute, true).with_noise(noise.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7);
            access = clock.touched(access);
        }
        let now = EvictionClock::at(minute, true).frequency(access);
        assert!((80..255).contains(&now), "{now}");
        assert_eq!(EvictionClock::at(11 * minute, true).frequency(access), now - 10);
        assert_eq!(EvictionClock::at(1000 * minute, true).frequency(access), 0);
    }
}
