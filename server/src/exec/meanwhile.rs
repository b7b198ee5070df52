//! What a client is told while a script of its worker goes on for longer than scripts should.
//!
//! As in Redis everything is refused but what may end the script and what belongs to the connection alone. A refused
//! command spoils an open transaction, and a refused EXEC ends it. WATCH is refused as well, which Redis is not: the
//! script may hold the lock of the key.

use torc_protocol::command::{Command, Flags, TransactionCommand};
use torc_protocol::error::BUSY_SCRIPT;

use super::error::CommandError;
use super::session::Session;

/// Whether the command runs beside a script. What it watched is forgotten here, where no lock is asked for: stripes
/// drop dead watchers themselves.
pub fn admits(session: &mut Session, command: Command) -> bool {
    if let Command::Transactions(command) = command {
        match command {
            TransactionCommand::Exec | TransactionCommand::Watch => return false,
            TransactionCommand::Discard | TransactionCommand::Unwatch => session.watching = None,
            TransactionCommand::Multi => {}
        }
    }
    command.spec().flags.contains(Flags::ALLOW_BUSY)
}

/// Why another command does not run.
pub fn refusal(session: &mut Session, command: Command) -> CommandError {
    if command != Command::Transactions(TransactionCommand::Exec) {
        return BUSY_SCRIPT.into();
    }
    session.transaction = None;
    session.watching = None;
    format!("EXECABORT Transaction discarded because of: {BUSY_SCRIPT}").into()
}
