//! What a client has chosen for its connection. Owned by what the driver has of the client.

use torc_protocol::context::{Ack, Context, ReadLevel, ReplicaRead, RequestId};
use torc_protocol::resp::Version;

use super::render::Render;
use crate::table::{RouteTable, Rule, is_slow};
use crate::transaction::{Transaction, Watch};
use crate::upstream::body::write_prefix;
use crate::upstream::pending::Lane;

/// What CLIENT REPLY chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// Every request is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The next one is not.
    SkipNext,
    /// This one is not.
    Skip,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Session {
    /// RESP2 or RESP3.
    pub version: Version,
    /// SELECT.
    pub db: u8,
    /// Authentication is done or not needed.
    pub authenticated: bool,
    /// CLIENT ACK.
    pub ack: Option<Ack>,
    /// CLIENT READ.
    pub read: Option<ReadLevel>,
    /// READONLY: replicas may be read from.
    pub readonly: bool,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// An open MULTI.
    pub transaction: Option<Box<Transaction>>,
    /// Watched keys.
    pub watch: Option<Watch>,
    /// It has used locks: what it reads may be guarded by them, and is never a copy.
    pub locks: bool,
    /// Milliseconds that a request may take.
    pub timeout_ms: u32,
    /// Encoded contexts, for requests that no rule changes.
    prefixes: Prefixes,
}

/// `CTX <context>` as bulk strings, ready to be copied.
#[derive(Debug, Default)]
struct Prefixes {
    valid: bool,
    epoch: u64,
    read: Vec<u8>,
    write: Vec<u8>,
    scratch: Vec<u8>,
}

impl Session {
    /// A fresh connection.
    pub fn new(authenticated: bool, timeout_ms: u32) -> Self {
        Session { authenticated, timeout_ms, ..Session::default() }
    }

    /// Must be called after a change of what contexts say.
    pub fn changed(&mut self) {
        self.prefixes.valid = false;
    }

    /// Changes how long a request may take.
    pub fn set_timeout(&mut self, timeout_ms: u32) {
        if self.timeout_ms != timeout_ms {
            self.timeout_ms = timeout_ms;
            self.changed();
        }
    }

    /// How the next reply is given.
    pub fn render(&self) -> Render {
        match self.reply_mode {
            ReplyMode::On => Render::resp(self.version),
            _ => Render::Silent,
        }
    }

    /// The lane for a request on `key`.
    #[inline]
    pub fn lane(&self, table: &RouteTable, key: Option<&[u8]>) -> Lane {
        let by_rule = || {
            let rule = table.rule(key?)?;
            Some(is_slow(self.ack.or(rule.ack), self.read.or(rule.read)))
        };
        let slow = is_slow(self.ack, self.read) || (table.has_slow_rules && by_rule().unwrap_or(false));
        if slow { Lane::Slow } else { Lane::Quick }
    }

    /// Acknowledgement and read level under a rule: what the client chose holds before it.
    pub fn levels(&self, rule: Option<&Rule>) -> (Option<Ack>, Option<ReadLevel>) {
        (self.ack.or(rule.and_then(|rule| rule.ack)), self.read.or(rule.and_then(|rule| rule.read)))
    }

    fn context(&self, epoch: u64, write: bool, rule: Option<&Rule>) -> Context<'static> {
        let (ack, read) = self.levels(rule);
        Context {
            db: self.db,
            ack,
            read,
            epoch,
            deadline_ms: self.timeout_ms,
            want_position: write,
            // Written over when the request is put on a connection.
            request_id: write.then(RequestId::default),
            resp2: self.version == Version::Resp2,
            ..Context::default()
        }
    }

    /// The context of a request on `key`.
    pub fn context_for(&self, table: &RouteTable, write: bool, key: &[u8]) -> Context<'static> {
        self.context(table.epoch, write, table.rule(key))
    }

    /// The context of a request on `key`, as bytes to copy.
    #[inline]
    pub fn prefix(&mut self, table: &RouteTable, write: bool, key: &[u8]) -> &[u8] {
        if !table.rules.is_empty()
            && let Some(rule) = table.rule(key)
        {
            let context = self.context(table.epoch, write, Some(rule));
            self.prefixes.scratch.clear();
            write_prefix(&context, &mut self.prefixes.scratch);
            return &self.prefixes.scratch;
        }
        if !self.prefixes.valid || self.prefixes.epoch != table.epoch {
            self.renew(table.epoch);
        }
        if write { &self.prefixes.write } else { &self.prefixes.read }
    }

    /// The context of what goes by the policies of two keys: of one how it is acknowledged, of the other how it is read.
    pub fn prefix_of_two(
        &mut self,
        table: &RouteTable,
        write: bool,
        acked_as: &[u8],
        read_as: &[u8],
    ) -> &[u8] {
        if table.rules.is_empty() || acked_as == read_as {
            return self.prefix(table, write, acked_as);
        }
        let read = self.levels(table.rule(read_as)).1;
        let context = Context { read, ..self.context(table.epoch, write, table.rule(acked_as)) };
        self.prefixes.scratch.clear();
        write_prefix(&context, &mut self.prefixes.scratch);
        &self.prefixes.scratch
    }

    /// The context of a read on `key` that a replica may answer within `limits`.
    pub fn prefix_for_replica(&mut self, table: &RouteTable, key: &[u8], limits: ReplicaRead) -> &[u8] {
        let context = Context { replica: Some(limits), ..self.context(table.epoch, false, table.rule(key)) };
        self.prefixes.scratch.clear();
        write_prefix(&context, &mut self.prefixes.scratch);
        &self.prefixes.scratch
    }

    /// The context of a request whose time is its own (0: no deadline).
    pub fn prefix_with_time(&self, table: &RouteTable, write: bool, key: &[u8], deadline_ms: u32) -> Vec<u8> {
        let context = self.context(table.epoch, write, table.rule(key));
        let mut prefix = Vec::new();
        write_prefix(&Context { deadline_ms, request_id: None, ..context }, &mut prefix);
        prefix
    }

    #[cold]
    fn renew(&mut self, epoch: u64) {
        let (read, write) = (self.context(epoch, false, None), self.context(epoch, true, None));
        self.prefixes.read.clear();
        write_prefix(&read, &mut self.prefixes.read);
        self.prefixes.write.clear();
        write_prefix(&write, &mut self.prefixes.write);
        self.prefixes.epoch = epoch;
        self.prefixes.valid = true;
    }
}
