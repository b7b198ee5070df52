//! CONFIG SET of what the nodes have: each node of the map is told, since a replica takes over with what it has itself.
//!
//! ```text
//! of every shard's primary: the values of now ─▶ a primary looks at the names ─▶ the proxy's own values are looked at
//!   ─▶ primary after primary is told; one that refuses or does not answer in time ends it, and it and those before it get
//!      their old values back
//!   ─▶ all other nodes are told ─▶ the proxy takes its own ─▶ the answer
//! ```
//! A node that is no primary and cannot be reached is named in the log, and goes by its own configuration, as one does that
//! starts later. One CONFIG SET of a proxy does this at a time; two of two proxies may mix.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use torc_cluster::ShardId;
use torc_protocol::error;
use torc_protocol::resp::{Value, encode_request};

use super::{Change, changed, set_own, wrong_name};
use crate::call::Call;
use crate::downstream::render::Render;
use crate::downstream::resp::Step;
use crate::text;
use crate::upstream::handshake;
use crate::worker::Worker;

/// No node has an option of this name.
const NO_OPTION: &str = "torc-no-such-option";
/// The pause before a shard without a primary that answers is asked again.
const AGAIN: Duration = Duration::from_millis(25);

/// Tells the nodes, and the proxy, in the order of the client's requests.
pub(super) fn set(call: &mut Call<'_>, changes: Vec<Change>) -> Step {
    if call.routes.shards() == 0 {
        return call.refuse(text::NO_MAP);
    }
    if !call.is_first() {
        return Step::NotYet;
    }
    let seq = call.client.outbox.borrow_mut().open(call.session.render());
    let (command, since_ns) = (call.request.command, call.worker.clock.now_ns());
    let (worker, client) = (Rc::clone(call.worker), Rc::clone(call.client));
    tokio::task::spawn_local(async move {
        let mut frame = Vec::new();
        match in_turn(&worker, &changes, since_ns).await {
            Ok(()) => frame.extend_from_slice(b"+OK\r\n"),
            Err(text) => Render::Resp3.error(&text, &mut frame),
        }
        worker.hand_over(&client, command, (seq, 0, since_ns), &frame);
    });
    Step::DoneAlone
}

/// Old values by option.
type Values = BTreeMap<String, Vec<u8>>;

/// Behind the CONFIG SET of any other client of the proxy: two that tell the same primaries would mix.
async fn in_turn(worker: &Rc<Worker>, changes: &[Change], since_ns: u64) -> Result<(), String> {
    let patience = Duration::from_millis(u64::from(worker.settings().request_timeout_ms));
    let turn = tokio::time::timeout(patience, worker.shared.telling_nodes.lock()).await;
    let _turn = turn.map_err(|_| text::NO_TURN.to_owned())?;
    change(worker, changes, since_ns).await
}

async fn change(worker: &Rc<Worker>, changes: &[Change], since_ns: u64) -> Result<(), String> {
    let theirs: Vec<&Change> = changes.iter().filter(|change| change.is_of_nodes()).collect();
    let mut ask = vec![&b"CONFIG"[..], b"GET"];
    ask.extend(theirs.iter().map(|change| change.name.as_bytes()));
    let mut tell = vec![&b"CONFIG"[..], b"SET"];
    tell.extend(theirs.iter().flat_map(|change| [change.name.as_bytes(), &change.value]));
    let shards: Vec<ShardId> = worker.routes().table.shards.iter().map(|shard| shard.id).collect();
    let mut before = Vec::with_capacity(shards.len());
    for shard in shards {
        before.push((shard, values(at_primary(worker, shard, &ask, since_ns).await?)));
    }
    if let Some((shard, _)) = before.first() {
        look_at_names(worker, *shard, changes, since_ns).await?;
    }
    changed(&worker.shared.settings.load(), changes)?;
    for (told, (shard, _)) in before.iter().enumerate() {
        if let Err(text) = at_primary(worker, *shard, &tell, since_ns).await {
            // It may have taken them, when it was its answer that was lost.
            undo(worker, before.get(..=told).unwrap_or_default()).await;
            return Err(text);
        }
    }
    if let Err(text) = set_own(&worker.shared, changes) {
        undo(worker, &before).await;
        return Err(text);
    }
    tell_others(worker, &tell).await;
    Ok(())
}

