//! The connection family.

use std::sync::atomic::Ordering;

use torc_protocol::command::ConnectionCommand;
use torc_protocol::error;
use torc_protocol::resp::{Version, parse_i64};

use super::{Local, client};
use crate::downstream::resp::Step;
use crate::downstream::session::Session;
use crate::info::REDIS_VERSION;
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

/// Whether the two are the same, in a time that depends on the given one's length alone.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let mut difference = given.len() ^ wanted.len();
    for (index, byte) in given.iter().enumerate() {
        let other = wanted.get(index % wanted.len().max(1)).copied().unwrap_or(0);
        difference |= usize::from(byte ^ other);
    }
    difference == 0
}

/// Whether a user and password open the door.
pub fn may_enter(worker: &crate::worker::Worker, user: &[u8], password: &[u8]) -> bool {
    let tunable = worker.shared.tunable.load();
    user == b"default" && (tunable.requirepass.is_empty() || same(password, tunable.requirepass.as_bytes()))
}

fn auth(local: &mut Local<'_>) -> Step {
    let request = local.request;
    let (user, password) = match request.args.len() {
        2 => (&b"default"[..], request.arg(1)),
        3 => (request.arg(1), request.arg(2)),
        _ => return local.refuse(error::SYNTAX),
    };
    if request.args.len() == 2 && local.worker.shared.tunable.load().requirepass.is_empty() {
        return local.refuse(error::NO_PASSWORD_SET);
    }
    if !may_enter(local.worker, user, password) {
        return local.refuse(error::WRONGPASS);
    }
    local.session.authenticated = true;
    local.reply(|reply| reply.ok())
}

fn hello(local: &mut Local<'_>) -> Step {
    let request = local.request;
    let mut version = local.session.version;
    let (mut enter, mut name) = (None, None);
    if request.args.len() > 1 {
        version = match parse_i64(request.arg(1)) {
            Some(2) => Version::Resp2,
            Some(3) => Version::Resp3,
            Some(_) => return local.refuse(error::NOPROTO),
            None => return local.refuse(error::HELLO_VERSION),
        };
        let mut at = 2;
        while at < request.args.len() {
            let left = request.args.len() - at - 1;
            if request.is_word(at, "AUTH") && left >= 2 {
                enter = Some((request.arg(at + 1), request.arg(at + 2)));
                at += 3;
            } else if request.is_word(at, "SETNAME") && left >= 1 {
                name = Some(request.arg(at + 1));
                at += 2;
            } else {
                let option = String::from_utf8_lossy(request.arg(at)).into_owned();
                return local.refuse(&format!("ERR Syntax error in HELLO option '{option}'"));
            }
        }
    }
    if let Some((user, password)) = enter {
        if !may_enter(local.worker, user, password) {
            return local.refuse(error::WRONGPASS);
        }
        local.session.authenticated = true;
    }
    if !local.session.authenticated {
        return local.refuse(error::HELLO_NOAUTH);
    }
    if let Some(name) = name {
        if !client::is_name(name) {
            return local.refuse(error::CLIENT_NAME);
        }
        local.client.info.labels.lock().name = name.to_vec();
    }
    local.session.version = version;
    local.session.changed();
    local.client.info.resp.store(version.number() as u8, Ordering::Relaxed);
    let id = local.client.id();
    local.reply(|reply| {
        reply.map(7);
        reply.bulk(b"server");
        reply.bulk(b"redis");
        reply.bulk(b"version");
        reply.bulk(REDIS_VERSION.as_bytes());
        reply.bulk(b"proto");
        reply.integer(version.number());
        reply.bulk(b"id");
        reply.integer(id as i64);
        reply.bulk(b"mode");
        reply.bulk(b"standalone");
        reply.bulk(b"role");
        reply.bulk(b"master");
        reply.bulk(b"modules");
        reply.array(0);
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_compared_whole() {
        assert!(same(b"secret", b"secret"));
        assert!(!same(b"secre", b"secret"));
        assert!(!same(b"secretsecret", b"secret"));
        assert!(!same(b"", b"secret"));
        assert!(same(b"", b""));
    }
}
