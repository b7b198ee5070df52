//! Handlers of the sorted set family.

mod read;

use torc_protocol::command::SortedSetCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: SortedSetCommand, args: &Args<'_>) -> CommandResult {
    match command {
        SortedSetCommand::Zcard => read::zcard(cx, args),
    }
}
