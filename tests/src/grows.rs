//! Histories of things that only grow: counters, sets (and hashes, whose fields are unique), lists.
//!
//! With every element unique and nothing ever taken away, what a read may show follows from times alone: all that was
//! acknowledged before it began, nothing that began after it ended or was refused, and nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, Op, Outcome};

/// Judges one counter, which is absent at first.
///
/// # Errors
/// What no counter does.
pub fn check_counter(events: &[&Event]) -> Result<(), String> {
    let incr = |event: &&&Event| event.op == Op::Incr;
    let mut sent: Vec<u64> =
        events.iter().filter(incr).filter(|e| e.outcome != Outcome::Refused).map(|e| e.invoked_ns).collect();
    let mut acknowledged: Vec<u64> =
        events.iter().filter(incr).filter(|e| e.is_ok()).map(|e| e.returned_ns).collect();
    sent.sort_unstable();
    acknowledged.sort_unstable();

    let mut answered: Vec<(&Event, u64)> = Vec::new();
    for event in events.iter().filter(|event| event.is_ok()) {
        let Outcome::Number(value) = event.outcome else {
            return Err(format!("not an answer of a counter: {}", event.line()));
        };
        answered.push((event, value));
    }
    let mut by_value: BTreeMap<u64, &Event> = BTreeMap::new();
    for (event, value) in answered.iter().filter(|(event, _)| event.op == Op::Incr) {
        if let Some(other) = by_value.insert(*value, event) {
            return Err(format!("two increments gave one value: {}; {}", other.line(), event.line()));
        }
    }
    for (event, value) in &answered {
        let own = u64::from(event.op == Op::Incr);
        let least = acknowledged.partition_point(|returned| *returned < event.invoked_ns) as u64 + own;
        let most = sent.partition_point(|invoked| *invoked <= event.returned_ns) as u64;
        if !(least..=most).contains(value) {
            return Err(format!("{} is not in {least}..={most}", event.line()));
        }
    }
    // What is seen never falls.
    let mut by_return = answered.clone();
    by_return.sort_by_key(|(event, _)| event.returned_ns);
    answered.sort_by_key(|(event, _)| event.invoked_ns);
    let mut highest: Option<(&Event, u64)> = None;
    let mut returned = by_return.into_iter().peekable();
    for (event, value) in answered {
        while let Some(earlier) = returned.next_if(|(earlier, _)| earlier.returned_ns < event.invoked_ns) {
            highest = highest.filter(|(_, value)| *value > earlier.1).or(Some(earlier));
        }
        if let Some((earlier, seen)) = highest
            && value < seen + u64::from(event.op == Op::Incr)
        {
            return Err(format!("it fell: {}; then {}", earlier.line(), event.line()));
        }
    }
    Ok(())
}

/// Judges one set, hash or list (`ordered`), which is absent at first.
///
/// # Errors
/// What none of them does.
pub fn check_members(events: &[&Event], ordered: bool) -> Result<(), String> {
    let mut added: BTreeMap<u64, &Event> = BTreeMap::new();
    for event in events {
        if let Op::Add(value) | Op::Push(value) = event.op
            && added.insert(value, event).is_some()
        {
            return Err(format!("the test added {value} twice"));
        }
    }
    for read in events.iter().filter(|event| !event.op.is_write() && event.is_ok()) {
        let Outcome::All(members) = &read.outcome else {
            return Err(format!("not an answer with members: {}", read.line()));
        };
        check_read(&added, read, members, ordered)
            .map_err(|what| format!("{what}; seen by client {} at {} ns", read.client, read.invoked_ns))?;
    }
    Ok(())
}

