//! From a request to the shards that must see it: the routes of the table.

use std::rc::Rc;

use smallvec::SmallVec;
use torc_protocol::command::{Command, Flags, KeySpec, LockCommand, Merge, Route, TransactionCommand};
use torc_protocol::error;
use torc_protocol::resp::{parse_i64, request_arg};
use torc_protocol::slot::{Slot, key_slot};

use crate::downstream::client::Client;
use crate::downstream::render::Render;
use crate::downstream::request::Request;
use crate::downstream::resp::{Step, refuse};
use crate::downstream::session::Session;
use crate::join::{How, Join};
use crate::local::Local;
use crate::text;
use crate::upstream::body::Body;
use crate::upstream::pending::{Dest, Pending, Way};
use crate::worker::{Routes, Worker};

/// Where requests without a key go: always the same shard, so that scripts without keys meet each other.
const KEYLESS_SLOT: Slot = 0;
/// The longest time that a request may say it waits, in milliseconds: a day.
pub const MAX_WAIT_MS: u32 = 86_400_000;

/// What a request leaves with its connection.
#[inline]
pub fn pending(
    worker: &Worker,
    client: &Rc<Client>,
    request: &Request<'_>,
    seq: u64,
    dest: Dest,
    timeout_ms: u32,
) -> Pending {
    let now_ns = worker.clock.now_ns();
    Pending {
        client: Some(Rc::clone(client)),
        seq,
        part: 0,
        skips: 0,
        skip: 0,
        dest,
        command: request.command,
        write: request.is_write(),
        refused: false,
        way: Way::Shared,
        lane: client.lane.get(),
        doubtful: false,
        ticket: None,
        len: 0,
        deadline_ns: now_ns.saturating_add(u64::from(timeout_ms) * 1_000_000),
        since_ns: now_ns,
    }
}

/// How the reply of a command is given to the client.
#[inline]
pub fn render_of(session: &Session, command: Command) -> Render {
    match (session.render(), command) {
        (
            Render::Resp2,
            Command::Transactions(TransactionCommand::Exec) | Command::Lock(LockCommand::LockAcquire),
        ) => Render::Resp2NullArray,
        (render, _) => render,
    }
}

/// Whether there is room for more on the way to a shard; if not the client waits for it.
#[inline]
pub fn has_room(worker: &Worker, client: &Rc<Client>, routes: &Routes, place: Option<usize>) -> bool {
    match place.and_then(|index| routes.link(index)) {
        Some(link)
            if link.is_full(client.id(), client.lane.get(), worker.shared.config.upstream_buffer_bytes) =>
        {
            link.wait_for_room(client);
            false
        }
        _ => true,
    }
}

/// The slot that all keys share, and the first key. `Err`: the error's text.
#[inline]
pub fn slot_of<'a>(request: &Request<'a>) -> Result<(Option<Slot>, &'a [u8]), String> {
    if let KeySpec::Range { first, last, .. } = request.spec.keys
        && last == first as i32
        && let Some(key) = request.args.get(first)
    {
        return Ok((Some(key_slot(key)), key));
    }
    let keys = request.spec.find_keys(&request.args).map_err(|cause| cause.to_string())?;
    let mut slot = None;
    for key in keys.iter().filter_map(|index| request.args.get(*index)) {
        let this = key_slot(key);
        if *slot.get_or_insert(this) != this {
            return Err(error::CROSSSLOT.to_owned());
        }
    }
    Ok((slot, keys.first().map_or(&[], |index| request.arg(*index))))
}

/// `Route::Key`: to the shard of its keys.
#[inline]
pub fn by_key(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    scratch: &mut Vec<u8>,
) -> Step {
    let (slot, key) = match slot_of(request) {
        Ok(found) => found,
        Err(text) => {
            refuse(worker, client, session, request, &text);
            return Step::Done;
        }
    };
    if request.spec.flags.contains(Flags::BLOCKING)
        && let Some(wait_ms) = wait_option(request)
    {
        return alone(
            worker,
            client,
            session,
            routes,
            request,
            Dest::Slot(slot.unwrap_or(KEYLESS_SLOT)),
            wait_ms,
            scratch,
        );
    }
    let dest = Dest::Slot(slot.unwrap_or(KEYLESS_SLOT));
    if !has_room(worker, client, routes, routes.place(dest)) {
        return Step::NotYet;
    }
    one(worker, client, session, routes, request, dest, key, scratch);
    Step::Done
}

/// Sends the request as it is to one shard.
#[inline]
#[allow(clippy::too_many_arguments, reason = "the hot path: no struct is built for it")]
pub fn one(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    dest: Dest,
    key: &[u8],
    scratch: &mut Vec<u8>,
) {
    let render = render_of(session, request.command);
    let seq = client.outbox.borrow_mut().open(render);
    let pending = pending(worker, client, request, seq, dest, session.timeout_ms);
    let prefix = session.prefix(&routes.table, pending.write, key);
    let args = request.encoded(scratch);
    worker.submit(routes, pending, Body::One { count: request.args.len(), prefix, args });
}

