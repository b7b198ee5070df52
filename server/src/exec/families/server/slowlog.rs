//! SLOWLOG.

use torc_protocol::resp::{Args, parse_i64};

use crate::exec::{CommandError, CommandResult, Cx};

/// Entries that SLOWLOG GET gives unless told otherwise.
const DEFAULT_COUNT: usize = 10;

/// `SLOWLOG GET [count]`
pub fn get(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let count = match (args.len(), args.get(2)) {
        (2, _) => DEFAULT_COUNT,
        (3, Some(count)) => match parse_i64(count) {
            Some(-1) => usize::MAX,
            Some(count) if count >= 0 => usize::try_from(count).unwrap_or(usize::MAX),
            _ => return Err("ERR count should be greater than or equal to -1".into()),
        },
        _ => {
            let text = torc_protocol::error::subcommand_syntax(&args[0], &args[1]);
            return Err(CommandError::Bytes(text.into()));
        }
    };
    let entries = cx.node.slow.latest(count);
    let mut reply = cx.reply();
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(entry.id);
        reply.integer(entry.at_s as i64);
        reply.integer(entry.micros as i64);
        reply.array(entry.args.len());
        for arg in &entry.args {
            reply.bulk(arg);
        }
        reply.bulk(entry.addr.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(())
}
