//! What goes wrong, and the healing.

use super::network::{Host, MS};
use super::node::Node;
use super::world::{CONTROL_HOSTS, Event, World, member};
use crate::controller::Event as ControlEvent;
use crate::ids::ShardId;

impl World {
    pub(super) fn fault(&mut self) {
        if !self.faults_on {
            return;
        }
        let pause = self.rng.range(100 * MS, 700 * MS);
        self.after(pause, Event::Fault);
        self.check.report.faults += 1;
        let total: u64 = self.fault_weights.iter().sum::<u64>().max(1);
        let mut drawn = self.rng.range(0, total);
        let mut kind = 0;
        while kind < self.fault_weights.len() - 1 && drawn >= self.fault_weights[kind] {
            drawn -= self.fault_weights[kind];
            kind += 1;
        }
        match kind {
            0 => {
                let index = self.victim();
                self.crash(index);
            }
            1 => {
                let any = self.rng.index(CONTROL_HOSTS + self.nodes.len());
                let primary = CONTROL_HOSTS + self.victim();
                let host = if self.rng.chance(500) { primary } else { any };
                let long = self.rng.range(50 * MS, 1_500 * MS);
                self.paused_until[host] = self.paused_until[host].max(self.now + long);
                self.check.note(self.now, || format!("pause h{host} for {} ms", long / MS));
            }
            2 => {
                let host = self.rng.index(CONTROL_HOSTS + self.nodes.len());
                let long = self.rng.range(100 * MS, 2_000 * MS);
                self.cut(host, long);
            }
            4 => self.cut_and_crash(),
            3 => {
                if let Some(old) = self.consensus.leader {
                    if self.rng.chance(400) {
                        self.leave_behind(old);
                    }
                    self.elect();
                }
            }
            _ => {
                let shard = ShardId(self.rng.index(self.consensus.map.shards.len()) as u16);
                if let Some(host) = self.consensus.leader {
                    self.control_step(host, ControlEvent::FailoverRequested { shard, to: None });
                }
            }
        }
    }

    /// A primary that hears only the old leader of the control plane.
    fn leave_behind(&mut self, old: Host) {
        let primary = CONTROL_HOSTS + self.victim();
        let others = (0..CONTROL_HOSTS + self.nodes.len()).filter(|host| *host != old && *host != primary);
        let links: Vec<_> = others.flat_map(|host| [(host, primary), (primary, host)]).collect();
        links.iter().for_each(|(from, to)| self.network.set_cut(*from, *to, true));
        self.check.note(self.now, || format!("h{primary} hears h{old} only"));
        let long = self.rng.range(500 * MS, 2_000 * MS);
        self.after(long, Event::Uncut(links));
    }

    /// Rather a primary: that is where the danger is.
    fn victim(&mut self) -> usize {
        let index = self.rng.index(self.nodes.len());
        let shard = ShardId(self.rng.index(self.consensus.map.shards.len()) as u16);
        let primary = self.consensus.map.shard(shard).and_then(|shard| shard.primary);
        match primary {
            Some(primary) if self.rng.chance(500) => primary.node.0 as usize - 1,
            _ => index,
        }
    }

    /// A replica is cut off and falls behind; then the primary dies.
    fn cut_and_crash(&mut self) {
        let shard = ShardId(self.rng.index(self.consensus.map.shards.len()) as u16);
        let map = self.consensus.map.clone();
        let Some(shard) = map.shard(shard) else { return };
        let Some(primary) = shard.primary else { return };
        let replicas: Vec<_> = shard.members.iter().filter(|node| **node != primary.node).collect();
        if replicas.is_empty() {
            return;
        }
        let replica = *replicas[self.rng.index(replicas.len())];
        let host = self.host_of(replica);
        let long = self.rng.range(200 * MS, 1_200 * MS);
        self.cut(host, long);
        // While it is away, or just when it is taking anew what it missed.
        let early = self.rng.chance(500);
        let later =
            if early { self.rng.range(20 * MS, long) } else { long + self.rng.range(20 * MS, 300 * MS) };
        self.after(later, Event::Crash(primary.node.0 as usize - 1));
    }

    /// A node dies and forgets everything.
    pub(super) fn crash(&mut self, index: usize) {
        if !self.faults_on {
            return;
        }
        if self.nodes[index].take().is_some() {
            self.check.report.crashes += 1;
            self.check.note(self.now, || format!("crash n{}", index + 1));
            let down = self.rng.range(20 * MS, 1_500 * MS);
            self.after(down, Event::Restart(CONTROL_HOSTS + index));
        }
    }

    pub(super) fn restart(&mut self, host: usize) {
        let index = host - CONTROL_HOSTS;
        self.incarnations[index] += 1;
        let member = member(index, self.incarnations[index]);
        self.check.note(self.now, || format!("start {member}"));
        let backlog = self.backlog();
        self.nodes[index] = Some(Node::new(member, self.consensus.map.clone(), backlog));
    }

    /// Records that a node's backlog keeps: few with one, many with another.
    pub(super) fn backlog(&mut self) -> usize {
        let short = self.rng.chance(500);
        let (least, most) = if short { (3, 20) } else { (100, 200) };
        self.rng.range(least, most) as usize
    }

    /// Links go, one way or both, of one host to some others.
    fn cut(&mut self, host: Host, long: u64) {
        let hosts = CONTROL_HOSTS + self.nodes.len();
        let both = self.rng.chance(600);
        let share = self.rng.range(300, 1_001);
        let mut links = Vec::new();
        for other in (0..hosts + self.clients.len()).filter(|other| *other != host) {
            if self.rng.chance(share) {
                let out = self.rng.chance(500);
                if both || out {
                    links.push((host, other));
                }
                if both || !out {
                    links.push((other, host));
                }
            }
        }
        links.iter().for_each(|(from, to)| self.network.set_cut(*from, *to, true));
        self.check.note(self.now, || format!("cut {links:?} for {} ms", long / MS));
        self.after(long, Event::Uncut(links));
    }

    /// No more faults; everybody is up and reachable.
    pub(super) fn heal(&mut self) {
        self.faults_on = false;
        self.network.heal();
        self.paused_until.fill(0);
        self.check.note(self.now, || "heal".to_string());
        if self.consensus.leader.is_none() {
            self.elect();
        }
    }
}
