//! Handlers of the set family.

mod read;

use torc_protocol::command::SetCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: SetCommand, args: &Args<'_>) -> CommandResult {
    match command {
        SetCommand::Scard => read::scard(cx, args),
    }
}
