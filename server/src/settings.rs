//! The options of a node.
//!
//! [`Settings`] holds what CONFIG SET may change while the node runs; what is fixed at the start (ports, threads)
//! is in [`crate::config`].

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
    /// Options of Redis that have no meaning here, kept as they were set: name → value.
    pub kept: std::collections::BTreeMap<String, String>,
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
            kept: std::collections::BTreeMap::new(),
        }
    }
}

/// How uses of keys are noted for eviction: seconds of the clock, wrapping after 136 years.
#[derive(Clone, Copy, Debug)]
pub struct EvictionClock {
    now_s: u32,
}

impl EvictionClock {
    /// The clock at this time.
    #[inline]
    pub fn at(now_ms: u64) -> EvictionClock {
        EvictionClock { now_s: (now_ms / 1000) as u32 }
    }

    /// The access field of a key that is used now and had `old` before.
    #[inline]
    pub fn touched(self, _old: u32) -> u32 {
        self.now_s
    }

    /// The access field of a new key.
    pub fn fresh(self) -> u32 {
        self.now_s
    }

    /// Seconds since the last use.
    pub fn idle_s(self, access: u32) -> u32 {
        self.now_s.saturating_sub(access)
    }
}
