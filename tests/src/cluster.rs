//! A whole cluster under test: `torc up` in a folder of its own, what `cluster.json` says of it, and the certainty
//! that nothing of it is left over.
//!
//! A [`Cluster`] owns its `torc up`. Dropped, it asks that to stop, kills what remains by pid, and removes the
//! folder (unless the test panics: then the logs stay).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::client::{Connection, Endpoint};
use crate::process::{POLL, Process, Workdir};
use crate::torc::binary;

/// The longest wait for anything in a cluster, on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// `cluster.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct ClusterFile {
    /// Process id of `torc up`.
    pub pid: u32,
    /// Number of shards.
    pub shards: u16,
    /// Replicas beside each primary.
    pub replicas: u8,
    /// All processes.
    pub processes: Vec<Entry>,
}

/// One process in `cluster.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// `node-1`, `proxy-1` …
    pub name: String,
    /// `primary`, `replica`, `proxy` or `joining`.
    pub role: String,
    /// The node's shard.
    pub shard: Option<u16>,
    /// The node's id.
    pub node: Option<u64>,
    /// Process id; none while it does not run.
    pub pid: Option<u32>,
    /// Host of all ports.
    pub host: String,
    /// RESP.
    pub port: u16,
    /// memcached.
    pub memcached_port: u16,
    /// HTTP.
    pub http_port: u16,
    /// The bus; 0: none.
    pub bus_port: u16,
    /// Its log.
    pub log: PathBuf,
}

impl Entry {
    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.host.parse().expect("the host is an address"), port)
    }

    /// Its RESP address.
    pub fn resp(&self) -> SocketAddr {
        self.at(self.port)
    }

    /// Its memcached address.
    pub fn memcached(&self) -> SocketAddr {
        self.at(self.memcached_port)
    }

    /// Its HTTP address.
    pub fn http(&self) -> SocketAddr {
        self.at(self.http_port)
    }

    /// Its bus address.
    pub fn bus(&self) -> SocketAddr {
        self.at(self.bus_port)
    }

    /// A connection to its RESP port.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn connect(&self) -> Connection {
        Connection::open(&Endpoint::Tcp(self.resp())).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    pub fn running_pid(&self) -> u32 {
        self.pid.unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    /// Sends a signal to the process.
    ///
    /// # Panics
    /// When it is not there.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.running_pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap_or_else(|| panic!("{} has no process id", self.name)), signal)
            .unwrap_or_else(|error| panic!("{}, pid {}: {error}", self.name, self.running_pid()));
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    up: Process,
    dir: PathBuf,
    // Last, so that the folder outlives the processes.
    work: Workdir,
}

/// The cluster's lease in tests, milliseconds: on a loaded machine processes wait for their turn longer than the usual
/// lease lasts. `TORC_TEST_LEASE_MS` sets another one, as for measuring a failover on an idle machine.
const LEASE_MS: &str = "2000";

/// The command line of `torc up` in a folder, on free ports.
fn up_command(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["up", "--port", "auto", "--memcached-port", "auto", "--http-port", "auto", "--dir"]);
    command.arg(dir).args(more);
    // What the environment of the test says must not reach the cluster.
    for name in ["TORC_LEASE_MS", "TORC_REQUIREPASS", "TORC_JOIN", "TORC_SECRET_FILE"] {
        command.env_remove(name);
    }
    command
}

impl Cluster {
    /// A cluster of that many shards, each a primary and a replica.
    pub fn start(shards: u16) -> Self {
        Self::start_with(&["--shards", &shards.to_string()])
    }

