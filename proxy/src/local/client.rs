//! CLIENT and its subcommands.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use torc_protocol::command::{Command, ConnectionCommand};
use torc_protocol::context::{Ack, ReadLevel};
use torc_protocol::error;
use torc_protocol::login;
use torc_protocol::resp::parse_i64;
use torc_runtime::clock::unix_ms;

use crate::call::Call;
use crate::downstream::client::ClientInfo;
use crate::downstream::resp::Step;
use crate::downstream::session::ReplyMode;
use crate::worker::Order;

/// Bytes of a name or library version that are kept.
const MAX_LABEL_BYTES: usize = 1024;

/// Whether a client may call itself so.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.len() <= MAX_LABEL_BYTES && login::is_name(name)
}

pub(super) fn answer(call: &mut Call<'_>, command: ConnectionCommand) -> Step {
    let request = call.request;
    let info = &call.client.info;
    match command {
        ConnectionCommand::ClientId => call.reply(|reply| reply.integer(info.id as i64)),
        ConnectionCommand::ClientInfo => {
            let line = line(info);
            call.reply(|reply| reply.verbatim(b"txt", &line))
        }
        ConnectionCommand::ClientList => list(call),
        ConnectionCommand::ClientKill => kill(call),
        ConnectionCommand::ClientGetname => {
            let name = info.labels.lock().name.clone();
            call.reply(|reply| if name.is_empty() { reply.null() } else { reply.bulk(&name) })
        }
        ConnectionCommand::ClientSetname => {
            if !is_name(request.arg(2)) {
                return call.refuse(error::CLIENT_NAME);
            }
            info.labels.lock().name = request.arg(2).to_vec();
            call.reply(|reply| reply.ok())
        }
        ConnectionCommand::ClientSetinfo => set_info(call),
        ConnectionCommand::ClientNoEvict | ConnectionCommand::ClientNoTouch => {
            let on = match (request.is_word(2, "ON"), request.is_word(2, "OFF")) {
                (true, _) => true,
                (_, true) => false,
                _ => return call.refuse(error::SYNTAX),
            };
            let flag =
                if command == ConnectionCommand::ClientNoEvict { &info.no_evict } else { &info.no_touch };
            flag.store(on, Ordering::Relaxed);
            call.reply(|reply| reply.ok())
        }
        ConnectionCommand::ClientReply => reply_mode(call),
        ConnectionCommand::ClientAck => {
            let ack = match request.is_word(2, "default") {
                true => None,
                false => match Ack::from_bytes(request.arg(2)) {
                    Ok(ack) => Some(ack),
                    Err(cause) => return call.refuse(&cause.to_string()),
                },
            };
            call.session.ack = ack;
            call.session.changed();
            call.reply(|reply| reply.ok())
        }
        ConnectionCommand::ClientRead => {
            let read = match request.is_word(2, "default") {
                true => None,
                false => match ReadLevel::from_bytes(request.arg(2)) {
                    Ok(read) => Some(read),
                    Err(cause) => return call.refuse(&cause.to_string()),
                },
            };
            call.session.read = read;
            call.session.changed();
            call.reply(|reply| reply.ok())
        }
        ConnectionCommand::ClientUnblock
            if request.args.len() > 3 && !request.is_word(3, "TIMEOUT") && !request.is_word(3, "ERROR") =>
        {
            call.refuse(error::UNBLOCK_REASON)
        }
        ConnectionCommand::ClientUnblock => unblock(call),
        ConnectionCommand::ClientUnpause => {
            call.worker.shared.pause.end();
            call.reply(|reply| reply.ok())
        }
        _ => pause(call),
    }
}

/// `CLIENT UNBLOCK id [TIMEOUT | ERROR]`
fn unblock(call: &mut Call<'_>) -> Step {
    let Some(id) = parse_i64(call.request.arg(2)) else { return call.refuse(error::NOT_AN_INTEGER) };
    let shared = &call.worker.shared;
    let found = shared.clients.all().into_iter().find(|client| i64::try_from(client.id) == Ok(id));
    let error = call.request.is_word(3, "ERROR");
    let woken = found.is_some_and(|client| {
        client.blocked.load(Ordering::Relaxed)
            && shared.order(client.worker, Order::Unblock(client.id, error))
    });
    call.reply(|reply| reply.integer(i64::from(woken)))
}

/// `CLIENT PAUSE milliseconds [WRITE | ALL]`
fn pause(call: &mut Call<'_>) -> Step {
    let request = call.request;
    let only_writes = match request.args.len() {
        3 => false,
        _ if request.is_word(3, "ALL") => false,
        _ if request.is_word(3, "WRITE") => true,
        _ => return call.refuse("ERR CLIENT PAUSE mode must be WRITE or ALL"),
    };
    if request.args.len() > 4 {
        return call.refuse(error::SYNTAX);
    }
    let Some(ms) = parse_i64(request.arg(2)) else { return call.refuse(error::TIMEOUT_NOT_AN_INTEGER) };
    let Ok(ms) = u64::try_from(ms) else { return call.refuse(error::TIMEOUT_NEGATIVE) };
    let now_ms = unix_ms();
    call.worker.shared.pause.begin(now_ms.saturating_add(ms), only_writes, now_ms);
    call.reply(|reply| reply.ok())
}

