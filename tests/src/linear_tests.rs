//! Planted histories, and random ones against a search through every order.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::check;
use crate::history::by_hand::{event, judge};
use crate::history::{Event, Op, Outcome};

fn set(value: u64, from: u64, to: u64) -> Event {
    event(Op::Set(value), Outcome::Done, from, to)
}

fn get(value: Option<u64>, from: u64, to: u64) -> Event {
    event(Op::Get, Outcome::Value(value), from, to)
}

fn uncertain(value: u64, from: u64, to: u64) -> Event {
    event(Op::Set(value), Outcome::Uncertain, from, to)
}

fn refused(value: u64, from: u64, to: u64) -> Event {
    event(Op::Set(value), Outcome::Refused, from, to)
}

#[test]
fn correct_histories_pass() {
    let cases: &[&[Event]] = &[
        &[],
        &[get(None, 0, 1), set(1, 2, 3), get(Some(1), 4, 5)],
        // The read overlaps the write: either value.
        &[set(1, 0, 10), get(None, 1, 2), get(Some(1), 3, 4)],
        // Two writes at once: in the order that the reads show.
        &[set(1, 0, 10), set(2, 0, 10), get(Some(2), 11, 12)],
        &[set(1, 0, 10), set(2, 0, 10), get(Some(2), 2, 3), get(Some(1), 4, 5)],
        // An uncertain write that never happened, one that happened at once, one that happened much later.
        &[set(1, 0, 1), uncertain(2, 2, 3), get(Some(1), 4, 5)],
        &[set(1, 0, 1), uncertain(2, 2, 3), get(Some(2), 4, 5), get(Some(2), 6, 7)],
        &[set(1, 0, 1), uncertain(2, 2, 3), get(Some(1), 4, 5), set(3, 6, 7), get(Some(2), 8, 9)],
        &[set(1, 0, 1), refused(2, 2, 3), get(Some(1), 4, 5)],
        // Moments that touch are together.
        &[set(1, 0, 2), get(None, 2, 3)],
    ];
    for case in cases {
        assert_eq!(judge(case, check), Ok(()), "{case:?}");
    }
}

#[test]
fn planted_violations_are_found() {
    let cases: &[(&str, &[Event])] = &[
        ("stale read", &[set(1, 0, 1), set(2, 2, 3), get(Some(1), 4, 5)]),
        ("lost write", &[set(1, 0, 1), get(None, 2, 3)]),
        ("lost write, seen by one", &[set(1, 0, 1), set(2, 2, 3), get(Some(2), 4, 5), get(Some(1), 6, 7)]),
        ("doubled write", &[set(1, 0, 1), get(Some(1), 2, 3), set(2, 4, 5), get(Some(1), 6, 7)]),
        (
            "doubled uncertain write",
            &[uncertain(1, 0, 1), get(Some(1), 2, 3), set(2, 4, 5), get(Some(2), 6, 7), get(Some(1), 8, 9)],
        ),
        ("read of a refused write", &[set(1, 0, 1), refused(2, 2, 3), get(Some(2), 4, 5)]),
        ("read of what nobody wrote", &[get(Some(7), 0, 1)]),
        ("read before it was written", &[get(Some(1), 0, 1), set(1, 2, 3)]),
        ("read before an uncertain write was sent", &[get(Some(1), 0, 1), uncertain(1, 2, 3)]),
        (
            "reads that go back",
            &[set(1, 0, 20), set(2, 0, 20), get(Some(1), 1, 2), get(Some(2), 3, 4), get(Some(1), 5, 6)],
        ),
        (
            "a value before all writes",
            &[set(1, 0, 1), uncertain(2, 2, 3), get(Some(2), 4, 5), get(None, 6, 7)],
        ),
    ];
    for (what, case) in cases {
        assert!(judge(case, check).is_err(), "{what}");
    }
}

/// Whether any order of any choice of the uncertain writes explains the history: slow and simple.
fn explained(events: &[Event]) -> bool {
    fn go(events: &[Event], done: &mut Vec<usize>, value: Option<u64>) -> bool {
        let required = |e: &Event| e.is_ok();
        let open = |i: &usize| !done.contains(i) && events[*i].outcome != Outcome::Refused;
        let left: Vec<usize> = (0..events.len()).filter(open).collect();
        if !left.iter().any(|i| required(&events[*i])) {
            return true;
        }
        for &i in &left {
            let first =
                left.iter().all(|j| !required(&events[*j]) || events[*j].returned_ns >= events[i].invoked_ns);
            let next = match (events[i].op, &events[i].outcome) {
                _ if !first => continue,
                (Op::Set(written), _) => Some(written),
                (_, Outcome::Value(seen)) if *seen == value => value,
                _ => continue,
            };
            done.push(i);
            let found = go(events, done, next);
            done.pop();
            if found {
                return true;
            }
        }
        false
    }
    go(events, &mut Vec::new(), None)
}

#[test]
fn random_histories_are_judged_as_every_order_says() {
    const HISTORIES: usize = 20_000;
    let mut random = StdRng::seed_from_u64(1);
    let mut bad = 0;
    for _ in 0..HISTORIES {
        let count = random.random_range(1..=6);
        let mut events = Vec::new();
        for n in 0..count {
            let from = random.random_range(0..20);
            let to = from + random.random_range(1..10);
            events.push(match random.random_range(0..8) {
                0..3 => set(n, from, to),
                3 => uncertain(n, from, to),
                4 => refused(n, from, to),
                _ => get(Some(random.random_range(0..=count)).filter(|v| *v < count), from, to),
            });
        }
        let expected = explained(&events);
        bad += usize::from(!expected);
        assert_eq!(judge(&events, check).is_ok(), expected, "{events:?}");
    }
    // Both verdicts were asked for.
    assert!((HISTORIES / 10..HISTORIES * 9 / 10).contains(&bad), "{bad} of {HISTORIES}");
}

/// A long history of a register that is right, with some answers lost on the way.
fn right(random: &mut StdRng, requests: u64) -> Vec<Event> {
    const CLIENTS: u64 = 5;
    let mut value = None;
    let mut free = [0; CLIENTS as usize];
    let mut events = Vec::new();
    for n in 0..requests {
        // The moment at which it happens is n·10; the times around it are the client's.
        let client = random.random_range(0..CLIENTS) as usize;
        let at = n * 10;
        if free[client] >= at {
            continue;
        }
        let from = random.random_range(free[client]..=at).max(at.saturating_sub(100));
        let to = at + random.random_range(1..100);
        free[client] = to + 1;
        events.push(match random.random_range(0..10) {
            0..4 => {
                value = Some(n);
                set(n, from, to)
            }
            4 => uncertain(n, from, to),
            5 => {
                value = Some(n);
                uncertain(n, from, from)
            }
            6 => refused(n, from, to),
            _ => get(value, from, to),
        });
    }
    events
}

#[test]
fn long_correct_histories_pass_and_a_changed_answer_is_found() {
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..20 {
        let mut events = right(&mut random, 3000);
        assert_eq!(judge(&events, check), Ok(()));
        // A read, late, is made to see the first value that was acknowledged.
        let first = events.iter().find(|e| e.is_ok() && e.op.is_write()).map(|e| e.op);
        let late = events.len() / 2;
        let read = events[late..].iter_mut().find(|e| e.op == Op::Get).expect("there are reads");
        let Some(Op::Set(value)) = first else { panic!("there are writes") };
        read.outcome = Outcome::Value(Some(value));
        assert!(judge(&events, check).is_err());
    }
}
