//! What a connection has chosen: protocol, database, user, acknowledgement, an open transaction.
//!
//! Owned by the connection's task; other threads see only [`super::super::clients`].

use std::sync::atomic::Ordering;

use torc_protocol::command::Command;
use torc_protocol::context::{Ack, ReadLevel};
use torc_protocol::handshake::ServerHandshake;
use torc_protocol::resp::{OwnedArgs, Version};

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
    /// CLIENT SETNAME.
    pub name: Option<Box<[u8]>>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Option<Box<str>>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_version: Option<Box<str>>,
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
    /// Offset of the connection's last write, for WAIT.
    pub last_write: u64,
}

impl Session {
    /// A fresh connection.
    pub fn new(id: u64, authenticated: bool) -> Session {
        Session {
            id,
            name: None,
            lib_name: None,
            lib_version: None,
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
            last_write: 0,
        }
    }

    /// RESET: as if the connection were new.
    pub fn reset(&mut self, authenticated: bool) {
        *self = Session { trusted: self.trusted, ..Session::new(self.id, authenticated) };
    }

    /// True when a watched key has changed.
    pub fn watch_broken(&self) -> bool {
        self.watching.as_ref().is_some_and(|w| w.flag.load(Ordering::Relaxed))
    }
}
