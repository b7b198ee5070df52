//! The flusher: writes, once per round of the worker's tasks, everything that the round has produced.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::Worker;
use crate::downstream::client::Client;
use crate::upstream::connection::Connection;

impl Worker {
    /// The connection has bytes to send.
    #[inline]
    pub fn mark_connection(&self, connection: &Rc<Connection>) {
        if !connection.queued.replace(true) {
            let mut dirty = self.dirty_connections.borrow_mut();
            let first = dirty.is_empty();
            dirty.push(Rc::clone(connection));
            if first {
                drop(dirty);
                self.wake_flusher();
            }
        }
    }

    /// The client has bytes to send.
    #[inline]
    pub fn mark_client(&self, client: &Rc<Client>) {
        if !client.queued.replace(true) {
            let mut dirty = self.dirty_clients.borrow_mut();
            let first = dirty.is_empty();
            dirty.push(Rc::clone(client));
            if first {
                drop(dirty);
                self.wake_flusher();
            }
        }
    }

    /// Lets the flusher run.
    pub fn wake_flusher(&self) {
        if let Some(waker) = &*self.flusher.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The flusher's task.
    pub(super) async fn flusher(self: Rc<Self>) {
        std::future::poll_fn(|context| self.flush(context)).await;
    }

    fn flush(&self, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut waker = self.flusher.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
        }
        self.hot.flights.left();
        // The nodes first: they work while the clients are written to.
        let mut connections = self.dirty_connections.take();
        for connection in connections.drain(..) {
            connection.queued.set(false);
            connection.flush();
        }
        keep_room(&self.dirty_connections, connections);
        let mut clients = self.dirty_clients.take();
        for client in clients.drain(..) {
            client.queued.set(false);
            self.flush_client(&client);
        }
        keep_room(&self.dirty_clients, clients);
        Poll::Pending
    }

    /// Writes what the client's socket takes; the rest waits for its task.
    fn flush_client(&self, client: &Rc<Client>) {
        if client.closed.get() || client.blocked.get() {
            self.check_output(client);
            return;
        }
        match client.write_out(&self.pool) {
            Ok((count, whole)) => {
                self.metrics.bytes_out.add(count as u64);
                if !whole {
                    client.blocked.set(true);
                    client.wake();
                    self.check_output(client);
                } else if client.paused.replace(false) {
                    client.wake();
                }
            }
            // A client that hung up is no error.
            Err(_) => client.kill(),
        }
    }

    /// Closes a client that does not read what it asked for.
    fn check_output(&self, client: &Client) {
        if client.closed.get() || client.killed.get() {
            return;
        }
        let held = client.outbox.borrow().held_bytes();
        if held > self.settings.borrow().client_output_hard_bytes {
            tracing::warn!(client = client.id(), address = %client.info.address, bytes = held,
                "closing a client that does not read its replies");
            self.metrics.output_closed.add(1);
            client.kill();
        }
    }
}

/// Puts an emptied list back, so that its memory is used again.
fn keep_room<T>(place: &std::cell::RefCell<Vec<T>>, emptied: Vec<T>) {
    let mut place = place.borrow_mut();
    if place.is_empty() && place.capacity() < emptied.capacity() {
        *place = emptied;
    }
}
