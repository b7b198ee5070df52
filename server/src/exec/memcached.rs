//! memcached requests under the same checks, locks and records as commands.

use torc_protocol::command::{
    Command, ConnectionCommand, GenericCommand, InternalCommand, ServerCommand, StringCommand,
};
use torc_protocol::memcached::{Request as McRequest, Verb, write_line};
use torc_protocol::resp::Args;

use torc_protocol::slot::Slot;

use super::{Batch, CommandError, Done, ReplyKind, Request, Session, Slots};
use crate::memcached;
use crate::node::Node;
use crate::stats::WorkerStats;
use crate::store::Key;

/// A fence in the context of a request that has none of its own.
pub(super) const NOT_FENCED: &str = "ERR a fence goes before a single command with keys";

const MC: Command = Command::Internal(InternalCommand::Mc);

/// The command whose row says what a request needs: whether it writes, grows, reads.
fn stand_in(request: &McRequest<'_>) -> Command {
    let meta = &request.meta;
    match request.verb {
        Verb::Get | Verb::Gets | Verb::MetaDebug => StringCommand::Get.into(),
        Verb::Gat | Verb::Gats => StringCommand::Getex.into(),
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas | Verb::MetaSet => {
            StringCommand::Set.into()
        }
        Verb::Incr | Verb::Decr | Verb::MetaArithmetic => StringCommand::Incr.into(),
        Verb::MetaGet if meta.has(b'N') => StringCommand::Set.into(),
        Verb::MetaGet if request.is_write() => StringCommand::Getex.into(),
        Verb::MetaGet => StringCommand::Get.into(),
        Verb::MetaDelete if meta.has(b'I') || meta.has(b'x') => GenericCommand::Expire.into(),
        Verb::Delete | Verb::MetaDelete => GenericCommand::Del.into(),
        Verb::Touch => GenericCommand::Expire.into(),
        Verb::FlushAll => ServerCommand::Flushall.into(),
        Verb::Version
        | Verb::Verbosity
        | Verb::Stats
        | Verb::CacheMemlimit
        | Verb::Shutdown
        | Verb::Quit
        | Verb::MetaNoop
        | Verb::LruCrawler
        | Verb::Lru
        | Verb::Slabs
        | Verb::Watch => ConnectionCommand::Ping.into(),
    }
}

