//! Where a request has to go: found out of the request, the routing table and what its client has chosen, without sending
//! anything.
//!
//! The rules of routing are here and nowhere else: [`crate::dispatch`] sends by them, `PROXY EXPLAIN` shows them. What a
//! request meets on its way besides (room, connections, an open transaction) is the sender's business.

use smallvec::SmallVec;
use torc_protocol::command::{KeyIndexes, KeySpec, Route, Wait, has_a_home, retry_is_safe};
use torc_protocol::error;
use torc_protocol::slot::{Slot, key_slot};

use crate::downstream::request::Request;
use crate::downstream::session::Session;
use crate::policy::{ReadWay, strictest};
use crate::reads;
use crate::scan;
use crate::scatter;
use crate::table::RouteTable;
use crate::text;
use crate::upstream::pending::Dest;

/// Where requests without a key go: always the same shard, so that scripts without keys meet each other.
pub const KEYLESS_SLOT: Slot = 0;

/// What becomes of a request.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "it lives on the stack for one call; a box would be an allocation per request"
)]
pub enum Plan<'a> {
    /// The proxy answers it.
    Local,
    /// To the owner of one slot, as it is.
    Keyed(Keyed<'a>),
    /// Its keys belong to several shards.
    Split(Parts<'a>),
    /// To every shard, as it is.
    AllShards,
    /// To the shards of its keys, step by step: see [`crate::scatter`].
    Everywhere,
    /// To one shard of the client's, the one at this place.
    AnyShard(usize),
    /// A step of SCAN on the shard at this place, with its node's own cursor.
    Cursor { place: usize, node_cursor: u64 },
    /// A part of a transaction; the slot that its keys share.
    Transaction(Option<Slot>),
    /// To nobody; the error's text.
    Refused(String),
}

/// A request for the owner of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed<'a> {
    /// The owner of that slot.
    pub dest: Dest,
    /// The key that chooses the policy (of several the one with the strictest); empty: there is none.
    pub key: &'a [u8],
    /// Milliseconds that it may wait at the node, on a connection of its own; `None`: it does not wait.
    pub wait_ms: Option<u64>,
}

/// What one shard gets of a request that is split; of a read what it gets of the keys that are read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The shard's place in the table; `None`: nobody owns the slots, and the part is held until somebody does.
    pub place: Option<usize>,
    /// The slot of its first key.
    pub slot: Slot,
    /// How its keys are read; of a write that of none.
    pub way: ReadWay,
    /// The key that chooses the policy.
    pub key: &'a [u8],
    /// How many keys it has.
    pub count: usize,
}

/// A request that is split.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Arguments from a key to the next.
    pub step: usize,
    /// Where the keys are.
    pub keys: KeyIndexes,
    /// For each key its place in `parts`.
    pub order: Vec<u16>,
    /// In the order in which their first keys come.
    pub parts: SmallVec<[Part<'a>; 4]>,
}

/// The keys of a request whose keys may be anywhere.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "it lives on the stack for one call; a box would be an allocation per request"
)]
pub enum Spread<'a> {
    /// One shard has all of them: the request goes there as it is.
    One(Keyed<'a>),
    /// They belong to several.
    Several(Parts<'a>),
}

/// What is done with a request whose connection broke when it may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Sent again: a second execution changes nothing.
    Repeated,
    /// Sent again under its number: the node does not execute it twice.
    Numbered,
    /// Answered `UNCERTAIN`.
    Never,
}

