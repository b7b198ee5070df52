//! Sends requests to the shards that must see them, by the plans of [`crate::plan`].

use std::rc::Rc;

use torc_protocol::command::{Command, KeySpec, LockCommand, Merge, TransactionCommand};
use torc_protocol::resp::request_arg;

use crate::call::{self, Call};
use crate::downstream::client::Client;
use crate::downstream::render::Render;
use crate::downstream::request::Request;
use crate::downstream::resp::Step;
use crate::downstream::session::Session;
use crate::hot::reads;
use crate::join::{How, Join};
use crate::plan::{self, Keyed, Part, Parts, Plan, Spread, first_of};
use crate::reads::can_be_read_elsewhere;
use crate::scatter::{self, Begun};
use crate::text;
use crate::upstream::body::Body;
use crate::upstream::pending::{Dest, NEVER, Way};
use crate::worker::{Routes, Worker};

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
            if link.is_full(
                client.id(),
                client.lane.get(),
                worker.settings.borrow().upstream_buffer_bytes,
            ) =>
        {
            link.wait_for_room(client);
            false
        }
        _ => true,
    }
}

/// `Route::Key`: to the shard of its keys.
#[inline]
pub fn by_key(call: &mut Call<'_>) -> Step {
    match plan::by_key(call.request, &call.routes.table, call.session) {
        Ok(keyed) => keyed_one(call, keyed),
        Err(refused) if refused == text::CROSS_SLOT => match scatter::begin(call) {
            Begun::Scattered(step) => step,
            Begun::OneShard(slot) => {
                let wait_ms = plan::wait_ms(call.request);
                let key =
                    plan::policy_key(call.request, &call.routes.table, call.session, call.request.is_write());
                keyed_one(call, Keyed { dest: Dest::Slot(slot), key, wait_ms })
            }
            Begun::No => call.refuse(text::CROSS_SLOT_ADVICE),
        },
        Err(text) => call.refuse(&text),
    }
}

#[inline]
fn keyed_one(call: &mut Call<'_>, keyed: Keyed<'_>) -> Step {
    // Also where no copies are kept yet: what it reads from now on may be guarded.
    call.session.locks |= matches!(call.request.command, Command::Lock(_));
    if call.worker.hot.may_copy.get() && reads::copied(call, keyed.key) {
        return Step::Done;
    }
    if let Some(wait_ms) = keyed.wait_ms {
        return alone(call, keyed.dest, keyed.key, wait_ms);
    }
    if !call.has_room(call.routes.place(keyed.dest)) {
        return Step::NotYet;
    }
    one(call, keyed.dest, keyed.key)
}

/// Sends the request as it is to one shard.
#[inline]
fn one(call: &mut Call<'_>, dest: Dest, key: &[u8]) -> Step {
    // Of several keys the one that chooses the policy need not be the first; `split` sees the others.
    let several = !call.routes.table.rules.is_empty() && !call.request.spec.keys.is_single();
    let seen = if several { first_of(call.request).1 } else { key };
    let hot = !seen.is_empty() && call.worker.saw_key(call.session.db, seen, call.request.is_write());
    if hot || call.worker.hot.coalesces.get() {
        return reads::send(call, dest, key, hot);
    }
    send(call, dest, key)
}

#[inline]
fn send(call: &mut Call<'_>, dest: Dest, key: &[u8]) -> Step {
    let render = render_of(call.session, call.request.command);
    let seq = call.client.outbox.borrow_mut().open(render);
    let pending = call.pending(seq, dest, call.session.timeout_ms);
    call.submit(pending, key);
    Step::Done
}

/// Sends a request that may wait at the node: when all before it are answered, on a connection of its own. `key` chooses
/// the policy.
pub fn alone(call: &mut Call<'_>, dest: Dest, key: &[u8], wait_ms: u64) -> Step {
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
    let (_, first) = first_of(call.request);
    if !first.is_empty() {
        call.worker.saw_key(call.session.db, first, pending.write);
    }
    let prefix = call.session.prefix_with_time(&call.routes.table, pending.write, key, timeout_ms);
    let args = call.request.encoded(call.scratch);
    let body = Body::One { count: call.request.args.len(), prefix: &prefix, args };
    call.client.begin_waiting();
    call.worker.submit_alone(call.routes, pending, body);
    Step::DoneAlone
}

