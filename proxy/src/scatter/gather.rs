//! Commands that need all of their keys at one place, with keys on several shards: unions, intersections and differences of
//! sets and sorted sets, PFCOUNT, PFMERGE, LCS.
//!
//! ```text
//! each shard: TORC.COLLECT bound key …  ─▶ values ─┐
//!                                                  ├─▶ one node: TORC.GIVEN … command …   (PFMERGE: the destination's)
//! each shard: TORC.COLLECT bound key …  ─▶ values ─┘
//! ```
//! The node runs its own command on the values, so that the reply is what one node with all keys would give. Values of
//! different shards are of different moments. What is brought together is bounded (`gather_bytes`).

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use ahash::RandomState;
use torc_protocol::command::{Command, HyperloglogCommand, InternalCommand};
use torc_protocol::context::{Context, RequestId};
use torc_protocol::error;
use torc_protocol::resp::{Value, Version, request_arg};
use torc_protocol::slot::{Slot, key_slot};

use super::quest::{Kind, Part, Quest};
use crate::call::Call;
use crate::dispatch::render_of;
use crate::downstream::resp::Step;
use crate::plan::policy_key;
use crate::text;
use crate::upstream::body::write_prefix;

const PFMERGE: Command = Command::Hyperloglog(HyperloglogCommand::Pfmerge);

/// Whether the values of all keys are brought together for a command when they are on several shards.
pub fn is_gathered(command: Command) -> bool {
    command.reads_gathered() || command == PFMERGE
}

/// Keys of one shard.
type Keys = Vec<Box<[u8]>>;

/// What is brought together, and for what.
#[derive(Debug)]
pub struct Gather {
    /// The slot whose owner runs the command.
    pub home: Slot,
    /// PFMERGE's destination.
    destination: Option<Box<[u8]>>,
    /// How many arguments the request has, and they as bulk strings.
    request: (usize, Vec<u8>),
    /// The keys of each part.
    keys: Vec<Keys>,
    /// Their values as bulk strings `key payload` (PFMERGE: `payload`), and how many there are.
    given: RefCell<(usize, Vec<u8>)>,
    bytes: Cell<usize>,
    max_bytes: usize,
}

impl Gather {
    /// Takes what the shard of a part has given.
    ///
    /// # Errors
    /// The error's text: it is no such reply, or too much.
    pub fn take(&self, part: usize, frame: &[u8]) -> Result<(), &'static str> {
        let decoded = Value::decode(frame).ok().flatten();
        let values = decoded.and_then(|(value, _)| value.into_array()).ok_or(text::BAD_REPLY)?;
        let keys = self.keys.get(part).filter(|keys| keys.len() == values.len()).ok_or(text::BAD_REPLY)?;
        let mut given = self.given.borrow_mut();
        for (key, value) in keys.iter().zip(&values) {
            // A missing key has no value.
            let Some(payload) = value.as_bytes() else { continue };
            self.bytes.set(self.bytes.get() + payload.len());
            if self.bytes.get() > self.max_bytes {
                return Err(error::GATHER_TOO_LARGE);
            }
            if self.destination.is_none() {
                request_arg(&mut given.1, key);
            }
            request_arg(&mut given.1, payload);
            given.0 += 1;
        }
        Ok(())
    }

    /// Bytes that it holds.
    pub fn held_bytes(&self) -> usize {
        self.request.1.len() + self.given.borrow().1.len()
    }

    /// What is sent in the end: the command, how many arguments, and they as bulk strings.
    pub fn request(&self) -> (Command, usize, Vec<u8>) {
        let (values, given) = self.given.take();
        let mut args = Vec::with_capacity(given.len() + self.request.1.len() + 64);
        if let Some(destination) = &self.destination {
            request_arg(&mut args, b"TORC.PFMERGE");
            request_arg(&mut args, destination);
            args.extend_from_slice(&given);
            return (Command::Internal(InternalCommand::TorcPfmerge), 2 + values, args);
        }
        request_arg(&mut args, b"TORC.GIVEN");
        request_arg(&mut args, itoa::Buffer::new().format(values).as_bytes());
        args.extend_from_slice(&given);
        args.extend_from_slice(&self.request.1);
        (Command::Internal(InternalCommand::TorcGiven), 2 + 2 * values + self.request.0, args)
    }
}

/// Begins a command whose keys, by their places among the arguments, are on several shards.
pub(super) fn start(call: &mut Call<'_>, keys: &[usize]) -> Step {
    let max_bytes = call.worker.settings().gather_bytes;
    if max_bytes == 0 {
        return call.refuse(text::CROSS_SLOT_ADVICE);
    }
    if !call.is_first() {
        return Step::NotYet;
    }
    let request = call.request;
    let destination = (request.command == PFMERGE).then(|| Box::from(request.arg(1)));
    let mut parts: Vec<(Option<usize>, Keys)> = Vec::new();
    let mut seen: HashSet<&[u8], RandomState> = HashSet::default();
    for key in keys.iter().map(|at| request.arg(*at)) {
        let place = call.routes.table.shard_of(key_slot(key));
        if place.is_none() {
            return call.refuse(text::NO_MAP);
        }
        if destination.as_deref() == Some(key) || !seen.insert(key) {
            continue;
        }
        match parts.iter_mut().find(|(known, _)| *known == place) {
            Some((_, keys)) => keys.push(key.into()),
            None => parts.push((place, vec![key.into()])),
        }
    }
    let bound = max_bytes.to_string();
    let tries: Vec<Part> = parts
        .iter()
        .map(|(_, keys)| {
            let mut part = Part::new(keys.first().map_or(0, |key| key_slot(key)));
            part.push(b"TORC.COLLECT");
            part.push(bound.as_bytes());
            keys.iter().for_each(|key| part.push(key));
            part
        })
        .collect();
    let first = keys.first().map_or(&[][..], |at| request.arg(*at));
    let write = request.is_write();
    let key = policy_key(request, &call.routes.table, call.session, request.is_write());
    let context = call.session.context_for(&call.routes.table, write, key);
    let prefix = |context: Context<'_>| {
        let mut bytes = Vec::new();
        write_prefix(&context, &mut bytes);
        bytes
    };
    let collect = Context { want_position: false, request_id: None, ..context };
    let run = Context { request_id: write.then(RequestId::default), ..context };
    let seq = call.client.outbox.borrow_mut().open(render_of(call.session, request.command));
    if write {
        call.client.wrote_in(seq);
    }
    let args = call.request.encoded(call.scratch).to_vec();
    let gather = Gather {
        home: key_slot(first),
        destination,
        request: (request.args.len(), args),
        keys: parts.into_iter().map(|(_, keys)| keys).collect(),
        given: RefCell::default(),
        bytes: Cell::new(0),
        max_bytes,
    };
    let quest = Quest::new(
        (call.client, seq, request.command, Kind::Gather),
        (tries, Vec::new()),
        (prefix(collect), prefix(run)),
    )
    .with_times(call.worker.clock.now_ns(), None, call.session.timeout_ms)
    .with_gather(gather, call.session.version == Version::Resp2);
    let quest = Rc::new(quest);
    call.client.quest.replace(Some(Rc::clone(&quest)));
    quest.start(call.worker);
    Step::DoneAlone
}