/// The plan of a request; `client` chooses the shard where any will do.
pub fn of<'a>(request: &Request<'a>, table: &RouteTable, session: &Session, client: u64) -> Plan<'a> {
    let keyed = |keyed: Result<Keyed<'a>, String>| match keyed {
        Ok(keyed) => Plan::Keyed(keyed),
        Err(text) if text == error::CROSSSLOT => match scatter::is_asked_everywhere(request.command) {
            true => Plan::Everywhere,
            false => Plan::Refused(text::CROSS_SLOT_ADVICE.to_owned()),
        },
        Err(text) => Plan::Refused(text),
    };
    match request.spec.route {
        Route::Local => Plan::Local,
        Route::Key => keyed(by_key(request, table, session)),
        Route::Channel => Plan::Keyed(by_channel(request)),
        Route::SplitKeys => match by_keys(request, table, session) {
            Ok(Spread::One(one)) => Plan::Keyed(one),
            Ok(Spread::Several(parts)) => Plan::Split(parts),
            Err(text) => Plan::Refused(text),
        },
        Route::AllShards if table.shards.is_empty() => Plan::Refused(text::NO_MAP.to_owned()),
        Route::AllShards => Plan::AllShards,
        Route::AnyShard => {
            any_place(table, client).map_or_else(|| Plan::Refused(text::NO_MAP.to_owned()), Plan::AnyShard)
        }
        Route::Cursor => match by_cursor(request, table) {
            Ok((place, node_cursor)) => Plan::Cursor { place, node_cursor },
            Err(text) => Plan::Refused(text.to_owned()),
        },
        Route::Transaction => match slot_of(request) {
            Ok((slot, _)) => Plan::Transaction(slot),
            Err(text) => Plan::Refused(text),
        },
        Route::Refuse(why) => Plan::Refused(refusal(request, why)),
    }
}

/// What a client is told of a command that does not go through a proxy.
pub fn refusal(request: &Request<'_>, why: &str) -> String {
    let name = request.spec.name.replace('|', " ").to_ascii_uppercase();
    if why.starts_with(&name) { format!("ERR {why}") } else { format!("ERR {name}: {why}") }
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

/// The slot of the first key, and that key.
pub fn first_of<'a>(request: &Request<'a>) -> (Option<Slot>, &'a [u8]) {
    let keys = request.spec.find_keys(&request.args).unwrap_or_default();
    let key = keys.first().map(|at| request.arg(*at));
    (key.map(key_slot), key.unwrap_or_default())
}

/// [`Route::Key`].
#[inline]
pub fn by_key<'a>(request: &Request<'a>, table: &RouteTable, session: &Session) -> Result<Keyed<'a>, String> {
    let (slot, mut key) = match slot_of(request) {
        Ok(found) => found,
        // With one shard the keys are together wherever their slots are, as in one Redis.
        Err(text) if text == error::CROSSSLOT && table.shards.len() == 1 => first_of(request),
        Err(text) => return Err(text),
    };
    if !table.rules.is_empty() && !request.spec.keys.is_single() {
        key = policy_key(request, table, session, request.is_write());
    }
    let dest = Dest::Slot(slot.unwrap_or(KEYLESS_SLOT));
    Ok(Keyed { dest, key, wait_ms: wait_ms(request) })
}

/// The key that chooses the policy of a request with several; empty: it has none.
#[cold]
pub fn policy_key<'a>(request: &Request<'a>, table: &RouteTable, session: &Session, write: bool) -> &'a [u8] {
    let keys = request.spec.find_keys(&request.args).unwrap_or_default();
    let keys = keys.iter().map(|at| request.arg(*at));
    strictest(session, table, write, keys).unwrap_or_default()
}

/// Milliseconds that it may wait at the node; `None`: it does not wait.
#[inline]
pub fn wait_ms(request: &Request<'_>) -> Option<u64> {
    match request.spec.wait {
        Wait::Never => None,
        _ => request.spec.wait_ms(&request.args),
    }
}

/// [`Route::Channel`]: a channel has the slot that a key of its name has, and no policy.
pub fn by_channel<'a>(request: &Request<'a>) -> Keyed<'a> {
    Keyed { dest: Dest::Slot(key_slot(request.arg(1))), key: b"", wait_ms: None }
}

