//! The simulation as tests. `TORC_SIM_SEED=7` runs one seed and tells its story, `TORC_SIM_SEEDS=20000` another
//! number of them, `TORC_SIM_MILLIS` another length of each.

use super::World;
use super::check::{Report, Violation};
use crate::bugs::{Bug, plant};

const MILLIS: u64 = 6_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, notes: bool) -> Result<Report, Violation> {
    let mut world = World::new(seed);
    world.check.keep_notes = notes;
    world.run(number("TORC_SIM_MILLIS").unwrap_or(MILLIS))
}

/// Runs the seeds on two threads; the first violation is told with its story.
fn run_all(first: u64, count: u64, bug: Option<Bug>) -> Result<Vec<Report>, Violation> {
    let halves = std::thread::scope(|scope| {
        let half = |odd: u64| {
            move || {
                plant(bug);
                let seeds = (first..first + count).filter(|seed| seed % 2 == odd);
                let reports = seeds.map(|seed| run(seed, false).map_err(|_| seed));
                let reports = reports.collect::<Result<Vec<_>, _>>();
                reports.map_err(|seed| run(seed, true).expect_err("the same seed fails again"))
            }
        };
        let threads = [scope.spawn(half(0)), scope.spawn(half(1))];
        threads.map(|thread| thread.join().expect("no panic"))
    });
    let mut all = Vec::new();
    for half in halves {
        all.extend(half?);
    }
    Ok(all)
}

#[test]
fn no_invariant_breaks() {
    if let Some(seed) = number("TORC_SIM_SEED") {
        match run(seed, true) {
            Ok(report) => println!("seed {seed}: {report:?}"),
            Err(violation) => panic!("\n{violation}"),
        }
        return;
    }
    let count = number("TORC_SIM_SEEDS").unwrap_or(200);
    let reports = match run_all(1, count, None) {
        Ok(reports) => reports,
        Err(violation) => panic!("\n{violation}"),
    };
    let sum = |field: fn(&Report) -> u64| reports.iter().map(field).sum::<u64>();
    println!(
        "{count} seeds: {} faults, {} crashes, {} elections, {} promotions, {} resets, {} operations, \
         {} acknowledged, {} refused, {} uncertain",
        sum(|r| r.faults),
        sum(|r| r.crashes),
        sum(|r| r.elections),
        sum(|r| r.promotions),
        sum(|r| r.resets),
        sum(|r| r.operations),
        sum(|r| r.acknowledged),
        sum(|r| r.refused),
        sum(|r| r.uncertain)
    );
    // A simulation in which nothing happens proves nothing.
    assert!(sum(|r| r.faults) > count * 5);
    assert!(sum(|r| r.promotions) > count * 3);
    assert!(sum(|r| r.acknowledged) > count * 100);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let first = run(42, false).expect("no violation");
    assert_eq!(run(42, false).expect("no violation"), first);
    assert_ne!(run(43, false).expect("no violation").trace, first.trace);
}

/// Each rule, broken on purpose, is noticed.
mod planted {
    use super::*;

    /// Looks from the seed that found it last, then from the first on.
    fn found(bug: Bug, hint: u64) {
        let most = number("TORC_SIM_SEEDS").unwrap_or(600);
        let from_hint = std::iter::once((hint, 2));
        for (first, count) in from_hint.chain((1..most).step_by(8).map(|first| (first, 8))) {
            if let Err(violation) = run_all(first, count, Some(bug)) {
                println!("{bug:?} found by seed {}: {}", violation.seed, violation.what);
                return;
            }
        }
        panic!("{bug:?} was not found within {most} seeds");
    }

    macro_rules! planted {
        ($($name:ident: $bug:ident from $hint:literal,)*) => {
            $(#[test]
            fn $name() {
                found(Bug::$bug, $hint);
            })*
        };
    }

    planted! {
        grant_without_quorum: GrantWithoutQuorum from 18,
        lease_ignored_at_promotion: LeaseIgnoredAtPromotion from 2,
        no_wait_after_election: NoWaitAfterElection from 9,
        committed_set_only: CommittedSetOnly from 3,
        mark_moves_below_minimum: MarkMovesBelowMinimum from 6,
        offset_without_term: OffsetWithoutTerm from 28,
        divergent_tail_kept: DivergentTailKept from 7,
        incarnation_ignored: IncarnationIgnored from 3,
        report_without_seal: ReportWithoutSeal from 3,
        mark_starts_at_last: MarkStartsAtLast from 15,
        discard_while_in_set: DiscardWhileInSet from 12,
        lease_checked_once: LeaseCheckedOnce from 205,
        strong_read_not_held: StrongReadNotHeld from 2,
        lease_from_grant: LeaseFromGrant from 255,
        refusal_settles: RefusalSettles from 72,
        half_sync_counts: HalfSyncCounts from 224,
        reign_ignored: ReignIgnored from 211,
    }
}
