//! Handlers of the internal family.

use torc_protocol::command::InternalCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: InternalCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        InternalCommand::Ctx => Err("ERR 'ctx' is not served yet".into()),
        InternalCommand::Mc => Err("ERR 'mc' is not served yet".into()),
        InternalCommand::TorcAuth => Err("ERR 'torc.auth' is not served yet".into()),
        InternalCommand::TorcHello => Err("ERR 'torc.hello' is not served yet".into()),
    }
}
