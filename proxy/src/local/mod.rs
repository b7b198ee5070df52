//! Commands that the proxy answers itself, from the state of the client or of its own.

mod client;
mod cluster;
mod config;
mod connection;
mod server;
mod wait;

pub use connection::{enter_if_open, may_enter};

use std::rc::Rc;

use torc_protocol::command::{self, Command, GenericCommand};

use crate::dispatch;
use crate::downstream::client::Client;
use crate::downstream::request::Request;
use crate::downstream::resp::{Step, refuse, reply};
use crate::downstream::session::Session;
use crate::join::How;
use crate::worker::{Routes, Worker};

/// Everything that a local command may need.
pub struct Local<'a> {
    /// The worker.
    pub worker: &'a Rc<Worker>,
    /// Who asks.
    pub client: &'a Rc<Client>,
    /// What the client has chosen.
    pub session: &'a mut Session,
    /// The routes of this batch.
    pub routes: &'a Routes,
    /// What is asked.
    pub request: &'a Request<'a>,
    /// For arguments that are not forwarded as they came.
    pub scratch: &'a mut Vec<u8>,
}

impl Local<'_> {
    /// Answers.
    pub fn reply(&self, write: impl FnOnce(&mut torc_protocol::resp::ReplyWriter<'_>)) -> Step {
        reply(self.worker, self.client, self.session, write);
        Step::Done
    }

    /// Answers with an error.
    pub fn refuse(&self, text: &str) -> Step {
        refuse(self.worker, self.client, self.session, self.request, text);
        Step::Done
    }

    /// Sends it where the table says.
    pub fn forward(&mut self) -> Step {
        dispatch::by_table(self.worker, self.client, self.session, self.routes, self.request, self.scratch)
            .unwrap_or_else(|| self.refuse("ERR the proxy cannot answer this command"))
    }
}

/// Answers, or has shards answer, a command that is not routed by its keys.
pub fn answer(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    scratch: &mut Vec<u8>,
) -> Step {
    let mut local = Local { worker, client, session, routes, request, scratch };
    match request.command {
        Command::Connection(command) => connection::answer(&mut local, command),
        Command::Server(command) => server::answer(&mut local, command),
        Command::Cluster(command) => cluster::answer(&mut local, command),
        Command::Generic(GenericCommand::Randomkey) => {
            // An empty shard has none: the others are asked too, another one first each time.
            let shards = routes.shards().max(1);
            let first = usize::try_from(worker.random() % shards as u64).unwrap_or(0);
            dispatch::all(worker, client, local.session, routes, request, How::First, first, local.scratch)
        }
        command if request.spec.name.ends_with("|help") => local.reply(|reply| command::help(command, reply)),
        _ => local.forward(),
    }
}