fn no_spaces(attribute: &[u8]) -> String {
    let attribute = String::from_utf8_lossy(attribute);
    format!("ERR {attribute} cannot contain spaces, newlines or special characters.")
}

fn set_info(call: &mut Call<'_>) -> Step {
    let request = call.request;
    let value = request.arg(3);
    let labels = &call.client.info.labels;
    if request.is_word(2, "LIB-NAME") {
        if !is_name(value) {
            return call.refuse(&no_spaces(request.arg(2)));
        }
        labels.lock().lib_name = value.to_vec();
    } else if request.is_word(2, "LIB-VER") {
        if !is_name(value) {
            return call.refuse(&no_spaces(request.arg(2)));
        }
        labels.lock().lib_version = value.to_vec();
    } else {
        let option = String::from_utf8_lossy(request.arg(2)).into_owned();
        return call.refuse(&format!("ERR Unrecognized option '{option}'"));
    }
    call.reply(|reply| reply.ok())
}

fn reply_mode(call: &mut Call<'_>) -> Step {
    let request = call.request;
    if request.is_word(2, "ON") {
        call.session.reply_mode = ReplyMode::On;
        return call.reply(|reply| reply.ok());
    }
    if request.is_word(2, "OFF") {
        call.session.reply_mode = ReplyMode::Off;
    } else if request.is_word(2, "SKIP") {
        if call.session.reply_mode != ReplyMode::Off {
            call.session.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return call.refuse(error::SYNTAX);
    }
    Step::Done
}

fn list(call: &mut Call<'_>) -> Step {
    let request = call.request;
    let mut clients = call.worker.shared.clients.all();
    if request.is_word(2, "TYPE") && request.args.len() == 4 {
        match type_of(request.arg(3)) {
            Some(Some(listens)) => clients.retain(|client| is_listener(client) == listens),
            Some(None) => clients.clear(),
            None => {
                let kind = String::from_utf8_lossy(request.arg(3)).into_owned();
                return call.refuse(&format!("ERR Unknown client type '{kind}'"));
            }
        }
    } else if request.is_word(2, "ID") && request.args.len() > 3 {
        let mut ids = Vec::new();
        for id in request.args.tail(3) {
            match parse_i64(id) {
                Some(id) if id >= 0 => ids.push(id as u64),
                _ => return call.refuse(error::INVALID_CLIENT_ID),
            }
        }
        clients.retain(|client| ids.contains(&client.id));
    } else if request.args.len() > 2 {
        return call.refuse(error::SYNTAX);
    }
    let text: Vec<u8> = clients.iter().flat_map(|client| line(client)).collect();
    call.reply(|reply| reply.verbatim(b"txt", &text))
}

/// Whether it listens to channels.
fn is_listener(client: &ClientInfo) -> bool {
    client.listens.iter().any(|count| count.load(Ordering::Relaxed) > 0)
}

/// A type of client. `None`: there is no such type; `Some(None)`: a proxy has none of it; else whether it is that of
/// those who listen.
fn type_of(kind: &[u8]) -> Option<Option<bool>> {
    let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
    match (is("normal"), is("pubsub")) {
        (true, _) => Some(Some(false)),
        (_, true) => Some(Some(true)),
        _ => (is("master") || is("replica") || is("slave")).then_some(None),
    }
}

/// What CLIENT KILL looks for.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    address: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    /// See [`type_of`].
    kind: Option<Option<bool>>,
    skip_me: bool,
    max_age_s: Option<u64>,
}

fn kill(call: &mut Call<'_>) -> Step {
    let request = call.request;
    if request.args.len() == 3 {
        let target = request.arg(2);
        let found =
            call.worker.shared.clients.all().into_iter().find(|known| known.address.as_bytes() == target);
        return match found {
            Some(client) => end(call, &[client], |reply, _| reply.ok()),
            None => call.refuse(error::NO_SUCH_CLIENT),
        };
    }
    let filter = match filter(call) {
        Ok(filter) => filter,
        Err(text) => return call.refuse(&text),
    };
    let me = call.client.id();
    let now_ms = unix_ms();
    let mut found = call.worker.shared.clients.all();
    found.retain(|client| {
        filter.id.is_none_or(|id| client.id == id)
            && filter.address.is_none_or(|address| client.address.as_bytes() == address)
            && filter.local.is_none_or(|address| client.local.as_bytes() == address)
            && filter.user.is_none_or(|user| user == b"default")
            && filter.kind.is_none_or(|kind| kind == Some(is_listener(client)))
            && filter.max_age_s.is_none_or(|most| age_s(client, now_ms) >= most)
            && !(filter.skip_me && client.id == me)
    });
    end(call, &found, |reply, count| reply.integer(count))
}

