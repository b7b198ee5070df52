//! The event loop: hosts, clocks, timers.

use super::check::Checker;
use super::client::Client;
use super::control::{Consensus, ControlHost};
use super::data::MAX_TTL_MS;
use super::message::{Key, Message};
use super::network::{Host, MS, Network};
use super::node::Node;
use super::plan::Faults;
use super::report::{Report, Violation};
use super::rng::Rng;
use crate::Slot;
use crate::ids::{Incarnation, Member, NodeId, ShardId, Term};
use crate::map::{ClusterMap, MapCommand, NodeInfo, Settings};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

pub(super) const CONTROL_HOSTS: usize = 3;
pub(super) const TICK: u64 = 20 * MS;
/// Keys of all shards together.
pub(super) const KEYS: usize = 24;
const CLIENTS: usize = 5;
/// Simulated ms after the heal in which everything must have come together.
const CONVERGE_MS: u64 = 9_000;

pub(super) enum Event {
    Deliver {
        from: Host,
        to: Host,
        message: Message,
    },
    /// The host looks round.
    Tick(Host),
    /// A node finishes a request: the reply leaves now.
    Finish {
        host: Host,
        incarnation: Incarnation,
        shard: ShardId,
        request: u64,
    },
    /// The next part of a full sync is ready.
    Chunk {
        host: Host,
        to: Member,
        conn: u64,
        shard: ShardId,
        term: Term,
        part: usize,
    },
    /// A node learns that a replica's connection, which was replaced meanwhile, has ended.
    StreamEnd {
        host: Host,
        shard: ShardId,
        conn: u64,
    },
    ClientNext(usize),
    /// A request is to be sent again.
    ClientAgain {
        client: usize,
        request: u64,
    },
    ClientTimeout {
        client: usize,
        request: u64,
    },
    Fault,
    /// A node dies.
    Crash(usize),
    /// A crashed node starts again, empty.
    Restart(Host),
    Uncut(Vec<(Host, Host)>),
    Elect,
    /// A deposed controller learns of it.
    Depose {
        host: Host,
        reign: u64,
    },
    /// The control plane's answer to a confirmation or proposal reaches its host.
    Control {
        host: Host,
        reign: u64,
        event: crate::controller::Event,
    },
    Nonsense,
    /// A person asks for another primary.
    AskFailover(ShardId),
    /// `min_in_sync` is set as it was.
    Minimum,
    /// A person looks whether a shard waits.
    Person,
    Check,
}

/// An event and when; those of one moment in the order in which they were made.
struct Due {
    when: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.when, self.sequence).cmp(&(other.when, other.sequence))
    }
}

/// Clock of a host: its own origin and rate.
#[derive(Clone, Copy)]
struct Clock {
    origin: u64,
    rate_ppm: u64,
}

pub struct World {
    pub(super) seed: u64,
    pub(super) now: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<Due>>,
    pub(super) rng: Rng,
    pub(super) network: Network,
    clocks: Vec<Clock>,
    pub(super) paused_until: Vec<u64>,
    /// Until when a data node is slow as a replica.
    pub(super) lagging_until: Vec<u64>,
    /// Hosts of the control plane that are down.
    pub(super) down_until: Vec<u64>,
    pub(super) consensus: Consensus,
    pub(super) controls: Vec<ControlHost>,
    /// Data nodes; host = `CONTROL_HOSTS` + index. `None` while crashed.
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) incarnations: Vec<u64>,
    pub(super) clients: Vec<Client>,
    pub(super) check: Checker,
    pub(super) ids: u64,
    /// Who led the control plane before.
    pub(super) last_leader: Option<Host>,
    pub(super) faults_on: bool,
    pub(super) writes_on: bool,
    pub(super) faults: Faults,
    /// The longest pause of a client between two requests.
    pub(super) think_ms: u64,
    trace: u64,
}

impl World {
    /// A run with the seed's own faults.
    pub fn new(seed: u64) -> World {
        World::with(seed, |_| {})
    }