/// `LOCK.ACQUIRE … WAIT milliseconds`: how long it may wait.
fn wait_option(request: &Request<'_>) -> Option<u32> {
    /// The first argument after `name TTL milliseconds`.
    const OPTIONS: usize = 4;
    if request.command != Command::Lock(LockCommand::LockAcquire) {
        return None;
    }
    let at = (OPTIONS..request.args.len()).find(|index| request.is_word(*index, "WAIT"))?;
    let wait_ms = parse_i64(request.args.get(at + 1)?)?;
    Some(u32::try_from(wait_ms).unwrap_or(MAX_WAIT_MS).min(MAX_WAIT_MS)).filter(|wait_ms| *wait_ms > 0)
}

/// Sends a request that may wait at the node: when all before it are answered, on a connection of its own.
#[allow(clippy::too_many_arguments, reason = "as its neighbours")]
pub fn alone(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    dest: Dest,
    wait_ms: u32,
    scratch: &mut Vec<u8>,
) -> Step {
    if client.outbox.borrow().pending() > 0 {
        client.resume_at(0);
        return Step::NotYet;
    }
    let timeout_ms = session.timeout_ms.saturating_add(wait_ms);
    let seq = client.outbox.borrow_mut().open(render_of(session, request.command));
    let mut pending = pending(worker, client, request, seq, dest, timeout_ms);
    pending.way = Way::OneShot;
    let (_, key) = slot_of(request).unwrap_or_default();
    let prefix = session.prefix_with_time(&routes.table, pending.write, key, timeout_ms);
    let args = request.encoded(scratch);
    worker.submit_alone(routes, pending, Body::One { count: request.args.len(), prefix: &prefix, args });
    Step::DoneAlone
}

/// `Route::SplitKeys`: one request per shard, with its keys in their order.
pub fn split(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    scratch: &mut Vec<u8>,
) -> Step {
    let keys = match request.spec.find_keys(&request.args) {
        Ok(keys) => keys,
        Err(cause) => {
            // An uneven number of arguments (MSET): Redis speaks of their number.
            let uneven = matches!(request.spec.keys, KeySpec::Range { step, .. } if step > 1);
            let text = if uneven { error::wrong_arity(request.spec.name) } else { cause.to_string() };
            refuse(worker, client, session, request, &text);
            return Step::Done;
        }
    };
    let step = match request.spec.keys {
        KeySpec::Range { step, .. } => step.max(1),
        _ => 1,
    };
    if step > 1 && !(request.args.len() - 1).is_multiple_of(step) {
        refuse(worker, client, session, request, &error::wrong_arity(request.spec.name));
        return Step::Done;
    }
    let mut places: SmallVec<[Slot; 16]> = SmallVec::with_capacity(keys.len());
    for index in &keys {
        places.push(key_slot(request.arg(*index)));
    }
    // Slots without an owner stay together: they are held until they have one.
    let owner = |slot: &Slot| routes.table.shard_of(*slot);
    let first = places.first().map_or(KEYLESS_SLOT, |slot| *slot);
    let whole = places.iter().all(|slot| owner(slot) == owner(&first));
    let key = keys.first().map_or(&[][..], |index| request.arg(*index));
    if whole {
        if !has_room(worker, client, routes, owner(&first)) {
            return Step::NotYet;
        }
        one(worker, client, session, routes, request, Dest::Slot(first), key, scratch);
        return Step::Done;
    }
    // Groups in the order in which their first keys come.
    let mut groups: SmallVec<[(Option<usize>, Slot, usize); 8]> = SmallVec::new();
    let mut order: Vec<u16> = Vec::with_capacity(keys.len());
    for slot in &places {
        let place = owner(slot);
        let group = groups.iter().position(|(known, ..)| *known == place).unwrap_or_else(|| {
            groups.push((place, *slot, 0));
            groups.len() - 1
        });
        if let Some((.., count)) = groups.get_mut(group) {
            *count += 1;
        }
        // There are at most as many groups as shards, whose numbers have 16 bits.
        order.push(u16::try_from(group).unwrap_or(u16::MAX));
    }
    if !groups.iter().all(|(place, ..)| has_room(worker, client, routes, *place)) {
        return Step::NotYet;
    }
    let how = match request.spec.merge {
        Merge::InOrder => How::InOrder(order.clone().into()),
        merge => How::of(merge),
    };
    let seq = client.outbox.borrow_mut().open_join(session.render(), Join::new(how, groups.len()));
    for (part, (_, slot, count)) in groups.iter().enumerate() {
        scratch.clear();
        request_arg(scratch, request.arg(0));
        let mut first = None;
        for (index, group) in keys.iter().zip(&order) {
            if usize::from(*group) == part {
                first.get_or_insert(*index);
                (*index..*index + step).for_each(|index| request_arg(scratch, request.arg(index)));
            }
        }
        let mut pending = pending(worker, client, request, seq, Dest::Slot(*slot), session.timeout_ms);
        pending.part = part as u32;
        let key = first.map_or(&[][..], |index| request.arg(index));
        let prefix = session.prefix(&routes.table, pending.write, key);
        worker.submit(routes, pending, Body::One { count: 1 + count * step, prefix, args: scratch });
    }
    Step::Done
}

