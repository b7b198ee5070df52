//! Real nodes die, sleep, are cut off and stall under clients whose histories are judged.
//!
//! What must hold at `in-sync` + `strong`: every register is linearizable; counters, sets and lists lost nothing that
//! was acknowledged and hold nothing twice; no client sees an error that does not say what happened; and when all is
//! well again, every member of a shard holds the same.
//!
//! `TORC_FAULT_ROUNDS` makes it longer, `TORC_FAULT_SEED` draws other victims and requests (`just faults`).

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use torc_tests::fleet::{Fleet, Place, Plan};
use torc_tests::history::{History, Op, Outcome};
use torc_tests::netns::Network;
use torc_tests::recorder::{self, Recorder, Recording};
use torc_tests::relay::Way;

/// Three hosts, on each a member of either shard: any one host may go.
const PLAN: Plan = Plan { shards: 2, replicas: 2, hosts: 3 };
const CLIENTS: usize = 6;
/// Writes that are acknowledged between two faults.
const SOME: usize = 60;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Faults of one test.
fn rounds(default: u64) -> u64 {
    from_env("TORC_FAULT_ROUNDS", default)
}

/// A cluster, clients that write down what they see, and the choice of victims.
struct Trial {
    fleet: Fleet,
    recorder: Recorder,
    random: StdRng,
    // One cluster at a time: on a few cores each would be the other's fault.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Trial {
    fn start(place: impl FnOnce() -> Option<Place>) -> Option<Trial> {
        let turn = TURN.lock();
        let fleet = Fleet::start(PLAN, place()?);
        let seed = from_env("TORC_FAULT_SEED", 1);
        println!("TORC_FAULT_SEED={seed}, lease {:?}", fleet.lease());
        let plan = recorder::Plan {
            clients: CLIENTS,
            tags: (0..PLAN.shards).map(|shard| fleet.tag(shard)).collect(),
            ack: "in-sync",
            read: "strong",
            seed,
        };
        let recorder = Recorder::start(fleet.proxy(), plan);
        recorder.wait_more(SOME);
        Some(Trial { fleet, recorder, random: StdRng::seed_from_u64(seed), _turn: turn })
    }

    fn shard(&mut self) -> u16 {
        self.random.random_range(0..PLAN.shards)
    }

    /// The primary of some shard, the node that leads the control plane, or any node.
    fn victim(&mut self, round: u64) -> u64 {
        match round % 3 {
            0 => {
                let shard = self.shard();
                self.fleet.primary(shard)
            }
            1 => self.fleet.leader(),
            _ => {
                let ids: Vec<u64> = self.fleet.nodes().iter().map(|node| node.id).collect();
                *ids.choose(&mut self.random).expect("there are nodes")
            }
        }
    }

    /// Some time around the lease: shorter, about as long, or several times.
    fn while_it_lasts(&mut self) -> Duration {
        self.fleet.lease().mul_f64(*[0.4, 1.0, 1.3, 2.5].choose(&mut self.random).expect("there are some"))
    }

    /// After a fault was healed: writes go on, and the cluster comes to be whole again by itself.
    fn recovers(&self, what: &str, since: Instant) {
        self.recorder.wait_more(SOME);
        self.fleet.wait_whole();
        println!("{what}: whole again after {:.2} s", since.elapsed().as_secs_f64());
    }

    fn finish(self) -> Recording {
        self.fleet.wait_whole();
        let recording = self.recorder.finish();
        println!("{}", recording.summary());
        recording.check();
        self.fleet.wait_equal();
        recording
    }
}

#[test]
fn histories_are_right_while_nodes_die_and_sleep() {
    let Some(mut trial) = Trial::start(|| Some(Place::Loopback)) else { return };
    for round in 0..rounds(4) {
        let (victim, began) = (trial.victim(round), Instant::now());
        let what = if round % 2 == 0 {
            trial.fleet.node(victim).kill();
            // Sometimes it is back, empty, before anybody has noticed that it was gone.
            let away = trial.while_it_lasts();
            std::thread::sleep(away);
            trial.fleet.restart(victim);
            format!("node {victim} was killed and away for {away:?}")
        } else {
            let asleep = trial.while_it_lasts();
            trial.fleet.node(victim).pause();
            std::thread::sleep(asleep);
            trial.fleet.node(victim).wake();
            format!("node {victim} slept for {asleep:?}")
        };
        trial.recovers(&what, began);
    }
    let recording = trial.finish();
    planted_errors_are_found(&recording.history);
}

