//! Handlers of the cluster family: the map as cluster-aware clients read it.

mod describe;
#[cfg(test)]
mod tests;

use torc_protocol::command::{ClusterCommand, help};
use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};
use torc_protocol::slot::{SLOTS, Slot, key_slot};

use crate::exec::{CommandError, CommandResult, Cx, parse};
use crate::shard::Role;
use crate::store::{Entry, stripe_of};

/// Keys that CLUSTER GETKEYSINSLOT gives at most.
const MAX_KEYS: usize = 1 << 20;

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ClusterCommand, args: &Args<'_>) -> CommandResult {
    if cx.node.shard.role() == Role::Plain {
        return Err(text::CLUSTER_DISABLED.into());
    }
    match command {
        // No slot is ever half moved: the map says who serves it.
        ClusterCommand::Asking => cx.reply().ok(),
        ClusterCommand::Cluster | ClusterCommand::ClusterHelp => help(command.into(), &mut cx.reply()),
        ClusterCommand::ClusterCountkeysinslot => {
            let slot = slot(&args[2], "ERR Invalid slot")?;
            let db = cx.db;
            let count =
                cx.with_stripe(stripe_of(slot), |cx| cx.stripe(stripe_of(slot)).len_of_slot(db, slot))?;
            cx.reply().integer(count as i64);
        }
        ClusterCommand::ClusterGetkeysinslot => return keys_in_slot(cx, args),
        ClusterCommand::ClusterInfo => describe::info(cx),
        ClusterCommand::ClusterKeyslot => cx.reply().integer(i64::from(key_slot(&args[2]))),
        ClusterCommand::ClusterLinks => cx.reply().array(0),
        ClusterCommand::ClusterMyid => return describe::my_id(cx),
        ClusterCommand::ClusterNodes => return describe::nodes(cx),
        ClusterCommand::ClusterShards => return describe::shards(cx),
        ClusterCommand::ClusterSlots => return describe::slots(cx),
        ClusterCommand::Readonly => {
            cx.session.readonly = true;
            cx.reply().ok();
        }
        ClusterCommand::Readwrite => {
            cx.session.readonly = false;
            cx.reply().ok();
        }
    }
    Ok(())
}

fn slot(arg: &[u8], error: &'static str) -> Result<Slot, CommandError> {
    let number = parse::integer(arg)?;
    Slot::try_from(number).ok().filter(|slot| *slot < SLOTS).ok_or_else(|| error.into())
}

/// `CLUSTER GETKEYSINSLOT slot count`
fn keys_in_slot(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    const INVALID: &str = "ERR Invalid slot or number of keys";
    let slot = slot(&args[2], INVALID)?;
    let count = parse_i64(&args[3]).ok_or(CommandError::NotInteger)?;
    let count = usize::try_from(count).map_err(|_| INVALID)?.min(MAX_KEYS);
    let db = cx.db;
    let keys = cx.with_stripe(stripe_of(slot), |cx| {
        let entries = cx.stripe(stripe_of(slot)).iter(db);
        let keys = entries.map(Entry::key).filter(|key| key_slot(key) == slot);
        keys.take(count).map(Box::<[u8]>::from).collect::<Vec<_>>()
    })?;
    let mut reply = cx.reply();
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(key));
    Ok(())
}
