//! Sorting itself.

use std::borrow::Cow;
use std::cmp::Ordering;

use torc_protocol::resp::{Args, ReplyWriter, parse_weight};

use super::pattern::look_up;
use super::request::Request;
use crate::exec::{CommandError, CommandResult, Cx, Depth};
use crate::notify::Class;
use crate::store::value::{End, Fill, ListValue};
use crate::store::{Collection, Key, ValueRef};

/// Most values that GET looks up in one request, for all elements together.
const MAX_LOOKED_UP: usize = 1 << 26;

/// An element with what it is sorted by.
#[derive(Clone, Debug)]
struct Item<'a> {
    element: Cow<'a, [u8]>,
    score: f64,
    by: Option<Cow<'a, [u8]>>,
}

/// Elements in the order of their collection.
type Elements<'a> = Vec<Cow<'a, [u8]>>;

/// The elements of a list, set or sorted set, and whether it is a set.
fn elements<'a>(value: Option<ValueRef<'a>>) -> Result<(Elements<'a>, bool), CommandError> {
    let bytes = |member: crate::store::value::Member<'a>| match member {
        crate::store::value::Member::Bytes(bytes) => Cow::Borrowed(bytes),
        other => Cow::Owned(other.to_vec()),
    };
    match value {
        None => Ok((Vec::new(), false)),
        Some(ValueRef::List(list)) => Ok((list.iter().map(|element| element.into_cow()).collect(), false)),
        Some(ValueRef::Set(set)) => Ok((set.iter().map(bytes).collect(), true)),
        Some(ValueRef::SortedSet(set)) => {
            Ok((set.iter().map(|(member, _)| Cow::Borrowed(member)).collect(), false))
        }
        Some(_) => Err(CommandError::WrongType),
    }
}

fn compare(request: &Request<'_>, a: &Item<'_>, b: &Item<'_>) -> Ordering {
    let order = match (request.alpha, request.by.is_some()) {
        (false, _) => {
            let scores = a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal);
            scores.then_with(|| a.element.cmp(&b.element))
        }
        // One that has nothing to be sorted by comes first.
        (true, true) => a.by.cmp(&b.by),
        (true, false) => a.element.cmp(&b.element),
    };
    if request.descending { order.reverse() } else { order }
}

/// The elements that are given, in order. Sorts no more than it must.
fn ordered<'c>(
    cx: &'c Cx<'_, '_>,
    key: &Key<'_>,
    request: &mut Request<'_>,
) -> Result<Vec<Item<'c>>, CommandError> {
    let entry = cx.access.get(key.slot).and_then(|stripe| stripe.get(cx.db, key, cx.now_ms));
    let (elements, is_set) = elements(entry.map(|entry| entry.value()))?;
    // A set has no order of its own, but replicas and scripts must see one.
    if request.unsorted && is_set && (request.store.is_some() || cx.depth == Depth::Script) {
        (request.unsorted, request.alpha, request.by) = (false, true, None);
    }
    let mut items: Vec<Item<'_>> =
        elements.into_iter().map(|element| Item { element, score: 0.0, by: None }).collect();
    let (start, end) = request.window(items.len());
    if request.unsorted {
        // Where there is an order it may be turned round.
        if request.descending && !is_set {
            items.reverse();
        }
    } else {
        for item in &mut items {
            weigh(cx, request, item)?;
        }
        if start > 0 || end < items.len() {
            if end < items.len() && end > 0 {
                items.select_nth_unstable_by(end - 1, |a, b| compare(request, a, b));
            }
            items.truncate(end);
        }
        items.sort_by(|a, b| compare(request, a, b));
    }
    items.truncate(end);
    items.drain(..start.min(items.len()));
    Ok(items)
}

/// Finds out what an element is sorted by.
fn weigh<'c>(cx: &'c Cx<'_, '_>, request: &Request<'_>, item: &mut Item<'c>) -> CommandResult {
    let found = match request.by {
        None => Some(Cow::Borrowed(&*item.element)),
        Some(by) => look_up(cx, by, &item.element).map(|bytes| Cow::Owned(bytes.to_vec())),
    };
    if !request.alpha {
        let Some(bytes) = found else { return Ok(()) };
        let error = "ERR One or more scores can't be converted into double";
        item.score = parse_weight(&bytes).ok_or(CommandError::from(error))?;
    } else if request.by.is_some() {
        item.by = found.map(|bytes| Cow::Owned(bytes.into_owned()));
    }
    Ok(())
}

/// SORT key \[BY pattern\] \[LIMIT offset count\] \[GET pattern …\] \[ASC | DESC\] \[ALPHA\] \[STORE destination\],
/// SORT_RO
pub fn sort(cx: &mut Cx<'_, '_>, args: &Args<'_>, may_store: bool) -> CommandResult {
    let mut request = Request::parse(cx, args, may_store)?;
    // Where there are other nodes the patterns stay in the slot of the key.
    if request.names_keys() && cx.node.shard.reaches_all_keys(cx.proxied) {
        cx.lock_whole_store()?;
    }
    let key = cx.key(&args[1]);
    // Counts the use, and removes what has expired.
    cx.read(&key);
    let items = ordered(cx, &key, &mut request)?;
    if items.len().saturating_mul(request.gets.len()) > MAX_LOOKED_UP {
        return Err(format!("ERR SORT would get more than {MAX_LOOKED_UP} values").into());
    }
    let per_element = request.gets.len().max(1);
    let Some(to) = request.store else {
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, cx.version);
        reply.array(items.len() * per_element);
        for item in &items {
            if request.gets.is_empty() {
                reply.bulk(&item.element);
            }
            for get in &request.gets {
                reply.bulk_or_null(look_up(cx, get, &item.element));
            }
        }
        drop(items);
        cx.out.append(&mut out);
        return Ok(());
    };
    let mut given: Vec<&[u8]> = Vec::with_capacity(items.len() * per_element);
    for item in &items {
        if request.gets.is_empty() {
            given.push(&item.element);
        }
        for get in &request.gets {
            given.push(look_up(cx, get, &item.element).unwrap_or_default());
        }
    }
    let mut result = ListValue::default();
    result.push_all(End::Back, given.into_iter(), Fill(cx.env().limits.list_node_size));
    drop(items);
    let to = cx.key(to);
    let len = result.len();
    if len > 0 {
        cx.put_value(&to, result.into_value(), None);
        cx.notify(Class::LIST, "sortstore", to.bytes);
    } else if cx.delete(&to) {
        cx.notify(Class::GENERIC, "del", to.bytes);
    }
    cx.reply().integer(len as i64);
    Ok(())
}
