//! CLIENT PAUSE and CLIENT UNBLOCK, as the clients of this worker feel them.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use torc_protocol::command::{Command, ConnectionCommand};
use torc_protocol::context::Context;
use torc_protocol::resp::request_arg;
use torc_runtime::clock::unix_ms;

use super::Worker;
use crate::downstream::client::Client;
use crate::upstream::body::{Body, write_prefix};
use crate::upstream::connection::Connection;
use crate::upstream::pending::{Dest, Lane, Pending};

/// A client that is paused looks so often whether CLIENT UNPAUSE has ended that.
const LOOK_MS: u64 = 50;

impl Worker {
    /// Whether requests are held back now; `writes`: what is asked for may change something.
    #[inline]
    pub fn is_paused(&self, writes: impl FnOnce() -> bool) -> bool {
        match self.shared.pause.until_ms() {
            0 => false,
            until_ms => self.clock.unix_ms() < until_ms && (!self.shared.pause.only_writes() || writes()),
        }
    }

    /// The client looks again when the pause may be over.
    #[cold]
    pub fn wait_for_pause(&self, client: &Rc<Client>) {
        if client.pause_armed.replace(true) {
            return;
        }
        client.info.paused.store(true, Ordering::Relaxed);
        let left_ms = self.shared.pause.until_ms().saturating_sub(self.clock.unix_ms());
        let pause = Duration::from_millis(left_ms.clamp(1, LOOK_MS));
        let (client, shared) = (Rc::clone(client), Arc::clone(&self.shared));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            client.pause_armed.set(false);
            let goes_on = shared.pause.until_ms() > unix_ms();
            client.info.paused.store(goes_on, Ordering::Relaxed);
            client.wake();
        });
    }

    /// Ends the waiting of a client: the nodes where it waits are asked to, and answer as they do; so nothing is taken that
    /// the client does not get.
    pub(super) fn unblock(self: &Rc<Self>, client: u64, error: bool) {
        let Some(client) = self.clients.borrow().get(&client).cloned() else { return };
        let quest = client.quest.borrow().clone();
        if let Some(quest) = quest {
            return quest.unblock(self, error);
        }
        if client.waits.get() {
            client.unblock.set(Some(error));
            self.unblocking.set(true);
            self.ask_to_unblock(&client, error);
        }
    }

    /// Asks again for those who still wait: when they were to be woken their request was perhaps still on its way.
    pub(super) fn unblock_again(self: &Rc<Self>) {
        if !self.unblocking.replace(false) {
            return;
        }
        for client in self.clients() {
            if let Some(error) = client.unblock.get() {
                self.unblocking.set(true);
                self.ask_to_unblock(&client, error);
            }
        }
    }

    fn ask_to_unblock(self: &Rc<Self>, client: &Client, error: bool) {
        let waiting: Vec<Rc<Connection>> = client.dedicated.borrow().iter().cloned().collect();
        for connection in waiting {
            if let Some(id) = connection.spoil() {
                self.unblock_at(&connection, id, error);
            }
        }
    }

    fn unblock_at(self: &Rc<Self>, waiting: &Connection, id: u64, error: bool) {
        let link = &waiting.link;
        let Some(connection) = link.shared(self, 0, Lane::Quick) else { return };
        let now_ns = self.clock.now_ns();
        let timeout_ms = self.settings.borrow().request_timeout_ms;
        // Nobody waits for the answer: the one who does is told by the node itself.
        let command = Command::Connection(ConnectionCommand::ClientUnblock);
        let pending = Pending::new(Dest::Slot(0), command, now_ns, timeout_ms);
        let (mut prefix, mut args) = (Vec::new(), Vec::new());
        write_prefix(&Context { deadline_ms: timeout_ms, ..Context::default() }, &mut prefix);
        let how: &[u8] = if error { b"ERROR" } else { b"TIMEOUT" };
        for arg in [&b"CLIENT"[..], b"UNBLOCK", itoa::Buffer::new().format(id).as_bytes(), how] {
            request_arg(&mut args, arg);
        }
        connection.push(pending, Body::One { count: 4, prefix: &prefix, args: &args });
        self.mark_connection(&connection);
    }
}
