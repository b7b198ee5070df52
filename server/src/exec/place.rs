//! Where a request belongs: its slots, and whether this node serves them.

use smallvec::SmallVec;
use torc_protocol::command::{
    Command, CommandSpec, Flags, InternalCommand, LeaseCommand, LockCommand, ScriptingCommand, resolve,
};
use torc_protocol::context::{ReadLevel, ReplicaRead};
use torc_protocol::error as text;
use torc_protocol::resp::Args;
use torc_protocol::slot::{Slot, key_slot};

use super::{Batch, CommandError, Request, Session};
use crate::shard::{NotFresh, Role};

/// The slots of a request, in the order of its keys.
pub type Slots = SmallVec<[Slot; 4]>;

/// Where the command inside FENCE begins.
const FENCED_AT: usize = 3;

/// Whether a command reads or changes data without naming keys (FLUSHALL, DBSIZE, SCAN …).
pub fn whole_store(spec: &CommandSpec) -> bool {
    spec.keys.is_none() && (spec.is_write() || spec.is_readonly())
}

/// Whether a command may turn to keys that it does not name: scripts of clients that know nothing of clusters.
pub fn may_touch_any_key(command: Command) -> bool {
    matches!(
        command,
        Command::Scripting(
            ScriptingCommand::Eval
                | ScriptingCommand::EvalRo
                | ScriptingCommand::Evalsha
                | ScriptingCommand::EvalshaRo
        )
    )
}

/// The command inside FENCE.
fn fenced(command: Command, args: &Args<'_>) -> Option<Command> {
    match command {
        Command::Lock(LockCommand::Fence) => resolve(&args.tail(FENCED_AT)).ok(),
        _ => None,
    }
}

/// Whether a request may need more memory: FENCE does when the command in it does.
pub fn grows(command: Command, spec: &CommandSpec, args: &Args<'_>) -> bool {
    let inner = fenced(command, args);
    spec.flags.contains(Flags::DENYOOM) || inner.is_some_and(|c| c.spec().flags.contains(Flags::DENYOOM))
}

/// Whether a request needs memory only in some cases, and refuses those by itself: scripts, and GETLEASE of a key that
/// is missing.
pub fn may_grow(command: Command, args: &Args<'_>) -> bool {
    let is_lease = |command| matches!(command, Command::Lease(LeaseCommand::Getlease));
    may_touch_any_key(command) || is_lease(command) || fenced(command, args).is_some_and(is_lease)
}

/// Whether a command changes what is replicated although it names no key.
pub fn records_without_keys(command: Command) -> bool {
    matches!(command, Command::Scripting(ScriptingCommand::ScriptLoad | ScriptingCommand::ScriptFlush))
}

/// The slots of the keys in `args`.
pub fn slots(command: Command, spec: &CommandSpec, args: &Args<'_>) -> Result<Slots, CommandError> {
    if spec.keys.is_none() {
        return Ok(Slots::new());
    }
    if command == Command::Internal(InternalCommand::Mc) {
        return Ok(crate::memcached::line_slots(args));
    }
    let keys = spec.find_keys(args).map_err(|e| CommandError::from(e.to_string()))?;
    Ok(keys.iter().filter_map(|&i| args.get(i)).map(key_slot).collect())
}

/// The slots of a request's keys; the slot of a first key that was looked at before is taken from there.
#[inline]
pub fn slots_of(command: Command, spec: &CommandSpec, request: &Request<'_>) -> Result<Slots, CommandError> {
    match request.key {
        // Behind the name there is room for one key.
        Some(key) if spec.keys.is_single() || request.args.len() == 2 => Ok(Slots::from_slice(&[key.slot])),
        _ => slots(command, spec, &request.args),
    }
}

impl Batch<'_, '_> {
    /// Whether this node serves these slots to this session now (cluster mode only).
    pub(super) fn check_place(
        &self,
        session: &Session,
        spec: &CommandSpec,
        request: &Request<'_>,
        slots: &Slots,
    ) -> Result<(), CommandError> {
        let touches_data = !slots.is_empty() || whole_store(spec);
        if !touches_data {
            return Ok(());
        }
        let Some(view) = self.view.as_ref() else {
            return Err(self.elsewhere(text::CLUSTERDOWN.into()));
        };
        let mut other = None;
        for slot in slots.iter().copied().filter(|slot| !view.owns(*slot)) {
            match view.map.slots.owner(slot) {
                Some(owner) => other = Some((slot, owner)),
                None => return Err(self.elsewhere(text::CLUSTERDOWN_SLOT.into())),
            }
        }
        // Direct clients keep Redis Cluster's rule; the proxy may send what one shard can do at once.
        if !request.proxied && slots.iter().any(|s| *s != slots[0]) {
            return Err(text::CROSSSLOT.into());
        }
        if let Some((slot, owner)) = other {
            return Err(self.elsewhere(moved(view, slot, owner)));
        }
        if self.role == Role::Primary {
            return if self.lease_valid {
                Ok(())
            } else {
                Err(self.elsewhere(text::CLUSTERDOWN_LEASE.into()))
            };
        }
        // A replica shows its data only to who asked for possibly old data.
        if let Some(limits) = &request.replica
            && self.role == Role::Replica
            && spec.is_readonly()
            && !slots.is_empty()
            && request.read != Some(ReadLevel::Strong)
        {
            // A flush_all that is due is carried out by the primary's next request: this one.
            if self.node.memcached.is_due(self.now.unix_ms) {
                return Err(self.elsewhere(text::REPLICA_CANNOT.into()));
            }
            return self.check_fresh(limits);
        }
        // Who may read old data here is not shown a part of it: a full sync is under way, or was broken off.
        let reads_replica = !request.proxied && self.role == Role::Replica && !spec.is_write();
        let may_read_here = reads_replica && (session.readonly || slots.is_empty());
        if may_read_here {
            return if self.node.shard.is_whole() {
                Ok(())
            } else {
                Err(self.elsewhere(text::LOADING.into()))
            };
        }
        match (slots.first(), view.shard) {
            (Some(&slot), Some(shard)) if self.role == Role::Replica => {
                Err(self.elsewhere(moved(view, slot, shard)))
            }
            (None, _) if self.role == Role::Replica => Err(self.elsewhere(text::READONLY.into())),
            _ => Err(self.elsewhere(text::CLUSTERDOWN.into())),
        }
    }

    /// Whether this replica's data is as fresh as a read asks for.
    fn check_fresh(&self, limits: &ReplicaRead) -> Result<(), CommandError> {
        let stats = &self.exec.stats;
        match self.node.shard.fresh.check(limits, self.now.boottime_ns) {
            Ok(()) => {
                stats.replica_reads.add(1);
                Ok(())
            }
            Err(NotFresh::Stale) => {
                stats.replica_stale.add(1);
                Err(text::REPLICA_STALE.into())
            }
            Err(NotFresh::Behind) => {
                stats.replica_behind.add(1);
                Err(text::REPLICA_BEHIND.into())
            }
        }
    }

    fn elsewhere(&self, error: CommandError) -> CommandError {
        self.exec.stats.redirected.add(1);
        error
    }
}

/// MOVED to the primary of `shard`, or CLUSTERDOWN when it has none.
fn moved(view: &crate::shard::View, slot: Slot, shard: torc_cluster::ids::ShardId) -> CommandError {
    match view.map.primary_of(shard) {
        Some((node, member)) if member != view.me => text::moved(slot, &node.host, node.port).into(),
        _ => text::CLUSTERDOWN_SLOT.into(),
    }
}