/// `Route::AllShards`: the request as it is to each shard, from shard number `first` on.
#[allow(clippy::too_many_arguments, reason = "as its neighbours")]
pub fn all(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    how: How,
    first: usize,
    scratch: &mut Vec<u8>,
) -> Step {
    let count = request.args.len();
    let args = request.encoded(scratch);
    all_of(worker, client, session, routes, request, how, first, (count, args))
}

/// The same with other arguments: how many, and as bulk strings.
#[allow(clippy::too_many_arguments, reason = "as its neighbours")]
pub fn all_of(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    how: How,
    first: usize,
    (count, args): (usize, &[u8]),
) -> Step {
    let shards = routes.shards();
    if shards == 0 {
        refuse(worker, client, session, request, text::NO_MAP);
        return Step::Done;
    }
    if !(0..shards).all(|place| has_room(worker, client, routes, Some(place))) {
        return Step::NotYet;
    }
    let seq = client.outbox.borrow_mut().open_join(session.render(), Join::new(how, shards));
    for part in 0..shards {
        let shard = routes.shard_id((first + part) % shards);
        let mut pending = pending(worker, client, request, seq, Dest::Shard(shard), session.timeout_ms);
        pending.part = part as u32;
        let prefix = session.prefix(&routes.table, pending.write, b"");
        worker.submit(routes, pending, Body::One { count, prefix, args });
    }
    Step::Done
}

/// `Route::AnyShard`: to one shard, for each client always the same.
pub fn any(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    scratch: &mut Vec<u8>,
) -> Step {
    let shards = routes.shards();
    if shards == 0 {
        refuse(worker, client, session, request, text::NO_MAP);
        return Step::Done;
    }
    let place = client.id() as usize % shards;
    if !has_room(worker, client, routes, Some(place)) {
        return Step::NotYet;
    }
    one(worker, client, session, routes, request, Dest::Shard(routes.shard_id(place)), b"", scratch);
    Step::Done
}

/// To one shard, its reply changed on the way. There must be a shard.
pub fn any_joined(local: &mut Local<'_>, how: How) -> Step {
    let Local { worker, client, session, routes, request, scratch } = local;
    let place = client.id() as usize % routes.shards().max(1);
    if !has_room(worker, client, routes, Some(place)) {
        return Step::NotYet;
    }
    let seq = client.outbox.borrow_mut().open_join(session.render(), Join::new(how, 1));
    let dest = Dest::Shard(routes.shard_id(place));
    let pending = pending(worker, client, request, seq, dest, session.timeout_ms);
    let prefix = session.prefix(&routes.table, false, b"");
    let args = request.encoded(scratch);
    worker.submit(routes, pending, Body::One { count: request.args.len(), prefix, args });
    Step::Done
}

/// `Route::Cursor`: SCAN, to the shard that the cursor names.
pub fn scan(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    scratch: &mut Vec<u8>,
) -> Step {
    let cursor = std::str::from_utf8(request.arg(1)).ok().and_then(|text| text.parse::<u64>().ok());
    let Some((place, node_cursor)) = cursor.and_then(crate::scan::split) else {
        refuse(worker, client, session, request, error::INVALID_CURSOR);
        return Step::Done;
    };
    let shards = routes.shards();
    if place >= shards {
        refuse(
            worker,
            client,
            session,
            request,
            if shards == 0 { text::NO_MAP } else { error::INVALID_CURSOR },
        );
        return Step::Done;
    }
    if !has_room(worker, client, routes, Some(place)) {
        return Step::NotYet;
    }
    scratch.clear();
    request_arg(scratch, request.arg(0));
    request_arg(scratch, itoa::Buffer::new().format(node_cursor).as_bytes());
    request.args.iter().skip(2).for_each(|arg| request_arg(scratch, arg));
    let join = Join::new(How::Scan(crate::scan::ScanStep { place, shards }), 1);
    let seq = client.outbox.borrow_mut().open_join(session.render(), join);
    let dest = Dest::Shard(routes.shard_id(place));
    let pending = pending(worker, client, request, seq, dest, session.timeout_ms);
    let prefix = session.prefix(&routes.table, false, b"");
    worker.submit(routes, pending, Body::One { count: request.args.len(), prefix, args: scratch });
    Step::Done
}

/// What the table says for everything that is not answered here.
pub fn by_table(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    request: &Request<'_>,
    scratch: &mut Vec<u8>,
) -> Option<Step> {
    Some(match request.spec.route {
        Route::Cursor => scan(worker, client, session, routes, request, scratch),
        Route::AllShards => {
            all(worker, client, session, routes, request, How::of(request.spec.merge), 0, scratch)
        }
        Route::AnyShard => any(worker, client, session, routes, request, scratch),
        Route::Local | Route::Key | Route::SplitKeys | Route::Transaction | Route::Refuse(_) => return None,
    })
}
