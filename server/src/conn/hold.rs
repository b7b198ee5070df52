//! CLIENT PAUSE: which requests are held back.

use torc_protocol::command::{Command, Flags, PubsubCommand, TransactionCommand, resolve_internal};
use torc_protocol::resp::Args;

use crate::clients::Pause;
use crate::exec::Session;

/// Whether a request waits until the pause is over.
pub fn holds(pause: Pause, session: &Session, args: &Args<'_>) -> bool {
    // Another part of Torc never waits for a person's pause: its clients are not the ones that were meant.
    if session.trusted {
        return false;
    }
    if pause == Pause::All {
        return true;
    }
    // What others would notice: writes, scripts, messages.
    let writes = |command: Command| {
        command.spec().flags.intersects(Flags::WRITE.or(Flags::MAY_REPLICATE))
            || matches!(command, Command::Pubsub(PubsubCommand::Publish | PubsubCommand::Spublish))
    };
    match resolve_internal(args) {
        Ok(Command::Transactions(TransactionCommand::Exec)) => session
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.queue.iter().any(|queued| writes(queued.command))),
        Ok(command) => session.transaction.is_none() && writes(command),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use torc_protocol::resp::OwnedArgs;

    use super::*;

    #[test]
    fn writes_wait_and_reads_do_not() {
        let mut session = Session::new(1, true);
        let held = |session: &Session, pause, line: &str| {
            holds(pause, session, &OwnedArgs::new(line.split(' ')).view())
        };
        assert!(held(&session, Pause::Writes, "set k v"));
        assert!(!held(&session, Pause::Writes, "get k"));
        assert!(!held(&session, Pause::Writes, "no such"));
        assert!(held(&session, Pause::All, "get k"));
        session.trusted = true;
        assert!(!held(&session, Pause::All, "get k"));
    }
}
