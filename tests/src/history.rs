//! What clients did and were told, in one time: the material that the checkers judge.
//!
//! A [`History`] is a list of [`Event`]s of any number of clients. A client has one request under way at a time, and
//! notes the time before it sends and after the whole reply has come, both from one monotonic [`Clock`]. Values that
//! are written are unique per key, so that a read names the write that it saw. [`History::violations`] hands each
//! key's events to the checker of its kind: [`crate::linear`] for registers, [`crate::grows`] for the others.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::{grows, linear};

/// The one clock of a history: nanoseconds since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    #[expect(clippy::new_without_default, reason = "reading the time is no default")]
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since its start.
    pub fn now_ns(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a register.
    Set(u64),
    /// Reads a register.
    Get,
    /// Adds one to a counter, and is told its value.
    Incr,
    /// Reads a counter.
    Count,
    /// Adds a member to a set, or a field to a hash.
    Add(u64),
    /// Reads all members, in any order.
    Members,
    /// Appends to a list.
    Push(u64),
    /// Reads the whole list.
    List,
}

/// The kind of a key: which checker judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Register,
    Counter,
    Set,
    List,
}

impl Op {
    /// The kind of the keys that it is for.
    pub fn kind(self) -> Kind {
        match self {
            Self::Set(_) | Self::Get => Kind::Register,
            Self::Incr | Self::Count => Kind::Counter,
            Self::Add(_) | Self::Members => Kind::Set,
            Self::Push(_) | Self::List => Kind::List,
        }
    }

    /// Whether it changes the key.
    pub fn is_write(self) -> bool {
        matches!(self, Self::Set(_) | Self::Incr | Self::Add(_) | Self::Push(_))
    }
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A write was acknowledged, without a value.
    Done,
    /// The register's value.
    Value(Option<u64>),
    /// The counter's value.
    Number(u64),
    /// The members, in the order of the reply.
    All(Vec<u64>),
    /// It was not executed, and never will be.
    Refused,
    /// It may have been executed, or may still be, at most once.
    Uncertain,
}

/// One request of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The client.
    pub client: usize,
    /// The key.
    pub key: String,
    /// The request.
    pub op: Op,
    /// Before its first byte was sent.
    pub invoked_ns: u64,
    /// After its reply had come, or the client had given up.
    pub returned_ns: u64,
    /// The reply.
    pub outcome: Outcome,
}

impl Event {
    /// Whether it was acknowledged or, for a read, answered.
    pub fn is_ok(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused | Outcome::Uncertain)
    }

    /// For messages.
    pub fn line(&self) -> String {
        let ms = |ns: u64| ns as f64 / 1e6;
        let (from, to) = (ms(self.invoked_ns), ms(self.returned_ns));
        format!("client {} [{from:.3}, {to:.3}] ms: {:?} -> {:?}", self.client, self.op, self.outcome)
    }
}

/// Something that no correct store does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// What was seen, with the events that show it.
    pub what: String,
}

/// Everything that clients did.
#[derive(Clone, Debug, Default)]
pub struct History(pub Vec<Event>);

impl History {
    /// Adds the events of another client.
    pub fn extend(&mut self, events: Vec<Event>) {
        self.0.extend(events);
    }

    /// The events of each key.
    pub fn by_key(&self) -> BTreeMap<&str, Vec<&Event>> {
        let mut keys: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in &self.0 {
            keys.entry(&event.key).or_default().push(event);
        }
        keys
    }

    /// Everything that is wrong.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (key, events) in self.by_key() {
            let kind = events[0].op.kind();
            let verdict = if events.iter().any(|event| event.op.kind() != kind) {
                Err("requests for two kinds of keys".to_owned())
            } else {
                match kind {
                    Kind::Register => linear::check(&events),
                    Kind::Counter => grows::check_counter(&events),
                    Kind::Set => grows::check_members(&events, false),
                    Kind::List => grows::check_members(&events, true),
                }
            };
            if let Err(what) = verdict {
                found.push(Violation { key: key.to_owned(), what });
            }
        }
        found
    }

    /// Numbers for a person: writes and reads by outcome.
    pub fn summary(&self) -> String {
        let count = |writes: bool, wanted: fn(&Event) -> bool| {
            self.0.iter().filter(|event| event.op.is_write() == writes && wanted(event)).count()
        };
        let refused = |event: &Event| event.outcome == Outcome::Refused;
        let uncertain = |event: &Event| event.outcome == Outcome::Uncertain;
        format!(
            "{} keys; writes: {} acknowledged, {} refused, {} uncertain; reads: {} answered, {} without an answer",
            self.by_key().len(),
            count(true, Event::is_ok),
            count(true, refused),
            count(true, uncertain),
            count(false, Event::is_ok),
            count(false, |event| !event.is_ok()),
        )
    }
}

/// Events written down by hand, for the checkers' tests.
#[cfg(test)]
pub(crate) mod by_hand {
    use super::{Event, Op, Outcome};

    /// An event of key `k`.
    pub fn event(op: Op, outcome: Outcome, from: u64, to: u64) -> Event {
        Event { client: 0, key: "k".into(), op, invoked_ns: from, returned_ns: to, outcome }
    }

    /// What a checker says of these.
    pub fn judge(events: &[Event], check: impl Fn(&[&Event]) -> Result<(), String>) -> Result<(), String> {
        check(&events.iter().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::by_hand::event;
    use super::*;

    #[test]
    fn each_key_is_judged_by_its_kind() {
        let good = vec![
            event(Op::Set(1), Outcome::Done, 0, 1),
            event(Op::Get, Outcome::Value(Some(1)), 2, 3),
            Event { key: "c".into(), ..event(Op::Incr, Outcome::Number(1), 2, 3) },
            Event { key: "s".into(), ..event(Op::Add(4), Outcome::Done, 2, 3) },
            Event { key: "l".into(), ..event(Op::List, Outcome::All(vec![]), 2, 3) },
        ];
        assert_eq!(History(good.clone()).violations(), vec![]);
        let bad = [
            Event { key: "k".into(), ..event(Op::Get, Outcome::Value(None), 4, 5) },
            Event { key: "c".into(), ..event(Op::Count, Outcome::Number(0), 4, 5) },
            Event { key: "s".into(), ..event(Op::Members, Outcome::All(vec![]), 4, 5) },
            Event { key: "l".into(), ..event(Op::List, Outcome::All(vec![9]), 4, 5) },
            Event { key: "k".into(), ..event(Op::Incr, Outcome::Number(1), 4, 5) },
        ];
        for wrong in bad {
            let mut events = good.clone();
            events.push(wrong.clone());
            let found = History(events).violations();
            assert_eq!(found.iter().map(|v| &v.key).collect::<Vec<_>>(), vec![&wrong.key], "{found:?}");
        }
    }
}
