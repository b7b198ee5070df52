//! From a request to the shards that must see it: the routes of the table.

use std::rc::Rc;

use smallvec::SmallVec;
use torc_protocol::command::{Command, KeySpec, LockCommand, Merge, Route, TransactionCommand, Wait};
use torc_protocol::error;
use torc_protocol::resp::request_arg;
use torc_protocol::slot::{Slot, key_slot};

use crate::call::Call;
use crate::downstream::client::Client;
use crate::downstream::render::Render;
use crate::downstream::request::Request;
use crate::downstream::resp::Step;
use crate::downstream::session::Session;
use crate::join::{How, Join};
use crate::text;
use crate::upstream::body::Body;
use crate::upstream::pending::{Dest, NEVER, Way};
use crate::worker::{Routes, Worker};

/// Where requests without a key go: always the same shard, so that scripts without keys meet each other.
const KEYLESS_SLOT: Slot = 0;
/// The longest wait that has an end, in milliseconds: a day.
pub const MAX_WAIT_MS: u32 = 86_400_000;

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
pub fn by_key(call: &mut Call<'_>) -> Step {
    let (slot, key) = match slot_of(call.request) {
        Ok(found) => found,
        Err(text) => return call.refuse(&text),
    };
    let dest = Dest::Slot(slot.unwrap_or(KEYLESS_SLOT));
    if call.request.spec.wait != Wait::Never
        && let Some(wait_ms) = call.request.spec.wait_ms(&call.request.args)
    {
        return alone(call, dest, wait_ms);
    }
    if !call.has_room(call.routes.place(dest)) {
        return Step::NotYet;
    }
    one(call, dest, key)
}

/// `Route::Channel`: to the shard of the channel's name.
fn by_channel(call: &mut Call<'_>) -> Step {
    let channel = call.request.arg(1);
    let dest = Dest::Slot(key_slot(channel));
    if !call.has_room(call.routes.place(dest)) {
        return Step::NotYet;
    }
    one(call, dest, b"")
}

/// Sends the request as it is to one shard.
#[inline]
fn one(call: &mut Call<'_>, dest: Dest, key: &[u8]) -> Step {
    let render = render_of(call.session, call.request.command);
    let seq = call.client.outbox.borrow_mut().open(render);
    let pending = call.pending(seq, dest, call.session.timeout_ms);
    call.submit(pending, key);
    Step::Done
}

/// Sends a request that may wait at the node: when all before it are answered, on a connection of its own.
pub fn alone(call: &mut Call<'_>, dest: Dest, wait_ms: u64) -> Step {
    if !call.is_first() {
        return Step::NotYet;
    }
    let ends = u32::try_from(wait_ms).ok().filter(|wait_ms| *wait_ms <= MAX_WAIT_MS);
    // 0: no deadline.
    let timeout_ms = ends.map_or(0, |wait_ms| call.session.timeout_ms.saturating_add(wait_ms));
    let seq = call.client.outbox.borrow_mut().open(render_of(call.session, call.request.command));
    let mut pending = call.pending(seq, dest, timeout_ms);
    match ends {
        Some(wait_ms) => {
            pending.waits_until_ns = pending.since_ns.saturating_add(u64::from(wait_ms) * 1_000_000)
        }
        None => pending.deadline_ns = NEVER,
    }
    pending.way = Way::OneShot;
    let (_, key) = slot_of(call.request).unwrap_or_default();
    let prefix = call.session.prefix_with_time(&call.routes.table, pending.write, key, timeout_ms);
    let args = call.request.encoded(call.scratch);
    let body = Body::One { count: call.request.args.len(), prefix: &prefix, args };
    call.worker.submit_alone(call.routes, pending, body);
    Step::DoneAlone
}

