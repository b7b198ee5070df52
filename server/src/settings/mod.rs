//! The options of a node.
//!
//! [`Settings`] holds what CONFIG SET may change while the node runs; what is fixed at the start (ports, threads)
//! is in [`crate::config`].

pub mod file;
mod kept;
pub mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use torc_protocol::context::Ack;
use torc_protocol::login::MemcachedUsers;

use crate::notify::Class;
use crate::store::Limits;

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
    /// Of all keys the one that S3-FIFO chooses: quick to drop what is used once.
    AllKeysS3Fifo,
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
    pub const NAMES: [(&'static str, EvictionPolicy); 9] = [
        ("noeviction", EvictionPolicy::NoEviction),
        ("allkeys-lru", EvictionPolicy::AllKeysLru),
        ("allkeys-lfu", EvictionPolicy::AllKeysLfu),
        ("allkeys-s3fifo", EvictionPolicy::AllKeysS3Fifo),
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

    /// What an entry's access note means under it.
    pub fn notes(self) -> Notes {
        match self {
            EvictionPolicy::AllKeysLfu | EvictionPolicy::VolatileLfu => Notes::Uses,
            EvictionPolicy::AllKeysS3Fifo => Notes::Queue,
            _ => Notes::LastUse,
        }
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
    /// Which keyspace events are published.
    pub notify: Class,
    /// When collections change their encoding.
    pub limits: Limits,
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
    /// Bytes that a client which listens to channels may leave unread before it is closed; 0: a gigabyte.
    pub pubsub_hard_bytes: u64,
    /// Bytes that it may leave unread for `pubsub_soft_s`; 0: no limit.
    pub pubsub_soft_bytes: u64,
    /// See above.
    pub pubsub_soft_s: u64,
    /// Bytes of unread replies above which no further requests of a client are read.
    pub client_unread_bound: usize,
    /// Without a password only clients on this machine are served.
    pub protected_mode: bool,
    /// Users of the memcached protocol; none: [`Settings::requirepass`] counts.
    pub memcached_users: Arc<MemcachedUsers>,
    /// Whether memcached's `shutdown` stops the process.
    pub memcached_shutdown: bool,
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

impl Settings {
    /// Whether clients of the memcached protocol need no password.
    pub fn memcached_is_open(&self) -> bool {
        self.requirepass.is_empty() && self.memcached_users.is_empty()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            requirepass: String::new(),
            maxmemory: 0,
            maxmemory_policy: EvictionPolicy::NoEviction,
            maxmemory_samples: 5,
            notify: Class::default(),
            limits: Limits::default(),
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
            pubsub_hard_bytes: 32 << 20,
            pubsub_soft_bytes: 8 << 20,
            pubsub_soft_s: 60,
            client_unread_bound: 256 << 20,
            protected_mode: true,
            memcached_users: Arc::default(),
            memcached_shutdown: false,
            ack_timeout_ms: 5000,
            kept: BTreeMap::new(),
            fixed: BTreeMap::new(),
            config_file: None,
            changed: BTreeSet::new(),
        }
    }
}

/// What an entry's access note means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Notes {
    /// The time of the last use (LRU).
    LastUse = 0,
    /// How often it is used (LFU).
    Uses = 1,
    /// Its queue, when it entered it, and its uses since (S3-FIFO).
    Queue = 2,
}

impl Notes {
    /// The notes of this number.
    #[inline]
    pub fn from_number(number: u8) -> Notes {
        match number {
            1 => Notes::Uses,
            2 => Notes::Queue,
            _ => Notes::LastUse,
        }
    }
}

/// How uses of keys are noted for eviction, in an entry's access bytes: under an LRU policy the second of the
/// last use; under an LFU policy its minute (24 bits) and a counter (8 bits) that grows ever more slowly with each
/// use and falls by one each minute; under S3-FIFO the uses (2 bits), the queue (1 bit) and the time of entry (21 bits).
/// When the policy changes, old notes are misread until they are renewed.
#[derive(Clone, Copy, Debug)]
pub struct EvictionClock {
    now_ms: u64,
    now_s: u32,
    notes: Notes,
    noise: u64,
}

/// S3-FIFO: the uses of an entry, no more are counted.
const USES: u32 = 3;
/// S3-FIFO: the entry is in the main queue.
const MAIN: u32 = 4;
/// S3-FIFO: the time of entry is above these bits, in [`TICK_MS`], and wraps after a day and a half.
const TICK_SHIFT: u32 = 3;
const TICK_MASK: u64 = (1 << 21) - 1;
const TICK_MS: u64 = 64;
/// S3-FIFO: uses in the small queue that take an entry into the main one.
const USES_TO_STAY: u32 = 2;

/// The counter of a new key, so that it is not removed at once.
const LFU_START: u32 = 5;

/// How many uses it takes, about, times the counter, to raise the counter by one.
const LFU_FACTOR: u32 = 10;

impl EvictionClock {
    /// The clock at this time.
    #[inline]
    pub fn at(now_ms: u64, notes: Notes) -> EvictionClock {
        EvictionClock { now_ms, now_s: (now_ms / 1000) as u32, notes, noise: now_ms }
    }

    /// Whether uses are counted by chance; then [`EvictionClock::with_noise`] is worth its while.
    #[inline]
    pub fn is_lfu(self) -> bool {
        self.notes == Notes::Uses
    }

    /// Whether entries stand in queues.
    #[inline]
    pub fn is_fifo(self) -> bool {
        self.notes == Notes::Queue
    }

    /// Whether what was noted of a key outlives its value.
    #[inline]
    pub fn keeps_history(self) -> bool {
        self.notes != Notes::LastUse
    }

    fn entering(self) -> u32 {
        (((self.now_ms / TICK_MS) & TICK_MASK) as u32) << TICK_SHIFT
    }

    /// The access field of a new key that goes to the main queue at once (S3-FIFO).
    pub fn fresh_main(self) -> u32 {
        self.entering() | MAIN
    }

    /// Whether an entry is in the main queue (S3-FIFO).
    pub fn is_main(self, access: u32) -> bool {
        access & MAIN != 0
    }

    /// How long ago an entry entered its queue, in ticks (S3-FIFO).
    pub fn arrival_age(self, access: u32) -> u64 {
        (self.now_ms / TICK_MS).wrapping_sub(u64::from(access >> TICK_SHIFT)) & TICK_MASK
    }

    /// The access field of an entry that has come to the end of its queue and goes on in the main one; `None`: it is
    /// to be evicted (S3-FIFO).
    pub fn at_queue_end(self, access: u32) -> Option<u32> {
        let uses = access & USES;
        if self.is_main(access) {
            return (uses > 0).then(|| self.fresh_main() | (uses - 1));
        }
        (uses >= USES_TO_STAY).then(|| self.fresh_main())
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
        match self.notes {
            Notes::LastUse => return self.now_s,
            Notes::Queue => return if old & USES < USES { old + 1 } else { old },
            Notes::Uses => {}
        }
        let counter = self.frequency(old);
        let grows = self.noise.is_multiple_of(u64::from(counter.saturating_sub(LFU_START) * LFU_FACTOR + 1));
        self.counted((counter + u32::from(grows)).min(255))
    }

    /// The access field of a new key.
    #[inline]
    pub fn fresh(self) -> u32 {
        match self.notes {
            Notes::LastUse => self.now_s,
            Notes::Uses => self.counted(LFU_START),
            Notes::Queue => self.entering(),
        }
    }

    /// The access field of a key that was not used for so long; `None` where that is not noted (LRU).
    pub fn idle_for(self, seconds: u64) -> Option<u32> {
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        (self.notes == Notes::LastUse).then(|| self.now_s.saturating_sub(seconds))
    }

    /// The access field of a key with this counter of uses; `None` where they are not counted (LFU).
    pub fn used_often(self, counter: u8) -> Option<u32> {
        self.is_lfu().then(|| self.counted(u32::from(counter)))
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
        let mut access = EvictionClock::at(minute, Notes::Uses).fresh();
        for noise in 0..100_000u64 {
            let clock = EvictionClock::at(minute, Notes::Uses)
                .with_noise(noise.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7);
            access = clock.touched(access);
        }
        let now = EvictionClock::at(minute, Notes::Uses).frequency(access);
        assert!((80..255).contains(&now), "{now}");
        assert_eq!(EvictionClock::at(11 * minute, Notes::Uses).frequency(access), now - 10);
        assert_eq!(EvictionClock::at(1000 * minute, Notes::Uses).frequency(access), 0);
    }

    #[test]
    fn a_key_goes_through_the_queues() {
        let at = |ms| EvictionClock::at(ms, Notes::Queue);
        let new = at(640).fresh();
        assert!(!at(640).is_main(new));
        assert_eq!(at(6400).arrival_age(new), 90);
        assert_eq!(at(6400).at_queue_end(new), None);
        let used = at(700).touched(at(650).touched(new));
        assert_eq!(at(6400).arrival_age(used), 90, "uses do not move it");
        let main = at(6400).at_queue_end(used).unwrap();
        assert!(at(6400).is_main(main));
        assert_eq!((at(6400).arrival_age(main), at(6400).at_queue_end(main)), (0, None));
        // In the main queue it goes round once for each use, three times at most.
        let mut note = (0..9).fold(main, |note, _| at(7000).touched(note));
        for _ in 0..3 {
            note = at(8000).at_queue_end(note).unwrap();
        }
        assert_eq!(at(8000).at_queue_end(note), None);
        assert!(note < 1 << 24);
    }
}