    /// As [`World::new`], with some of the parameters changed.
    pub fn with(seed: u64, change: impl FnOnce(&mut Faults)) -> World {
        let mut rng = Rng::new(seed);
        let mut faults = Faults::drawn(&mut rng);
        change(&mut faults);
        let node_count = rng.range(3, 6) as usize;
        let shards = rng.range(1, 3) as u16;
        let replicas = if node_count > 3 && rng.chance(700) { 2 } else { rng.range(1, 3) as u8 };
        let settings =
            Settings { clock_rate_bound_ppm: 20_000, max_lock_ttl_ms: MAX_TTL_MS, ..Settings::default() };
        let bound = u64::from(settings.clock_rate_bound_ppm);
        let hosts = CONTROL_HOSTS + node_count + CLIENTS;
        // Any two rates differ by at most that share of the bound.
        let half = (bound * faults.drift_permille / 1_000 * 49 / 100).min(900_000);
        let clocks: Vec<Clock> = (0..hosts)
            .map(|_| Clock {
                origin: rng.range(1_000 * MS, 1_000_000 * MS),
                rate_ppm: rng.range(1_000_000 - half, 1_000_001 + half),
            })
            .collect();
        let rates = || clocks.iter().map(|clock| clock.rate_ppm);
        let drift_ppm = rates().max().unwrap_or(0) - rates().min().unwrap_or(0);
        let mut map = ClusterMap::default();
        for id in 0..node_count {
            map.apply(MapCommand::RegisterNode { info: info(id, 1) });
        }
        map.apply(MapCommand::InitCluster { name: "sim".into(), shards, replicas, settings });
        let map = Arc::new(map);
        let mut check = Checker::new(seed, !faults.within_bound());
        check.report.drift_ppm = drift_ppm;
        let mut world = World {
            seed,
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            network: Network::new(faults.clone()),
            clocks,
            paused_until: vec![0; hosts],
            lagging_until: vec![0; node_count],
            down_until: vec![0; CONTROL_HOSTS],
            consensus: Consensus::new(map.clone()),
            controls: (0..CONTROL_HOSTS).map(|_| ControlHost::new(map.clone())).collect(),
            nodes: Vec::new(),
            incarnations: vec![1; node_count],
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            check,
            ids: 0,
            last_leader: None,
            faults_on: true,
            writes_on: true,
            faults,
            think_ms: rng.range(40, 160),
            trace: 0xcbf2_9ce4_8422_2325,
            rng,
        };
        for id in 0..node_count {
            let backlog = world.backlog();
            world.nodes.push(Some(Node::new(member(id, 1), map.clone(), backlog)));
        }
        for host in 0..CONTROL_HOSTS + node_count {
            let at = world.rng.range(0, TICK);
            world.at(at, Event::Tick(host));
        }
        for client in 0..CLIENTS {
            world.after(world.seed % 7 * MS + client as u64 * MS, Event::ClientNext(client));
        }
        world.after(0, Event::Elect);
        world.after(500 * MS, Event::Fault);
        world.after(900 * MS, Event::Nonsense);
        world.after(50 * MS, Event::Check);
        world.after(700 * MS, Event::Person);
        world
    }

    /// Runs with faults for `millis`, heals, lets everything come together, and looks once more.
    pub fn run(mut self, millis: u64) -> Result<Report, Violation> {
        self.run_until(millis * MS)?;
        self.heal();
        self.run_until((millis + CONVERGE_MS / 3) * MS)?;
        self.writes_on = false;
        self.run_until((millis + CONVERGE_MS) * MS)?;
        super::check::converged(&mut self);
        self.check.result(self.now)?;
        let mut report = self.check.report.clone();
        report.simulated_ms = self.now / MS;
        report.traffic = self.network.traffic;
        report.trace = self.trace;
        Ok(report)
    }

    fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        while self.queue.peek().is_some_and(|Reverse(due)| due.when <= end) {
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now = due.when;
            self.mix(due.when);
            self.handle(due.event);
            self.check.result(self.now)?;
        }
        self.now = end;
        Ok(())
    }

    /// Something that the trace hash shall depend on.
    pub(super) fn mix(&mut self, value: u64) {
        self.trace = (self.trace ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(super) fn at(&mut self, when: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Due { when, sequence: self.sequence, event }));
    }

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// What a host's CLOCK_BOOTTIME says now.
    pub(super) fn local(&self, host: Host) -> u64 {
        let clock = self.clocks[host];
        clock.origin + (u128::from(self.now) * u128::from(clock.rate_ppm) / 1_000_000) as u64
    }

    /// The moment at which a host's clock says this.
    pub(super) fn real(&self, host: Host, local: u64) -> u64 {
        let clock = self.clocks[host];
        (u128::from(local.saturating_sub(clock.origin)) * 1_000_000 / u128::from(clock.rate_ppm)) as u64
    }

    pub(super) fn host_of(&self, node: NodeId) -> Host {
        CONTROL_HOSTS + node.0 as usize - 1
    }

    pub(super) fn client_host(&self, client: usize) -> Host {
        CONTROL_HOSTS + self.nodes.len() + client
    }

    pub(super) fn send(&mut self, from: Host, to: Host, message: Message) {
        // A watch takes its time.
        let late = if matches!(message, Message::Map(_)) { self.rng.range(0, 60 * MS) } else { 0 };
        let sent = self.now + late;
        let (first, second) = self.network.arrivals(&mut self.rng, sent, from, to, message.way());
        if matches!(message, Message::Propose { .. }) && self.rng.chance(200) {
            // A driver that tries again although it was told not to.
            let (again, _) = self.network.arrivals(&mut self.rng, sent, from, to, message.way());
            if let Some(when) = again {
                self.at(when, Event::Deliver { from, to, message: message.clone() });
            }
        }
        if let Some(when) = second {
            self.at(when, Event::Deliver { from, to, message: message.clone() });
        }
        if let Some(when) = first {
            self.at(when, Event::Deliver { from, to, message });
        }
    }

    fn handle(&mut self, event: Event) {
        // A paused host does everything later, in the same order.
        let host = match &event {
            Event::Deliver { to, .. } => Some(*to),
            Event::Tick(host) | Event::Finish { host, .. } | Event::Depose { host, .. } => Some(*host),
            Event::Control { host, .. } | Event::Chunk { host, .. } | Event::StreamEnd { host, .. } => {
                Some(*host)
            }
            _ => None,
        };
        if let Some(host) = host
            && self.paused_until[host] > self.now
        {
            self.at(self.paused_until[host], event);
            return;
        }
        if let Some(host) = host
            && self.down_until.get(host).is_some_and(|until| *until > self.now)
        {
            // Nobody is there; the clock that ticks is kept for later.
            if let Event::Tick(host) = event {
                self.at(self.down_until[host], Event::Tick(host));
            }
            return;
        }
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Tick(host) => {
                if host < CONTROL_HOSTS {
                    self.control_step(host, crate::controller::Event::Tick);
                } else {
                    self.node_tick(host);
                }
                let jitter = self.rng.range(0, MS);
                self.after(TICK + jitter, Event::Tick(host));
            }
            Event::Finish { host, incarnation, shard, request } => {
                self.finish(host, incarnation, shard, request);
            }
            Event::Chunk { host, to, conn, shard, term, part } => {
                self.send_chunk(host, to, conn, shard, term, part);
            }
            Event::StreamEnd { host, shard, conn } => self.stream_end(host, shard, conn),
            Event::Crash(index) => self.crash(index),
            Event::ClientNext(client) => self.client_next(client),
            Event::ClientAgain { client, request } => self.client_again(client, request),
            Event::ClientTimeout { client, request } => self.client_timeout(client, request),
            Event::Fault => self.fault(),
            Event::Restart(host) => self.restart(host),
            Event::Uncut(links) => self.network.uncut(&links),
            Event::Elect => self.elect(),
            Event::Depose { host, reign } => self.depose(host, reign),
            Event::Control { host, reign, event } => self.control_event(host, reign, event),
            Event::Nonsense => {
                if self.faults_on {
                    self.nonsense();
                    let pause = self.rng.range(100 * MS, 900 * MS);
                    self.after(pause, Event::Nonsense);
                }
            }
            Event::AskFailover(shard) => self.ask_failover(shard),
            Event::Minimum => self.set_minimum(2),
            Event::Person => self.person(),
            Event::Check => {
                super::check::sweep(self);
                self.after(40 * MS, Event::Check);
            }
        }
    }

    fn deliver(&mut self, from: Host, to: Host, message: Message) {
        self.mix(to as u64);
        if to < CONTROL_HOSTS {
            self.control_message(from, to, message);
        } else if to < CONTROL_HOSTS + self.nodes.len() {
            self.node_message(from, to, message);
        } else if let Message::Response { id, answer } = message {
            self.client_answer(to - CONTROL_HOSTS - self.nodes.len(), id, answer);
        }
    }
}

/// The slot of a key.
pub(super) fn slot_of(key: Key) -> Slot {
    (usize::from(key) * usize::from(crate::SLOTS) / KEYS % usize::from(crate::SLOTS)) as Slot
}

pub(super) fn member(index: usize, incarnation: u64) -> Member {
    Member::new(NodeId(index as u64 + 1), Incarnation(incarnation))
}

pub(super) fn info(index: usize, incarnation: u64) -> NodeInfo {
    let member = member(index, incarnation);
    NodeInfo {
        id: member.node,
        incarnation: member.incarnation,
        host: "sim".into(),
        weight: 1,
        ..NodeInfo::default()
    }
}
