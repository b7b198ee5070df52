//! Handlers of the lock family.

use torc_protocol::command::LockCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: LockCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        LockCommand::Fence => Err("ERR 'fence' is not served yet".into()),
        LockCommand::LockAcquire => Err("ERR 'lock.acquire' is not served yet".into()),
        LockCommand::LockExtend => Err("ERR 'lock.extend' is not served yet".into()),
        LockCommand::LockInfo => Err("ERR 'lock.info' is not served yet".into()),
        LockCommand::LockRelease => Err("ERR 'lock.release' is not served yet".into()),
    }
}
