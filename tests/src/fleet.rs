//! A cluster under test whose processes nobody watches: nodes on hosts, each `torc server` started by the test itself,
//! and a proxy. Nodes that die stay dead until the test starts them again.
//!
//! Where the hosts are is the [`Place`]'s business: all on loopback, each node behind a [`Relay`], or each host a network
//! namespace. The nodes of a host share its zone. A [`Fleet`] owns its processes; dropped, all are killed by pid.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::client::{Connection, Endpoint};
use crate::netns::Network;
use crate::process::{Process, Workdir};
use crate::relay::Relay;
use crate::torc::binary;

/// The longest wait for anything, on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(30);

/// The lease of these clusters (ms): longer than a node of a debug build waits for its turn on a loaded machine.
/// `TORC_TEST_LEASE_MS` sets another.
const LEASE_MS: u64 = 1000;

/// Where the hosts are.
#[derive(Debug)]
pub enum Place {
    /// All of them is this one.
    Loopback,
    /// Each node is reached through a relay, on loopback.
    Relayed,
    /// Each host is a namespace; the proxy is on the last one.
    Namespaces(Network),
}

/// The cluster to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Replica groups.
    pub shards: u16,
    /// Replicas beside each primary.
    pub replicas: u8,
    /// Hosts of nodes. Members of one shard are on different hosts as far as there are enough.
    pub hosts: usize,
}

/// A node.
pub struct Node {
    /// Its id, from 1.
    pub id: u64,
    /// Its host, from 0.
    pub host: usize,
    process: Option<Process>,
    words: Vec<String>,
    log: PathBuf,
    resp: SocketAddr,
    bus: SocketAddr,
    http: SocketAddr,
    relays: Vec<Relay>,
    asleep: bool,
}

/// A running cluster; see the module's text.
pub struct Fleet {
    nodes: Vec<Node>,
    proxy: Process,
    proxy_at: SocketAddr,
    memcached_at: SocketAddr,
    plan: Plan,
    lease: Duration,
    place: Place,
    // Last, so that the folder outlives the processes.
    work: Workdir,
}

/// Ports that are free on loopback now.
fn free_ports(count: usize) -> Vec<u16> {
    // All held at once, so that none is given twice.
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("it has an address").port()).collect()
}

/// Ports of each node: RESP, bus, HTTP.
const PORTS: usize = 3;

