//! Handlers of the stream family.

mod read;

use torc_protocol::command::StreamCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: StreamCommand, args: &Args<'_>) -> CommandResult {
    match command {
        StreamCommand::Xlen => read::xlen(cx, args),
    }
}