/// [`Route::SplitKeys`].
pub fn by_keys<'a>(
    request: &Request<'a>,
    table: &RouteTable,
    session: &Session,
) -> Result<Spread<'a>, String> {
    let keys = request.spec.find_keys(&request.args).map_err(|cause| {
        // An uneven number of arguments (MSET): Redis speaks of their number.
        let uneven = matches!(request.spec.keys, KeySpec::Range { step, .. } if step > 1);
        if uneven { error::wrong_arity(request.spec.name) } else { cause.to_string() }
    })?;
    let step = match request.spec.keys {
        KeySpec::Range { step, .. } => step.max(1),
        _ => 1,
    };
    if step > 1 && !(request.args.len() - 1).is_multiple_of(step) {
        return Err(error::wrong_arity(request.spec.name));
    }
    let mut slots: SmallVec<[Slot; 16]> = SmallVec::with_capacity(keys.len());
    for index in &keys {
        slots.push(key_slot(request.arg(*index)));
    }
    // Slots without an owner stay together: they are held until they have one.
    let owner = |slot: &Slot| table.shard_of(*slot);
    let first = slots.first().map_or(KEYLESS_SLOT, |slot| *slot);
    let write = request.is_write();
    let by_policy = !table.rules.is_empty();
    let together = slots.iter().all(|slot| owner(slot) == owner(&first));
    let key = keys.first().map_or(&[][..], |index| request.arg(*index));
    if together && !by_policy {
        return Ok(Spread::One(Keyed { dest: Dest::Slot(first), key, wait_ms: None }));
    }
    let elsewhere = by_policy && reads::can_be_read_elsewhere(request.command);
    let way = |key| match by_policy && !write {
        true => ReadWay::of(session, table, key, elsewhere),
        false => ReadWay::default(),
    };
    let mut parts: SmallVec<[Part<'_>; 4]> = SmallVec::new();
    let mut order: Vec<u16> = Vec::with_capacity(keys.len());
    for (slot, index) in slots.iter().zip(&keys) {
        let (place, key) = (owner(slot), request.arg(*index));
        let way = way(key);
        let part = parts.iter().position(|known| (known.place, known.way) == (place, way));
        let part = part.unwrap_or_else(|| {
            parts.push(Part { place, slot: *slot, way, key, count: 0 });
            parts.len() - 1
        });
        if let Some(part) = parts.get_mut(part) {
            part.count += 1;
            if by_policy && write {
                let both = [part.key, key].into_iter();
                part.key = strictest(session, table, write, both).unwrap_or(key);
            }
        }
        // There are at most as many parts as shards (whose numbers have 16 bits) of each way.
        order.push(u16::try_from(part).unwrap_or(u16::MAX));
    }
    if let [part] = &parts[..] {
        return Ok(Spread::One(Keyed { dest: Dest::Slot(first), key: part.key, wait_ms: None }));
    }
    Ok(Spread::Several(Parts { step, keys, order, parts }))
}

