//! What a connection to a node remembers of a request that it has not answered.

use std::rc::Rc;

use torc_cluster::ShardId;
use torc_protocol::command::{Command, InternalCommand};
use torc_protocol::slot::Slot;

use super::ids::Ticket;
use crate::downstream::client::Client;
use crate::hot::flights::Flight;
use crate::hot::stamps::Writing;
use crate::scatter::Quest;

/// Where a request has to go: asked again each time it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// To the owner of a slot.
    Slot(Slot),
    /// To a shard.
    Shard(ShardId),
}

/// Which of a link's shared connections a request goes on. A node answers each connection in order, so a reply that
/// it holds back (until the in-sync set has a write, or what a strong read saw) delays all behind it: these have
/// connections of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// Replies come as soon as a request is executed.
    #[default]
    Quick,
    /// Replies may be held back.
    Slow,
}

/// On what kind of connection a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// On one that the worker's clients share.
    Shared,
    /// On one that the client has to itself until the reply.
    OneShot,
    /// On one that it has to itself, in pieces as they come; its bytes are not kept, so it is never sent again.
    Upload,
    /// On the one that holds the client's WATCH: never sent again anywhere else.
    Watching,
}

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// One request under way. Its bytes stay in the connection's (or the hold's) buffer until it is answered.
#[derive(Debug)]
pub struct Pending {
    /// Who waits for it; `None` when nobody does any more. The handle is the client itself: a later client can
    /// never be mistaken for it.
    pub client: Option<Rc<Client>>,
    /// The command over several shards that it is a step of.
    pub quest: Option<Rc<Quest>>,
    /// Which of the client's slots it answers.
    pub seq: u64,
    /// Which part of that slot.
    pub part: u32,
    /// Replies that come before the one that counts (a transaction's MULTI and QUEUED).
    pub skips: u32,
    /// How many of them are still to come.
    pub skip: u32,
    /// Where it has to go.
    pub dest: Dest,
    /// What it is.
    pub command: Command,
    /// Whether it may change keys.
    pub write: bool,
    /// Whether this sending of it goes to a replica.
    pub replica: bool,
    /// Whether one of the skipped replies was a refusal.
    pub refused: bool,
    /// On what kind of connection it goes.
    pub way: Way,
    /// On which of the shared ones.
    pub lane: Lane,
    /// Whether an earlier sending of it may have been executed.
    pub doubtful: bool,
    /// Its number since it was put on a connection, when it has one.
    pub ticket: Option<Ticket>,
    /// Until it is answered copies of what it writes are not given to clients.
    pub writing: Option<Box<Writing>>,
    /// The other clients that it is sent for.
    pub flight: Option<Rc<Flight>>,
    /// Bytes of its frames.
    pub len: usize,
    /// When nobody waits any more, on the worker's clock; [`NEVER`] for waiting commands.
    pub deadline_ns: u64,
    /// When the time that it may wait at a node is over, on the worker's clock; [`NEVER`]: it has no end, or the request
    /// does not wait.
    pub waits_until_ns: u64,
    /// When it was put into the connection's buffer first, on the worker's clock.
    pub since_ns: u64,
}

impl Pending {
    /// A read that nobody waits for, on the quick shared connection, to be answered within `timeout_ms` of `now_ns`.
    #[inline]
    pub fn new(dest: Dest, command: Command, now_ns: u64, timeout_ms: u32) -> Pending {
        Pending {
            client: None,
            quest: None,
            seq: 0,
            part: 0,
            skips: 0,
            skip: 0,
            dest,
            command,
            write: false,
            replica: false,
            refused: false,
            way: Way::Shared,
            lane: Lane::Quick,
            doubtful: false,
            ticket: None,
            writing: None,
            flight: None,
            len: 0,
            waits_until_ns: NEVER,
            deadline_ns: now_ns.saturating_add(u64::from(timeout_ms) * 1_000_000),
            since_ns: now_ns,
        }
    }

    /// Whether it is a step of a command that was answered meanwhile.
    pub fn is_called_off(&self) -> bool {
        self.quest.as_ref().is_some_and(|quest| quest.is_over())
    }

    /// Whether it is a memcached request that changes nothing.
    pub fn is_item_read(&self) -> bool {
        !self.write && self.command == Command::Internal(InternalCommand::Mc)
    }

    /// Milliseconds left, as a context carries them: 0 is "no deadline".
    pub fn left_ms(&self, now_ns: u64) -> u32 {
        if self.deadline_ns == NEVER {
            return 0;
        }
        u32::try_from(self.deadline_ns.saturating_sub(now_ns) / 1_000_000).unwrap_or(u32::MAX).max(1)
    }

    /// Milliseconds that it may still wait at a node; `None` where it says all there is to say itself.
    pub fn wait_left_ms(&self, now_ns: u64) -> Option<u64> {
        (self.waits_until_ns != NEVER).then(|| self.waits_until_ns.saturating_sub(now_ns) / 1_000_000)
    }
}
