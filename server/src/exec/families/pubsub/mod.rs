//! Handlers of the pubsub family.

mod listen;
#[cfg(test)]
mod tests;

use torc_protocol::command::{PubsubCommand, help};
use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::pubsub::Kind;

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: PubsubCommand, args: &Args<'_>) -> CommandResult {
    match command {
        PubsubCommand::Subscribe => listen::subscribe(cx, args, &listen::CHANNELS),
        PubsubCommand::Psubscribe => listen::subscribe(cx, args, &listen::PATTERNS),
        PubsubCommand::Ssubscribe => listen::subscribe(cx, args, &listen::SHARD_CHANNELS),
        PubsubCommand::Unsubscribe => listen::unsubscribe(cx, args, &listen::CHANNELS),
        PubsubCommand::Punsubscribe => listen::unsubscribe(cx, args, &listen::PATTERNS),
        PubsubCommand::Sunsubscribe => listen::unsubscribe(cx, args, &listen::SHARD_CHANNELS),
        PubsubCommand::Publish => {
            let receivers = cx.node.pubsub.publish(&args[1], &args[2]);
            cx.reply().integer(receivers as i64);
            Ok(())
        }
        PubsubCommand::Spublish => {
            let receivers = cx.node.pubsub.publish_shard(&args[1], &args[2]);
            cx.reply().integer(receivers as i64);
            Ok(())
        }
        PubsubCommand::Pubsub | PubsubCommand::PubsubHelp => {
            help(command.into(), &mut cx.reply());
            Ok(())
        }
        PubsubCommand::PubsubChannels => names(cx, args, Kind::Channel),
        PubsubCommand::PubsubShardchannels => names(cx, args, Kind::Shard),
        PubsubCommand::PubsubNumpat => {
            let patterns = cx.node.pubsub.count(Kind::Pattern);
            cx.reply().integer(patterns as i64);
            Ok(())
        }
        PubsubCommand::PubsubNumsub => counts(cx, args, Kind::Channel),
        PubsubCommand::PubsubShardnumsub => counts(cx, args, Kind::Shard),
    }
}

/// PUBSUB CHANNELS \[pattern\], PUBSUB SHARDCHANNELS \[pattern\]
fn names(cx: &mut Cx<'_, '_>, args: &Args<'_>, kind: Kind) -> CommandResult {
    if args.len() > 3 {
        return Err(CommandError::Bytes(text::subcommand_syntax(&args[0], &args[1]).into()));
    }
    let found = cx.node.pubsub.names(kind, args.get(2));
    let mut reply = cx.reply();
    reply.array(found.len());
    found.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

/// PUBSUB NUMSUB \[channel …\], PUBSUB SHARDNUMSUB \[shardchannel …\]
fn counts(cx: &mut Cx<'_, '_>, args: &Args<'_>, kind: Kind) -> CommandResult {
    let asked = args.tail(2);
    let node = cx.node;
    let mut reply = cx.reply();
    reply.array(asked.len() * 2);
    for name in asked {
        reply.bulk(name);
        reply.integer(node.pubsub.subscribers(kind, name) as i64);
    }
    Ok(())
}