impl<'n> Batch<'n, '_> {
    /// The process.
    pub fn node(&self) -> &'n Node {
        self.node
    }

    /// The worker's counters.
    pub fn stats(&self) -> &WorkerStats {
        &self.exec.stats
    }

    /// One request of a connection that speaks memcached.
    pub fn run_memcached(
        &mut self,
        session: &mut Session,
        request: &McRequest<'_>,
        foreseen: Option<(u64, Slot)>,
        out: &mut Vec<u8>,
    ) -> Done {
        let start = out.len();
        let key = foreseen.map(|(hash, slot)| Key { bytes: request.key(), hash, slot });
        // Not a proxy's, but likewise free to name keys of several slots.
        let envelope = Request { proxied: true, key, ..Request::of(session, Args::new(&[], &[])) };
        let result = self.memcached(session, &envelope, request, out, false);
        let done = self.finish_memcached(result, start, out);
        if request.noreply {
            out.truncate(start);
        }
        done
    }

    /// The request that is sent most: `get` of one key, by a connection that speaks memcached.
    pub fn run_memcached_get(&mut self, session: &mut Session, key: Key<'_>, out: &mut Vec<u8>) -> Done {
        let start = out.len();
        let command = StringCommand::Get.into();
        let envelope = Request { proxied: true, key: Some(key), ..Request::of(session, Args::new(&[], &[])) };
        let slots = Slots::from_slice(&[key.slot]);
        let result = match self.check_slots(session, command, command.spec(), &envelope, &slots) {
            Err(error) => self.refused(session, command, &envelope, &slots, error, out),
            Ok(access) => {
                let ack = self.effective_ack(command, &envelope);
                self.apply_with(session, &envelope, access, out, (command, ReplyKind::Read, ack), |cx| {
                    memcached::get_one(cx, &key)
                })
            }
        };
        self.finish_memcached(result, start, out)
    }

    /// Counts the request, and writes its error where it failed.
    #[inline]
    fn finish_memcached(
        &mut self,
        result: Result<Done, (CommandError, bool)>,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Done {
        match result {
            Ok(done) => {
                self.exec.stats.command(MC).calls.add(1);
                done
            }
            Err((error, executed)) => {
                out.truncate(start);
                memcached::write_error(&error, out);
                let stats = self.exec.stats.command(MC);
                if executed {
                    stats.failed.add(1)
                } else {
                    stats.rejected.add(1)
                }
                Done { kind: if executed { ReplyKind::Read } else { ReplyKind::Local }, ..Done::local() }
            }
        }
    }

    /// `MC line [data]` of a proxy: the reply is one bulk string with memcached's words. What this node may not or
    /// cannot execute is a RESP error, so that the proxy can go elsewhere with it.
    pub(super) fn run_mc(
        &mut self,
        session: &mut Session,
        envelope: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Done, (CommandError, bool)> {
        let (line, data) = (envelope.args.get(1), envelope.args.get(2));
        match McRequest::from_parts(line.unwrap_or_default(), data.unwrap_or_default()) {
            Ok(request) => self.memcached(session, envelope, &request, out, true),
            Err(rejection) => {
                let at = out.len();
                write_line(out, &rejection.error.to_string());
                wrap(out, at);
                Ok(Done::local())
            }
        }
    }

    fn memcached(
        &mut self,
        session: &mut Session,
        envelope: &Request<'_>,
        request: &McRequest<'_>,
        out: &mut Vec<u8>,
        bulk: bool,
    ) -> Result<Done, (CommandError, bool)> {
        let command = stand_in(request);
        let spec = command.spec();
        let slots = match envelope.key {
            Some(key) if request.key_count() == 1 => Slots::from_slice(&[key.slot]),
            _ => memcached::slots(request),
        };
        let home = slots.first().copied().filter(|_| envelope.id.is_some());
        let envelope = Request { home, ..*envelope };
        if envelope.fence.is_some() {
            return Err((NOT_FENCED.into(), false));
        }
        let access = match self.check_slots(session, command, spec, &envelope, &slots) {
            Err(error) if !envelope.repeated && error == CommandError::from(torc_protocol::error::OOM) => {
                self.exec.stats.memcached.store_no_memory.add(1);
                memcached::watch::store_is_full(self.node, session, self.now.unix_ms, request);
                if !bulk {
                    return Err((error, false));
                }
                let at = out.len();
                memcached::write_error(&error, out);
                wrap(out, at);
                return Ok(Done::local());
            }
            Err(error) => return self.refused(session, command, &envelope, &slots, error, out),
            Ok(access) => access,
        };
        let kind = match (spec.is_write(), spec.is_readonly()) {
            (true, _) => ReplyKind::Write,
            (_, true) => ReplyKind::Read,
            _ => ReplyKind::Local,
        };
        let ack = self.effective_ack(command, &envelope);
        self.apply_with(session, &envelope, access, out, (MC, kind, ack), |cx| {
            let at = cx.out.len();
            let result = memcached::execute(cx, request, !bulk);
            if !bulk {
                return result;
            }
            if let Err(error) = result {
                cx.out.truncate(at);
                if error == CommandError::from(torc_protocol::error::REPLICA_CANNOT) {
                    return Err(error);
                }
                memcached::write_error(&error, cx.out);
            }
            if request.noreply {
                cx.out.truncate(at);
            }
            wrap(cx.out, at);
            Ok(())
        })
    }

    /// Carries out a delayed `flush_all` whose moment has come. Only a primary does: its replicas are told.
    #[inline]
    pub(super) fn flush_if_due(&mut self) {
        if self.node.memcached.is_due(self.now.unix_ms) && self.lease_valid {
            self.flush_late();
        }
    }

    #[cold]
    fn flush_late(&mut self) {
        let mut session = Session::new(0, true);
        let command = ServerCommand::Flushall.into();
        let envelope = Request { proxied: true, ..Request::of(&session, Args::new(&[], &[])) };
        let result = match self.check_slots(&session, command, command.spec(), &envelope, &Slots::new()) {
            Err(error) => Err((error, false)),
            Ok(access) => {
                let how = (MC, ReplyKind::Write, self.effective_ack(command, &envelope));
                self.apply_with(
                    &mut session,
                    &envelope,
                    access,
                    &mut Vec::new(),
                    how,
                    memcached::flush_if_due,
                )
            }
        };
        if let Err((error, _)) = result {
            self.exec.stats.command(MC).rejected.add(1);
            if self.node.memcached.postpone(self.now.unix_ms) {
                tracing::warn!(error = %error.lossy(), "a delayed flush_all is refused; it is tried again and again");
            }
        }
    }
}

/// Turns what was written from `at` on into one bulk string.
fn wrap(out: &mut Vec<u8>, at: usize) {
    let header = format!("${}\r\n", out.len() - at);
    out.splice(at..at, header.into_bytes());
    out.extend_from_slice(b"\r\n");
}
