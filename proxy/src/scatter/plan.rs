//! The requests that a command over several shards is made of.

use std::rc::Rc;

use smallvec::SmallVec;
use torc_protocol::command::{Command, ListCommand, SortedSetCommand, StreamCommand, Wait};
use torc_protocol::context::{Context, RequestId};
use torc_protocol::resp::{Version, request_arg};
use torc_protocol::slot::{Slot, key_slot};

use super::gather;
use super::quest::{Kind, Part, Quest};
use crate::call::Call;
use crate::dispatch::{MAX_WAIT_MS, render_of};
use crate::downstream::request::Request;
use crate::downstream::resp::Step;
use crate::plan::policy_key;
use crate::text;
use crate::upstream::body::write_prefix;
use crate::upstream::pending::NEVER;

/// Keys that belong to one request, by their places among the arguments.
type Keys = SmallVec<[usize; 8]>;

/// What a command takes, and how its arguments stand around the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    kind: Kind,
    /// Where the number of keys stands; `None`: it is not said.
    count_at: Option<usize>,
    /// Streams: behind the keys there are as many ids.
    ids: bool,
}

/// Which commands can be asked of several shards.
fn shape(command: Command) -> Option<Shape> {
    let of = |kind, count_at| Some(Shape { kind, count_at, ids: false });
    match command {
        Command::List(ListCommand::Blpop | ListCommand::Brpop) => of(Kind::List, None),
        Command::List(ListCommand::Lmpop) => of(Kind::List, Some(1)),
        Command::List(ListCommand::Blmpop) => of(Kind::List, Some(2)),
        Command::SortedSet(SortedSetCommand::Bzpopmin | SortedSetCommand::Bzpopmax) => {
            of(Kind::SortedSet, None)
        }
        Command::SortedSet(SortedSetCommand::Zmpop) => of(Kind::SortedSet, Some(1)),
        Command::SortedSet(SortedSetCommand::Bzmpop) => of(Kind::SortedSet, Some(2)),
        Command::Stream(StreamCommand::Xread) => {
            Some(Shape { kind: Kind::Stream, count_at: None, ids: true })
        }
        Command::Stream(StreamCommand::Xreadgroup) => {
            Some(Shape { kind: Kind::Group, count_at: None, ids: true })
        }
        _ => None,
    }
}

/// What becomes of a command whose keys are in several slots.
#[derive(Clone, Copy, Debug)]
pub enum Begun {
    /// It is asked of several shards.
    Scattered(Step),
    /// All slots are of one shard, which is asked as it is: that of this slot.
    OneShard(Slot),
    /// It is no command that could be asked of several shards.
    No,
}

/// Begins a command whose keys are in several slots.
pub fn begin(call: &mut Call<'_>) -> Begun {
    let (request, routes) = (call.request, call.routes);
    if !is_asked_everywhere(request.command) {
        return Begun::No;
    }
    let Ok(keys) = request.spec.find_keys(&request.args) else { return Begun::No };
    let slot = |at: &usize| key_slot(request.arg(*at));
    let Some(first) = keys.first().map(slot) else { return Begun::No };
    let owner = routes.table.shard_of(first);
    if owner.is_some() && keys.iter().all(|at| routes.table.shard_of(slot(at)) == owner) {
        return Begun::OneShard(first);
    }
    Begun::Scattered(match shape(request.command) {
        Some(shape) => start(call, shape, &keys),
        None => gather::start(call, &keys),
    })
}

/// Whether a command may have keys on several shards although it is not split.
pub fn is_asked_everywhere(command: Command) -> bool {
    shape(command).is_some() || gather::is_gathered(command)
}

