//! The simulation of consensus as tests. `TORC_RAFT_SIM_SEED=7` runs one seed, `TORC_RAFT_SIM_SEEDS=1000` another
//! number of them from `TORC_RAFT_SIM_FIRST` on, `TORC_RAFT_SIM_THREADS` on as many threads.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::bugs::{Bug, plant};
use super::fault::KINDS;
use super::world::{Report, World};

/// Simulated, with faults; the healing comes on top.
const MILLIS: u64 = 60_000;
/// What runs with the other tests; `just sim-raft` runs more.
const SEEDS: u64 = 6;
/// From so many seeds on every kind of fault must have been among them.
const SEEDS_WITH_ALL_KINDS: u64 = 20;

pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64) -> Result<Report, String> {
    catch_unwind(|| World::new(seed).run(MILLIS)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")))
    })
}

/// Runs seeds, several at a time; the lowest that fails is told.
fn run_all(first: u64, count: u64, bug: Option<Bug>) -> Result<Vec<Report>, (u64, String)> {
    let threads = number("TORC_RAFT_SIM_THREADS").unwrap_or(2).max(1);
    let (next, failed) = (AtomicU64::new(first), AtomicU64::new(u64::MAX));
    let work = || {
        plant(bug);
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || seed > failed.load(Ordering::Relaxed) {
                return done;
            }
            let result = run(seed);
            if result.is_err() {
                failed.fetch_min(seed, Ordering::Relaxed);
            }
            done.push((seed, result));
        }
    };
    let mut all: Vec<(u64, Result<Report, String>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    all.into_iter().map(|(seed, result)| result.map_err(|what| (seed, what))).collect()
}

fn broken(seed: u64, what: &str) -> String {
    format!(
        "seed {seed} {what}\nreproduce: TORC_RAFT_SIM_SEED={seed} cargo test -p torc-runtime --lib \
         consensus_keeps_its_promises -- --nocapture"
    )
}

#[test]
fn consensus_keeps_its_promises() {
    let one = number("TORC_RAFT_SIM_SEED");
    let first = one.or(number("TORC_RAFT_SIM_FIRST")).unwrap_or(1);
    let count = one.map_or(number("TORC_RAFT_SIM_SEEDS").unwrap_or(SEEDS), |_| 1);
    let reports = match run_all(first, count, None) {
        Ok(reports) => reports,
        Err((seed, what)) => panic!("\n{}", broken(seed, &what)),
    };
    if one.is_some() {
        println!("{:#?}", reports[0]);
        return;
    }
    let sum = |field: fn(&Report) -> u64| reports.iter().map(field).sum::<u64>();
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in reports.iter().flat_map(|report| &report.faults) {
        *kinds.entry(kind).or_default() += count;
    }
    println!(
        "{count} seeds, {} simulated seconds; faults: {kinds:?}, {} torn writes; messages: {} sent, {} lost, \
         {} repeated, {} slow, {} torn; {} operations: {} acknowledged, {} confirmed, {} refused, {} uncertain; \
         {} terms of {} candidacies, {} changes of voters",
        sum(|r| r.simulated_ms) / 1_000,
        sum(|r| r.torn_writes),
        sum(|r| r.sent),
        sum(|r| r.lost),
        sum(|r| r.repeated),
        sum(|r| r.slow),
        sum(|r| r.torn_frames),
        sum(|r| r.operations),
        sum(|r| r.acknowledged),
        sum(|r| r.confirmed),
        sum(|r| r.refused),
        sum(|r| r.uncertain),
        sum(|r| r.terms),
        sum(|r| r.stood),
        sum(|r| r.memberships),
    );
    // A run in which nothing happens proves nothing.
    for (index, report) in reports.iter().enumerate() {
        let counts = report.simulated_ms >= MILLIS && report.operations >= 500 && report.faults() >= 3;
        assert!(counts, "seed {} does not count: {report:?}", first + index as u64);
    }
    let elected = reports.iter().filter(|report| report.terms > 1).count();
    assert!(elected * 2 >= reports.len(), "{elected} of {} seeds had another leader", reports.len());
    for kind in KINDS {
        assert!(kinds.contains_key(kind) || count < SEEDS_WITH_ALL_KINDS, "no run had {kind}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let first = run(7).unwrap();
    assert_eq!(run(7).unwrap(), first);
    assert_ne!(run(8).unwrap().trace, first.trace);
}

/// Each rule, broken on purpose, is noticed.
fn found(bug: Bug, hint: u64) {
    let hinted = std::iter::once((hint, 1)).filter(|_| number("TORC_RAFT_SIM_SEEDS").is_none());
    for (first, count) in hinted.chain(std::iter::once((1, number("TORC_RAFT_SIM_SEEDS").unwrap_or(1_000)))) {
        if let Err((seed, what)) = run_all(first, count, Some(bug)) {
            println!("{bug:?} from {seed}: {what}");
            return;
        }
    }
    panic!("{bug:?} was not found");
}

#[test]
fn a_confirmation_without_a_quorum_is_found() {
    found(Bug::ConfirmWithoutQuorum, 13);
}

#[test]
fn a_vote_that_is_not_durable_is_found() {
    found(Bug::VoteNotDurable, 2);
}

#[test]
fn entries_that_are_not_durable_are_found() {
    found(Bug::AppendNotDurable, 1);
}

#[test]
fn a_failed_sync_that_is_forgotten_is_found() {
    found(Bug::FailedSyncForgotten, 9);
}

#[test]
fn a_leadership_that_is_resumed_is_found() {
    found(Bug::LeadershipResumed, 7);
}

#[test]
fn a_voter_that_stands_unasked_is_found() {
    found(Bug::StandsUnasked, 1);
}
