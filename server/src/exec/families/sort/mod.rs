//! SORT and SORT_RO.

mod pattern;
mod request;
mod run;

use torc_protocol::command::{Command, SortCommand};
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: SortCommand, args: &Args<'_>) -> CommandResult {
    match command {
        SortCommand::Sort => run::sort(cx, args, true),
        SortCommand::SortRo => run::sort(cx, args, false),
    }
}

/// Whether a request looks at keys that it does not name: those that a pattern of BY or GET makes of elements.
pub fn sorts_by_keys(command: Command, args: &Args<'_>) -> bool {
    matches!(command, Command::Sort(_)) && args.tail(2).into_iter().any(pattern::names_keys)
}
