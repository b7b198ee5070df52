//! MULTI, EXEC and what lies between.

use torc_protocol::command::{Command, ConnectionCommand, Flags, TransactionCommand};
use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter};

use super::session::{MAX_QUEUED, MAX_QUEUED_BYTES, Queued, Session, Transaction};
use super::{Ack, Batch, CommandError, Done, Request, families, place};
use crate::exec::{Depth, Flow, ReplyKind};
use crate::store::Access;

/// Commands that act at once although a MULTI is open.
pub fn runs_inside_multi(command: Command) -> bool {
    matches!(
        command,
        Command::Transactions(
            TransactionCommand::Exec
                | TransactionCommand::Discard
                | TransactionCommand::Multi
                | TransactionCommand::Watch
        ) | Command::Connection(ConnectionCommand::Quit | ConnectionCommand::Reset)
    )
}

/// Puts a checked request into the open transaction.
pub fn queue(session: &mut Session, command: Command, args: &Args<'_>, out: &mut Vec<u8>) -> Done {
    let mut reply = ReplyWriter::new(out, session.version);
    let Some(transaction) = &mut session.transaction else { return Done::local() };
    if command.spec().flags.contains(Flags::NO_MULTI) {
        transaction.failed = true;
        reply.error(text::NOT_IN_TRANSACTION);
        return Done::local();
    }
    let bytes = args.total_bytes();
    if transaction.queue.len() >= MAX_QUEUED || transaction.bytes + bytes > MAX_QUEUED_BYTES {
        transaction.failed = true;
        reply.error("ERR transaction is too large");
        return Done::local();
    }
    transaction.bytes += bytes;
    transaction.queue.push(Queued { command, args: torc_protocol::resp::OwnedArgs::new(args.iter()) });
    reply.simple("QUEUED");
    Done::local()
}

impl<'n> Batch<'n, '_> {
    /// EXEC: all queued commands under one set of locks, as one record.
    pub(super) fn exec_transaction(
        &mut self,
        session: &mut Session,
        request: Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Done, (CommandError, bool)> {
        let Some(transaction) = session.transaction.take() else {
            return Err((text::EXEC_WITHOUT_MULTI.into(), false));
        };
        let broken = session.watch_broken();
        if transaction.failed {
            session.watching = None;
            return Err((text::EXECABORT.into(), false));
        }
        let (access, writes) = match self.transaction_access(session, &transaction, &request) {
            Ok(found) => found,
            Err(error) => {
                session.watching = None;
                return Err((
                    CommandError::from(format!(
                        "EXECABORT Transaction discarded because of: {}",
                        error.lossy()
                    )),
                    false,
                ));
            }
        };
        // A watched key may have changed between the check above and the locks: look again under them.
        let broken = broken || session.watch_broken();
        session.watching = None;
        if broken {
            ReplyWriter::new(out, session.version).null_array();
            return Ok(Done::local());
        }
        self.run_queue(session, &transaction, request, access, writes, out)
    }

    fn transaction_access(
        &mut self,
        session: &Session,
        transaction: &Transaction,
        request: &Request<'_>,
    ) -> Result<(Access<'n>, Option<Ack>), CommandError> {
        let mut all = place::Slots::new();
        let (mut whole, mut writes) = (false, None);
        for queued in &transaction.queue {
            let spec = queued.command.spec();
            let args = queued.args.view();
            let slots = place::slots(queued.command, spec, &args)?;
            if self.role != crate::shard::Role::Plain {
                self.check_place(session, spec, request, &slots)?;
            }
            if spec.is_write() {
                let ack = self.effective_ack(queued.command, request);
                if ack == Ack::InSync {
                    self.check_in_sync()?;
                }
                if writes != Some(Ack::InSync) {
                    writes = Some(ack);
                }
            }
            all.extend(slots);
            whole |= place::whole_store(spec);
        }
        let access = if whole { self.node.store.access_all()? } else { self.node.store.access(all)? };
        Ok((access, writes))
    }

    fn run_queue(
        &mut self,
        session: &mut Session,
        transaction: &Transaction,
        request: Request<'_>,
        access: Access<'n>,
        writes: Option<Ack>,
        out: &mut Vec<u8>,
    ) -> Result<Done, (CommandError, bool)> {
        ReplyWriter::new(out, session.version).array(transaction.queue.len());
        let commands = transaction.queue.iter().map(|q| (q.command, q.args.view()));
        let stats = self.exec.stats.clone();
        // An in-sync member of the transaction makes the whole of it in-sync.
        let kind = if writes.is_some() { ReplyKind::Write } else { ReplyKind::Read };
        self.apply_with(session, request, access, out, (kind, writes.unwrap_or(Ack::Primary)), |cx| {
            cx.depth = Depth::Transaction;
            for (command, args) in commands {
                let at = cx.out.len();
                cx.version = cx.session.version;
                if !cx.proxied {
                    cx.db = cx.session.db;
                }
                match families::dispatch(cx, command, &args) {
                    Ok(()) => stats.command(command).calls.add(1),
                    Err(error) => {
                        stats.command(command).failed.add(1);
                        cx.out.truncate(at);
                        error.write(&mut cx.reply());
                    }
                }
                // Nothing waits inside a transaction: a command that would is answered as if its time were over.
                cx.flow = match std::mem::replace(&mut cx.flow, Flow::Continue) {
                    Flow::Close => Flow::Close,
                    _ => Flow::Continue,
                };
            }
            Ok(())
        })
    }
}
