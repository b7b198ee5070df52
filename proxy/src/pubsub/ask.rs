//! A client's SUBSCRIBE or UNSUBSCRIBE on its way to the nodes.

use std::cell::Cell;
use std::rc::Rc;

use torc_protocol::command::Command;

use super::{Kind, Name};
use crate::downstream::client::Client;

/// See the module's text.
#[derive(Debug)]
pub struct Ask {
    /// Who asks.
    pub client: Rc<Client>,
    /// Which of the client's slots it answers.
    pub seq: u64,
    /// What it was.
    pub command: Command,
    /// What is listened to.
    pub kind: Kind,
    /// What the client begins to listen to when the nodes have confirmed; empty when it ends listening.
    pub joins: Vec<Name>,
    /// The confirmations, in the client's protocol.
    pub frames: Vec<u8>,
    /// Answers of nodes that are still to come.
    missing: Cell<usize>,
    over: Cell<bool>,
    /// When the client is answered anyway, on the worker's clock.
    pub deadline_ns: u64,
    /// When it came, on the worker's clock.
    pub since_ns: u64,
}

impl Ask {
    /// One for which no node was asked yet.
    pub fn new(
        client: &Rc<Client>,
        (command, kind): (Command, Kind),
        seq: u64,
        (joins, frames): (Vec<Name>, Vec<u8>),
        (since_ns, deadline_ns): (u64, u64),
    ) -> Rc<Ask> {
        Rc::new(Ask {
            client: Rc::clone(client),
            seq,
            command,
            kind,
            joins,
            frames,
            missing: Cell::new(0),
            over: Cell::new(false),
            deadline_ns,
            since_ns,
        })
    }

    /// Whether it begins to listen.
    pub fn is_join(&self) -> bool {
        !self.joins.is_empty()
    }

    /// One more node was asked.
    pub fn expect(&self) {
        self.missing.set(self.missing.get() + 1);
    }

    /// A node has confirmed. True when it was the last one.
    pub fn confirmed(&self) -> bool {
        self.missing.set(self.missing.get().saturating_sub(1));
        self.missing.get() == 0
    }

    /// Whether all nodes have confirmed.
    pub fn is_confirmed(&self) -> bool {
        self.missing.get() == 0
    }

    /// Takes its fate: true once.
    pub fn settle(&self) -> bool {
        !self.over.replace(true)
    }
}
