//! Partitions that stay, without other faults: a majority that can elect does.

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use super::super::bugs::{Bug, plant};
use super::disk::SimDisk;
use super::executor::{Host, MS, chance, range};
use super::tests::number;
use super::world::World;

/// Seeds that run with the other tests; `TORC_RAFT_SIM_SEEDS` runs more.
const SEEDS: u64 = 20;

/// In which a whole group elects.
const ELECTED_MS: u64 = 3_000;
/// In which a majority elects of which some hear a leader that does not lead it any more: that has to fall silent first.
const PARTED_MS: u64 = 6_000;

/// Voters that come up without faults, and who of them leads.
fn led(seed: u64) -> Result<(World, Host), String> {
    let mut world = World::new(seed);
    world.shared.net.links.lock().heal();
    world.disks.values().for_each(SimDisk::be_steady);
    world.begin();
    world.advance(ELECTED_MS * MS)?;
    let leader = world.leader().ok_or("nobody leads")?;
    Ok((world, leader))
}

/// A majority is whole; any other links are cut, one way or both. The old leader is in it or not.
fn elects(seed: u64) -> Result<(), String> {
    let (mut world, leader) = led(seed)?;
    let mut hosts: Vec<Host> = world.ids.keys().copied().collect();
    let majority = hosts.len() / 2 + 1;
    let mut whole = BTreeSet::new();
    while whole.len() < majority {
        whole.insert(hosts.swap_remove(range(0, hosts.len() as u64) as usize));
    }
    let cut_permille = range(300, 1_000);
    let all: Vec<Host> = world.ids.keys().copied().collect();
    let pairs = all.iter().flat_map(|from| all.iter().map(move |to| (*from, *to)));
    let outside = pairs.filter(|(from, to)| from != to && !(whole.contains(from) && whole.contains(to)));
    let links: Vec<(Host, Host)> = outside.filter(|_| chance(cut_permille)).collect();
    world.shared.net.links.lock().cut(&links);
    world.advance(PARTED_MS * MS)?;
    let progress = |world: &World| {
        let check = world.shared.net.check.lock();
        (check.acknowledgements(), check.confirmed)
    };
    let before = progress(&world);
    world.advance(PARTED_MS * MS)?;
    let after = progress(&world);
    if before.0 == after.0 || before.1 == after.1 {
        return Err(format!(
            "{leader} led, {whole:?} are whole, {links:?} are cut, and nothing is agreed on"
        ));
    }
    Ok(())
}

fn each(first: u64, count: u64, run: fn(u64) -> Result<(), String>) -> Result<(), String> {
    (first..first + count).try_for_each(|seed| {
        let ended = catch_unwind(|| run(seed)).unwrap_or_else(|_| Err("panicked".to_owned()));
        ended.map_err(|what| format!("seed {seed}: {what}"))
    })
}

fn holds(run: fn(u64) -> Result<(), String>) {
    let seeds = number("TORC_RAFT_SIM_SEEDS").unwrap_or(SEEDS);
    each(number("TORC_RAFT_SIM_FIRST").unwrap_or(1), seeds, run).unwrap();
}

fn found(bug: Bug, run: fn(u64) -> Result<(), String>) {
    plant(Some(bug));
    let found = each(1, 1_000, run);
    plant(None);
    println!("{bug:?} from {}", found.expect_err("not found"));
}

#[test]
fn a_majority_that_can_elect_elects() {
    holds(elects);
}

#[test]
fn a_leader_that_is_never_silent_holds_an_election_up() {
    found(Bug::LeaderNeverSilent, elects);
}
