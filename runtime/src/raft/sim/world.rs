//! The driver of a run: hosts, voters, the course of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::{Consensus, ConsensusConfig, VoterId};
use super::disk::SimDisk;
use super::executor::{Executor, Host, MS, mix, now, range, spawn_on};
use super::fault::Faults;
use super::net::{Links, Net, SimTransport};

/// Simulated ms after the heal in which the voters must have come together.
const CONVERGE_MS: u64 = 60_000;
const CLIENTS: u64 = 3;

/// What a run was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) simulated_ms: u64,
    pub(super) voters: u64,
    /// Sudden faults that really happened, by the name of their kind.
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Crashes that left a part of what was being written.
    pub(super) torn_writes: u64,
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) slow: u64,
    pub(super) torn_frames: u64,
    pub(super) operations: u64,
    pub(super) acknowledged: u64,
    pub(super) confirmed: u64,
    pub(super) refused: u64,
    pub(super) uncertain: u64,
    /// Leaders, each term's counted by itself.
    pub(super) terms: u64,
    /// Voters that stood for election, each term's counted by itself.
    pub(super) stood: u64,
    /// Changes of the voters that were agreed on.
    pub(super) memberships: u64,
    /// The same for the same seed.
    pub(super) trace: u64,
}

impl Report {
    pub(super) fn faults(&self) -> u64 {
        self.faults.values().sum()
    }
}

/// What drives a run and is shared with its tasks.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) net: Net,
    /// Hosts whose storage failed: the process ends.
    pub(super) failed: Arc<Mutex<Vec<Host>>>,
    /// Clients go on.
    pub(super) working: Arc<Mutex<bool>>,
    pub(super) operations: Arc<Mutex<u64>>,
    /// A change of the voters is under way.
    pub(super) changing: Arc<Mutex<bool>>,
    pub(super) memberships: Arc<Mutex<u64>>,
}

pub(super) struct World {
    pub(super) executor: Executor,
    pub(super) shared: Shared,
    pub(super) faults: Faults,
    pub(super) disks: BTreeMap<Host, SimDisk>,
    /// Who lives on each host now; a wiped disk has another one.
    pub(super) ids: BTreeMap<Host, VoterId>,
    /// Hosts that are down, and until when.
    pub(super) down: BTreeMap<Host, u64>,
    pub(super) uncut: Vec<(u64, Vec<(Host, Host)>)>,
    pub(super) report: Report,
    config: ConsensusConfig,
}

/// Voters know the network, and the network knows the voters.
impl Drop for World {
    fn drop(&mut self) {
        let voters = std::mem::take(&mut *self.shared.net.voters.lock());
        drop(voters);
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let executor = Executor::new(seed);
        let voters = if range(0, 3) == 0 { 5 } else { 3 };
        let faults = Faults::drawn();
        let drift = faults.drift_ppm;
        for host in 1..=voters {
            executor.add_host(
                host,
                range(1_000 * MS, 1_000_000 * MS),
                range(1_000_000 - drift, 1_000_001 + drift),
            );
        }
        let links = Links {
            delay_us: faults.delay_us,
            loss_permille: faults.loss_permille,
            repeat_permille: faults.repeat_permille,
            slow_permille: faults.slow_permille,
            slow_ms: faults.slow_ms,
            tear_permille: faults.tear_permille,
            ..Links::default()
        };
        let net = Net { links: Arc::new(Mutex::new(links)), voters: Arc::default(), check: Arc::default() };
        let shared = Shared {
            net,
            failed: Arc::default(),
            working: Arc::new(Mutex::new(true)),
            operations: Arc::default(),
            changing: Arc::default(),
            memberships: Arc::default(),
        };
        let config = ConsensusConfig {
            snapshot_entries: range(20, 80),
            keep_entries: range(1, 20),
            ..ConsensusConfig::default()
        };
        Self {
            executor,
            shared,
            faults,
            disks: (1..=voters).map(|host| (host, SimDisk::default())).collect(),
            ids: (1..=voters).map(|host| (host, host)).collect(),
            down: BTreeMap::new(),
            uncut: Vec::new(),
            report: Report { voters, ..Report::default() },
            config,
        }
    }

    /// Starts the voters as one group, and clients.
    pub(super) fn begin(&mut self) {
        for host in self.ids.keys().copied().collect::<Vec<_>>() {
            self.start(host);
        }
        self.executor.run_until(10 * MS);
        self.shared.init(self.ids.clone());
        for client in 0..CLIENTS {
            self.shared.client(client);
        }
    }

