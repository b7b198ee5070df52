//! What goes wrong, and the healing.

use super::control::ControlHost;
use super::message::{Message, Op, Request};
use super::network::{Host, MS};
use super::node::Node;
use super::plan::{Faults, Kind};
use super::world::{CONTROL_HOSTS, Event, World, member};
use crate::controller::Event as ControlEvent;
use crate::history::History;
use crate::ids::{Member, NodeId, Offset, Position, ShardId, Term};
use crate::map::{MapCommand, Settings};
use crate::message::{HelloReply, ReplicaHello};

impl World {
    pub(super) fn fault(&mut self) {
        if !self.faults_on {
            return;
        }
        let gap = self.faults.gap_ms * MS;
        let pause = self.rng.range(gap / 2, gap * 3 / 2);
        self.after(pause, Event::Fault);
        match self.faults.kind(&mut self.rng) {
            Kind::Crash => {
                let index = self.victim();
                self.crash(index);
            }
            Kind::CrashControl => {
                let host = self.rng.index(CONTROL_HOSTS);
                self.crash_control(host);
            }
            Kind::Pause => {
                let any = self.rng.index(CONTROL_HOSTS + self.nodes.len());
                let primary = CONTROL_HOSTS + self.victim();
                let host = if self.rng.chance(500) { primary } else { any };
                let long = Faults::lasts(&mut self.rng, self.faults.pause_ms);
                self.paused_until[host] = self.paused_until[host].max(self.now + long);
                self.check.fault(Kind::Pause.name());
                self.check.note(self.now, || format!("pause h{host} for {} ms", long / MS));
            }
            kind @ (Kind::CutOneWay | Kind::CutBothWays) => {
                let host = self.rng.index(CONTROL_HOSTS + self.nodes.len());
                let long = Faults::lasts(&mut self.rng, self.faults.cut_ms);
                self.cut(host, long, kind == Kind::CutBothWays);
            }
            Kind::NewLeader => {
                if let Some(old) = self.consensus.leader {
                    if self.rng.chance(400) {
                        self.leave_behind(old);
                    }
                    self.check.fault(Kind::NewLeader.name());
                    self.elect();
                }
            }
            Kind::CutAndCrash => self.cut_and_crash(),
            Kind::LagAndCrash => self.lag_and_crash(),
            Kind::MinimumChanged => {
                self.check.fault(Kind::MinimumChanged.name());
                let other = if self.rng.chance(500) { 1 } else { 3 };
                self.set_minimum(other);
                let long = Faults::lasts(&mut self.rng, self.faults.cut_ms);
                self.after(long, Event::Minimum);
            }
            Kind::FailoverAsked => {
                let shard = ShardId(self.rng.index(self.consensus.map.shards.len()) as u16);
                self.ask_failover(shard);
            }
        }
    }

    pub(super) fn ask_failover(&mut self, shard: ShardId) {
        if let Some(host) = self.consensus.leader.filter(|_| self.faults_on) {
            self.check.fault(Kind::FailoverAsked.name());
            self.control_step(host, ControlEvent::FailoverRequested { shard, to: None, term: None });
        }
    }