fn check_read(
    added: &BTreeMap<u64, &Event>,
    read: &Event,
    members: &[u64],
    ordered: bool,
) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    // The latest invocation among the elements so far: an element behind it was not acknowledged before.
    let mut latest: Option<&Event> = None;
    for member in members {
        let event = added.get(member).ok_or_else(|| format!("{member}, which nobody added"))?;
        if !seen.insert(member) {
            return Err(format!("doubled: {}", event.line()));
        }
        if event.outcome == Outcome::Refused {
            return Err(format!("refused, and there: {}", event.line()));
        }
        if event.invoked_ns > read.returned_ns {
            return Err(format!("there before it was added: {}", event.line()));
        }
        if let Some(before) =
            latest.filter(|before| ordered && event.is_ok() && event.returned_ns < before.invoked_ns)
        {
            return Err(format!("out of order: {} before {}", before.line(), event.line()));
        }
        latest = latest.filter(|before| before.invoked_ns > event.invoked_ns).or(Some(event));
    }
    let lost: Vec<&&Event> = added
        .values()
        .filter(|event| event.is_ok() && event.returned_ns < read.invoked_ns)
        .filter(|event| !matches!(event.op, Op::Add(value) | Op::Push(value) if seen.contains(&value)))
        .collect();
    match lost.first() {
        Some(first) => Err(format!("{} acknowledged and not there, the first: {}", lost.len(), first.line())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand::{event, judge};

    fn incr(value: u64, from: u64, to: u64) -> Event {
        event(Op::Incr, Outcome::Number(value), from, to)
    }

    fn count(value: u64, from: u64, to: u64) -> Event {
        event(Op::Count, Outcome::Number(value), from, to)
    }

    fn no_reply(op: Op, from: u64) -> Event {
        event(op, Outcome::Uncertain, from, from + 1)
    }

    #[test]
    fn counters() {
        let good: &[&[Event]] = &[
            &[count(0, 0, 1), incr(1, 2, 3), incr(2, 4, 5), count(2, 6, 7)],
            &[incr(2, 0, 9), incr(1, 0, 9), count(1, 1, 2)],
            &[incr(1, 0, 1), no_reply(Op::Incr, 2), count(1, 4, 5), incr(3, 6, 7)],
            &[incr(1, 0, 1), no_reply(Op::Incr, 2), incr(2, 6, 7), count(3, 8, 9)],
            &[incr(1, 0, 1), event(Op::Incr, Outcome::Refused, 2, 3), count(1, 4, 5)],
        ];
        for case in good {
            assert_eq!(judge(case, check_counter), Ok(()), "{case:?}");
        }
        let bad: &[(&str, &[Event])] = &[
            ("lost", &[incr(1, 0, 1), incr(2, 2, 3), count(1, 4, 5)]),
            ("lost, and the value given again", &[incr(1, 0, 1), incr(1, 2, 3)]),
            ("doubled", &[incr(1, 0, 1), incr(3, 2, 3)]),
            ("doubled uncertain", &[no_reply(Op::Incr, 0), count(2, 4, 5)]),
            ("refused and counted", &[event(Op::Incr, Outcome::Refused, 0, 1), count(1, 2, 3)]),
            ("an uncertain one seen, then gone", &[no_reply(Op::Incr, 0), count(1, 4, 5), count(0, 6, 7)]),
            ("seen before it was sent", &[count(1, 0, 1), incr(1, 2, 3)]),
        ];
        for (what, case) in bad {
            assert!(judge(case, check_counter).is_err(), "{what}");
        }
    }

    fn push(value: u64, from: u64, to: u64) -> Event {
        event(Op::Push(value), Outcome::Done, from, to)
    }

    fn list(members: &[u64], from: u64, to: u64) -> Event {
        event(Op::List, Outcome::All(members.to_vec()), from, to)
    }

    #[test]
    fn members() {
        let check = |events: &[&Event]| check_members(events, true);
        let good: &[&[Event]] = &[
            &[list(&[], 0, 1), push(1, 2, 3), push(2, 4, 5), list(&[1, 2], 6, 7)],
            &[push(1, 0, 9), push(2, 0, 9), list(&[2], 3, 4), list(&[2, 1], 10, 11)],
            &[no_reply(Op::Push(1), 0), push(2, 2, 3), list(&[2], 4, 5), list(&[2, 1], 6, 7)],
            &[event(Op::Push(1), Outcome::Refused, 0, 1), list(&[], 2, 3)],
        ];
        for case in good {
            assert_eq!(judge(case, check), Ok(()), "{case:?}");
        }
        let bad: &[(&str, &[Event])] = &[
            ("lost", &[push(1, 0, 1), list(&[], 2, 3)]),
            ("doubled", &[push(1, 0, 1), list(&[1, 1], 2, 3)]),
            ("doubled uncertain", &[no_reply(Op::Push(1), 0), list(&[1, 1], 4, 5)]),
            ("unknown", &[push(1, 0, 1), list(&[1, 7], 2, 3)]),
            ("refused and there", &[event(Op::Push(1), Outcome::Refused, 0, 1), list(&[1], 2, 3)]),
            ("there too early", &[list(&[1], 0, 1), push(1, 2, 3)]),
            ("out of order", &[push(1, 0, 1), push(2, 2, 3), list(&[2, 1], 4, 5)]),
        ];
        for (what, case) in bad {
            assert!(judge(case, check).is_err(), "{what}");
        }
        // A hash has no order.
        let hash = [push(1, 0, 1), push(2, 2, 3), list(&[2, 1], 4, 5)];
        assert_eq!(judge(&hash, |events| check_members(events, false)), Ok(()));
    }
}
