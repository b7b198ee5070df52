//! What this node is in its shard, as the workers see it: a few atomics that they read for each batch.
//!
//! ```text
//! torc-agent    ── role, term, lease ──▶ Shard ◀── reads ── workers
//! torc-repl     ── high-water mark  ──▶ Shard ◀── records ─ workers
//! ```
//!
//! Owner of role, term, slots: the node agent on `torc-agent`, under the closed [`Gate`]. Owner of the marks:
//! `torc-repl`. Workers write only the sequence and their own outbox.

mod bell;
mod fresh;
pub mod gate;
mod view;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use torc_cluster::ids::Term;

use crate::effect::{Amount, LONG_RECORD_BYTES, MAX_RECORD_BYTES, RECORD_HEADER, Records};
use crate::replication::Summary;
use bell::Bell;
pub use fresh::{Fresh, NotFresh};
pub use gate::Gate;
pub use view::View;

/// Bytes of short records that may wait for their place in the history, in outboxes and behind records that are missing.
/// While there are more a primary executes no writes.
pub const MAX_UNPLACED_BYTES: usize = 64 << 20;

/// The same of long records, which are apart: one alone is never too much.
pub const MAX_UNPLACED_LONG_BYTES: usize = MAX_RECORD_BYTES + RECORD_HEADER;

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// One store without a cluster.
    Plain = 0,
    /// Serves its shard's slots while its lease lasts.
    Primary = 1,
    /// Follows a primary.
    Replica = 2,
    /// Member of a cluster without a place in it yet.
    Joining = 3,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::Plain, Role::Primary, Role::Replica, Role::Joining];

    /// The role's name in status pages and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Role::Plain => "plain",
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Joining => "joining",
        }
    }

    fn from_u8(n: u8) -> Role {
        match n {
            0 => Role::Plain,
            1 => Role::Primary,
            2 => Role::Replica,
            _ => Role::Joining,
        }
    }
}

/// Batches, from one with records on, after which a worker announces them in the middle of a turn.
const MAX_UNANNOUNCED: u32 = 32;

/// Bytes of records that wait for their place above which `torc-repl` is told at once.
const MAX_LEISURELY_BYTES: usize = 1 << 20;

/// Records of one worker on their way to `torc-repl`.
#[derive(Debug, Default)]
struct Outbox {
    records: Mutex<Records>,
    /// How many batches have put something down that nobody was told of.
    unannounced: AtomicU32,
    /// Somebody waits until the replicas have what was put down.
    hurry: AtomicBool,
}

/// How soon `torc-repl` is to look at what was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Somebody waits for it.
    AtOnce,
    /// Nobody does: several records may go to the replicas together.
    Soon,
}

/// See the module's text.
#[derive(Debug)]
pub struct Shard {
    role: AtomicU8,
    term: AtomicU64,
    /// CLOCK_BOOTTIME nanoseconds until which the lease holds.
    lease_until_ns: AtomicU64,
    /// Last offset that was given to a record.
    sequence: CachePadded<AtomicU64>,
    /// False while a primary is stepping down: nothing new is executed.
    accepting: AtomicBool,
    in_sync_enough: AtomicBool,
    mark: watch::Sender<u64>,
    acked: watch::Sender<Arc<[u64]>>,
    outboxes: Box<[CachePadded<Outbox>]>,
    /// Bytes of short records that were handed over and are not in the backlog yet.
    unplaced: CachePadded<AtomicUsize>,
    /// The same of long records.
    unplaced_long: AtomicUsize,
    /// A replica of the in-sync set lacks more than the backlog keeps without need.
    lagging: AtomicBool,
    /// Told when there may be room for more records.
    room: Notify,
    records_ready: Notify,
    /// Told when nobody waits for the records.
    records_soon: Notify,
    /// Whether `torc-repl` will look by itself before long, so that nobody need tell it.
    bell: Bell,
    /// How fresh a replica's data is.
    pub fresh: Fresh,
    /// What is held is a state that the shard once had: no full sync is under way, and none was broken off.
    whole: AtomicBool,
    /// Workers stay outside while the role changes.
    pub gate: Gate,
    view: ArcSwap<Option<View>>,
    replication: ArcSwap<Summary>,
}

