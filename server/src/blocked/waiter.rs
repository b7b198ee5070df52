//! A request that waits, its fate, and its place in the queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use torc_cluster::lock::Token;
use torc_protocol::command::Command;
use torc_protocol::context::{Ack, ReadLevel, RequestId};
use torc_protocol::resp::{OwnedArgs, Version};
use torc_protocol::slot::{Slot, key_slot};
use torc_protocol::trace::Trace;

use super::{Blocked, Wanted};
use crate::clients::Client;
use crate::exec::{ReplyKind, Slots};
use crate::store::{Store, stripe_of};

/// Counted for each key beside its bytes: its places in the queues, and the queue that may be its own.
const KEY_BYTES: usize = 256;
/// Counted for each argument beside its bytes.
const ARGUMENT_BYTES: usize = 16;

/// What a request asks for beside its command, kept for when it runs again: from its context or its session.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Number of the connection.
    pub session: u64,
    /// What others see of it.
    pub client: Option<Arc<Client>>,
    /// RESP2 or RESP3.
    pub version: Version,
    /// The database.
    pub db: u8,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// READONLY on a replica.
    pub readonly: bool,
    /// Acknowledgement.
    pub ack: Option<Ack>,
    /// Read level.
    pub read: Option<ReadLevel>,
    /// The reply is to say its position.
    pub want_position: bool,
    /// How long a barrier may hold the reply, in milliseconds; 0: as the settings say.
    pub deadline_ms: u32,
    /// From a proxy, which sends again what was refused.
    pub proxied: bool,
    /// The request's id.
    pub id: Option<RequestId>,
    /// An earlier sending may have been executed.
    pub repeated: bool,
    /// The slot that remembers the reply.
    pub home: Option<Slot>,
    /// Fencing token.
    pub fence: Option<Token>,
    /// The request's name in logs.
    pub trace: Trace,
}

/// The reply to a request that was served.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The reply.
    pub bytes: Vec<u8>,
    /// What it depends on until it is sent.
    pub depends: Option<Depends>,
    /// Offset of its own record; 0: none.
    pub offset: u64,
}

/// What the answer of a waiter depends on, as any reply does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depends {
    /// Read or Write.
    pub kind: ReplyKind,
    /// The term of the lease; the reply may leave only under it.
    pub term: u64,
    /// The high-water mark must reach this; 0: none.
    pub barrier: u64,
    /// How long it may hold the reply, in milliseconds; 0: as the settings say.
    pub deadline_ms: u32,
}

/// What a waiter is told.
#[derive(Debug)]
pub enum Turn {
    /// It was served (or refused: then the answer is an error).
    Served(Answer),
    /// The node leads the shard no more, or follows another primary.
    Away,
}

/// A request that waits.
#[derive(Debug)]
pub struct Waiter {
    /// Its number: the order of the queues.
    pub ticket: u64,
    /// The command.
    pub command: Command,
    /// The whole request.
    pub args: OwnedArgs,
    /// See [`Asked`].
    pub asked: Asked,
    /// The keys in whose queues it stands.
    pub keys: Vec<Box<[u8]>>,
    /// The slots of all keys of the command.
    pub slots: Slots,
    /// What it waits for.
    pub wanted: Wanted,
    /// Queues that it stands in.
    pub(super) queued: AtomicUsize,
    desk: Arc<Blocked>,
    bytes: usize,
    over: AtomicBool,
    tell: Mutex<Option<oneshot::Sender<Turn>>>,
    nudged: Notify,
    /// Something may be there for it, since it was last looked at.
    look: AtomicBool,
}

/// The right to answer a waiter; nobody else can meanwhile. Dropped without an answer the waiter waits on.
pub struct Claim<'w> {
    waiter: &'w Waiter,
    tell: MutexGuard<'w, Option<oneshot::Sender<Turn>>>,
}

impl<'w> Claim<'w> {
    /// The answer is settled: takes the way to tell it, for after the locks.
    pub fn settle(mut self) -> Option<oneshot::Sender<Turn>> {
        self.waiter.over.store(true, Ordering::Release);
        self.tell.take()
    }

