//! Handlers of the list family.

mod read;

use torc_protocol::command::ListCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ListCommand, args: &Args<'_>) -> CommandResult {
    match command {
        ListCommand::Llen => read::llen(cx, args),
    }
}