impl Fleet {
    /// Starts a cluster and waits until it is whole.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(plan: Plan, place: Place) -> Fleet {
        Self::start_with(plan, place, &[])
    }

    /// As [`Fleet::start`], with more options for each node.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_with(plan: Plan, place: Place, options: &[&str]) -> Fleet {
        Self::start_leased(plan, place, options, LEASE_MS)
    }

    /// As [`Fleet::start_with`], with leases of so many ms unless `TORC_TEST_LEASE_MS` says another: for a test that fails
    /// when a process has no turn for one lease.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_leased(plan: Plan, place: Place, options: &[&str], usual_lease_ms: u64) -> Fleet {
        let work = Workdir::new("fleet");
        let secret = work.path().join("cluster.secret");
        torc(&["secret", "new", path(&secret)]);
        let lease_ms = std::env::var("TORC_TEST_LEASE_MS").ok().and_then(|text| text.parse().ok());
        let lease = Duration::from_millis(lease_ms.unwrap_or(usual_lease_ms));
        let count = usize::from(plan.shards) * (usize::from(plan.replicas) + 1);
        let ports = free_ports(count * PORTS + 2);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let advertised = |index: usize| match &place {
            Place::Loopback => loopback,
            Place::Relayed => Ipv4Addr::new(127, 0, 1, index as u8 + 1).into(),
            Place::Namespaces(network) => network.address(index % plan.hosts),
        };
        let join: Vec<String> = (0..count)
            .map(|index| SocketAddr::new(advertised(index), ports[index * PORTS + 1]).to_string())
            .collect();
        let join = join.join(",");
        let mut nodes = Vec::new();
        for index in 0..count {
            let (id, host) = (index as u64 + 1, index % plan.hosts);
            let of_node = &ports[index * PORTS..(index + 1) * PORTS];
            let bind = if matches!(place, Place::Relayed) { loopback } else { advertised(index) };
            let dir = work.path().join(format!("node-{id}"));
            std::fs::create_dir(&dir).expect("the folder can be written");
            let words = [
                ("--cluster", "fleet".to_owned()),
                ("--join", join.clone()),
                ("--bind", bind.to_string()),
                ("--advertise", advertised(index).to_string()),
                ("--node-id", id.to_string()),
                ("--zone", format!("host-{host}")),
                ("--port", of_node[0].to_string()),
                ("--bus-port", of_node[1].to_string()),
                ("--http-port", of_node[2].to_string()),
                ("--lease-ms", lease.as_millis().to_string()),
                ("--threads", "1".to_owned()),
                ("--enable-debug", "true".to_owned()),
                ("--set", "protected-mode=no".to_owned()),
                ("--dir", path(&dir).to_owned()),
                ("--secret-file", path(&secret).to_owned()),
            ];
            let mut all = vec!["server".to_owned()];
            all.extend(words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
            all.extend(options.iter().map(|&word| word.to_owned()));
            let relay = |port: u16| {
                let (at, to) = (SocketAddr::new(advertised(index), port), SocketAddr::new(bind, port));
                Relay::start(at, to).unwrap_or_else(|error| panic!("a relay on {at}: {error}"))
            };
            let relays = match place {
                Place::Relayed => of_node[..2].iter().map(|port| relay(*port)).collect(),
                _ => Vec::new(),
            };
            nodes.push(Node {
                id,
                host,
                process: None,
                words: all,
                log: work.path().join(format!("node-{id}.log")),
                // The test itself goes past the relays.
                resp: SocketAddr::new(bind, of_node[0]),
                bus: SocketAddr::new(bind, of_node[1]),
                http: SocketAddr::new(bind, of_node[2]),
                relays,
                asleep: false,
            });
        }
        for node in &mut nodes {
            node.start(&place);
        }
        let lease_word = lease.as_millis().to_string();
        torc(
            &[
                &["cluster", "init", "--name", "fleet", "--lease-ms", &lease_word][..],
                &["--shards", &plan.shards.to_string(), "--replicas", &plan.replicas.to_string()],
                &["--join", &join, "--secret-file", path(&secret)],
            ]
            .concat(),
        );
        let of_proxy = [ports[count * PORTS], ports[count * PORTS + 1]];
        let (proxy, [proxy_at, memcached_at]) = start_proxy(&place, of_proxy, &join, &secret, work.path());
        let fleet = Fleet { nodes, proxy, proxy_at, memcached_at, plan, lease, place, work };
        fleet.wait_whole();
        fleet
    }

    /// The proxy's RESP port.
    pub fn proxy(&self) -> Endpoint {
        Endpoint::Tcp(self.proxy_at)
    }

    /// The proxy's process.
    pub fn proxy_pid(&self) -> u32 {
        self.proxy.pid()
    }

    /// The proxy's memcached port.
    pub fn memcached(&self) -> Endpoint {
        Endpoint::Tcp(self.memcached_at)
    }

    /// A connection to the proxy.
    ///
    /// # Panics
    /// When it does not accept.
    pub fn connect(&self) -> Connection {
        Connection::open(&self.proxy()).expect("the proxy accepts")
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its id.
    ///
    /// # Panics
    /// When there is none.
    pub fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("a node of the fleet")
    }

    /// The namespaces, where there are any.
    pub fn network(&self) -> Option<&Network> {
        match &self.place {
            Place::Namespaces(network) => Some(network),
            _ => None,
        }
    }

    /// The lease.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Starts a node that was killed.
    pub fn restart(&mut self, id: u64) {
        let place = &self.place;
        let node = self.nodes.iter_mut().find(|node| node.id == id).expect("a node of the fleet");
        node.start(place);
    }

    /// Runs `torc` with these words and this cluster's nodes.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn torc(&self, words: &[&str]) -> Output {
        let join: Vec<String> =
            self.nodes.iter().filter(|n| n.is_awake()).map(|n| n.bus.to_string()).collect();
        let mut command = Command::new(binary());
        let secret = self.work.path().join("cluster.secret");
        command.args(words).args(["--join", &join.join(",")]).arg("--secret-file").arg(secret);
        command.output().expect("torc can be started")
    }

    /// `torc status --json`; `None` when it fails.
    pub fn status(&self) -> Option<Value> {
        let output = self.torc(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())
    }

    /// The node that leads the control plane.
    ///
    /// # Panics
    /// When none does in time.
    pub fn leader(&self) -> u64 {
        self.wait("a leader of the control plane", || self.status()?["leader"].as_u64())
    }

    /// A shard's state in the map.
    ///
    /// # Panics
    /// When the map cannot be had in time.
    pub fn shard(&self, shard: u16) -> Value {
        self.wait("the map", || self.status()?["map"]["shards"].get(shard.to_string()).cloned())
    }

    /// The primary of a shard, by its node id.
    ///
    /// # Panics
    /// When there is none in time.
    pub fn primary(&self, shard: u16) -> u64 {
        self.wait("a primary", || self.shard(shard)["primary"]["node"].as_u64())
    }

    /// The primary of shard 0, after it has been moved off the node that leads the control plane.
    ///
    /// # Panics
    /// When it cannot be moved.
    pub fn primary_that_does_not_lead(&self) -> u64 {
        let (primary, leader) = (self.primary(0), self.leader());
        if primary != leader {
            return primary;
        }
        let output = self.torc(&["cluster", "failover", "0"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let heir = self.wait_other_primary(0, primary);
        self.wait_whole();
        heir
    }

    /// Waits until the shard has another primary than this node.
    pub fn wait_other_primary(&self, shard: u16, than: u64) -> u64 {
        self.wait("another primary", || Some(self.primary(shard)).filter(|now| *now != than))
    }

    /// Waits until every shard has a primary and all its members in sync.
    pub fn wait_whole(&self) {
        let members = usize::from(self.plan.replicas) + 1;
        self.wait("all members of all shards in sync", || {
            let status = self.status()?;
            let shards = status["map"]["shards"].as_object()?;
            let whole = |shard: &Value| {
                shard["in_sync"].as_array().is_some_and(|set| set.len() == members)
                    && shard["pending_term"].is_null()
            };
            let led = status["leader"].is_u64();
            (led && shards.len() == usize::from(self.plan.shards) && shards.values().all(whole)).then_some(())
        });
    }

    /// Waits until all members of every shard hold the same, and says what it is. Nobody may write meanwhile.
    ///
    /// # Panics
    /// When they do not come to hold the same.
    pub fn wait_equal(&self) {
        let mut seen = Vec::new();
        let equal = || {
            let status = self.status()?;
            seen.clear();
            for shard in status["map"]["shards"].as_object()?.values() {
                let members = shard["members"].as_array()?.iter().filter_map(Value::as_u64);
                let digests: Vec<String> = members.map(|id| self.digest(id)).collect::<Option<_>>()?;
                seen.push((shard["id"].clone(), digests));
            }
            seen.iter().all(|(_, of)| of.iter().all(|one| *one == of[0])).then_some(())
        };
        self.wait("equal members", equal);
    }

    fn digest(&self, id: u64) -> Option<String> {
        let node = self.nodes.iter().find(|node| node.id == id)?;
        let mut open = Connection::open(&Endpoint::Tcp(node.resp)).ok()?;
        open.call(&["DEBUG", "DIGEST"]).ok().filter(|reply| !reply.is_error())?.text()
    }

    /// A hash tag whose keys belong to the shard.
    ///
    /// # Panics
    /// When none of many does.
    pub fn tag(&self, shard: u16) -> String {
        let primary = self.primary(shard);
        let node = self.nodes.iter().find(|node| node.id == primary).expect("a node of the fleet");
        let mut open = Connection::open(&Endpoint::Tcp(node.resp)).expect("the primary accepts");
        (0..1000)
            .map(|n| format!("{{t{n}}}"))
            .find(|key| !open.call(&["EXISTS", key]).expect("a node answers EXISTS").is_error())
            .unwrap_or_else(|| panic!("no tag of 1000 belongs to shard {shard}"))
    }

    /// Polls until `ready` gives a value.
    ///
    /// # Panics
    /// When [`DEADLINE`] passes; the message holds the last lines of all nodes.
    pub fn wait<T>(&self, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(value) = ready() {
                return value;
            }
            assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}\n{}", self.last_words());
            std::thread::sleep(LOOK);
        }
    }

    /// The last lines of all logs.
    pub fn last_words(&self) -> String {
        const LINES: usize = 12;
        let tail = |name: String, text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(LINES)..].join("\n"))
        };
        let nodes = self.nodes.iter().map(|node| tail(format!("node {}", node.id), &node.log_text()));
        nodes.chain([tail("proxy".to_owned(), &self.proxy.log_text())]).collect()
    }
}