    /// Tells it at once.
    pub fn answer(self, turn: Turn) {
        if let Some(tell) = self.settle() {
            // Its connection may be gone.
            let _ = tell.send(turn);
        }
    }
}

impl Waiter {
    /// The place of a new waiter; `None`: too much waits already. The caller puts it into the queues, under the locks of
    /// its stripes.
    pub(crate) fn place(
        desk: &Arc<Blocked>,
        command: Command,
        args: OwnedArgs,
        asked: Asked,
        slots: Slots,
        (mut keys, wanted): (Vec<Box<[u8]>>, Wanted),
    ) -> Option<Place> {
        keys.sort_unstable();
        keys.dedup();
        let bytes = size_of::<Waiter>()
            + args.view().total_bytes()
            + args.view().len() * ARGUMENT_BYTES
            + keys.iter().map(|key| key.len() + KEY_BYTES).sum::<usize>();
        if !desk.reserve(bytes) {
            return None;
        }
        let (tell, told) = oneshot::channel();
        let waiter = Arc::new(Waiter {
            ticket: desk.next_ticket(),
            command,
            args,
            asked,
            keys,
            slots,
            wanted,
            queued: AtomicUsize::new(0),
            desk: desk.clone(),
            bytes,
            over: AtomicBool::new(false),
            tell: Mutex::new(Some(tell)),
            nudged: Notify::new(),
            look: AtomicBool::new(false),
        });
        desk.enrol(&waiter);
        Some(Place { waiter, told, silent: false })
    }

    /// Takes the fate of the waiter; `None` when it was served or has gone.
    pub fn claim(&self) -> Option<Claim<'_>> {
        let tell = self.tell.lock();
        tell.is_some().then_some(Claim { waiter: self, tell })
    }

    /// Whether it was served or has gone.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Something may be there for it: its own worker is to try.
    pub fn nudge(&self) {
        self.look.store(true, Ordering::Release);
        self.nudged.notify_one();
    }

    /// Its own worker is to see whether the node is still the right place for it, and to try if an earlier nudge asked
    /// for that.
    pub fn nudge_place(&self) {
        self.nudged.notify_one();
    }

    /// Whether a nudge asked to try, and nobody did since.
    pub fn wants_look(&self) -> bool {
        self.look.load(Ordering::Acquire)
    }

    /// It is tried now: a nudge that comes later asks for another try.
    pub fn looked(&self) {
        self.look.store(false, Ordering::Release);
    }

    /// Resolves after a nudge.
    pub async fn nudged(&self) {
        self.nudged.notified().await;
    }

    /// What it counts in the bound of all that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn desk(&self) -> &Blocked {
        &self.desk
    }
}

/// A waiter as its connection has it. Dropped it is over, and no longer counted; its connection also takes it out of
/// the queues ([`Place::leave`]), or it stays there as a dead one until somebody looks.
#[derive(Debug)]
pub struct Place {
    /// The waiter.
    pub waiter: Arc<Waiter>,
    /// Where the answer comes.
    pub told: oneshot::Receiver<Turn>,
    /// Nobody wants the reply (CLIENT REPLY OFF).
    pub silent: bool,
}

impl Place {
    /// Takes the waiter out of the queues that it still stands in. A stripe that is held for long (by a script) keeps
    /// it as a dead one.
    pub fn leave(&self, store: &Store) {
        let waiter = &self.waiter;
        if let Some(claim) = waiter.claim() {
            claim.settle();
        }
        for key in &waiter.keys {
            if waiter.queued.load(Ordering::Acquire) == 0 {
                break;
            }
            if let Some(mut stripe) = store.peek_stripe(stripe_of(key_slot(key))) {
                stripe.leave(waiter.asked.db, key, waiter.ticket);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(claim) = self.waiter.claim() {
            claim.settle();
        }
        self.waiter.desk.dismiss(&self.waiter);
    }
}