fn filter<'a>(call: &Call<'a>) -> Result<Filter<'a>, String> {
    let request = call.request;
    let mut filter = Filter { skip_me: true, ..Filter::default() };
    let mut at = 2;
    while at < request.args.len() {
        if at + 1 >= request.args.len() {
            return Err(error::SYNTAX.to_owned());
        }
        let value = request.arg(at + 1);
        let is = |word| request.is_word(at, word);
        if is("ID") {
            let id = parse_i64(value).filter(|id| *id > 0);
            filter.id = Some(id.ok_or(error::CLIENT_ID_ABOVE_0)? as u64);
        } else if is("ADDR") {
            filter.address = Some(value);
        } else if is("LADDR") {
            filter.local = Some(value);
        } else if is("USER") {
            if value != b"default" {
                return Err(format!("ERR No such user '{}'", String::from_utf8_lossy(value)));
            }
            filter.user = Some(value);
        } else if is("TYPE") {
            let unknown = || format!("ERR Unknown client type '{}'", String::from_utf8_lossy(value));
            filter.kind = Some(type_of(value).ok_or_else(unknown)?);
        } else if is("MAXAGE") {
            let age = parse_i64(value).ok_or(error::MAX_AGE_NOT_AN_INTEGER)?;
            filter.max_age_s =
                Some(u64::try_from(age).ok().filter(|age| *age > 0).ok_or(error::MAX_AGE_ABOVE_0)?);
        } else if is("SKIPME") {
            filter.skip_me = match (value.eq_ignore_ascii_case(b"yes"), value.eq_ignore_ascii_case(b"no")) {
                (true, _) => true,
                (_, true) => false,
                _ => return Err(error::SYNTAX.to_owned()),
            };
        } else {
            return Err(error::SYNTAX.to_owned());
        }
        at += 2;
    }
    Ok(filter)
}

/// Closes clients; the one that asks gets its answer first.
fn end(
    call: &mut Call<'_>,
    clients: &[Arc<ClientInfo>],
    write: impl FnOnce(&mut torc_protocol::resp::ReplyWriter<'_>, i64),
) -> Step {
    let me = call.client.id();
    let (mut step, mut closed) = (Step::Done, 0);
    for client in clients {
        if client.id == me {
            step = Step::Close;
            closed += 1;
        } else if call.worker.shared.order(client.worker, Order::Kill(client.id)) {
            closed += 1;
        }
    }
    call.reply(|reply| write(reply, closed));
    step
}

/// The seconds that have begun since a client came: as Redis counts them, whole ones of the clock.
fn age_s(client: &ClientInfo, now_ms: u64) -> u64 {
    (now_ms / 1000).saturating_sub(client.since_ms / 1000)
}

/// A client as CLIENT LIST shows it, line end included.
fn line(client: &ClientInfo) -> Vec<u8> {
    let now_ms = unix_ms();
    let (name, lib_name, lib_version) = {
        let labels = client.labels.lock();
        (labels.name.clone(), labels.lib_name.clone(), labels.lib_version.clone())
    };
    let multi = client.multi.load(Ordering::Relaxed);
    let [channels, patterns, shard_channels] =
        client.listens.each_ref().map(|count| count.load(Ordering::Relaxed));
    let mut flags = String::new();
    flags.extend(is_listener(client).then_some('P'));
    flags.extend((multi >= 0).then_some('x'));
    flags.extend(client.blocked.load(Ordering::Relaxed).then_some('b'));
    flags.extend(client.no_evict.load(Ordering::Relaxed).then_some('e'));
    flags.extend(client.no_touch.load(Ordering::Relaxed).then_some('T'));
    if flags.is_empty() {
        flags.push('N');
    }
    let command = Command::ALL.get(usize::from(client.command.load(Ordering::Relaxed)));
    let age_s = age_s(client, now_ms);
    let idle_s = now_ms.saturating_sub(client.active_ms.load(Ordering::Relaxed)) / 1000;
    let output = client.output.load(Ordering::Relaxed);
    let mut line =
        format!("id={} addr={} laddr={} fd=-1 name=", client.id, client.address, client.local).into_bytes();
    line.extend_from_slice(&name);
    line.extend_from_slice(
        format!(
            " age={age_s} idle={idle_s} flags={flags} db={} sub={channels} psub={patterns} ssub={shard_channels} multi={multi} qbuf=0 qbuf-free=0 \
             argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={output} tot-mem={output} events=r cmd={} \
             user=default redir=-1 resp={} lib-name=",
            client.db.load(Ordering::Relaxed),
            command.map_or("NULL", |command| command.spec().name),
            client.resp.load(Ordering::Relaxed),
        )
        .as_bytes(),
    );
    line.extend_from_slice(&lib_name);
    line.extend_from_slice(b" lib-ver=");
    line.extend_from_slice(&lib_version);
    line.push(b'\n');
    line
}