/// The proxy, and where it speaks RESP and memcached.
fn start_proxy(
    place: &Place,
    ports: [u16; 2],
    join: &str,
    secret: &Path,
    folder: &Path,
) -> (Process, [SocketAddr; 2]) {
    let (mut command, host) = match place {
        Place::Namespaces(network) => {
            let last = network.hosts() - 1;
            (network.command(last, binary()), network.address(last))
        }
        _ => (Command::new(binary()), IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    command.args(["proxy", "--join", join, "--secret-file", path(secret), "--bind", &host.to_string()]);
    command.args(["--port", &ports[0].to_string(), "--memcached-port", &ports[1].to_string()]);
    let mut proxy = Process::start("torc proxy", command, &folder.join("proxy.log"))
        .unwrap_or_else(|error| panic!("torc proxy cannot be started: {error}"));
    let at = SocketAddr::new(host, ports[0]);
    proxy.wait_until("its first answer", || Connection::open(&Endpoint::Tcp(at)).ok()?.call(&["PING"]).ok());
    (proxy, [at, SocketAddr::new(host, ports[1])])
}

impl Node {
    fn start(&mut self, place: &Place) {
        let mut command = match place {
            Place::Namespaces(network) => network.command(self.host, binary()),
            _ => Command::new(binary()),
        };
        command.args(&self.words);
        for name in ["TORC_LEASE_MS", "TORC_REQUIREPASS", "TORC_JOIN", "TORC_SECRET_FILE"] {
            command.env_remove(name);
        }
        let name = format!("node {}", self.id);
        let process = Process::start(&name, command, &self.log);
        self.process = Some(process.unwrap_or_else(|error| panic!("{name} cannot be started: {error}")));
        self.asleep = false;
    }

    /// Where it speaks RESP, past any relay.
    pub fn resp(&self) -> SocketAddr {
        self.resp
    }

    /// Where it speaks HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// What is in front of it: RESP, then the bus; nothing unless [`Place::Relayed`].
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// Whether it runs and was not stopped.
    pub fn is_awake(&self) -> bool {
        self.process.is_some() && !self.asleep
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGSTOP: it stands still, with all its connections open.
    pub fn pause(&mut self) {
        self.asleep = true;
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn wake(&mut self) {
        self.asleep = false;
        self.signal(Signal::CONT);
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// What it has logged in all its lives.
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// Runs `torc`, which must succeed.
fn torc(words: &[&str]) {
    let output = Command::new(binary()).args(words).output().expect("torc can be started");
    assert!(output.status.success(), "torc {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