/// Whether all names are those of options that can be set: a primary says so of its own.
async fn look_at_names(
    worker: &Rc<Worker>,
    shard: ShardId,
    changes: &[Change],
    since_ns: u64,
) -> Result<(), String> {
    let theirs = || changes.iter().enumerate().filter(|(_, change)| change.is_of_nodes());
    let mut tell = vec![&b"CONFIG"[..], b"SET"];
    tell.extend(theirs().flat_map(|(_, change)| [change.given.as_bytes(), &change.value]));
    // Names come before values: nothing is set when the last name is wrong.
    tell.extend([NO_OPTION.as_bytes(), b""]);
    let text = at_primary(worker, shard, &tell, since_ns).await.err().unwrap_or_default();
    let at_node = (text != error::unknown_option(NO_OPTION)).then(|| {
        let named = theirs().find(|(_, change)| text.contains(&format!("'{}'", change.given)));
        (named.map_or(0, |(at, _)| at), text)
    });
    // The first one of both is told of.
    let wrong = [at_node, wrong_name(changes)].into_iter().flatten().min_by_key(|(at, _)| *at);
    wrong.map_or(Ok(()), |(_, text)| Err(text))
}

/// What CONFIG GET says.
fn values(reply: Value) -> Values {
    let pairs = reply.into_map().unwrap_or_default().into_iter();
    pairs.filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value.as_bytes()?.to_vec()))).collect()
}

/// Gives primaries back what they had, each in a time of its own: that of the request may be over.
async fn undo(worker: &Rc<Worker>, before: &[(ShardId, Values)]) {
    let since_ns = worker.clock.refresh();
    let mut undone = JoinSet::new();
    for (shard, values) in before {
        let (worker, shard, values) = (Rc::clone(worker), *shard, values.clone());
        undone.spawn_local(async move {
            let mut tell = vec![&b"CONFIG"[..], b"SET"];
            tell.extend(values.iter().flat_map(|(name, value)| [name.as_bytes(), value]));
            if let Err(cause) = at_primary(&worker, shard, &tell, since_ns).await {
                tracing::warn!(shard = shard.0, %cause, "a primary may keep options that others do not have");
            }
        });
    }
    while undone.join_next().await.is_some() {}
}

/// Asks the primary of a shard, whichever that is, until it answers or the request is overdue.
///
/// # Errors
/// The error's text: the node's own, or that there was none in time.
async fn at_primary(
    worker: &Rc<Worker>,
    shard: ShardId,
    request: &[&[u8]],
    since_ns: u64,
) -> Result<Value, String> {
    let patience_ns = u64::from(worker.settings().request_timeout_ms) * 1_000_000;
    loop {
        let routes = worker.routes();
        let primary = routes.table.index_of(shard).and_then(|place| routes.table.shards.get(place));
        if let Some(target) = primary.and_then(|shard| shard.primary.as_ref())
            && let Ok(reply) = ask(worker, &target.address, request).await
        {
            let refused = reply.as_error().map(|text| text.into_owned());
            return refused.map_or(Ok(reply), Err);
        }
        if worker.clock.refresh().saturating_sub(since_ns) > patience_ns {
            return Err(text::NO_PRIMARY.to_owned());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Tells the nodes that lead no shard.
async fn tell_others(worker: &Rc<Worker>, tell: &[&[u8]]) {
    let routes = worker.routes();
    let leads = |address: &str| {
        routes
            .table
            .shards
            .iter()
            .any(|shard| shard.primary.as_ref().is_some_and(|led| &*led.address == address))
    };
    let mut told = JoinSet::new();
    for address in routes.table.map.nodes.values().map(|node| node.address()).filter(|node| !leads(node)) {
        let (worker, tell) = (Rc::clone(worker), tell.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>());
        told.spawn_local(async move {
            let reply = ask(&worker, &address, &tell).await;
            let cause = match &reply {
                Ok(reply) => reply.as_error().map(|text| text.into_owned()),
                Err(cause) => Some(cause.to_string()),
            };
            if let Some(cause) = cause {
                tracing::warn!(node = %address, cause, "a node could not be told of changed options");
            }
        });
    }
    while told.join_next().await.is_some() {}
}

async fn ask<A: AsRef<[u8]>>(
    worker: &Rc<Worker>,
    address: &str,
    request: &[A],
) -> Result<Value, handshake::DialError> {
    let mut bytes = Vec::new();
    encode_request(&mut bytes, request);
    handshake::ask(worker, address, &bytes).await
}