fn start(call: &mut Call<'_>, shape: Shape, keys: &[usize]) -> Step {
    if !call.is_first() {
        return Step::NotYet;
    }
    let request = call.request;
    if keys.iter().any(|at| call.routes.table.shard_of(key_slot(request.arg(*at))).is_none()) {
        return call.refuse(text::NO_MAP);
    }
    let wait_ms = match request.spec.wait {
        Wait::Never => None,
        _ => request.spec.wait_ms(&request.args),
    };
    let ends_ms = wait_ms.and_then(|ms| u32::try_from(ms).ok()).filter(|ms| *ms <= MAX_WAIT_MS);
    let group = match shape.kind {
        Kind::Group => group_name(request),
        _ => b"-",
    };
    let tries =
        group_keys(call, keys, shape.ids).into_iter().map(|keys| try_of(request, shape, &keys)).collect();
    let waits = match wait_ms {
        None => Vec::new(),
        Some(_) => {
            let groups = group_keys(call, keys, true).into_iter();
            groups.map(|keys| wait_of(request, shape, &keys, group)).collect()
        }
    };
    let now_ns = call.worker.clock.now_ns();
    let after = |ms: u32| now_ns.saturating_add(u64::from(ms) * 1_000_000);
    let write = request.is_write();
    let key = policy_key(request, &call.routes.table, call.session, request.is_write());
    let prefix = |context: Context<'_>| {
        let mut bytes = Vec::new();
        write_prefix(&context, &mut bytes);
        bytes
    };
    let context = call.session.context_for(&call.routes.table, write, key);
    let time_ms = ends_ms.map_or(0, |ms| call.session.timeout_ms.saturating_add(ms));
    let mut wait = Context { deadline_ms: time_ms, want_position: false, request_id: None, ..context };
    if shape.kind != Kind::Stream {
        // What is awaited is looked at, not read.
        (wait.ack, wait.read) = (None, None);
    }
    let seq = call.client.outbox.borrow_mut().open(render_of(call.session, request.command));
    if write {
        call.client.wrote_in(seq);
    }
    let quest = Quest::new(
        (call.client, seq, request.command, shape.kind),
        (tries, waits),
        (
            prefix(Context { no_wait: true, request_id: write.then(RequestId::default), ..context }),
            prefix(wait),
        ),
    )
    .with_times(now_ns, wait_ms.map(|_| ends_ms.map_or(NEVER, after)), call.session.timeout_ms)
    .with_names(
        keys.iter().map(|at| request.arg(*at).into()).collect(),
        call.session.version == Version::Resp2,
    );
    let quest = Rc::new(quest);
    call.client.quest.replace(Some(Rc::clone(&quest)));
    if wait_ms.is_some() {
        call.client.begin_waiting();
    }
    quest.start(call.worker);
    Step::DoneAlone
}

/// The name behind GROUP.
fn group_name<'a>(request: &Request<'a>) -> &'a [u8] {
    let at = (1..request.args.len()).find(|at| request.is_word(*at, "GROUP"));
    at.map_or(&[], |at| request.arg(at + 1))
}

/// Keys by shard: all of a shard together, or only those that stand side by side.
fn group_keys(call: &Call<'_>, keys: &[usize], together: bool) -> Vec<Keys> {
    let mut groups: Vec<(Option<usize>, Keys)> = Vec::new();
    for at in keys {
        let owner = call.routes.table.shard_of(key_slot(call.request.arg(*at)));
        let known = match together {
            true => groups.iter_mut().find(|(known, _)| *known == owner),
            false => groups.last_mut().filter(|(known, _)| *known == owner),
        };
        match known {
            Some((_, group)) => group.push(*at),
            None => groups.push((owner, Keys::from_slice(&[*at]))),
        }
    }
    groups.into_iter().map(|(_, keys)| keys).collect()
}

fn home(request: &Request<'_>, keys: &Keys) -> Slot {
    keys.first().map_or(0, |at| key_slot(request.arg(*at)))
}

/// The command itself, with some of its keys.
fn try_of(request: &Request<'_>, shape: Shape, keys: &Keys) -> Part {
    let all = request.spec.find_keys(&request.args).unwrap_or_default();
    let mut part = Part::new(home(request, keys));
    let number = keys.len().to_string();
    for (at, arg) in request.args.iter().enumerate() {
        let place = all.iter().position(|key| *key == at);
        let of_id = || at.checked_sub(all.len()).filter(|_| shape.ids).filter(|key| all.contains(key));
        let belongs = match (place, of_id()) {
            (Some(_), _) => keys.contains(&at),
            (None, Some(key)) => keys.contains(&key),
            (None, None) => true,
        };
        if belongs {
            part.push(if shape.count_at == Some(at) { number.as_bytes() } else { arg });
        }
    }
    part
}

/// What is sent to a shard to wait there.
fn wait_of(request: &Request<'_>, shape: Shape, keys: &Keys, group: &[u8]) -> Part {
    if shape.kind == Kind::Stream {
        return try_of(request, shape, keys);
    }
    let mut part = Part::new(home(request, keys));
    part.push(b"TORC.AWAIT");
    // The time is written when it is sent.
    part.push(b"0");
    part.push(match shape.kind {
        Kind::List => b"list",
        Kind::SortedSet => b"zset",
        Kind::Stream | Kind::Group | Kind::Gather => b"group",
    });
    part.push(group);
    keys.iter().for_each(|at| part.push(request.arg(*at)));
    part
}

impl Part {
    /// One more argument.
    pub(super) fn push(&mut self, arg: &[u8]) {
        request_arg(&mut self.args, arg);
        self.count += 1;
    }
}