    /// Runs with faults for `millis`, heals, and waits until the voters have come together.
    pub(super) fn run(mut self, millis: u64) -> Result<Report, String> {
        self.begin();
        let mut next_fault = now() + 1_000 * MS;
        while now() < millis * MS {
            self.advance(20 * MS)?;
            if now() >= next_fault {
                let gap = self.faults.gap_ms * MS;
                next_fault = now() + range(gap / 2, gap * 3 / 2);
                self.fault();
            }
        }
        self.heal();
        let healed = now();
        while now() < healed + 5_000 * MS
            || (*self.shared.changing.lock() && now() < healed + CONVERGE_MS * MS)
        {
            self.advance(20 * MS)?;
        }
        *self.shared.working.lock() = false;
        let quiet = now();
        while now() < quiet + 5_000 * MS {
            self.advance(20 * MS)?;
        }
        self.finish()
    }

    pub(super) fn advance(&mut self, ns: u64) -> Result<(), String> {
        self.executor.run_until(now() + ns);
        let failed = std::mem::take(&mut *self.shared.failed.lock());
        for host in failed {
            self.crash(host);
        }
        let up: Vec<Host> =
            self.down.iter().filter(|(_, until)| **until <= now()).map(|(host, _)| *host).collect();
        for host in up {
            self.down.remove(&host);
            self.start(host);
        }
        let (over, later) =
            std::mem::take(&mut self.uncut).into_iter().partition(|(until, _)| *until <= now());
        self.uncut = later;
        let over: Vec<(u64, Vec<(Host, Host)>)> = over;
        over.iter().for_each(|(_, links)| self.shared.net.links.lock().uncut(links));
        match self.shared.net.check.lock().violation() {
            Some(what) => Err(format!("at {} ms: {what}", now() / MS)),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Report, String> {
        let voters = self.shared.net.voters.lock().clone();
        let states: Vec<(VoterId, Vec<u64>)> =
            voters.values().map(|voter| (voter.id(), voter.state().0.clone())).collect();
        let mut check = self.shared.net.check.lock();
        check.demand(voters.len() == self.ids.len(), || "a voter did not come back".to_owned());
        check.demand(!*self.shared.changing.lock(), || "the voters could not be changed".to_owned());
        let leaders = voters.values().filter(|voter| voter.leader().borrow().is_self).count();
        check.demand(leaders == 1, || format!("{leaders} voters lead after the heal"));
        for voter in voters.values() {
            let status = voter.status().borrow().clone();
            let members: Vec<VoterId> = status.voters.keys().copied().collect();
            let mut ids: Vec<VoterId> = self.ids.values().copied().collect();
            ids.sort_unstable();
            check.demand(members == ids, || {
                format!("voter {} knows the voters {members:?}, not {ids:?}", voter.id())
            });
        }
        check.end(&states);
        if let Some(what) = check.violation() {
            return Err(format!("at the end: {what}"));
        }
        let report = &mut self.report;
        let links = self.shared.net.links.lock();
        (report.sent, report.lost, report.repeated) = (links.sent, links.lost, links.repeated);
        (report.slow, report.torn_frames) = (links.slow, links.torn);
        report.torn_writes = self.disks.values().map(SimDisk::torn).sum();
        report.simulated_ms = now() / MS;
        report.operations = *self.shared.operations.lock();
        report.acknowledged = check.acknowledgements();
        report.confirmed = check.confirmed;
        report.refused = check.refused;
        report.uncertain = check.uncertain;
        report.terms = check.terms();
        report.stood = check.hearing.candidacies();
        report.memberships = *self.shared.memberships.lock();
        for (_, state) in &states {
            state.iter().for_each(|number| mix(*number));
        }
        report.trace = self.executor.trace();
        let report = report.clone();
        drop((links, check));
        Ok(report)
    }

    /// A process starts on a host, on what its disk has.
    pub(super) fn start(&mut self, host: Host) {
        let (Some(disk), Some(id)) = (self.disks.get(&host).cloned(), self.ids.get(&host).copied()) else {
            return;
        };
        let (shared, config) = (self.shared.clone(), self.config.clone());
        self.shared.net.check.lock().restarted(id);
        spawn_on(host, async move {
            let transport = Arc::new(SimTransport { host, net: shared.net.clone() });
            let opened = match disk.open(id) {
                Ok((disk, contents)) => {
                    let path = PathBuf::from("simulated.redb");
                    Consensus::start(path, id, config, transport, disk, contents).await
                }
                Err(error) => Err(error.into()),
            };
            match opened {
                Ok(voter) => {
                    shared.net.voters.lock().insert(host, voter.clone());
                    shared.watch(host, voter);
                }
                // A disk may fail while it starts; it may never be found damaged.
                Err(error) if error.to_string().contains("damaged") => {
                    shared.net.check.lock().demand(false, || format!("voter {id} cannot start: {error}"));
                }
                Err(_) => shared.failed.lock().push(host),
            }
        });
    }
}