#[test]
fn histories_are_right_while_hosts_are_cut_off() {
    // The last host is the proxy's.
    let Some(mut trial) = Trial::start(|| Some(Place::Namespaces(Network::make(PLAN.hosts + 1)?))) else {
        return;
    };
    for round in 0..rounds(4) {
        let (victim, began) = (trial.victim(round), Instant::now());
        let host = trial.fleet.node(victim).host;
        let time = trial.while_it_lasts();
        let network = trial.fleet.network().expect("namespaces");
        let what = if round % 2 == 0 {
            network.cut(host);
            std::thread::sleep(time);
            network.heal(host);
            format!("host {host} was cut off for {time:?}")
        } else {
            // One way: what it sends to one other host, or to both, vanishes.
            let others: Vec<usize> = (0..PLAN.hosts).filter(|other| *other != host).collect();
            let deaf = &others[..trial.random.random_range(1..=others.len())];
            deaf.iter().for_each(|other| network.mute(host, *other));
            std::thread::sleep(time);
            deaf.iter().for_each(|other| network.unmute(host, *other));
            format!("hosts {deaf:?} did not hear host {host} for {time:?}")
        };
        trial.recovers(&what, began);
    }
    trial.finish();
}

#[test]
fn histories_are_right_while_connections_stall_and_break() {
    let Some(mut trial) = Trial::start(|| Some(Place::Relayed)) else { return };
    for round in 0..rounds(4) {
        let (victim, began) = (trial.victim(round), Instant::now());
        let (time, kind) = (trial.while_it_lasts(), round % 4);
        let broken = trial.random.random_range(1..4);
        let relays = trial.fleet.node(victim).relays();
        let what = match kind {
            0 => {
                for _ in 0..broken {
                    relays.iter().for_each(|relay| relay.break_all());
                    std::thread::sleep(time / broken);
                }
                format!("connections to node {victim} broke {broken} times")
            }
            1 => {
                relays.iter().for_each(|relay| relay.cut(Way::In));
                std::thread::sleep(time);
                format!("node {victim} heard no request for {time:?}")
            }
            2 => {
                // Requests arrive and are executed, answers are lost with the connection.
                relays.iter().for_each(|relay| relay.cut(Way::Out));
                std::thread::sleep(time);
                relays.iter().for_each(|relay| relay.break_all());
                format!("answers of node {victim} were lost for {time:?}")
            }
            _ => {
                relays.iter().for_each(|relay| relay.delay(Duration::from_millis(15)));
                std::thread::sleep(time);
                format!("node {victim} was far away for {time:?}")
            }
        };
        relays.iter().for_each(|relay| relay.heal());
        trial.recovers(&what, began);
    }
    trial.finish();
}

/// The checkers are not blind: errors put into the history that was just recorded are found.
fn planted_errors_are_found(history: &History) {
    type Plant = fn(&mut History) -> Option<()>;
    let plants: [(&str, Plant); 5] = [
        ("a stale read", |history| {
            // The last read of a register is made to see the first value that was acknowledged.
            let last = last_read(history, Op::Get)?;
            let key = history.0[last].key.clone();
            let first = history.0.iter().find(|e| e.key == key && e.op.is_write() && e.is_ok())?;
            let Op::Set(value) = first.op else { return None };
            history.0[last].outcome = Outcome::Value(Some(value));
            Some(())
        }),
        ("a lost register", |history| {
            let last = last_read(history, Op::Get)?;
            history.0[last].outcome = Outcome::Value(None);
            Some(())
        }),
        ("an increment that counted twice", |history| {
            let last = last_read(history, Op::Count)?;
            let key = history.0[last].key.clone();
            // More than uncertain ones could explain.
            let sent = history.0.iter().filter(|e| e.key == key && e.op == Op::Incr).count() as u64;
            history.0[last].outcome = Outcome::Number(sent + 1);
            Some(())
        }),
        ("a lost member", |history| {
            let last = last_read(history, Op::Members)?;
            let Outcome::All(members) = &history.0[last].outcome else { return None };
            let kept = members.iter().skip(1).copied().collect();
            let gone = *members.first()?;
            let known = history.0.iter().find(|e| e.op == Op::Add(gone))?.is_ok();
            history.0[last].outcome = Outcome::All(kept);
            // An uncertain one may be missing.
            known.then_some(())
        }),
        ("a doubled element", |history| {
            let last = last_read(history, Op::List)?;
            let Outcome::All(members) = &mut history.0[last].outcome else { return None };
            members.push(*members.first()?);
            Some(())
        }),
    ];
    for (what, plant) in plants {
        let mut bad = history.clone();
        if plant(&mut bad).is_some() {
            assert_eq!(bad.violations().len(), 1, "{what} was planted");
        } else {
            println!("{what} could not be planted");
        }
    }
}

/// The last answered read of this kind that saw something.
fn last_read(history: &History, op: Op) -> Option<usize> {
    history.0.iter().rposition(|event| {
        let saw = match &event.outcome {
            Outcome::Value(value) => value.is_some(),
            Outcome::Number(number) => *number > 0,
            Outcome::All(members) => !members.is_empty(),
            _ => false,
        };
        event.op == op && saw
    })
}
