//! A connection goes on with another worker; see [`super::super::balance`].

use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;

use torc_runtime::listen::StdStream;
use torc_runtime::listen::acceptor::Permit;

use super::{Connection, Session};
use crate::clients::Client;
use crate::conn::dialect::Dialect;
use crate::conn::worker::Worker;

/// A connection between two workers: nothing is under way, both buffers are empty.
#[derive(Debug)]
pub struct Moving {
    stream: StdStream,
    client: Arc<Client>,
    session: Session,
    dialect: Dialect,
    stranger: bool,
    permit: Permit,
}

impl Connection {
    /// The worker that should go on with the connection, if another should and it can be moved now.
    pub(super) fn where_to(&mut self) -> Option<usize> {
        let balance = &self.worker.node.balance;
        let rate = self.rate.count(balance, std::mem::take(&mut self.served));
        let still = self.input.is_empty()
            && self.output.unsent() == 0
            && !self.output.is_marked()
            && self.parked.is_none()
            && self.held.is_none()
            && self.barred.is_none()
            && !self.closing;
        if still { balance.asks(self.worker.index, rate) } else { None }
    }

    /// Takes the connection apart, which its hub must have stopped watching; `None` (and it ends) when the system gives
    /// no second handle on the socket.
    pub fn depart(mut self) -> Option<Box<Moving>> {
        let stream = self.stream.try_clone().ok()?;
        let permit = self.permit.take()?;
        let version = self.session.version;
        Some(Box::new(Moving {
            stream,
            client: self.client.clone(),
            session: std::mem::replace(&mut self.session, Session { version, ..Session::new(0, false) }),
            dialect: std::mem::replace(&mut self.dialect, Dialect::new(crate::conn::Protocol::Resp)),
            stranger: self.stranger,
            permit,
        }))
    }

    /// Puts it together again.
    pub fn arrive(worker: Rc<Worker>, moving: Moving) -> Connection {
        let Moving { stream, client, session, dialect, stranger, permit } = moving;
        client.set_fd(stream.as_fd().as_raw_fd());
        let mut connection = Connection::of_parts(worker, stream, client, session, dialect, permit);
        connection.stranger = stranger;
        connection
    }
}
