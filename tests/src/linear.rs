//! Whether a register's history is linearizable: whether every request can be given one moment between its
//! invocation and its return, so that each read sees the write before it.
//!
//! The search goes through the events in time and keeps every state that the register may be in, with the requests
//! under way that have happened already (G. Lowe, "Testing for linearizability", 2016: just-in-time linearization; the
//! set of states is the memo of Wing and Gong's search). A request is given its moment only when a return asks for it.
//! How many states there are depends on how many requests are under way at once, not on the history's length.
//!
//! An UNCERTAIN write may have happened at any moment after its invocation, or never. Values are unique, so:
//! - nobody read it: a history without it is as good, it is left out;
//! - somebody did: it happened before the first of those reads returned, and once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::history::{Event, Op, Outcome};

/// States kept at once; a history that needs more has more clients per key than a test should.
const MAX_STATES: usize = 1 << 20;
/// Events shown around a violation.
const SHOWN: usize = 12;

#[derive(Clone, Copy, Debug)]
enum Effect {
    Write(u64),
    Read(Option<u64>),
}

#[derive(Debug)]
struct Call<'a> {
    effect: Effect,
    invoked: u64,
    returned: u64,
    event: &'a Event,
}

/// The register's value, and the requests under way that have had their moment.
type State = (Option<u64>, BTreeSet<usize>);

/// Judges the events of one register, which is absent at first.
///
/// # Errors
/// What no register does, with the events around it.
pub fn check(events: &[&Event]) -> Result<(), String> {
    let calls = calls(events)?;
    // Invocations before returns of the same moment: such requests count as under way together.
    let mut steps: Vec<(u64, bool, usize)> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        steps.push((call.invoked, false, index));
        steps.push((call.returned, true, index));
    }
    steps.sort_unstable();
    let mut under_way = BTreeSet::new();
    let mut states: HashSet<State> = HashSet::from([(None, BTreeSet::new())]);
    for (_, returns, index) in steps {
        if !returns {
            under_way.insert(index);
            continue;
        }
        let before = values(&states);
        states = after_return(&calls, &under_way, states, index)?;
        if states.is_empty() {
            return Err(explain(events, &calls[index], &before));
        }
        under_way.remove(&index);
    }
    Ok(())
}

/// The states in which `index` has had its moment, from `states` in which it may have had it.
fn after_return(
    calls: &[Call<'_>],
    under_way: &BTreeSet<usize>,
    states: HashSet<State>,
    index: usize,
) -> Result<HashSet<State>, String> {
    let mut next = HashSet::new();
    let mut seen = HashSet::new();
    let mut open: Vec<State> = states.into_iter().collect();
    while let Some((value, mut done)) = open.pop() {
        if done.remove(&index) {
            next.insert((value, done));
            continue;
        }
        for &other in under_way.iter().filter(|other| !done.contains(other)) {
            let value = match calls[other].effect {
                Effect::Write(written) => Some(written),
                Effect::Read(seen) if seen == value => value,
                Effect::Read(_) => continue,
            };
            let mut done = done.clone();
            done.insert(other);
            if seen.insert((value, done.clone())) {
                open.push((value, done));
            }
        }
        if seen.len() > MAX_STATES {
            return Err(format!("more than {MAX_STATES} states: too many requests under way at once"));
        }
    }
    Ok(next)
}

/// The requests that count, each with the moments between which it happened.
fn calls<'a>(events: &[&'a Event]) -> Result<Vec<Call<'a>>, String> {
    // When the first read of each value returned.
    let mut first_read: BTreeMap<u64, u64> = BTreeMap::new();
    for event in events {
        if let Outcome::Value(Some(value)) = event.outcome {
            let returned = first_read.entry(value).or_insert(u64::MAX);
            *returned = event.returned_ns.min(*returned);
        }
    }
    let mut calls = Vec::new();
    let mut written = BTreeSet::new();
    for &event in events {
        let (effect, returned) = match (event.op, &event.outcome) {
            (_, Outcome::Refused) | (Op::Get, Outcome::Uncertain) => continue,
            (Op::Get, Outcome::Value(value)) => (Effect::Read(*value), event.returned_ns),
            (Op::Set(value), Outcome::Done) => (Effect::Write(value), event.returned_ns),
            (Op::Set(value), Outcome::Uncertain) => match first_read.get(&value) {
                Some(read) => (Effect::Write(value), *read),
                None => continue,
            },
            _ => return Err(format!("not an answer of a register: {}", event.line())),
        };
        if let Effect::Write(value) = effect
            && !written.insert(value)
        {
            return Err(format!("the test wrote {value} twice"));
        }
        if returned < event.invoked_ns {
            return Err(format!(
                "{value:?} was read before it was written: {}",
                event.line(),
                value = event.op
            ));
        }
        calls.push(Call { effect, invoked: event.invoked_ns, returned, event });
    }
    for call in &calls {
        if let Effect::Read(Some(value)) = call.effect
            && !written.contains(&value)
        {
            let refused = events.iter().find(|event| event.op == Op::Set(value));
            let refused = refused.map_or("nobody wrote it".into(), |event| event.line());
            return Err(format!("read of a value that is not there: {}; {refused}", call.event.line()));
        }
    }
    Ok(calls)
}

fn values(states: &HashSet<State>) -> BTreeSet<Option<u64>> {
    states.iter().map(|(value, _)| *value).collect()
}

fn explain(events: &[&Event], call: &Call<'_>, before: &BTreeSet<Option<u64>>) -> String {
    let mut near: Vec<&&Event> =
        events.iter().filter(|event| event.invoked_ns <= call.event.returned_ns).collect();
    near.sort_by_key(|event| event.returned_ns);
    let near = near.split_off(near.len().saturating_sub(SHOWN));
    let lines: Vec<String> = near.iter().map(|event| event.line()).collect();
    let shown = lines.join("\n    ");
    format!(
        "not linearizable: {} has no moment; the register could be {before:?} before; the events before:\n    {shown}",
        call.event.line()
    )
}

#[cfg(test)]
#[path = "linear_tests.rs"]
mod tests;
