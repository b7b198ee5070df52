//! Commands over the keys of several shards, for a proxy: it has each shard give its values, and one node run the command
//! on all of them. So the reply is what one node with all the keys would give, in every detail.

use torc_protocol::command;
use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};
use torc_protocol::slot::key_slot;

use super::hyperloglog;
use crate::effect::EffectWriter;
use crate::exec::{CommandError, CommandResult, Cx, Depth, Flow};
use crate::rdb::{self, payload};
use crate::store::{LooseEntry, Meta, Store};

/// A payload is not larger than this many times the value in memory.
const MAX_EXPANSION: usize = 4;
const DAMAGED: &str = "ERR a gathered value is damaged";

/// TORC.COLLECT max-bytes key \[key …\]: each value as DUMP writes it, null for a missing key.
pub fn collect(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let max = args.get(1).and_then(parse_i64).and_then(|max| usize::try_from(max).ok());
    let max = max.ok_or(text::NOT_AN_INTEGER)?;
    let keys = args.tail(2);
    let mut left = max;
    let mut values: Vec<Option<Vec<u8>>> = Vec::with_capacity(keys.len());
    for name in keys {
        let key = cx.key(name);
        let Some(entry) = cx.read(&key) else {
            values.push(None);
            continue;
        };
        // Not even written down when it is much too big.
        if entry.heap_bytes() / MAX_EXPANSION > left {
            return Err(text::GATHER_TOO_LARGE.into());
        }
        let mut bytes = Vec::new();
        rdb::write_readable(entry.value(), &mut bytes);
        payload::seal(&mut bytes);
        left = left.checked_sub(bytes.len()).ok_or(text::GATHER_TOO_LARGE)?;
        values.push(Some(bytes));
    }
    let mut reply = cx.reply();
    reply.array(values.len());
    values.iter().for_each(|value| reply.bulk_or_null(value.as_deref()));
    Ok(())
}

/// TORC.GIVEN count key payload \[key payload …\] command \[argument …\]
pub fn given(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let count = args.get(1).and_then(parse_i64).and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count < args.len() / 2).ok_or(text::NOT_AN_INTEGER)?;
    let request = args.tail(2 + 2 * count);
    let command = command::resolve(&request).map_err(|error| CommandError::resolve(error, request))?;
    if !command.reads_gathered() || cx.depth != Depth::Command {
        return Err(text::SYNTAX.into());
    }
    let pairs = (0..count).map(|at| (&args[2 + 2 * at], &args[3 + 2 * at]));
    let scratch = Store::new(cx.node.store.hasher());
    let keys = command.spec().find_keys(&request).unwrap_or_default();
    let keys = keys.iter().filter_map(|at| request.get(*at));
    on_given(cx, &scratch, pairs, keys, |cx| super::dispatch(cx, command, &request))
}

/// TORC.PFMERGE destination \[payload …\]
pub fn pfmerge(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let names: Vec<String> = (2..args.len()).map(|at| at.to_string()).collect();
    let pairs = names.iter().enumerate().map(|(at, name)| (name.as_bytes(), &args[at + 2]));
    let scratch = Store::new(cx.node.store.hasher());
    let mut merged = None;
    on_given(cx, &scratch, pairs, [], |cx| {
        merged = Some(hyperloglog::merged(cx, names.iter().map(String::as_bytes))?);
        Ok(())
    })?;
    let Some((registers, dense)) = merged else { return Err(DAMAGED.into()) };
    hyperloglog::merge_into(cx, &args[1], registers, dense)
}

/// Runs `run` on values that stand in `scratch` alone; `others` are keys that it may ask for and not find.
fn on_given<'k>(
    cx: &mut Cx<'_, '_>,
    scratch: &Store,
    pairs: impl Iterator<Item = (&'k [u8], &'k [u8])> + Clone,
    others: impl IntoIterator<Item = &'k [u8]>,
    run: impl FnOnce(&mut Cx<'_, '_>) -> CommandResult,
) -> CommandResult {
    let slots = pairs.clone().map(|(name, _)| name).chain(others).map(key_slot);
    let mut access = scratch.access(slots)?;
    let env = cx.node.env();
    for (name, sealed) in pairs {
        let value = payload::open(sealed).ok_or(DAMAGED)?;
        let value = rdb::read_value(value, &env).map_err(|_| DAMAGED)?;
        let key = scratch.key(name);
        access.stripe(key.slot).insert(cx.db, &key, LooseEntry::object(value, &Meta::default()));
    }
    let mut effects = EffectWriter::new(false);
    let mut inner = Cx {
        node: cx.node,
        session: &mut *cx.session,
        access,
        known: None,
        versioned_env: cx.versioned_env,
        effects: &mut effects,
        stats: cx.stats,
        now_ms: cx.now_ms,
        db: cx.db,
        out: &mut *cx.out,
        version: cx.version,
        rng: &mut *cx.rng,
        dirty: 0,
        scripts: &mut *cx.scripts,
        now: cx.now,
        clock_ns: cx.clock_ns,
        proxied: cx.proxied,
        no_wait: cx.no_wait,
        ack: cx.ack,
        depth: cx.depth,
        flow: Flow::Continue,
        wake: Default::default(),
    };
    run(&mut inner)
}
