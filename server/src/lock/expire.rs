//! What ends by itself: holders' times and waiters' patience.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use torc_cluster::lock::{LockTable, Outcome, Token};
use torc_protocol::slot::key_slot;
use torc_runtime::clock::boottime_ns;

use super::{WaiterId, ms};
use crate::effect::{EffectWriter, Records};
use crate::node::Node;
use crate::shard::Role;
use crate::store::stripe_of;

/// Locks looked after in one go before others get a turn.
const MAX_AT_ONCE: usize = 256;

/// How long the task sleeps when nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How long the task waits for a lease when something is due.
const PAUSE_WITHOUT_LEASE: Duration = Duration::from_millis(50);

/// Which worker's place in the gate the task uses: any will do, who closes the gate closes all.
const GATE: usize = 0;

/// Ends what is over, for as long as the node runs.
pub async fn expire(node: Arc<Node>) {
    loop {
        let next_ms = node.locks.lock().table.next_event_ms();
        let now_ms = ms(boottime_ns());
        let pause = next_ms.map_or(LONGEST_SLEEP, |at| Duration::from_millis(at.saturating_sub(now_ms)));
        let decides = matches!(node.shard.role(), Role::Plain | Role::Primary);
        // On a replica nothing ends by itself: its primary says so.
        let pause = if decides { pause.min(LONGEST_SLEEP) } else { LONGEST_SLEEP };
        if !pause.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = node.locks.agenda_changed.notified() => {}
            }
        }
        if decides && !node.end_what_is_due(boottime_ns()) {
            // Without a lease nothing ends: the next look is not at once.
            tokio::time::sleep(PAUSE_WITHOUT_LEASE).await;
        }
        tokio::task::yield_now().await;
    }
}

impl Node {
    /// Ends what is due at `now_ns`, at most [`MAX_AT_ONCE`] locks. False when something is due and the node may not
    /// end it.
    pub fn end_what_is_due(&self, now_ns: u64) -> bool {
        for _ in 0..MAX_AT_ONCE {
            let due = self.locks.lock().table.due(ms(now_ns)).map(<[u8]>::to_vec);
            let Some(name) = due else { return true };
            if !self.change_lock(&name, |table, out| table.expire_one(&name, ms(now_ns), out), now_ns) {
                return false;
            }
        }
        true
    }

    /// A parked request gives up its place: its client is gone.
    pub fn leave_queue(&self, name: &[u8], waiter: WaiterId, now_ns: u64) {
        self.locks.lock().unpark(waiter);
        self.change_lock(name, |table, out| table.cancel(name, waiter, ms(now_ns), out), now_ns);
    }

    /// A parked request got the lock when its client was gone already: the next one shall have it.
    pub fn give_back(&self, name: &[u8], token: Token, owner: &[u8], now_ns: u64) {
        let release = |table: &mut LockTable, out: &mut Outcome| {
            // An error says that the lock is not held any more, which is as good.
            if table.release(name, token, owner, ms(now_ns), out).is_ok() {
                self.locks.given_back.fetch_add(1, Ordering::Relaxed);
            }
        };
        self.change_lock(name, release, now_ns);
    }

    /// Changes a lock outside of any command, as a record of its own. False when the node may not.
    fn change_lock(
        &self,
        name: &[u8],
        change: impl FnOnce(&mut LockTable, &mut Outcome),
        now_ns: u64,
    ) -> bool {
        let _shared = self.shard.gate.enter(GATE);
        let role = self.shard.role();
        let may = match role {
            Role::Plain => true,
            Role::Primary => self.shard.may_execute(now_ns),
            Role::Replica | Role::Joining => false,
        };
        if !may {
            return false;
        }
        let slot = key_slot(name);
        let mut writer = EffectWriter::new(role == Role::Primary);
        let mut records = Records::default();
        let mut out = Outcome::default();
        let stripe = self.store.stripe(stripe_of(slot));
        change(&mut self.locks.lock().table, &mut out);
        self.locks.record(slot, &out.effects, &mut writer);
        let mut offset = 0;
        if !writer.is_empty() {
            offset = self.shard.next_offset();
            writer.take_into(self.shard.term().0, offset, &mut records);
        }
        drop(stripe);
        self.shard.hand_over_from_node(&mut records);
        self.locks.wake(&out, offset);
        true
    }
}