/// `Route::SplitKeys`: one request per shard, with its keys in their order.
pub fn split(call: &mut Call<'_>) -> Step {
    let (request, routes) = (call.request, call.routes);
    let keys = match request.spec.find_keys(&request.args) {
        Ok(keys) => keys,
        Err(cause) => {
            // An uneven number of arguments (MSET): Redis speaks of their number.
            let uneven = matches!(request.spec.keys, KeySpec::Range { step, .. } if step > 1);
            let text = if uneven { error::wrong_arity(request.spec.name) } else { cause.to_string() };
            return call.refuse(&text);
        }
    };
    let step = match request.spec.keys {
        KeySpec::Range { step, .. } => step.max(1),
        _ => 1,
    };
    if step > 1 && !(request.args.len() - 1).is_multiple_of(step) {
        return call.refuse(&error::wrong_arity(request.spec.name));
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
        if !call.has_room(owner(&first)) {
            return Step::NotYet;
        }
        return one(call, Dest::Slot(first), key);
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
    if !groups.iter().all(|(place, ..)| call.has_room(*place)) {
        return Step::NotYet;
    }
    let how = match request.spec.merge {
        Merge::InOrder => How::InOrder(order.clone().into()),
        merge => How::of(merge),
    };
    let seq = call.open_join(Join::new(how, groups.len()));
    for (part, (_, slot, count)) in groups.iter().enumerate() {
        call.scratch.clear();
        request_arg(call.scratch, request.arg(0));
        let mut first = None;
        for (index, group) in keys.iter().zip(&order) {
            if usize::from(*group) == part {
                first.get_or_insert(*index);
                (*index..*index + step).for_each(|index| request_arg(call.scratch, request.arg(index)));
            }
        }
        let mut pending = call.pending(seq, Dest::Slot(*slot), call.session.timeout_ms);
        pending.part = part as u32;
        let key = first.map_or(&[][..], |index| request.arg(index));
        let prefix = call.session.prefix(&routes.table, pending.write, key);
        let body = Body::One { count: 1 + count * step, prefix, args: call.scratch };
        call.worker.submit(routes, pending, body);
    }
    Step::Done
}

/// `Route::AllShards`: the request as it is to each shard, from shard number `first` on.
pub fn all(call: &mut Call<'_>, how: How, first: usize) -> Step {
    let mut own = std::mem::take(call.scratch);
    let args = call.request.encoded(&mut own);
    let step = all_of(call, how, first, (call.request.args.len(), args));
    *call.scratch = own;
    step
}

/// The same with other arguments: how many, and as bulk strings.
pub fn all_of(call: &mut Call<'_>, how: How, first: usize, (count, args): (usize, &[u8])) -> Step {
    let shards = call.routes.shards();
    if shards == 0 {
        return call.refuse(text::NO_MAP);
    }
    if !(0..shards).all(|place| call.has_room(Some(place))) {
        return Step::NotYet;
    }
    let seq = call.open_join(Join::new(how, shards));
    for part in 0..shards {
        let shard = call.routes.shard_id((first + part) % shards);
        let mut pending = call.pending(seq, Dest::Shard(shard), call.session.timeout_ms);
        pending.part = part as u32;
        let prefix = call.session.prefix(&call.routes.table, pending.write, b"");
        call.worker.submit(call.routes, pending, Body::One { count, prefix, args });
    }
    Step::Done
}

/// `Route::AnyShard`: to one shard, for each client always the same.
fn any(call: &mut Call<'_>) -> Step {
    let Some(place) = call.any_place() else { return call.refuse(text::NO_MAP) };
    if !call.has_room(Some(place)) {
        return Step::NotYet;
    }
    one(call, Dest::Shard(call.routes.shard_id(place)), b"")
}

/// To one shard, its reply changed on the way.
pub fn any_joined(call: &mut Call<'_>, how: How) -> Step {
    let Some(place) = call.any_place() else { return call.refuse(text::NO_MAP) };
    if !call.has_room(Some(place)) {
        return Step::NotYet;
    }
    let seq = call.open_join(Join::new(how, 1));
    let pending = call.pending(seq, Dest::Shard(call.routes.shard_id(place)), call.session.timeout_ms);
    call.submit(pending, b"");
    Step::Done
}

/// `Route::Cursor`: SCAN, to the shard that the cursor names.
fn scan(call: &mut Call<'_>) -> Step {
    let request = call.request;
    let cursor = std::str::from_utf8(request.arg(1)).ok().and_then(|text| text.parse::<u64>().ok());
    let Some((place, node_cursor)) = cursor.and_then(crate::scan::split) else {
        return call.refuse(error::INVALID_CURSOR);
    };
    let shards = call.routes.shards();
    if place >= shards {
        return call.refuse(if shards == 0 { text::NO_MAP } else { error::INVALID_CURSOR });
    }
    if !call.has_room(Some(place)) {
        return Step::NotYet;
    }
    call.scratch.clear();
    request_arg(call.scratch, request.arg(0));
    request_arg(call.scratch, itoa::Buffer::new().format(node_cursor).as_bytes());
    request.args.iter().skip(2).for_each(|arg| request_arg(call.scratch, arg));
    let seq = call.open_join(Join::new(How::Scan(crate::scan::ScanStep { place, shards }), 1));
    let dest = Dest::Shard(call.routes.shard_id(place));
    let pending = call.pending(seq, dest, call.session.timeout_ms);
    let prefix = call.session.prefix(&call.routes.table, false, b"");
    let body = Body::One { count: request.args.len(), prefix, args: call.scratch };
    call.worker.submit(call.routes, pending, body);
    Step::Done
}

/// What the table says for everything that is not answered here.
pub fn by_table(call: &mut Call<'_>) -> Step {
    match call.request.spec.route {
        Route::Cursor => scan(call),
        Route::AllShards => all(call, How::of(call.request.spec.merge), 0),
        Route::AnyShard => any(call),
        Route::Channel => by_channel(call),
        Route::Local | Route::Key | Route::SplitKeys | Route::Transaction | Route::Refuse(_) => {
            call.refuse("ERR the proxy cannot answer this command")
        }
    }
}