/// [`Route::Cursor`]: the place of the shard that the cursor names, and the cursor of its node.
pub fn by_cursor(request: &Request<'_>, table: &RouteTable) -> Result<(usize, u64), &'static str> {
    let cursor = std::str::from_utf8(request.arg(1)).ok().and_then(|text| text.parse::<u64>().ok());
    let (place, node_cursor) = cursor.and_then(scan::split).ok_or(error::INVALID_CURSOR)?;
    match table.shards.len() {
        0 => Err(text::NO_MAP),
        shards if place >= shards => Err(error::INVALID_CURSOR),
        _ => Ok((place, node_cursor)),
    }
}

/// The shard that a client is sent to when any will do: for each client always the same.
pub fn any_place(table: &RouteTable, client: u64) -> Option<usize> {
    (client as usize).checked_rem(table.shards.len())
}

/// What is done with the request when nobody knows whether it was executed.
pub fn retry(request: &Request<'_>) -> Retry {
    if retry_is_safe(request.command, &request.args) {
        Retry::Repeated
    } else if request.is_write() && has_a_home(request.command, &request.args) {
        Retry::Numbered
    } else {
        Retry::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use torc_cluster::{ClusterMap, ShardId, ShardState};
    use torc_protocol::command::resolve;
    use torc_protocol::resp::OwnedArgs;
    use torc_protocol::slot::SLOTS;

    /// Two shards, the lower half of the slots and the upper one.
    fn table() -> RouteTable {
        let mut map = ClusterMap::default();
        for shard in 0..2 {
            map.shards.insert(ShardId(shard), ShardState { id: ShardId(shard), ..ShardState::default() });
        }
        (0..SLOTS).for_each(|slot| map.slots.set(slot, ShardId(slot / (SLOTS / 2))));
        RouteTable::new(Arc::new(map), &[])
    }

    fn plan<T>(line: &str, look: impl FnOnce(Plan<'_>, &Request<'_>) -> T) -> T {
        let args = OwnedArgs::new(line.split(' '));
        let args = args.view();
        let request = Request::of(resolve(&args).expect("a command"), args);
        look(of(&request, &table(), &Session::new(true, 1_000), 3), &request)
    }

    #[test]
    fn requests_go_where_their_keys_are() {
        // Slots of a, b, c: 15495, 3300, 7365.
        let dest = |line| {
            plan(line, |plan, _| match plan {
                Plan::Keyed(keyed) => (keyed.dest, keyed.wait_ms),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(dest("get a"), (Dest::Slot(15_495), None));
        assert_eq!(dest("mget b c"), (Dest::Slot(3_300), None));
        assert_eq!(dest("publish a x"), (Dest::Slot(15_495), None));
        assert_eq!(dest("blpop a 1.5"), (Dest::Slot(15_495), Some(1_500)));
        assert_eq!(dest("eval x 0"), (Dest::Slot(KEYLESS_SLOT), None));
    }

    #[test]
    fn keys_of_several_shards_are_split() {
        plan("mset a 1 b 2 {a}x 3", |plan, _| {
            let Plan::Split(parts) = plan else { panic!("{plan:?}") };
            assert_eq!((parts.step, parts.keys.as_slice()), (2, &[1, 3, 5][..]));
            assert_eq!(parts.order, [0, 1, 0]);
            let part = |place, slot, key: &'static str, count| Part {
                place: Some(place),
                slot,
                way: ReadWay::default(),
                key: key.as_bytes(),
                count,
            };
            assert_eq!(parts.parts.as_slice(), [part(1, 15_495, "a", 2), part(0, 3_300, "b", 1)]);
        });
    }

    #[test]
    fn what_goes_elsewhere() {
        assert!(plan("scan 0", |plan, _| matches!(plan, Plan::Cursor { place: 0, node_cursor: 0 })));
        let second = format!("scan {}", 1_u64 << 50 | 77);
        assert!(plan(&second, |plan, _| matches!(plan, Plan::Cursor { place: 1, node_cursor: 77 })));
        assert!(plan("dbsize", |plan, _| matches!(plan, Plan::AllShards)));
        assert!(plan("config get x", |plan, _| matches!(plan, Plan::AnyShard(1))));
        assert!(plan("ping", |plan, _| matches!(plan, Plan::Local)));
        assert!(plan("watch a", |plan, _| matches!(plan, Plan::Transaction(Some(15_495)))));
        assert!(plan("multi", |plan, _| matches!(plan, Plan::Transaction(None))));
        for line in ["sunion a b", "zinter 2 a b", "pfmerge a b", "blpop a b 1", "lcs a b"] {
            assert!(plan(line, |plan, _| matches!(plan, Plan::Everywhere)), "{line}");
        }
    }

    #[test]
    fn refusals_have_the_words_that_the_client_gets() {
        let refused = |line| {
            plan(line, |plan, _| match plan {
                Plan::Refused(text) => text,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(refused("rename a b"), text::CROSS_SLOT_ADVICE);
        assert_eq!(refused("mset a 1 b"), error::wrong_arity("mset"));
        assert_eq!(refused("scan x"), error::INVALID_CURSOR);
        assert!(refused("shutdown").starts_with("ERR SHUTDOWN stops one node"));
        assert!(refused("replicaof no one").starts_with("ERR REPLICAOF: replication is decided"));
        assert!(refused("debug digest").starts_with("ERR DEBUG DIGEST covers"));
    }

    #[test]
    fn what_is_done_when_a_connection_breaks() {
        let after = |line| plan(line, |_, request| retry(request));
        assert_eq!(after("get a"), Retry::Repeated);
        assert_eq!(after("set a 1"), Retry::Repeated);
        assert_eq!(after("incr a"), Retry::Numbered);
        assert_eq!(after("lock.acquire a ttl 5"), Retry::Never);
    }
}
