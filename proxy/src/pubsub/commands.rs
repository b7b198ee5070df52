//! SUBSCRIBE, UNSUBSCRIBE, their relatives, and PUBSUB.

use std::collections::HashSet;

use torc_protocol::command::{Command, PubsubCommand, help};
use torc_protocol::error;
use torc_protocol::resp::{ReplyWriter, Version};

use super::listener::{MAX_NAME_BYTES, MAX_NAMES};
use super::{Ask, Kind, Name, hub};
use crate::call::Call;
use crate::dispatch;
use crate::downstream::render::Render;
use crate::downstream::resp::Step;
use crate::join::How;
use crate::text;

/// Answers a command of the family that is not sent to one shard as it is.
pub fn answer(call: &mut Call<'_>, command: PubsubCommand) -> Step {
    match command {
        PubsubCommand::Subscribe => subscribe(call, Kind::Channel),
        PubsubCommand::Psubscribe => subscribe(call, Kind::Pattern),
        PubsubCommand::Ssubscribe => subscribe(call, Kind::Shard),
        PubsubCommand::Unsubscribe => unsubscribe(call, Kind::Channel),
        PubsubCommand::Punsubscribe => unsubscribe(call, Kind::Pattern),
        PubsubCommand::Sunsubscribe => unsubscribe(call, Kind::Shard),
        PubsubCommand::Pubsub | PubsubCommand::PubsubHelp => {
            call.reply(|reply| help(Command::Pubsub(command), reply))
        }
        PubsubCommand::PubsubChannels | PubsubCommand::PubsubShardchannels => {
            let args = &call.request.args;
            if args.len() > 3 {
                let text = error::subcommand_syntax(call.request.arg(0), call.request.arg(1));
                return call.refuse(&String::from_utf8_lossy(&text));
            }
            dispatch::all(call, How::Union, 0)
        }
        PubsubCommand::PubsubNumpat => dispatch::all(call, How::Most, 0),
        PubsubCommand::PubsubNumsub | PubsubCommand::PubsubShardnumsub => {
            dispatch::all(call, How::MostEach, 0)
        }
        PubsubCommand::Publish | PubsubCommand::Spublish => dispatch::by_table(call),
    }
}

/// A confirmation: `name` may be nothing.
fn confirm(out: &mut Vec<u8>, version: Version, word: &[u8], name: Option<&[u8]>, count: usize) {
    let mut reply = ReplyWriter::new(out, version);
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
}

fn subscribe(call: &mut Call<'_>, kind: Kind) -> Step {
    if call.routes.shards() == 0 {
        return call.refuse(text::NO_MAP);
    }
    if !call.is_first() {
        return Step::NotYet;
    }
    let (hub, version) = (&call.worker.hub, call.session.version);
    let (mut joins, mut new) = (Vec::new(), HashSet::new());
    let mut frames = Vec::new();
    let mut bytes = 0;
    let listens = call.client.listens.borrow();
    let mut count = listens.shown(kind);
    for name in call.request.args.iter().skip(1) {
        if !listens.has(kind, name) && new.insert(name) {
            count += 1;
            bytes += name.len();
            joins.push(hub.intern(kind, name));
        }
        confirm(&mut frames, version, kind.confirms(true), Some(name), count);
    }
    let too_many = listens.total() + joins.len() > MAX_NAMES || listens.bytes + bytes > MAX_NAME_BYTES;
    drop(listens);
    if too_many {
        return call.refuse(error::TOO_MANY_SUBSCRIPTIONS);
    }
    if hub.name_bytes() + bytes > hub::MAX_NAME_BYTES {
        return call.refuse(text::TOO_MANY_SUBSCRIPTIONS);
    }
    let ask = ask(call, kind, joins, frames);
    call.worker.begin_to_listen(ask);
    Step::DoneAlone
}

fn unsubscribe(call: &mut Call<'_>, kind: Kind) -> Step {
    if !call.is_first() {
        return Step::NotYet;
    }
    let version = call.session.version;
    let (mut frames, mut leaves) = (Vec::new(), Vec::<(Kind, Name)>::new());
    let mut listens = call.client.listens.borrow_mut();
    let names: Vec<Name> = match call.request.args.len() {
        1 => listens.names(kind),
        _ => call.request.args.iter().skip(1).map(|name| call.worker.hub.intern(kind, name)).collect(),
    };
    let word = kind.confirms(false);
    if names.is_empty() {
        confirm(&mut frames, version, word, None, listens.shown(kind));
    }
    for name in names {
        let listened = listens.remove(kind, &name);
        confirm(&mut frames, version, word, Some(&name), listens.shown(kind));
        if listened {
            leaves.push((kind, name));
        }
    }
    drop(listens);
    let ask = ask(call, kind, Vec::new(), frames);
    call.worker.end_listening(ask, &leaves);
    Step::DoneAlone
}

/// RESET of a client that listens: answered when the nodes know that it does no more.
pub fn reset(call: &mut Call<'_>, version: Version) -> Step {
    let listens = call.client.listens.take();
    let of = |kind: Kind| listens.names(kind).into_iter().map(move |name| (kind, name));
    let leaves: Vec<(Kind, Name)> = Kind::ALL.into_iter().flat_map(of).collect();
    let mut frames = Vec::new();
    ReplyWriter::new(&mut frames, version).simple("RESET");
    let ask = ask(call, Kind::Channel, Vec::new(), frames);
    call.worker.end_listening(ask, &leaves);
    Step::DoneAlone
}

fn ask(call: &Call<'_>, kind: Kind, joins: Vec<Name>, frames: Vec<u8>) -> std::rc::Rc<Ask> {
    // Errors are written in the client's protocol: they are the same in both.
    let seq = call.client.outbox.borrow_mut().open(Render::Resp3);
    let now_ns = call.worker.clock.now_ns();
    let deadline_ns = now_ns.saturating_add(u64::from(call.session.timeout_ms) * 1_000_000);
    let what = (call.request.command, kind);
    Ask::new(call.client, what, seq, (joins, frames), (now_ns, deadline_ns))
}
