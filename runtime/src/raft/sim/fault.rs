//! What goes wrong, and the healing.

use super::executor::{Host, MS, chance, now, range};
use super::world::World;

/// Sudden faults, by the names in reports.
pub(super) const KINDS: [&str; 7] =
    ["crash", "crash-leader", "pause", "cut-one-way", "cut-both-ways", "disk-fails", "disk-wiped"];

/// The parameters of a run.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    pub(super) delay_us: u64,
    pub(super) loss_permille: u64,
    pub(super) repeat_permille: u64,
    pub(super) slow_permille: u64,
    pub(super) slow_ms: u64,
    pub(super) tear_permille: u64,
    /// Consensus promises its safety whatever the clocks do: far beyond the bound of leases.
    pub(super) drift_ppm: u64,
    pub(super) gap_ms: u64,
    weights: [u64; KINDS.len()],
}

impl Faults {
    pub(super) fn drawn() -> Self {
        let mut weights = [0; KINDS.len()];
        weights.iter_mut().for_each(|weight| *weight = range(1, 10));
        Self {
            delay_us: range(300, 4_000),
            loss_permille: range(0, 20),
            repeat_permille: range(0, 20),
            slow_permille: range(0, 20),
            slow_ms: range(20, 200),
            tear_permille: range(0, 4),
            drift_ppm: range(0, 100_000),
            gap_ms: range(800, 4_000),
            weights,
        }
    }
}

impl World {
    pub(super) fn fault(&mut self) {
        let mut drawn = range(0, self.faults.weights.iter().sum());
        let mut kind = 0;
        while drawn >= self.faults.weights[kind] {
            drawn -= self.faults.weights[kind];
            kind += 1;
        }
        let hosts: Vec<Host> = self.ids.keys().copied().collect();
        let any = hosts[range(0, hosts.len() as u64) as usize];
        let leader = self.leader().unwrap_or(any);
        let victim = if chance(400) { leader } else { any };
        match KINDS[kind] {
            "crash" => self.crash(any),
            "crash-leader" => self.crash(leader),
            "pause" => {
                let for_ns = range(50 * MS, 1_500 * MS);
                self.executor.pause(victim, for_ns);
                self.shared.net.check.lock().hearing.slept(self.ids[&victim], now() + for_ns);
            }
            name @ ("cut-one-way" | "cut-both-ways") => {
                let (share, both) = (range(400, 1_001), name == "cut-both-ways");
                let mut links = Vec::new();
                for other in hosts.iter().copied().filter(|other| *other != victim) {
                    if !chance(share) {
                        continue;
                    }
                    let out = chance(500);
                    if both || out {
                        links.push((victim, other));
                    }
                    if both || !out {
                        links.push((other, victim));
                    }
                }
                self.shared.net.links.lock().cut(&links);
                self.uncut.push((now() + range(100 * MS, 2_500 * MS), links));
            }
            "disk-fails" => self.disks[&victim].fail(),
            _ => {
                // One at a time, and only while all others are there to remember.
                let all = self.shared.net.voters.lock().len() == self.ids.len();
                if *self.shared.changing.lock() || !all {
                    return;
                }
                self.wipe(any);
            }
        }
        *self.report.faults.entry(KINDS[kind]).or_default() += 1;
    }

    pub(super) fn leader(&self) -> Option<Host> {
        let voters = self.shared.net.voters.lock();
        voters.iter().find(|(_, voter)| voter.leader().borrow().is_self).map(|(host, _)| *host)
    }

    /// The process dies; what its disk was told and had not synced is there or not, sector by sector.
    pub(super) fn crash(&mut self, host: Host) {
        let voter = self.shared.net.voters.lock().remove(&host);
        self.executor.kill(host);
        self.disks[&host].crash();
        drop(voter);
        let until = now() + range(20 * MS, 2_000 * MS);
        self.down.insert(host, until);
    }

    /// The disk is empty: whoever starts there is another voter, which the others have to take in.
    fn wipe(&mut self, host: Host) {
        self.crash(host);
        self.disks[&host].wipe();
        let old = self.ids[&host];
        let new = old + 100;
        self.ids.insert(host, new);
        self.shared.replace(old, new, host);
    }

    /// No more faults; everybody is up and reachable.
    pub(super) fn heal(&mut self) {
        self.shared.net.links.lock().heal();
        self.uncut.clear();
        self.executor.resume_all();
        self.down.values_mut().for_each(|until| *until = now());
    }
}
