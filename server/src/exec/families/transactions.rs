//! Handlers of the transactions family. EXEC itself is [`crate::exec`]'s: it decides about locks.

use torc_protocol::command::TransactionCommand;
use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::session::{MAX_WATCHED, Transaction};
use crate::exec::{CommandResult, Cx, Depth};
use crate::store::stripe_of;

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: TransactionCommand, args: &Args<'_>) -> CommandResult {
    match command {
        TransactionCommand::Multi => multi(cx),
        TransactionCommand::Discard => discard(cx),
        TransactionCommand::Watch => watch(cx, args),
        TransactionCommand::Unwatch => unwatch(cx),
        // With an open MULTI the executor has run it already.
        TransactionCommand::Exec => Err(text::EXEC_WITHOUT_MULTI.into()),
    }
}

fn multi(cx: &mut Cx<'_, '_>) -> CommandResult {
    if let Some(transaction) = &mut cx.session.transaction {
        transaction.failed = true;
        return Err(text::NESTED_MULTI.into());
    }
    cx.session.transaction = Some(Transaction::default());
    cx.reply().ok();
    Ok(())
}

fn discard(cx: &mut Cx<'_, '_>) -> CommandResult {
    if cx.session.transaction.take().is_none() {
        return Err(text::DISCARD_WITHOUT_MULTI.into());
    }
    forget_watched(cx);
    cx.reply().ok();
    Ok(())
}

fn watch(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if let Some(transaction) = &mut cx.session.transaction {
        transaction.failed = true;
        return Err(text::WATCH_INSIDE_MULTI.into());
    }
    let keys = args.tail(1);
    let mut watching = cx.session.watching.take().unwrap_or_default();
    if watching.keys.len() + keys.len() > MAX_WATCHED {
        cx.session.watching = Some(watching);
        return Err(format!("ERR a connection may watch {MAX_WATCHED} keys at most").into());
    }
    for bytes in keys.iter() {
        let key = cx.key(bytes);
        // A key that is gone already must not break the transaction by being removed later.
        cx.expire_if_due(&key);
        if cx.access.stripe(key.slot).watch(cx.db, bytes, &watching.flag) {
            watching.keys.push((cx.db, bytes.into()));
        }
    }
    cx.session.watching = Some(watching);
    cx.reply().ok();
    Ok(())
}

fn unwatch(cx: &mut Cx<'_, '_>) -> CommandResult {
    forget_watched(cx);
    cx.reply().ok();
    Ok(())
}

/// Ends all watches of the connection. Whatever stripe cannot be had is left alone: it drops dead watchers itself.
fn forget_watched(cx: &mut Cx<'_, '_>) {
    let Some(watching) = cx.session.watching.take() else { return };
    if cx.depth != Depth::Command {
        return;
    }
    for (db, bytes) in &watching.keys {
        let slot = cx.key(bytes).slot;
        let _ =
            cx.with_stripe(stripe_of(slot), |cx| cx.access.stripe(slot).unwatch(*db, bytes, &watching.flag));
    }
}

#[cfg(test)]
mod tests {
    use crate::exec::Session;
    use crate::exec::testing::Harness;
    use crate::store::stripe_of;

    const OK: &str = "+OK\r\n";
    const QUEUED: &str = "+QUEUED\r\n";
    const BROKEN: &str = "*-1\r\n";

    #[test]
    fn a_queue_runs_as_one() {
        let mut t = Harness::new();
        t.expect(&[
            ("MULTI", OK),
            ("SET k v", QUEUED),
            ("GET k", QUEUED),
            ("EXEC", "*2\r\n+OK\r\n$1\r\nv\r\n"),
            ("EXEC", "-ERR EXEC without MULTI\r\n"),
            ("MULTI", OK),
            ("EXEC", "*0\r\n"),
        ]);
    }

    #[test]
    fn discard_forgets_queue_and_watches() {
        let mut t = Harness::new();
        let mut other = Session::new(2, true);
        t.expect(&[("WATCH k", OK), ("MULTI", OK), ("SET k 1", QUEUED), ("DISCARD", OK)]);
        t.run_as(&mut other, "SET k 2");
        t.expect(&[
            ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
            ("MULTI", OK),
            ("GET k", QUEUED),
            ("EXEC", "*1\r\n$1\r\n2\r\n"),
        ]);
    }

