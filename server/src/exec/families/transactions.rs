//! Handlers of the transactions family.

use torc_protocol::command::TransactionCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: TransactionCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        TransactionCommand::Discard => Err("ERR 'discard' is not served yet".into()),
        TransactionCommand::Exec => Err("ERR 'exec' is not served yet".into()),
        TransactionCommand::Multi => Err("ERR 'multi' is not served yet".into()),
        TransactionCommand::Unwatch => Err("ERR 'unwatch' is not served yet".into()),
        TransactionCommand::Watch => Err("ERR 'watch' is not served yet".into()),
    }
}
