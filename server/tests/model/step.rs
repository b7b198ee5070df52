//! One step of a run: a request of some family, or time that passes.

use proptest::prelude::*;

use super::map::{Model, Run};
use super::reply::{Answer, Reply};
use super::words::{Bytes, DBS};
use super::{counters, generic, hashes, lists, sets, sorted_sets, streams, strings};

#[derive(Clone, Debug)]
pub enum Step {
    Advance(u64),
    Select(u8),
    /// What is due is looked for and removed, as it is in the background.
    Sweep,
    Dbsize,
    Generic(generic::Step),
    String(strings::Step),
    Counter(counters::Step),
    Hash(hashes::Step),
    Set(sets::Step),
    List(lists::Step),
    Sorted(sorted_sets::Step),
    Stream(streams::Step),
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..120).prop_map(Step::Advance),
        2 => (0..DBS).prop_map(Step::Select),
        1 => Just(Step::Sweep),
        1 => Just(Step::Dbsize),
        17 => generic::step().prop_map(Step::Generic),
        20 => strings::step().prop_map(Step::String),
        5 => counters::step().prop_map(Step::Counter),
        14 => hashes::step().prop_map(Step::Hash),
        17 => sets::step().prop_map(Step::Set),
        19 => lists::step().prop_map(Step::List),
        28 => sorted_sets::step().prop_map(Step::Sorted),
        30 => streams::step().prop_map(Step::Stream),
    ]
}

/// Steps on one or two types, which therefore grow larger.
pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let few = prop_oneof![
        1 => (0u64..120).prop_map(Step::Advance),
        1 => Just(Step::Sweep),
        1 => generic::step().prop_map(Step::Generic),
        10 => sorted_sets::step().prop_map(Step::Sorted),
    ];
    let streams = prop_oneof![
        1 => (0u64..120).prop_map(Step::Advance),
        1 => generic::step().prop_map(Step::Generic),
        10 => streams::step().prop_map(Step::Stream),
    ];
    prop_oneof![
        2 => prop::collection::vec(step(), 1..most),
        1 => prop::collection::vec(few, 1..most),
        1 => prop::collection::vec(streams, 1..most),
    ]
}

impl Step {
    fn family(&self) -> Option<&dyn Run> {
        match self {
            Step::Advance(_) | Step::Select(_) | Step::Sweep | Step::Dbsize => None,
            Step::Generic(step) => Some(step),
            Step::String(step) => Some(step),
            Step::Counter(step) => Some(step),
            Step::Hash(step) => Some(step),
            Step::Set(step) => Some(step),
            Step::List(step) => Some(step),
            Step::Sorted(step) => Some(step),
            Step::Stream(step) => Some(step),
        }
    }
}

impl Run for Step {
    fn run(&self, m: &mut Model) -> Answer {
        m.expire();
        match self {
            Step::Advance(ms) => m.now_ms += ms,
            Step::Select(db) => m.db = *db,
            _ => {}
        }
        self.family().map_or(Ok(Reply::None), |step| step.run(m))
    }

    fn request(&self) -> Vec<Bytes> {
        match self {
            Step::Dbsize => vec![b"DBSIZE".to_vec()],
            _ => self.family().map(Run::request).unwrap_or_default(),
        }
    }

    fn is_open(&self, m: &Model) -> bool {
        self.family().is_some_and(|step| step.is_open(m))
    }
}
