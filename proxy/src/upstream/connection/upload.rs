//! Big requests in pieces: bytes leave as they come from the client and are not kept, so the request is never sent again.
//!
//! It has the connection to itself. The client appends while little waits to be written; it is woken when there is
//! room again. A request whose end the node never got was not executed.

use std::rc::Rc;

use super::{Connection, EndWish, Phase};
use crate::downstream::client::Client;
use crate::upstream::pending::{NEVER, Pending};
use crate::worker::Worker;

/// Bytes that may wait to be written; then the client is not read from.
const AHEAD_BYTES: usize = 1024 * 1024;
/// Written bytes are dropped from the front of the buffer when they are at least so many.
const DROP_BYTES: usize = 256 * 1024;
/// A client that sends nothing of what it has begun for so long is closed.
const PATIENCE_NS: u64 = 60_000_000_000;

/// The request on its way.
#[derive(Debug)]
pub(super) struct Upload {
    client: Rc<Client>,
    seq: u64,
    /// Whether all of it has been appended.
    whole: bool,
    /// Whether the client waits for room.
    waits: bool,
    /// Bytes that have been appended or written, and that sum when it changed last, and when that was.
    moved: u64,
    seen: u64,
    seen_ns: u64,
}

impl Connection {
    /// Begins a request whose first bytes are `head`; nothing else is on the connection.
    pub fn begin_upload(&self, mut pending: Pending, client: &Rc<Client>, head: &[u8], now_ns: u64) {
        let upload = Upload {
            client: Rc::clone(client),
            seq: pending.seq,
            whole: false,
            waits: false,
            moved: 0,
            seen: 0,
            seen_ns: now_ns,
        };
        self.upload.replace(Some(upload));
        self.uploading.set(true);
        pending.len = 0;
        pending.deadline_ns = NEVER;
        self.state.borrow_mut().fifo.push_back(pending);
        self.link.metrics.requests.add(1);
        self.link.metrics.in_flight.add(1);
        self.append(head);
    }

    /// Whether this request of this client is on its way here and may be gone on with.
    pub fn uploads(&self, client: &Rc<Client>, seq: u64) -> bool {
        let upload = self.upload.borrow();
        let mine = upload.as_ref().is_some_and(|it| it.seq == seq && Rc::ptr_eq(&it.client, client));
        // One whose node has left the map is gone on with.
        mine && self.phase() != Phase::Closed && matches!(self.end.get(), None | Some(EndWish::WhenIdle))
    }

    /// Whether a request is passed on, or was and is not answered.
    pub fn is_uploading(&self) -> bool {
        self.uploading.get()
    }

    /// Whether more may be appended; if not the client is woken when it may.
    pub fn has_upload_room(&self) -> bool {
        let state = self.state.borrow();
        let room = state.out.len() - state.written < AHEAD_BYTES;
        drop(state);
        if !room && let Some(upload) = &mut *self.upload.borrow_mut() {
            upload.waits = true;
        }
        room
    }

    /// Appends bytes of the request.
    pub fn append(&self, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        let written = state.written;
        if written == state.out.len() {
            state.out.clear();
            state.written = 0;
        } else if written >= DROP_BYTES {
            state.out.drain(..written);
            state.written = 0;
        }
        state.out.extend_from_slice(bytes);
        drop(state);
        if let Some(upload) = &mut *self.upload.borrow_mut() {
            upload.moved += bytes.len() as u64;
        }
    }

    /// The request is whole: from now on its answer is due.
    pub fn end_upload(&self, deadline_ns: u64) {
        if let Some(upload) = &mut *self.upload.borrow_mut() {
            upload.whole = true;
        }
        if let Some(pending) = self.state.borrow_mut().fifo.back_mut() {
            pending.deadline_ns = deadline_ns;
        }
    }

    /// Bytes have been written.
    #[cold]
    pub(super) fn uploaded(&self, bytes: usize) {
        let unwritten = {
            let state = self.state.borrow();
            state.out.len() - state.written
        };
        if let Some(upload) = &mut *self.upload.borrow_mut() {
            upload.moved += bytes as u64;
            if upload.waits && unwritten <= AHEAD_BYTES / 2 {
                upload.waits = false;
                upload.client.wake();
            }
        }
    }

    /// Whether the node may have got all of the request.
    pub(super) fn sent_upload(&self) -> bool {
        let state = self.state.borrow();
        self.upload.borrow().as_ref().is_none_or(|upload| upload.whole) && state.written == state.out.len()
    }

    /// It is answered. What is left of it goes nowhere: then nobody else can have the connection.
    pub(super) fn finish_upload(&self) {
        if !self.sent_upload() {
            self.spoilt.set(true);
        }
        self.uploading.set(false);
        if let Some(upload) = self.upload.take()
            && upload.waits
        {
            upload.client.wake();
        }
    }

    /// Looks after a request that is not whole: a node that takes nothing of it is given up, and a client that sends
    /// nothing of it is closed.
    pub fn check_upload(&self, worker: &Worker, now_ns: u64) {
        if !self.uploading.get() {
            return;
        }
        let unwritten = {
            let state = self.state.borrow();
            state.out.len() - state.written
        };
        let mut upload = self.upload.borrow_mut();
        let Some(upload) = &mut *upload else { return };
        if upload.seen != upload.moved || worker.is_paused(|| true) {
            (upload.seen, upload.seen_ns) = (upload.moved, now_ns);
        }
        let quiet_ns = now_ns.saturating_sub(upload.seen_ns);
        let patience_ns = u64::from(worker.settings.borrow().request_timeout_ms) * 1_000_000;
        if unwritten > 0 && quiet_ns > patience_ns {
            self.give_up();
        } else if unwritten == 0 && !upload.whole && quiet_ns > PATIENCE_NS {
            worker.metrics.input_closed.add(1);
            tracing::warn!(client = upload.client.id(), address = %upload.client.info.address,
                "closing a client that does not go on with a big request");
            upload.client.kill();
        }
    }
}