    /// A primary that hears only the old leader of the control plane.
    fn leave_behind(&mut self, old: Host) {
        let primary = CONTROL_HOSTS + self.victim();
        let others = (0..CONTROL_HOSTS + self.nodes.len()).filter(|host| *host != old && *host != primary);
        let links: Vec<_> = others.flat_map(|host| [(host, primary), (primary, host)]).collect();
        self.network.cut(&links);
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

    /// A primary and the other nodes of its shard, the first of them any.
    fn group(&mut self) -> Option<(Member, Vec<NodeId>)> {
        let shard = ShardId(self.rng.index(self.consensus.map.shards.len()) as u16);
        let map = self.consensus.map.clone();
        let shard = map.shard(shard)?;
        let primary = shard.primary?;
        let mut replicas: Vec<_> =
            shard.members.iter().copied().filter(|node| *node != primary.node).collect();
        if replicas.is_empty() {
            return None;
        }
        let any = self.rng.index(replicas.len());
        replicas.swap(0, any);
        Some((primary, replicas))
    }

    /// A replica is cut off for longer than the backlog lasts and has to leave the sets. Back again it takes anew what it
    /// missed, and is too slow to be in sync. The others of the shard die, often: then it is all there is.
    fn lag_and_crash(&mut self) {
        let Some((primary, replicas)) = self.group() else { return };
        self.check.fault(Kind::LagAndCrash.name());
        let host = self.host_of(replicas[0]);
        let away = self.rng.range(300 * MS, 1_500 * MS);
        if self.rng.chance(800) {
            self.cut(host, away, true);
        }
        let slow = Faults::lasts(&mut self.rng, self.faults.lag_ms);
        self.lagging_until[host - CONTROL_HOSTS] = self.now + away + slow;
        self.check.note(self.now, || format!("h{host} is slow for {} ms", (away + slow) / MS));
        for other in &replicas[1..] {
            if self.rng.chance(500) {
                let when = self.rng.range(0, away);
                self.after(when, Event::Crash(other.0 as usize - 1));
            }
        }
        let later = away + self.rng.range(20 * MS, slow + 100 * MS);
        self.after(later, Event::Crash(primary.node.0 as usize - 1));
    }

    pub(super) fn set_minimum(&mut self, min_in_sync: u8) {
        let settings = Settings { min_in_sync, ..self.consensus.map.settings.clone() };
        match self.consensus.leader {
            Some(host) => self.administer(host, MapCommand::SetSettings { settings }),
            None => self.after(100 * MS, Event::Minimum),
        }
    }

    /// A person looks round now and then, and decides for a shard that waits for that.
    pub(super) fn person(&mut self) {
        let pause = self.rng.range(400 * MS, 1_500 * MS);
        self.after(pause, Event::Person);
        let Some(host) = self.consensus.leader else { return };
        let map = self.consensus.map.clone();
        for (id, shard) in map.shards.iter().filter(|(_, shard)| shard.is_forgotten()) {
            let mut told: Vec<(Position, Member)> = self
                .told(host)
                .into_iter()
                .filter(|(member, report)| {
                    report.shard == *id && report.remembers() && map.is_current(*member)
                })
                .map(|(member, report)| (report.last, member))
                .collect();
            told.sort_unstable();
            let Some((_, most)) = told.pop() else { continue };
            let any = shard.members[self.rng.index(shard.members.len())];
            let any = map.node(any).map_or(most, |node| node.member());
            // Mostly the one that remembers most.
            let to = if self.rng.chance(850) { most } else { any };
            self.check.note(self.now, || format!("a person wants {to} to lead {id}"));
            self.check.unclean_asked(*id, to);
            self.control_step(host, ControlEvent::UncleanRequested { shard: *id, to, term: None });
        }
    }

    /// A replica is cut off and falls behind; then the primary dies.
    fn cut_and_crash(&mut self) {
        let Some((primary, replicas)) = self.group() else { return };
        let replica = replicas[0];
        let host = self.host_of(replica);
        let long = self.rng.range(200 * MS, 1_200 * MS);
        let both = self.rng.chance(600);
        self.cut(host, long, both);
        // While it is away, or just when it is taking anew what it missed.
        let early = self.rng.chance(500);
        let later =
            if early { self.rng.range(20 * MS, long) } else { long + self.rng.range(20 * MS, 300 * MS) };
        self.check.fault(Kind::CutAndCrash.name());
        self.after(later, Event::Crash(primary.node.0 as usize - 1));
    }

    /// A node dies and forgets everything.
    pub(super) fn crash(&mut self, index: usize) {
        if self.faults_on && self.nodes[index].take().is_some() {
            self.check.fault(Kind::Crash.name());
            self.check.note(self.now, || format!("crash n{}", index + 1));
            let down = Faults::lasts(&mut self.rng, self.faults.down_ms);
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

    /// A host of the control plane dies; what it had committed is on its disk, its controller starts anew.
    fn crash_control(&mut self, host: Host) {
        self.check.fault(Kind::CrashControl.name());
        self.check.note(self.now, || format!("crash c{host}"));
        self.controls[host] = ControlHost::new(self.consensus.map.clone());
        let down = Faults::lasts(&mut self.rng, self.faults.down_ms);
        self.down_until[host] = self.now + down;
        if self.consensus.leader == Some(host) {
            self.consensus.leader = None;
            let gap = self.rng.range(150 * MS, 600 * MS);
            self.after(gap, Event::Elect);
        }
    }

    /// Records that a node's backlog keeps: few with one, many with another.
    pub(super) fn backlog(&mut self) -> usize {
        let short = self.rng.chance(500);
        let (least, most) = if short { (3, 20) } else { (100, 200) };
        self.rng.range(least, most) as usize
    }

    /// Links go, one way or both, of one host to some others.
    fn cut(&mut self, host: Host, long: u64, both: bool) {
        let hosts = CONTROL_HOSTS + self.nodes.len();
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
        let kind = if both { Kind::CutBothWays } else { Kind::CutOneWay };
        self.check.fault(kind.name());
        self.network.cut(&links);
        self.check.note(self.now, || format!("cut {links:?} for {} ms", long / MS));
        self.after(long, Event::Uncut(links));
    }

    /// 13: frames that belong to nothing, and members that say what cannot be. Nobody may fall over, and nothing
    /// may come of it.
    pub(super) fn nonsense(&mut self) {
        let client = self.rng.index(self.clients.len());
        let from = self.client_host(client);
        let host = CONTROL_HOSTS + self.rng.index(self.nodes.len());
        let shard = ShardId(self.rng.range(0, 4) as u16);
        let (conn, seq) = (self.rng.next(), self.rng.next());
        let mut offset = || Offset(if self.rng.chance(500) { u64::MAX } else { self.rng.range(0, 50) });
        let (mark, first, last) = (offset(), offset(), offset());
        let term = Term(self.rng.range(0, 40));
        // Terms that fall, offsets that repeat: no history.
        let history = serde_json::from_value::<History>(serde_json::json!({
            "terms": [[term.0 + 1, first.0], [term.0, first.0]],
            "last": last.0,
        }));
        let Ok(history) = history else { return };
        let message = match self.rng.range(0, 7) {
            0 => Message::Ack { conn, shard, term, offset: last },
            1 => Message::Records { conn, shard, term, seq, records: Vec::new(), mark },
            2 => Message::SyncEnd { conn, shard, term, seq, history, mark },
            3 => Message::Synced { conn, shard, term, at: last },
            4 => Message::HelloReply { conn, shard, term, reply: HelloReply::Continue { after: last } },
            5 => {
                let map = self.consensus.map.clone();
                let index = self.rng.index(map.nodes.len());
                let Some(node) = map.nodes.values().nth(index) else { return };
                let from = crate::ids::Member::new(node.id, node.incarnation);
                let term = map.shard(shard).map_or(term, |shard| shard.term);
                Message::Hello { conn, hello: ReplicaHello { from, shard, term, history, holds_data: true } }
            }
            _ => {
                // Like a client that has lost its wits; the answer is nobody's.
                let op = Op::Read { key: self.rng.next() as u8, strong: true };
                let id = self.next_id();
                self.check.asks(usize::MAX, id);
                let request = Request { id, shard, op, value: 0, rid: None, repeated: true };
                self.send(host, host, Message::Request(request));
                return;
            }
        };
        self.check.report.nonsense += 1;
        self.send(from, host, message);
    }

    /// No more faults; everybody is up and reachable.
    pub(super) fn heal(&mut self) {
        self.faults_on = false;
        self.network.heal();
        self.paused_until.fill(0);
        self.down_until.fill(0);
        self.lagging_until.fill(0);
        self.check.note(self.now, || "heal".to_string());
        if self.consensus.leader.is_none() {
            self.elect();
        }
        self.set_minimum(2);
    }
}
