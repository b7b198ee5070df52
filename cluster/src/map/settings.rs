//! Settings that the whole cluster shares. They change through consensus only.

use serde::{Deserialize, Serialize};

/// Times are in ms on CLOCK_BOOTTIME of whoever measures; all scale together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a primary may serve after it sent the renewal that was granted.
    pub lease_ms: u64,
    /// How often a node renews.
    pub renew_ms: u64,
    /// By how much the clock of one node may run faster than that of another, in parts per million.
    pub clock_rate_bound_ppm: u32,
    /// Members of the in-sync set below which `in-sync` writes are refused.
    pub min_in_sync: u8,
    /// The longest TTL a lock may have; locks stay closed for as long after a shard lost its memory.
    pub max_lock_ttl_ms: u64,
    /// A replica that did not acknowledge for this long leaves the in-sync set.
    pub replica_timeout_ms: u64,
    /// How long the controller waits for further candidates after the first has sealed.
    pub seal_wait_ms: u64,
    /// Raft election time-out, drawn between these two.
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// Raft heartbeat.
    pub raft_heartbeat_ms: u64,
    /// A worker without progress for this long is a hang: the node gives its leases back.
    pub worker_stall_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            lease_ms: 500,
            renew_ms: 100,
            clock_rate_bound_ppm: 1_000,
            min_in_sync: 2,
            max_lock_ttl_ms: 60_000,
            replica_timeout_ms: 500,
            seal_wait_ms: 100,
            election_min_ms: 90,
            election_max_ms: 150,
            raft_heartbeat_ms: 30,
            worker_stall_ms: 10_000,
        }
    }
}

/// The longest time any setting may name: a day.
const MAX_SETTING_MS: u64 = 86_400_000;

impl Settings {
    /// Checks that the times fit together; the text names the setting that does not.
    pub fn check(&self) -> Result<(), &'static str> {
        let times = [
            self.lease_ms,
            self.renew_ms,
            self.max_lock_ttl_ms,
            self.replica_timeout_ms,
            self.seal_wait_ms,
            self.election_min_ms,
            self.election_max_ms,
            self.raft_heartbeat_ms,
            self.worker_stall_ms,
        ];
        if times.iter().any(|ms| !(1..=MAX_SETTING_MS).contains(ms)) {
            return Err("every time must be between 1 ms and a day");
        }
        if self.lease_ms < self.renew_ms.saturating_mul(2) {
            return Err("lease_ms must be at least twice renew_ms");
        }
        if self.clock_rate_bound_ppm > 100_000 {
            return Err("clock_rate_bound_ppm must not be above 100000");
        }
        if self.min_in_sync == 0 || self.min_in_sync > super::MAX_REPLICAS + 1 {
            return Err("min_in_sync must be between 1 and 9");
        }
        if self.election_max_ms <= self.election_min_ms {
            return Err("election_max_ms must be above election_min_ms");
        }
        if self.raft_heartbeat_ms.saturating_mul(2) > self.election_min_ms {
            return Err("raft_heartbeat_ms must be at most half of election_min_ms");
        }
        Ok(())
    }

    /// A lease of these settings, as long as it may last on anybody else's clock, in ns.
    pub fn lease_bound_ns(&self) -> u64 {
        stretched_ns(self.lease_ms, self.clock_rate_bound_ppm)
    }

    /// All times of the control plane scaled for another lease, the lock TTL left alone.
    pub fn scaled_to_lease(&self, lease_ms: u64) -> Settings {
        let scale = |ms: u64| (ms.saturating_mul(lease_ms) / self.lease_ms.max(1)).max(1);
        Settings {
            lease_ms,
            renew_ms: scale(self.renew_ms),
            replica_timeout_ms: scale(self.replica_timeout_ms),
            seal_wait_ms: scale(self.seal_wait_ms),
            election_min_ms: scale(self.election_min_ms),
            election_max_ms: scale(self.election_max_ms),
            raft_heartbeat_ms: scale(self.raft_heartbeat_ms),
            ..self.clone()
        }
    }
}

/// `ms × (1 + ppm / 10^6)` in ns, rounded up.
pub(crate) fn stretched_ns(ms: u64, ppm: u32) -> u64 {
    let ns = u128::from(ms) * 1_000_000;
    let stretched = ns + (ns * u128::from(ppm)).div_ceil(1_000_000);
    u64::try_from(stretched).unwrap_or(u64::MAX)
}
