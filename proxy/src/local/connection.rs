//! The connection family.

use std::sync::atomic::Ordering;

use torc_protocol::command::ConnectionCommand;
use torc_protocol::error;
use torc_protocol::login::{Hello, Login, describe};
use torc_protocol::resp::{Version, parse_i64};

use super::client;
use crate::call::Call;
use crate::downstream::resp::Step;
use crate::downstream::session::Session;
use crate::transaction::unwatch;

/// Databases of a node.
const DATABASES: i64 = 16;

pub(super) fn answer(call: &mut Call<'_>, command: ConnectionCommand) -> Step {
    match command {
        ConnectionCommand::Ping if call.client.listening.get() && call.session.version == Version::Resp2 => {
            if call.request.args.len() > 2 {
                return call.refuse(&error::wrong_arity("ping"));
            }
            call.reply(|reply| {
                reply.array(2);
                reply.bulk(b"pong");
                reply.bulk(call.request.arg(1));
            })
        }
        ConnectionCommand::Ping => match call.request.args.len() {
            1 => call.reply(|reply| reply.simple("PONG")),
            2 => call.reply(|reply| reply.bulk(call.request.arg(1))),
            _ => call.refuse(&error::wrong_arity("ping")),
        },
        ConnectionCommand::Echo => call.reply(|reply| reply.bulk(call.request.arg(1))),
        ConnectionCommand::Select => select(call),
        ConnectionCommand::Hello => hello(call),
        ConnectionCommand::Auth => auth(call),
        ConnectionCommand::Reset => reset(call),
        ConnectionCommand::Quit => {
            call.reply(|reply| reply.ok());
            Step::Close
        }
        ConnectionCommand::Client | ConnectionCommand::ClientHelp => {
            call.reply(|reply| torc_protocol::command::help(command.into(), reply))
        }
        ConnectionCommand::ClientCaching
        | ConnectionCommand::ClientGetredir
        | ConnectionCommand::ClientTracking
        | ConnectionCommand::ClientTrackinginfo => crate::dispatch::by_table(call),
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
        | ConnectionCommand::ClientUnpause => client::answer(call, command),
    }
}

fn select(call: &mut Call<'_>) -> Step {
    let Some(db) = parse_i64(call.request.arg(1)) else { return call.refuse(error::NOT_AN_INTEGER) };
    if !(0..DATABASES).contains(&db) {
        return call.refuse(error::DB_OUT_OF_RANGE);
    }
    call.session.db = db as u8;
    call.session.changed();
    call.client.info.db.store(db as u8, Ordering::Relaxed);
    call.reply(|reply| reply.ok())
}

/// Whether somebody may come in.
pub fn may_enter(worker: &crate::worker::Worker, login: &Login<'_>) -> bool {
    login.is_right(&worker.shared.settings.load().requirepass)
}

/// Lets a client in that need no longer log in: the password was removed after it had connected.
pub fn enter_if_open(worker: &crate::worker::Worker, session: &mut Session) {
    session.authenticated |= worker.shared.settings.load().requirepass.is_empty();
}

fn auth(call: &mut Call<'_>) -> Step {
    let has_password = !call.worker.shared.settings.load().requirepass.is_empty();
    let login = match Login::of_auth(&call.request.args, has_password) {
        Ok(login) => login,
        Err(text) => return call.refuse(text),
    };
    if !may_enter(call.worker, &login) {
        return call.refuse(error::WRONGPASS);
    }
    call.session.authenticated = true;
    call.reply(|reply| reply.ok())
}

fn hello(call: &mut Call<'_>) -> Step {
    let hello = match Hello::parse(&call.request.args) {
        Ok(hello) => hello,
        Err(text) => return call.refuse(&String::from_utf8_lossy(&text)),
    };
    if hello.name.is_some_and(|name| !client::is_name(name)) {
        return call.refuse(error::CLIENT_NAME);
    }
    if let Some(login) = hello.login {
        if !may_enter(call.worker, &login) {
            return call.refuse(error::WRONGPASS);
        }
        call.session.authenticated = true;
    }
    if !call.session.authenticated {
        return call.refuse(error::HELLO_NOAUTH);
    }
    if let Some(name) = hello.name {
        call.client.info.labels.lock().name = name.to_vec();
    }
    if let Some(version) = hello.version {
        call.session.version = version;
        call.session.changed();
        call.client.info.resp.store(version.number() as u8, Ordering::Relaxed);
    }
    let id = call.client.id();
    call.reply(|reply| describe(reply, id, "standalone", "master"))
}

fn reset(call: &mut Call<'_>) -> Step {
    let listens = call.client.listening.get();
    if listens && !call.is_first() {
        return Step::NotYet;
    }
    call.client.monitors.set(0);
    unwatch(call.worker, call.client, call.session);
    let settings = call.worker.shared.settings.load();
    *call.session = Session::new(settings.requirepass.is_empty(), settings.request_timeout_ms);
    let info = &call.client.info;
    info.db.store(0, Ordering::Relaxed);
    info.resp.store(2, Ordering::Relaxed);
    info.multi.store(-1, Ordering::Relaxed);
    info.no_evict.store(false, Ordering::Relaxed);
    info.no_touch.store(false, Ordering::Relaxed);
    info.labels.lock().name.clear();
    if listens {
        return crate::pubsub::reset(call, Version::Resp2);
    }
    call.reply(|reply| reply.simple("RESET"))
}