    /// A cluster with these options of `torc up`.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_with(more: &[&str]) -> Self {
        let work = Workdir::new("cluster");
        let dir = work.path().join("data");
        let lease_ms = std::env::var("TORC_TEST_LEASE_MS").unwrap_or_else(|_| LEASE_MS.to_owned());
        let more = [&["--lease-ms", &lease_ms], more].concat();
        let up = Process::start("torc up", up_command(&dir, &more), &work.path().join("up.log"))
            .unwrap_or_else(|error| panic!("torc up cannot be started: {error}"));
        let mut cluster = Self { up, dir, work };
        cluster.wait_up();
        cluster
    }

    fn wait_up(&mut self) {
        let (dir, pid) = (self.dir.clone(), self.up.pid());
        self.up.wait_until("its cluster.json", || {
            read_file(&dir).filter(|file| file.pid == pid && file.is_whole())
        });
    }

    /// Starts it again in its folder, after [`Self::stop`].
    pub fn start_again(&mut self) {
        self.up = Process::start("torc up", up_command(&self.dir, &[]), &self.work.path().join("up.log"))
            .unwrap_or_else(|error| panic!("torc up cannot be started again: {error}"));
        self.wait_up();
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The `torc up` process.
    pub fn up(&mut self) -> &mut Process {
        &mut self.up
    }

    /// What `cluster.json` says now.
    ///
    /// # Panics
    /// When it is not there.
    pub fn file(&self) -> ClusterFile {
        read_file(&self.dir).unwrap_or_else(|| panic!("no cluster.json:\n{}", self.up.log_text()))
    }

    /// The proxy.
    pub fn proxy(&self) -> Entry {
        self.one("the proxy", |p| p.role == "proxy")
    }

    /// The primary of a shard.
    pub fn primary(&self, shard: u16) -> Entry {
        self.one("a primary", |p| p.role == "primary" && p.shard == Some(shard))
    }

    /// The first replica of a shard.
    pub fn replica(&self, shard: u16) -> Entry {
        self.one("a replica", |p| p.role == "replica" && p.shard == Some(shard))
    }

    /// A process by its name.
    pub fn named(&self, name: &str) -> Entry {
        self.one(name, |p| p.name == name)
    }

    fn one(&self, what: &str, wanted: impl Fn(&Entry) -> bool) -> Entry {
        self.wait(what, || self.file().processes.into_iter().find(|p| wanted(p)))
    }

    /// A connection to the proxy.
    pub fn connect(&self) -> Connection {
        self.proxy().connect()
    }

    /// Runs `torc` with words and this cluster's `--dir`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn torc(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(words).arg("--dir").arg(&self.dir).env_remove("TORC_JOIN");
        command.output().expect("torc can be started")
    }

    /// `torc status --json`; `None` when it fails.
    pub fn status(&self) -> Option<serde_json::Value> {
        let output = self.torc(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())
    }

    /// A shard's state in the map.
    ///
    /// # Panics
    /// When the map cannot be had in time.
    pub fn shard(&self, shard: u16) -> serde_json::Value {
        self.wait("the map", || {
            let status = self.status()?;
            status.get("map")?.get("shards")?.get(shard.to_string()).cloned()
        })
    }

    /// The term of a shard.
    pub fn term(&self, shard: u16) -> u64 {
        self.shard(shard)["term"].as_u64().expect("a term is a number")
    }

    /// Waits until a shard's in-sync set has this many members.
    pub fn wait_in_sync(&self, shard: u16, members: usize) {
        self.wait(&format!("{members} members in sync in shard {shard}"), || {
            (self.shard(shard)["in_sync"].as_array()?.len() >= members).then_some(())
        });
    }

    /// A hash tag whose keys belong to the shard.
    ///
    /// # Panics
    /// When none of many does.
    pub fn tag(&self, shard: u16) -> String {
        let mut primary = self.primary(shard).connect();
        for n in 0..1000 {
            let key = format!("{{t{n}}}");
            let reply = primary.call(&["EXISTS", &key]).expect("a node answers EXISTS");
            if !reply.is_error() {
                return key;
            }
        }
        panic!("no tag of 1000 belongs to shard {shard}")
    }

    /// Polls until `ready` gives a value.
    ///
    /// # Panics
    /// When [`DEADLINE`] passes; the message holds what `torc up` said.
    pub fn wait<T>(&self, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(value) = ready() {
                return value;
            }
            assert!(
                Instant::now() < deadline,
                "not within {DEADLINE:?}: {what}\n{}\n{}",
                self.up.log_text(),
                String::from_utf8_lossy(&self.torc(&["status"]).stdout)
            );
            std::thread::sleep(POLL * 2);
        }
    }

    /// Stops it by a signal as a person would (SIGINT) or an init system (SIGTERM), and checks that nothing is left.
    ///
    /// # Panics
    /// When `torc up` fails, or a process or its `cluster.json` stays.
    pub fn stop(&mut self, signal: Signal) {
        self.up.signal(signal);
        let status = wait_for("torc up ends", || self.up.try_ended());
        assert!(status.success(), "torc up: {status}\n{}", self.up.log_text());
        assert_eq!(processes_in(&self.dir), Vec::<u32>::new(), "left over\n{}", self.up.log_text());
        assert!(!self.dir.join("cluster.json").exists(), "cluster.json stays");
    }
}

impl ClusterFile {
    /// Whether each shard has its primary and its replicas.
    pub fn is_whole(&self) -> bool {
        let count = |role: &str| self.processes.iter().filter(|p| p.role == role && p.pid.is_some()).count();
        let (shards, replicas) = (usize::from(self.shards), usize::from(self.replicas));
        count("primary") == shards && count("replica") == shards * replicas && count("proxy") == 1
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.up.signal(Signal::TERM);
        let deadline = Instant::now() + DEADLINE / 2;
        while self.up.try_ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.up.kill();
        for pid in processes_in(&self.dir) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// `cluster.json` of a folder, when it is there.
pub fn read_file(dir: &Path) -> Option<ClusterFile> {
    serde_json::from_slice(&std::fs::read(dir.join("cluster.json")).ok()?).ok()
}

/// Pids of all processes that have this folder on their command line (each process of a cluster has).
pub fn processes_in(dir: &Path) -> Vec<u32> {
    let Some(dir) = dir.to_str() else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| command_line(*pid).iter().any(|word| word.contains(dir))).collect()
}

/// The command line of a process; empty when it has ended.
pub fn command_line(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The parent of a process; `None` when it has ended.
pub fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Polls until `ready` gives a value, without a cluster to ask.
///
/// # Panics
/// When [`DEADLINE`] passes.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(POLL);
    }
}