impl Shard {
    /// A plain store's shard, or that of a node that has yet to learn its place.
    pub fn new(workers: usize, cluster: bool) -> Shard {
        let role = if cluster { Role::Joining } else { Role::Plain };
        Shard {
            role: AtomicU8::new(role as u8),
            term: AtomicU64::new(0),
            lease_until_ns: AtomicU64::new(0),
            sequence: CachePadded::new(AtomicU64::new(0)),
            accepting: AtomicBool::new(false),
            in_sync_enough: AtomicBool::new(false),
            mark: watch::Sender::new(0),
            acked: watch::Sender::new(Arc::from([])),
            outboxes: (0..workers).map(|_| CachePadded::default()).collect(),
            unplaced: CachePadded::default(),
            unplaced_long: AtomicUsize::new(0),
            lagging: AtomicBool::new(false),
            room: Notify::new(),
            records_ready: Notify::new(),
            records_soon: Notify::new(),
            bell: Bell::default(),
            fresh: Fresh::default(),
            whole: AtomicBool::new(true),
            gate: Gate::new(workers),
            view: ArcSwap::from_pointee(None),
            replication: ArcSwap::from_pointee(Summary::default()),
        }
    }

    /// What the node is.
    #[inline]
    pub fn role(&self) -> Role {
        Role::from_u8(self.role.load(Ordering::Acquire))
    }

    /// The term the node serves or follows.
    #[inline]
    pub fn term(&self) -> Term {
        Term(self.term.load(Ordering::Acquire))
    }

    /// Changes role and term; the caller holds the closed gate.
    pub fn set_role(&self, _closed: &gate::Exclusive<'_>, role: Role, term: Term) {
        self.lease_until_ns.store(0, Ordering::Release);
        self.fresh.forget();
        self.term.store(term.0, Ordering::Release);
        self.role.store(role as u8, Ordering::Release);
        self.accepting.store(role == Role::Primary, Ordering::Release);
        self.wake_parked();
    }

    /// Whether a batch may begin at `now_ns`: the lease holds and the node is not stepping down.
    #[inline]
    pub fn may_execute(&self, now_ns: u64) -> bool {
        self.accepting.load(Ordering::Acquire) && now_ns < self.lease_until_ns()
    }

    /// The primary is stepping down: what was executed may still be answered, nothing new is executed.
    pub fn stop_accepting(&self) {
        self.accepting.store(false, Ordering::Release);
    }

    /// Whether what is held is a state that the shard once had. Not so from the beginning of a full sync to its end.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// See [`Shard::is_whole`]. Who takes wholeness away closes the gate afterwards, before anything is dropped.
    pub fn set_whole(&self, whole: bool) {
        self.whole.store(whole, Ordering::Release);
    }

    /// Connections that wait for the mark look at their lease again.
    fn wake_parked(&self) {
        self.mark.send_modify(|_| {});
    }

    /// A plain store's term, for the fencing tokens of its locks; set once at the start.
    pub fn set_plain_term(&self, term: Term) {
        self.term.store(term.0, Ordering::Release);
    }

    /// Extends the lease to `until_ns` (CLOCK_BOOTTIME) if the node is primary in `term`.
    pub fn extend_lease(&self, term: Term, until_ns: u64) {
        if self.role() == Role::Primary && self.term() == term {
            self.lease_until_ns.fetch_max(until_ns, Ordering::AcqRel);
        }
    }

    /// Gives the lease back: from now on nothing is served.
    pub fn drop_lease(&self) {
        self.lease_until_ns.store(0, Ordering::Release);
        self.wake_parked();
    }

    /// End of the lease, CLOCK_BOOTTIME nanoseconds.
    #[inline]
    pub fn lease_until_ns(&self) -> u64 {
        self.lease_until_ns.load(Ordering::Acquire)
    }

