//! Requests that are held back: by CLIENT PAUSE, and writes while there is no room for their records.

use torc_protocol::command::{Command, TransactionCommand, resolve_internal};
use torc_protocol::resp::Args;

use crate::clients::Pause;
use crate::exec::{Batch, Session};
use crate::script::ScriptCache;

/// A request of a proxy that is as long was most likely streamed, on a connection of its own (`torc_proxy::downstream::upload`):
/// it is in no proxy's memory and cannot be sent again. One of many arguments that was taken whole holds those behind it up.
const STREAMED_BYTES: usize = 8 << 20;

/// What requests may have to wait for now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holds {
    /// CLIENT PAUSE.
    pub pause: Option<Pause>,
    /// Room for records; not when the request has waited for it long enough.
    pub room: bool,
}

/// Whether a request of so many bytes waits until there is room for its record. What proxies do not stream does not wait, so
/// that requests of their other clients on the same connection need not: it is refused while there is no room to place it
/// (they send it again), and executed while there is, however far replicas are behind.
#[inline]
pub fn lacks_room(holds: Holds, batch: &Batch<'_, '_>, session: &Session, bytes: usize) -> bool {
    holds.room && !batch.has_room_for(bytes) && (!session.trusted || bytes >= STREAMED_BYTES)
}

/// Whether a request waits until the pause is over.
pub fn is_paused(pause: Pause, scripts: &ScriptCache, session: &Session, args: &Args<'_>) -> bool {
    // Another part of Torc never waits for a person's pause: its clients are not the ones that were meant.
    !session.trusted && (pause == Pause::All || writes(scripts, session, args))
}

/// Whether a request may change something, now: in a transaction that is EXEC alone. What a proxy sends may, wherever it
/// matters here.
pub fn writes(scripts: &ScriptCache, session: &Session, args: &Args<'_>) -> bool {
    if session.trusted {
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
            is_paused(pause, &scripts, session, &OwnedArgs::new(args).view())
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
