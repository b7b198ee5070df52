//! Who has something to send is noted, and written to once per round of the driver.

use std::rc::Rc;

use super::Worker;
use crate::downstream::client::Client;
use crate::upstream::connection::Connection;

impl Worker {
    /// One more request was put on the connection: it has bytes to send.
    #[inline]
    pub fn mark_connection(&self, connection: &Rc<Connection>) {
        self.unwritten.set(self.unwritten.get() + 1);
        if !connection.queued.replace(true) {
            self.dirty_connections.borrow_mut().push(Rc::clone(connection));
            self.door.ring();
        }
    }

    /// The client has bytes to send.
    #[inline]
    pub fn mark_client(&self, client: &Rc<Client>) {
        if !client.queued.replace(true) {
            self.dirty_clients.borrow_mut().push(Rc::clone(client));
            self.door.ring();
        }
    }

    /// Requests that were marked and not written to their nodes yet.
    pub(super) fn unwritten_requests(&self) -> usize {
        self.unwritten.get()
    }

    /// Writes to the nodes what they are to get. True if there was anything.
    pub(super) fn write_to_nodes(&self) -> bool {
        if self.unwritten.replace(0) == 0 {
            return false;
        }
        self.hot.flights.left();
        let mut connections = self.dirty_connections.take();
        for connection in connections.drain(..) {
            connection.queued.set(false);
            connection.flush();
        }
        keep_room(&self.dirty_connections, connections);
        true
    }

    /// Writes to the clients what they are to get. True if there was anything.
    pub(super) fn write_to_clients(&self) -> bool {
        if self.dirty_clients.borrow().is_empty() {
            return false;
        }
        let mut clients = self.dirty_clients.take();
        for client in clients.drain(..) {
            client.queued.set(false);
            self.flush_client(&client);
        }
        keep_room(&self.dirty_clients, clients);
        true
    }

    /// Writes what the client's socket takes; the rest waits for room.
    fn flush_client(&self, client: &Rc<Client>) {
        if client.killed.get() {
            return;
        }
        if client.closed.get() || client.blocked.get() {
            self.check_output(client);
            return;
        }
        match client.write_out(&self.pool) {
            Ok((count, whole)) => {
                self.metrics.bytes_out.add(count as u64);
                if !whole {
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