    /// The last offset that a record has got.
    #[inline]
    pub fn last_offset(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Draws the next offset. Called while the record's stripes are locked.
    #[inline]
    pub fn next_offset(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Sets the sequence: a replica that has applied up to `offset`, a promotion, a reset.
    pub fn set_last_offset(&self, offset: u64) {
        self.sequence.store(offset, Ordering::Release);
    }

    /// A worker puts the records of its batch down. Whoever collects them is told once per turn of the worker
    /// ([`Shard::announce`]), or after [`MAX_UNANNOUNCED`] batches: waking a thread costs more than most commands.
    #[inline]
    pub fn put_down(&self, worker: usize, records: &mut Records) {
        let outbox = &self.outboxes[worker];
        if !records.is_empty() {
            self.count_unplaced(records);
            outbox.records.lock().append(records);
        } else if outbox.unannounced.load(Ordering::Relaxed) == 0 {
            return;
        }
        // Batches that only read count as well: a worker that always has something to do never parks.
        if outbox.unannounced.fetch_add(1, Ordering::AcqRel) + 1 >= MAX_UNANNOUNCED {
            self.announce(worker);
        }
    }

    /// A client of the worker waits until the replicas have what was written: at the end of the turn the records are
    /// collected at once, whoever made them.
    #[inline]
    pub fn hurry(&self, worker: usize) {
        let outbox = &self.outboxes[worker];
        outbox.hurry.store(true, Ordering::Relaxed);
        outbox.unannounced.fetch_add(1, Ordering::AcqRel);
    }

    /// The worker's turn is over: what it has put down is to be collected, at once if somebody waits for it.
    #[inline]
    pub fn announce(&self, worker: usize) {
        let outbox = &self.outboxes[worker];
        if outbox.unannounced.load(Ordering::Acquire) == 0
            || outbox.unannounced.swap(0, Ordering::AcqRel) == 0
        {
            return;
        }
        if outbox.hurry.swap(false, Ordering::Relaxed) || self.unplaced_bytes() > MAX_LEISURELY_BYTES {
            self.records_ready.notify_one();
        } else if self.bell.ring() {
            self.records_soon.notify_one();
        }
    }

    /// Hands records over at once.
    pub fn hand_over(&self, worker: usize, records: &mut Records) {
        if !records.is_empty() {
            self.count_unplaced(records);
            self.outboxes[worker].records.lock().append(records);
            self.records_ready.notify_one();
        }
    }

    /// Records that node tasks (active expiry) made outside of any worker use the first outbox.
    pub fn hand_over_from_node(&self, records: &mut Records) {
        self.hand_over(0, records);
    }

    /// Moves what the workers have handed over into `into`, in no order across workers.
    pub fn collect_records(&self, into: &mut Records) {
        for outbox in &self.outboxes {
            let mut outbox = outbox.records.lock();
            if into.is_empty() {
                std::mem::swap(&mut *outbox, into);
            } else {
                into.append(&mut outbox);
            }
        }
    }

    fn count_unplaced(&self, records: &Records) {
        let Amount { short, long } = records.amount();
        self.unplaced.fetch_add(short, Ordering::Relaxed);
        if long > 0 {
            self.unplaced_long.fetch_add(long, Ordering::Relaxed);
        }
    }

    /// So much of what was handed over has found its place, or is of no use any more.
    pub fn placed(&self, amount: Amount) {
        self.unplaced.fetch_sub(amount.short, Ordering::Relaxed);
        if amount.long > 0 {
            self.unplaced_long.fetch_sub(amount.long, Ordering::Relaxed);
        }
        self.room.notify_waiters();
    }

    /// Bytes of records that were handed over and have no place in the history yet.
    pub fn unplaced_bytes(&self) -> usize {
        self.unplaced().total()
    }

    fn unplaced(&self) -> Amount {
        let (short, long) = (&self.unplaced, &self.unplaced_long);
        Amount { short: short.load(Ordering::Relaxed), long: long.load(Ordering::Relaxed) }
    }

    /// Whether writes must wait until replication has placed some records.
    #[inline]
    pub fn is_behind(&self) -> bool {
        let Amount { short, long } = self.unplaced();
        short > MAX_UNPLACED_BYTES || long > MAX_UNPLACED_LONG_BYTES
    }

    /// Whether the record of a request of so many bytes should wait: for others to be placed, or, if it is long, for the
    /// replicas of the in-sync set to take what they lack, so that they stay in it.
    #[inline]
    pub fn has_room_for(&self, request_bytes: usize) -> bool {
        !self.is_behind() && (request_bytes < LONG_RECORD_BYTES || !self.lagging.load(Ordering::Relaxed))
    }

    /// Resolves when there is room; see [`Shard::has_room_for`].
    pub async fn room_for(&self, request_bytes: usize) {
        loop {
            let mut told = pin!(self.room.notified());
            // What is told from here on is not missed.
            told.as_mut().enable();
            if self.has_room_for(request_bytes) {
                return;
            }
            told.await;
        }
    }

    /// A replica of the in-sync set lacks more than the backlog keeps without need, or none does any more.
    pub fn set_lagging(&self, lagging: bool) {
        if self.lagging.swap(lagging, Ordering::Relaxed) && !lagging {
            self.room.notify_waiters();
        }
    }

    /// Resolves when workers have handed something over since the last call, and says how soon to look at it. After
    /// [`Call::Soon`] nobody says so again until [`Shard::nothing_left`]; [`Call::AtOnce`] is always told.
    pub async fn records_ready(&self) -> Call {
        tokio::select! {
            biased;
            () = self.records_ready.notified() => Call::AtOnce,
            () = self.records_soon.notified() => Call::Soon,
        }
    }

    /// Who collects records found none and will wait to be told. What is put down from here on is announced; what was
    /// put down before may not have been: look once more.
    pub fn nothing_left(&self) {
        self.bell.quiet();
    }

    /// The offset that every in-sync member is known to hold.
    #[inline]
    pub fn mark(&self) -> u64 {
        *self.mark.borrow()
    }

    /// Watches the high-water mark.
    pub fn watch_mark(&self) -> watch::Receiver<u64> {
        self.mark.subscribe()
    }

    /// Sets the high-water mark (it may fall only with a new term).
    pub fn set_mark(&self, mark: u64) {
        self.mark.send_if_modified(|old| std::mem::replace(old, mark) != mark);
    }

    /// Offsets that the replicas have acknowledged, for WAIT.
    pub fn watch_acked(&self) -> watch::Receiver<Arc<[u64]>> {
        self.acked.subscribe()
    }

    /// Sets what the replicas have acknowledged.
    pub fn set_acked(&self, offsets: Arc<[u64]>) {
        self.acked.send_if_modified(|old| {
            let changed = **old != *offsets;
            *old = offsets;
            changed
        });
    }

    /// Whether the in-sync set is large enough for `in-sync` writes.
    #[inline]
    pub fn in_sync_enough(&self) -> bool {
        self.in_sync_enough.load(Ordering::Acquire)
    }

    /// See [`Shard::in_sync_enough`].
    pub fn set_in_sync_enough(&self, enough: bool) {
        self.in_sync_enough.store(enough, Ordering::Release);
    }

    /// The replication as of the last heartbeat, for those who must not take its lock.
    pub fn replication(&self) -> Arc<Summary> {
        self.replication.load_full()
    }

    /// Bytes of records that are kept for replicas, or on their way there (as of the last heartbeat).
    pub fn replication_bytes(&self) -> usize {
        self.replication().backlog_bytes + self.unplaced_bytes()
    }

    /// See [`Shard::replication`].
    pub fn set_replication(&self, summary: Summary) {
        self.replication.store(Arc::new(summary));
    }

    /// The map as this node knows it; `None` in a plain store or before the first map.
    #[inline]
    pub fn view(&self) -> arc_swap::Guard<Arc<Option<View>>> {
        self.view.load()
    }

    /// Whether a client may turn to any key here: there are no others, and it knows nothing of slots, or its proxy
    /// (`proxied`) does that for it.
    pub fn reaches_all_keys(&self, proxied: bool) -> bool {
        self.role() == Role::Plain || (proxied && self.view().as_ref().as_ref().is_some_and(View::owns_all))
    }

    /// Replaces the map.
    pub fn set_view(&self, view: View) {
        self.view.store(Arc::new(Some(view)));
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::effect::LongRecord;

    fn short(bytes: usize) -> Records {
        Records { short: vec![7; bytes], long: Vec::new() }
    }

    fn told(shard: &Shard) -> Option<Call> {
        let waits = pin!(shard.records_ready());
        match waits.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(call) => Some(call),
            Poll::Pending => None,
        }
    }

    #[test]
    fn records_are_announced_once_a_turn() {
        let shard = Shard::new(2, true);
        let nothing = &mut Records::default();
        shard.put_down(1, nothing);
        shard.put_down(1, &mut short(1));
        for _ in 2..MAX_UNANNOUNCED {
            shard.put_down(1, &mut short(1));
        }
        assert_eq!(told(&shard), None);
        shard.announce(0);
        assert_eq!(told(&shard), None, "the other worker's turn goes on");
        shard.announce(1);
        assert_eq!(told(&shard), Some(Call::Soon));
        shard.announce(1);
        assert_eq!(told(&shard), None, "nothing new");
        shard.nothing_left();
        // A turn that takes long: batches that only read count as well.
        shard.put_down(1, &mut short(1));
        for _ in 1..MAX_UNANNOUNCED {
            assert_eq!(told(&shard), None);
            shard.put_down(1, nothing);
        }
        assert_eq!(told(&shard), Some(Call::Soon));
        let mut all = Records::default();
        shard.collect_records(&mut all);
        assert_eq!(all.short.len(), MAX_UNANNOUNCED as usize);
    }

    #[test]
    fn who_waits_is_not_kept_waiting() {
        let shard = Shard::new(2, true);
        shard.put_down(0, &mut short(1));
        shard.announce(0);
        assert_eq!(told(&shard), Some(Call::Soon));
        shard.put_down(0, &mut short(1));
        shard.announce(0);
        assert_eq!(told(&shard), None, "it looks before long anyway");
        // A reader on the other worker waits for what this one wrote.
        shard.hurry(1);
        shard.announce(1);
        assert_eq!(told(&shard), Some(Call::AtOnce));
        shard.put_down(0, &mut short(MAX_LEISURELY_BYTES + 1));
        shard.announce(0);
        assert_eq!(told(&shard), Some(Call::AtOnce), "too much to wait with");
    }

    #[tokio::test]
    async fn a_long_record_alone_makes_nobody_wait() {
        let shard = Shard::new(1, true);
        let long = |bytes| {
            let body = vec![0; bytes];
            Records { short: Vec::new(), long: vec![LongRecord { offset: 1, term: 1, body }] }
        };
        shard.put_down(0, &mut long(MAX_UNPLACED_BYTES + 1));
        assert!(shard.has_room_for(1) && shard.has_room_for(LONG_RECORD_BYTES));
        assert_eq!(shard.unplaced_bytes(), MAX_UNPLACED_BYTES + 1 + RECORD_HEADER);
        // As many bytes of short ones: then all wait, until some have found their place.
        shard.put_down(0, &mut short(MAX_UNPLACED_BYTES + 1));
        assert!(!shard.has_room_for(1));
        let mut waits = pin!(shard.room_for(1));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(cx).is_pending());
        shard.placed(Amount { short: 1, long: 0 });
        waits.await;
        // Who lags is waited for by long ones alone.
        shard.set_lagging(true);
        assert!(shard.has_room_for(1) && !shard.has_room_for(LONG_RECORD_BYTES));
        let mut waits = pin!(shard.room_for(LONG_RECORD_BYTES));
        assert!(waits.as_mut().poll(cx).is_pending());
        shard.set_lagging(false);
        waits.await;
    }
}
