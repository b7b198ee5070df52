//! CLIENT PAUSE: which requests are held back.

use torc_protocol::command::{Command, TransactionCommand, resolve_internal};
use torc_protocol::resp::Args;

use crate::clients::Pause;
use crate::exec::Session;
use crate::script::ScriptCache;

/// Whether a request waits until the pause is over.
pub fn holds(pause: Pause, scripts: &ScriptCache, session: &Session, args: &Args<'_>) -> bool {
    // Another part of Torc never waits for a person's pause: its clients are not the ones that were meant.
    if session.trusted {
        return false;
    }
    if pause == Pause::All {
        return true;
    }
    let writes =
        |command: Command, args: &Args<'_>| command.is_noticed() && !scripts.only_reads(command, args);
    match resolve_internal(args) {
        Ok(Command::Transactions(TransactionCommand::Exec)) => session
            .transaction
            .as_ref()
            .is_some_and(|open| open.queue.iter().any(|queued| writes(queued.command, &queued.args.view()))),
        Ok(command) => session.transaction.is_none() && writes(command, args),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use torc_protocol::command::lookup;
    use torc_protocol::resp::OwnedArgs;

    use super::*;
    use crate::exec::session::{Queued, Transaction};
    use crate::script::{Loaded, hex};

    #[test]
    fn writes_wait_and_reads_do_not() {
        let mut session = Session::new(1, true);
        let scripts = ScriptCache::default();
        let hold = |session: &Session, pause, args: &[&str]| {
            holds(pause, &scripts, session, &OwnedArgs::new(args).view())
        };
        let held =
            |session: &Session, pause, line: &str| hold(session, pause, &line.split(' ').collect::<Vec<_>>());
        let reads = "#!lua flags=no-writes\nreturn 1";
        let Loaded::Kept(sha) = scripts.load(reads.as_bytes()) else { panic!("there is room") };
        assert!(!hold(&session, Pause::Writes, &["eval", reads, "0"]));
        assert!(!hold(&session, Pause::Writes, &["evalsha", &hex(&sha), "0"]));
        assert!(hold(&session, Pause::Writes, &["eval", "#!lua\nreturn 1", "0"]));
        assert!(held(&session, Pause::Writes, "evalsha 0123 0"));
        assert!(held(&session, Pause::Writes, "set k v"));
        for line in ["publish c m", "spublish c m", "pfcount k", "eval x 0"] {
            assert!(held(&session, Pause::Writes, line), "{line}");
        }
        assert!(!held(&session, Pause::Writes, "get k"));
        assert!(!held(&session, Pause::Writes, "no such"));
        assert!(held(&session, Pause::All, "get k"));
        let queued = |line: &str| Queued {
            command: lookup(line.split(' ').next().unwrap_or_default().as_bytes()).expect("known"),
            args: OwnedArgs::new(line.split(' ')),
        };
        session.transaction = Some(Transaction { queue: vec![queued("get k")], ..Transaction::default() });
        assert!(!held(&session, Pause::Writes, "exec"));
        session.transaction = Some(Transaction { queue: vec![queued("incr k")], ..Transaction::default() });
        assert!(held(&session, Pause::Writes, "exec"));
        session.trusted = true;
        assert!(!held(&session, Pause::All, "get k"));
    }
}
