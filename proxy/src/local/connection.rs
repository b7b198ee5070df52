//! The connection family.

use std::sync::atomic::Ordering;

use torc_protocol::command::ConnectionCommand;
use torc_protocol::error;
use torc_protocol::login::{Hello, Login, describe};
use torc_protocol::resp::parse_i64;

use super::{Local, client};
use crate::downstream::resp::Step;
use crate::downstream::session::Session;
use crate::transaction::unwatch;

/// Databases of a node.
const DATABASES: i64 = 16;

pub(super) fn answer(local: &mut Local<'_>, command: ConnectionCommand) -> Step {
    match command {
        ConnectionCommand::Ping => match local.request.args.len() {
            1 => local.reply(|reply| reply.simple("PONG")),
            2 => local.reply(|reply| reply.bulk(local.request.arg(1))),
            _ => local.refuse(&error::wrong_arity("ping")),
        },
        ConnectionCommand::Echo => local.reply(|reply| reply.bulk(local.request.arg(1))),
        ConnectionCommand::Select => select(local),
        ConnectionCommand::Hello => hello(local),
        ConnectionCommand::Auth => auth(local),
        ConnectionCommand::Reset => reset(local),
        ConnectionCommand::Quit => {
            local.reply(|reply| reply.ok());
            Step::Close
        }
        ConnectionCommand::Client | ConnectionCommand::ClientHelp => {
            local.reply(|reply| torc_protocol::command::help(command.into(), reply))
        }
        ConnectionCommand::ClientAck
        | ConnectionCommand::ClientGetname
        | ConnectionCommand::ClientId
        | ConnectionCommand::ClientInfo
        | ConnectionCommand::ClientKill
        | ConnectionCommand::ClientList
        | ConnectionCommand::ClientNoEvict
        | ConnectionCommand::ClientNoTouch
        | ConnectionCommand::ClientPause
        | ConnectionCommand::ClientRead
        | ConnectionCommand::ClientReply
        | ConnectionCommand::ClientSetinfo
        | ConnectionCommand::ClientSetname
        | ConnectionCommand::ClientUnblock
        | ConnectionCommand::ClientUnpause => client::answer(local, command),
    }
}

fn select(local: &mut Local<'_>) -> Step {
    let Some(db) = parse_i64(local.request.arg(1)) else { return local.refuse(error::NOT_AN_INTEGER) };
    if !(0..DATABASES).contains(&db) {
        return local.refuse(error::DB_OUT_OF_RANGE);
    }
    local.session.db = db as u8;
    local.session.changed();
    local.client.info.db.store(db as u8, Ordering::Relaxed);
    local.reply(|reply| reply.ok())
}

/// Whether somebody may come in.
pub fn may_enter(worker: &crate::worker::Worker, login: &Login<'_>) -> bool {
    login.is_right(&worker.shared.tunable.load().requirepass)
}

/// Lets a client in that need no longer log in: the password was removed after it had connected.
pub fn enter_if_open(worker: &crate::worker::Worker, session: &mut Session) {
    session.authenticated |= worker.shared.tunable.load().requirepass.is_empty();
}

fn auth(local: &mut Local<'_>) -> Step {
    let has_password = !local.worker.shared.tunable.load().requirepass.is_empty();
    let login = match Login::of_auth(&local.request.args, has_password) {
        Ok(login) => login,
        Err(text) => return local.refuse(text),
    };
    if !may_enter(local.worker, &login) {
        return local.refuse(error::WRONGPASS);
    }
    local.session.authenticated = true;
    local.reply(|reply| reply.ok())
}

fn hello(local: &mut Local<'_>) -> Step {
    let hello = match Hello::parse(&local.request.args) {
        Ok(hello) => hello,
        Err(text) => return local.refuse(&String::from_utf8_lossy(&text)),
    };
    if hello.name.is_some_and(|name| !client::is_name(name)) {
        return local.refuse(error::CLIENT_NAME);
    }
    if let Some(login) = hello.login {
        if !may_enter(local.worker, &login) {
            return local.refuse(error::WRONGPASS);
        }
        local.session.authenticated = true;
    }
    if !local.session.authenticated {
        return local.refuse(error::HELLO_NOAUTH);
    }
    if let Some(name) = hello.name {
        local.client.info.labels.lock().name = name.to_vec();
    }
    if let Some(version) = hello.version {
        local.session.version = version;
        local.session.changed();
        local.client.info.resp.store(version.number() as u8, Ordering::Relaxed);
    }
    let id = local.client.id();
    local.reply(|reply| describe(reply, id, "standalone", "master"))
}

fn reset(local: &mut Local<'_>) -> Step {
    unwatch(local.worker, local.client, local.session);
    let tunable = local.worker.shared.tunable.load();
    *local.session = Session::new(tunable.requirepass.is_empty(), tunable.request_timeout_ms);
    let info = &local.client.info;
    info.db.store(0, Ordering::Relaxed);
    info.resp.store(2, Ordering::Relaxed);
    info.multi.store(-1, Ordering::Relaxed);
    info.no_evict.store(false, Ordering::Relaxed);
    info.no_touch.store(false, Ordering::Relaxed);
    info.labels.lock().name.clear();
    local.reply(|reply| reply.simple("RESET"))
}