/// `Route::SplitKeys`: one request per shard (and per policy of reads), with its keys in their order.
pub fn split(call: &mut Call<'_>) -> Step {
    match plan::by_keys(call.request, &call.routes.table, call.session) {
        Ok(Spread::One(keyed)) => {
            let step = keyed_one(call, keyed);
            let more = keys_of(call.request).saturating_sub(1);
            if step != Step::NotYet && more > 0 {
                let (request, db) = (call.request, call.session.db);
                call.worker.saw_more(db, more, request.is_write(), |one| {
                    let keys = request.spec.find_keys(&request.args).unwrap_or_default();
                    keys.get(1 + one % more).map(|at| request.arg(*at))
                });
            }
            step
        }
        Ok(Spread::Several(parts)) => several(call, &parts),
        Err(text) => call.refuse(&text),
    }
}

/// How many keys a request of `Route::SplitKeys` has.
fn keys_of(request: &Request<'_>) -> usize {
    match request.spec.keys {
        KeySpec::Range { step, .. } => (request.args.len() - 1) / step.max(1),
        _ => 1,
    }
}

fn several(call: &mut Call<'_>, spread: &Parts<'_>) -> Step {
    let (request, routes) = (call.request, call.routes);
    let Parts { step, keys, order, parts } = spread;
    if !parts.iter().all(|part| call.has_room(part.place)) {
        return Step::NotYet;
    }
    let how = match request.spec.merge {
        Merge::InOrder => How::InOrder(order.clone().into()),
        merge => How::of(merge),
    };
    let seq = call.open_join(Join::new(how, parts.len()));
    for (part, Part { slot, key, count, .. }) in parts.iter().enumerate() {
        call.scratch.clear();
        request_arg(call.scratch, request.arg(0));
        for (index, place) in keys.iter().zip(order) {
            if usize::from(*place) == part {
                call.worker.saw_key(call.session.db, request.arg(*index), request.is_write());
                (*index..*index + step).for_each(|index| request_arg(call.scratch, request.arg(index)));
            }
        }
        let mut pending = call.pending(seq, Dest::Slot(*slot), call.session.timeout_ms);
        pending.part = part as u32;
        let args = (1 + count * step, call.scratch.as_slice());
        let elsewhere = || can_be_read_elsewhere(request.command);
        call::send(call.worker, call.client, call.session, routes, pending, key, args, elsewhere);
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

/// As [`all`], on connections that nothing else is on: for what must not wait behind it (SCRIPT KILL).
pub fn all_beside(call: &mut Call<'_>, how: How) -> Step {
    let shards = call.routes.shards();
    if shards == 0 {
        return call.refuse(text::NO_MAP);
    }
    if !call.is_first() {
        return Step::NotYet;
    }
    let seq = call.open_join(Join::new(how, shards));
    for part in 0..shards {
        let mut pending = call.pending(seq, Dest::Shard(call.routes.shard_id(part)), call.session.timeout_ms);
        pending.part = part as u32;
        pending.way = Way::OneShot;
        let timeout_ms = call.session.timeout_ms;
        let prefix = call.session.prefix_with_time(&call.routes.table, false, b"", timeout_ms);
        let args = call.request.encoded(call.scratch);
        let body = Body::One { count: call.request.args.len(), prefix: &prefix, args };
        call.worker.submit_alone(call.routes, pending, body);
    }
    Step::DoneAlone
}

/// `Route::AnyShard`: to one shard, for each client always the same.
fn any(call: &mut Call<'_>, place: usize) -> Step {
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
fn scan(call: &mut Call<'_>, place: usize, node_cursor: u64) -> Step {
    let (request, shards) = (call.request, call.routes.shards());
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
    match plan::of(call.request, &call.routes.table, call.session, call.client.id()) {
        Plan::Keyed(keyed) => keyed_one(call, keyed),
        Plan::Split(parts) => several(call, &parts),
        Plan::AllShards => all(call, How::of(call.request.spec.merge), 0),
        Plan::AnyShard(place) => any(call, place),
        Plan::Cursor { place, node_cursor } => scan(call, place, node_cursor),
        Plan::Refused(text) => call.refuse(&text),
        Plan::Local | Plan::Everywhere | Plan::Transaction(_) => {
            call.refuse("ERR the proxy cannot answer this command")
        }
    }
}