    #[test]
    fn what_is_refused_while_queueing_aborts() {
        let mut t = Harness::new();
        for bad in ["NOSUCH x", "GET", "CLIENT NOSUCH"] {
            assert_eq!(t.run("MULTI"), OK);
            assert!(t.run(bad).starts_with("-ERR"), "{bad}");
            t.expect(&[
                ("SET k v", QUEUED),
                ("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
            ]);
        }
        assert_eq!(t.run("GET k"), "$-1\r\n");
    }

    #[test]
    fn nested_multi_and_watch_abort_as_in_valkey_8() {
        let mut t = Harness::new();
        for (bad, error) in [
            ("MULTI", "-ERR MULTI calls can not be nested\r\n"),
            ("WATCH k", "-ERR WATCH inside MULTI is not allowed\r\n"),
        ] {
            t.expect(&[
                ("MULTI", OK),
                (bad, error),
                ("UNWATCH", QUEUED),
                ("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
                ("GET k", "$-1\r\n"),
            ]);
        }
    }

    #[test]
    fn an_error_inside_does_not_stop_the_rest() {
        let mut t = Harness::new();
        t.expect(&[
            ("MULTI", OK),
            ("SET k v BAD", QUEUED),
            ("SET k v", QUEUED),
            ("EXEC", "*2\r\n-ERR syntax error\r\n+OK\r\n"),
        ]);
    }

    #[test]
    fn a_watched_key_that_changes_breaks() {
        let mut t = Harness::new();
        let mut other = Session::new(2, true);
        t.expect(&[("WATCH k", OK), ("WATCH k", OK)]);
        t.run_as(&mut other, "SET k 1");
        t.expect(&[("MULTI", OK), ("SET k 2", QUEUED), ("EXEC", BROKEN), ("GET k", "$1\r\n1\r\n")]);
        t.expect(&[("WATCH k", OK)]);
        t.run_as(&mut other, "SET other 1");
        t.expect(&[("MULTI", OK), ("SET k 2", QUEUED), ("EXEC", "*1\r\n+OK\r\n")]);
        t.resp3();
        t.expect(&[("WATCH k", OK), ("SET k 3", OK), ("MULTI", OK), ("EXEC", "_\r\n")]);
    }

    #[test]
    fn a_watched_key_that_expires_breaks() {
        let mut t = Harness::new();
        t.expect(&[("SET k 1 PX 10", OK), ("WATCH k", OK)]);
        t.advance(10);
        t.expect(&[("MULTI", OK), ("SET other 2", QUEUED), ("EXEC", BROKEN)]);
        // One that was gone before WATCH does not.
        t.expect(&[("SET k 1 PX 10", OK)]);
        t.advance(10);
        t.expect(&[("WATCH k", OK), ("GET k", "$-1\r\n"), ("MULTI", OK), ("EXEC", "*0\r\n")]);
    }

    #[test]
    fn what_has_expired_is_nothing_to_a_swap() {
        let mut t = Harness::new();
        t.expect(&[("SET k 1 PX 10", OK)]);
        t.advance(10);
        t.expect(&[("SELECT 1", OK), ("WATCH k", OK), ("SWAPDB 0 1", OK), ("MULTI", OK), ("EXEC", "*0\r\n")]);
        t.expect(&[("SELECT 0", OK), ("SET k 1 PX 10", OK), ("SELECT 1", OK), ("SET k 1 PX 10", OK)]);
        t.advance(10);
        t.expect(&[("WATCH k", OK), ("SWAPDB 0 1", OK), ("MULTI", OK), ("EXEC", "*0\r\n")]);
        t.expect(&[("SELECT 0", OK), ("SET k 1", OK), ("SELECT 1", OK), ("WATCH k", OK), ("SWAPDB 0 1", OK)]);
        t.expect(&[("MULTI", OK), ("EXEC", BROKEN)]);
    }

    #[test]
    fn flushing_and_swapping_touch_only_what_exists() {
        let mut t = Harness::new();
        let slot = t.node.store.key(b"k").slot;
        let flush = |t: &Harness, db| drop(t.node.store.stripe(stripe_of(slot)).flush(db));
        let swap = |t: &Harness| t.node.store.stripe(stripe_of(slot)).swap(0, 1);
        t.expect(&[("WATCH k", OK)]);
        flush(&t, None);
        t.expect(&[("MULTI", OK), ("EXEC", "*0\r\n"), ("SET k 1", OK), ("WATCH k", OK)]);
        flush(&t, Some(1));
        t.expect(&[("MULTI", OK), ("EXEC", "*0\r\n"), ("WATCH k", OK)]);
        flush(&t, Some(0));
        t.expect(&[("MULTI", OK), ("EXEC", BROKEN)]);
        t.expect(&[("WATCH k", OK)]);
        swap(&t);
        t.expect(&[("MULTI", OK), ("EXEC", "*0\r\n"), ("SET k 1", OK), ("WATCH k", OK)]);
        swap(&t);
        t.expect(&[("MULTI", OK), ("EXEC", BROKEN)]);
    }

    #[test]
    fn a_transaction_is_one_record() {
        let mut t = Harness::primary();
        t.expect(&[("MULTI", OK), ("SET {a}1 v", QUEUED), ("SET {a}2 v", QUEUED)]);
        t.run("EXEC");
        let records = t.records();
        let (record, len) = crate::effect::record(&records).expect("sound").expect("whole");
        assert_eq!(len, records.len());
        assert_eq!(crate::effect::effects(record.body).count(), 2);
    }

    #[test]
    fn keys_of_two_slots_are_refused_to_direct_clients_of_a_cluster() {
        let mut t = Harness::primary();
        t.expect(&[
            ("MULTI", OK),
            ("SET a 1", QUEUED),
            ("SET b 1", QUEUED),
            ("EXEC", "-CROSSSLOT Keys in request don't hash to the same slot\r\n"),
            ("GET a", "$-1\r\n"),
        ]);
    }
}
