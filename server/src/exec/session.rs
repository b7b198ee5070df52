//! What a connection has chosen: protocol, database, user, acknowledgement, an open transaction.
//!
//! Owned by the connection's task; other threads see only its [`Client`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use torc_protocol::command::Command;
use torc_protocol::context::{Ack, ReadLevel};
use torc_protocol::handshake::ServerHandshake;
use torc_protocol::resp::{OwnedArgs, Version};
use torc_protocol::trace::Trace;

use crate::clients::{Client, flag};
use crate::pubsub::Subscriptions;
use crate::store::WatchFlag;

/// Commands that one MULTI may queue.
pub const MAX_QUEUED: usize = 1 << 20;

/// Keys that one connection may watch.
pub const MAX_WATCHED: usize = 1 << 16;

/// Bytes that one MULTI may queue.
pub const MAX_QUEUED_BYTES: usize = 1 << 30;

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
}

/// A request kept for EXEC.
#[derive(Debug)]
pub struct Queued {
    /// What it is.
    pub command: Command,
    /// Its arguments.
    pub args: OwnedArgs,
}

/// An open MULTI.
#[derive(Debug, Default)]
pub struct Transaction {
    /// What EXEC will run.
    pub queue: Vec<Queued>,
    /// Bytes of the queue.
    pub bytes: usize,
    /// A queued command was refused: EXEC aborts.
    pub failed: bool,
}

/// What WATCH has noted.
#[derive(Debug, Default)]
pub struct Watching {
    /// Raised by the stripe when one of the keys changes.
    pub flag: WatchFlag,
    /// The keys with their databases: EXEC looks whether one of them has expired unnoticed.
    pub keys: Vec<(u8, Box<[u8]>)>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Session {
    /// The connection's number, from 1.
    pub id: u64,
    /// What others see of the connection; `None` where there is none (tests, the node's own requests).
    pub client: Option<Arc<Client>>,
    /// RESP2 or RESP3.
    pub version: Version,
    /// SELECT.
    pub db: u8,
    /// Authentication is done or not needed.
    pub authenticated: bool,
    /// The handshake with the cluster secret was done: context prefixes are accepted.
    pub trusted: bool,
    /// CLIENT ACK.
    pub ack: Option<Ack>,
    /// CLIENT READ.
    pub read: Option<ReadLevel>,
    /// An open MULTI.
    pub transaction: Option<Transaction>,
    /// The watched keys; `None` without WATCH.
    pub watching: Option<Box<Watching>>,
    /// A handshake between its two steps.
    pub handshake: Option<Box<ServerHandshake>>,
    /// READONLY on a replica.
    pub readonly: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// What it listens to; `None` before it first did.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// The reply under way is a message: it is sent whatever CLIENT REPLY says.
    pub pushed: bool,
    /// Offset of the connection's last write, for WAIT.
    pub last_write: u64,
    /// It stands for that of a request which waits, and is run again.
    pub again: bool,
    /// The buffer that the request under way was received in, while a long value of it may stay there.
    pub received: Option<Arc<Vec<u8>>>,
    /// The name of the latest request in logs, when a part of Torc sent it.
    pub trace: Trace,
}

impl Session {
    /// A fresh connection.
    pub fn new(id: u64, authenticated: bool) -> Session {
        Session {
            id,
            client: None,
            version: Version::Resp2,
            db: 0,
            authenticated,
            trusted: false,
            ack: None,
            read: None,
            transaction: None,
            watching: None,
            handshake: None,
            readonly: false,
            no_touch: false,
            no_evict: false,
            reply_mode: ReplyMode::On,
            subscriptions: None,
            pushed: false,
            last_write: 0,
            again: false,
            received: None,
            trace: Trace::default(),
        }
    }

    /// RESET: as if the connection were new.
    pub fn reset(&mut self, authenticated: bool) {
        let client = self.client.take();
        let trace = self.trace;
        *self = Session { trusted: self.trusted, client, trace, ..Session::new(self.id, authenticated) };
    }

    /// Tells others how the connection stands; `last` is the command that was executed last.
    pub fn publish(&self, now_ms: u64, last: Option<Command>) {
        let Some(client) = &self.client else { return };
        client.last_active_ms.store(now_ms, Ordering::Relaxed);
        if let Some(last) = last {
            client.last_command.store(last.index() as u16, Ordering::Relaxed);
        }
        client.db.store(self.db, Ordering::Relaxed);
        if client.resp.load(Ordering::Relaxed) != 0 {
            client.set_version(self.version);
        }
        let mut flags = client.flags.load(Ordering::Relaxed) & flag::BLOCKED;
        if let Some(transaction) = &self.transaction {
            flags |= flag::MULTI;
            client.multi.store(transaction.queue.len() as i64, Ordering::Relaxed);
        } else {
            client.multi.store(-1, Ordering::Relaxed);
        }
        for (on, bit) in [
            (self.readonly, flag::READONLY),
            (self.no_evict, flag::NO_EVICT),
            (self.no_touch, flag::NO_TOUCH),
            (self.watch_broken(), flag::DIRTY_CAS),
            (self.is_monitor(), flag::MONITOR),
        ] {
            if on {
                flags |= bit;
            }
        }
        client.flags.store(flags, Ordering::Release);
    }

    /// Whether it watches all requests.
    pub fn is_monitor(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|s| s.is_monitor())
    }

    /// Whether it listens, and speaks the version of the protocol in which it can then do little else.
    #[inline]
    pub fn only_listens(&self) -> bool {
        self.version == Version::Resp2 && self.subscriptions.as_ref().is_some_and(|s| s.any())
    }

    /// CLIENT SETNAME, or the name that a part of Torc gave in the handshake.
    pub fn set_name(&self, name: &[u8]) {
        if let Some(client) = &self.client {
            client.set_names(|names| names.name = name.into());
        }
    }

    /// The connection's name; empty without one.
    pub fn name(&self) -> Box<[u8]> {
        self.client.as_ref().map(|client| client.names().name).unwrap_or_default()
    }

    /// True when a watched key has changed.
    pub fn watch_broken(&self) -> bool {
        self.watching.as_ref().is_some_and(|w| w.flag.load(Ordering::Relaxed))
    }
}
