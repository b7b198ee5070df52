//! A cluster of `torc up` from its start to its end.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use torc_cluster::map::{ClusterMap, Settings};
use torc_protocol::handshake::Secret;
use torc_runtime::clock::boottime_ms;
use torc_runtime::datadir;
use torc_runtime::http;
use torc_runtime::shutdown::Shutdown;
use torc_server::agent::Peers;
use torc_server::agent::admin::Status;
use torc_server::agent::bootstrap::{ClusterPlan, Tool};

use super::layout::{HOST, Layout};
use super::process::{Process, Turn, describe};
use super::state::{ClusterFile, ProcessEntry};
use super::{ProxyPorts, UpArgs, words};
use crate::commands::tool;

/// How long the cluster may take to come up.
const UP_TIME: Duration = Duration::from_secs(60);
/// How often processes and roles are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long processes may take to stop in order before they are told again.
const STOP_TIME: Duration = Duration::from_secs(1);
/// How long before they are killed.
const KILL_TIME: Duration = Duration::from_secs(5);

/// All processes with what is known of them.
struct Cluster {
    args: UpArgs,
    dir: PathBuf,
    layout: Layout,
    ports: ProxyPorts,
    nodes: Vec<Process>,
    proxy: Process,
    peers: Peers,
    written: ClusterFile,
}

/// Brings the cluster up, keeps it, stops it.
pub async fn run(
    args: UpArgs,
    dir: PathBuf,
    layout: Layout,
    old: bool,
    ports: ProxyPorts,
    shutdown: Shutdown,
) -> Result<(), Box<dyn Error>> {
    let mut cluster = Cluster::new(args, dir, layout, ports)?;
    let came_up = tokio::select! {
        came_up = cluster.bring_up(old) => came_up,
        () = shutdown.wait() => Err("stopped before the cluster was up".into()),
    };
    let result = match came_up {
        Ok(()) => cluster.keep(&shutdown).await,
        Err(error) => Err(error),
    };
    cluster.stop().await;
    result
}

impl Cluster {
    fn new(args: UpArgs, dir: PathBuf, layout: Layout, ports: ProxyPorts) -> Result<Cluster, Box<dyn Error>> {
        let logs = dir.join("logs");
        std::fs::create_dir_all(&logs)?;
        let secret_file = dir.join(datadir::SECRET_FILE);
        let secret = datadir::read_secret(&secret_file)?.ok_or("the cluster secret is gone")?;
        let join: Vec<String> = layout.nodes.iter().map(|n| format!("{HOST}:{}", n.bus_port)).collect();
        let join = join.join(",");
        let mut nodes = Vec::new();
        for (index, node) in layout.nodes.iter().enumerate() {
            let name = format!("node-{}", index + 1);
            let folder = dir.join("nodes").join(&name);
            std::fs::create_dir_all(&folder)?;
            let words = [
                ("--cluster", layout.name.clone()),
                ("--join", join.clone()),
                ("--bind", HOST.to_owned()),
                ("--advertise", HOST.to_owned()),
                ("--node-id", (index + 1).to_string()),
                ("--zone", name.clone()),
                ("--port", node.port.to_string()),
                ("--memcached-port", node.memcached_port.to_string()),
                ("--http-port", node.http_port.to_string()),
                ("--bus-port", node.bus_port.to_string()),
                ("--lease-ms", layout.lease_ms.to_string()),
                ("--threads", args.node_threads.to_string()),
                ("--log-level", args.log_level.clone()),
            ];
            let mut all: Vec<OsString> = vec!["server".into()];
            all.extend(words.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
            all.extend(["--dir".into(), folder.into(), "--secret-file".into(), secret_file.clone().into()]);
            nodes.push(Process::new(name, all, args.requirepass.clone(), &logs));
        }
        let words = [
            ("--join", join),
            ("--bind", HOST.to_owned()),
            ("--port", ports.port.to_string()),
            ("--memcached-port", ports.memcached_port.to_string()),
            ("--http-port", ports.http_port.to_string()),
            ("--threads", args.proxy_threads.to_string()),
            ("--log-level", args.log_level.clone()),
        ];
        let mut all: Vec<OsString> = vec!["proxy".into()];
        all.extend(words.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
        all.extend(["--secret-file".into(), secret_file.into()]);
        let proxy = Process::new("proxy-1".to_owned(), all, args.requirepass.clone(), &logs);
        let peers = tool::peers(Secret::from_hex(&secret)?);
        Ok(Cluster { args, dir, layout, ports, nodes, proxy, peers, written: ClusterFile::default() })
    }

    fn tool(&self) -> Tool {
        let addresses = self.layout.nodes.iter().map(|n| format!("{HOST}:{}", n.bus_port)).collect();
        Tool::new(self.peers.clone(), addresses, UP_TIME)
    }

    async fn bring_up(&mut self, old: bool) -> Result<(), Box<dyn Error>> {
        words::starting(&self.layout, &self.dir, old);
        for node in &mut self.nodes {
            node.start()?;
        }
        self.wait_for_nodes().await?;
        let plan = ClusterPlan {
            name: self.layout.name.clone(),
            shards: self.layout.shards,
            replicas: self.layout.replicas,
            settings: Settings::default().scaled_to_lease(self.layout.lease_ms),
            voters: None,
        };
        let tool = self.tool();
        let map = tokio::select! {
            made = tool.init(&plan) => made?,
            // It would be waited for as long as the cluster may take to come up.
            ended = self.until_a_node_ends() => return Err(ended),
        };
        words::voters(&self.voters(&map));
        self.wait_for_primaries().await?;
        self.proxy.start()?;
        self.wait_for_proxy().await?;
        let status = self.tool().status().await?;
        self.write_file(Some(&status))?;
        words::up(&self.written, &self.dir, old);
        Ok(())
    }

    /// Waits until each node has written where it listens; a node that ends instead is an error.
    async fn wait_for_nodes(&mut self) -> Result<(), Box<dyn Error>> {
        let until = boottime_ms() + UP_TIME.as_millis() as u64;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let bus = format!("{HOST}:{}", self.layout.nodes[index].bus_port);
            while tokio::net::TcpStream::connect(&bus).await.is_err() {
                if let Turn::Ended(status) = node.look(false)? {
                    let words = node.last_words();
                    return Err(format!("{} {}:\n{words}", node.name, describe(status)).into());
                }
                if boottime_ms() > until {
                    return Err(format!("{} does not come up: see {}", node.name, node.log.display()).into());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// Names of the nodes that vote in the control plane.
    fn voters(&self, map: &ClusterMap) -> Vec<&str> {
        let votes = |bus_port: u16| map.voters().any(|node| node.bus_port == bus_port);
        let nodes = self.nodes.iter().zip(&self.layout.nodes);
        nodes.filter(|(_, ports)| votes(ports.bus_port)).map(|(node, _)| node.name.as_str()).collect()
    }

    /// Waits for the end of a node, and says how it ended.
    async fn until_a_node_ends(&mut self) -> Box<dyn Error> {
        loop {
            if let Err(ended) = self.none_has_ended() {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// A node that has ended is an error.
    fn none_has_ended(&mut self) -> Result<(), Box<dyn Error>> {
        for node in &mut self.nodes {
            if let Turn::Ended(status) = node.look(false)? {
                let words = node.last_words();
                return Err(format!("{} {}:\n{words}", node.name, describe(status)).into());
            }
        }
        Ok(())
    }

    async fn wait_for_primaries(&mut self) -> Result<(), Box<dyn Error>> {
        let until = boottime_ms() + UP_TIME.as_millis() as u64;
        let wanted = usize::from(self.layout.replicas) + 1;
        loop {
            if let Ok(status) = self.tool().status().await {
                let map = &status.map;
                let ready = map.shards.len() == usize::from(self.layout.shards)
                    && map
                        .shards
                        .values()
                        .all(|s| map.primary_of(s.id).is_some() && s.in_sync.len() >= wanted);
                if ready {
                    return Ok(());
                }
            }
            self.none_has_ended()?;
            if boottime_ms() > until {
                return Err(format!(
                    "not every shard has its primary and replicas after {UP_TIME:?}: see the logs in {}",
                    self.dir.join("logs").display()
                )
                .into());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    async fn wait_for_proxy(&mut self) -> Result<(), Box<dyn Error>> {
        let until = boottime_ms() + UP_TIME.as_millis() as u64;
        loop {
            let ready = match (self.ports.http_port, self.ports.port, self.ports.memcached_port) {
                (0, 0, port) | (0, port, _) => tokio::net::TcpStream::connect((HOST, port)).await.is_ok(),
                (port, ..) => http::get(&format!("{HOST}:{port}"), "/readyz", LOOK * 5)
                    .await
                    .is_ok_and(|answer| answer.status == 200),
            };
            if ready {
                return Ok(());
            }
            if let Turn::Ended(status) = self.proxy.look(false)? {
                return Err(format!("the proxy {}:\n{}", describe(status), self.proxy.last_words()).into());
            }
            if boottime_ms() > until {
                return Err(format!("the proxy does not come up: see {}", self.proxy.log.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Looks after the processes until it shall stop.
    async fn keep(&mut self, shutdown: &Shutdown) -> Result<(), Box<dyn Error>> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.wait() => return Ok(()),
            }
            let restart = !self.args.no_restart;
            for process in self.nodes.iter_mut().chain([&mut self.proxy]) {
                match process.look(restart)? {
                    Turn::Same => {}
                    Turn::Ended(status) => words::ended(&process.name, &describe(status), restart),
                    Turn::Again => words::again(&process.name, process.pid()),
                }
            }
            let status = tokio::select! {
                status = tokio::time::timeout(LOOK * 5, self.status()) => status.ok().flatten(),
                () = shutdown.wait() => return Ok(()),
            };
            let before = self.written.clone();
            self.write_file(status.as_ref())?;
            words::changes(&before, &self.written);
        }
    }

    async fn status(&self) -> Option<Status> {
        self.tool().status().await.ok()
    }

    /// Brings `cluster.json` up to date; without a status the roles stay as they were.
    fn write_file(&mut self, status: Option<&Status>) -> Result<(), Box<dyn Error>> {
        let mut processes = Vec::new();
        for (index, (node, ports)) in self.nodes.iter().zip(&self.layout.nodes).enumerate() {
            let before = self.written.processes.get(index);
            let mut entry = ProcessEntry {
                name: node.name.clone(),
                role: before.map_or_else(|| "joining".to_owned(), |p| p.role.clone()),
                shard: before.and_then(|p| p.shard),
                node: before.and_then(|p| p.node),
                pid: node.pid(),
                host: HOST.to_owned(),
                port: ports.port,
                memcached_port: ports.memcached_port,
                http_port: ports.http_port,
                bus_port: ports.bus_port,
                log: node.log.clone(),
            };
            if let Some(status) = status
                && let Some(info) = status.map.nodes.values().find(|n| n.bus_port == ports.bus_port)
            {
                entry.node = Some(info.id.0);
                let shard = status.map.shards_of_node(info.id).next();
                entry.shard = shard.map(|s| s.id.0);
                entry.role = match shard {
                    Some(shard) if shard.primary == Some(info.member()) => "primary",
                    Some(_) => "replica",
                    None => "joining",
                }
                .to_owned();
            }
            processes.push(entry);
        }
        processes.push(ProcessEntry {
            name: self.proxy.name.clone(),
            role: "proxy".to_owned(),
            pid: self.proxy.pid(),
            host: HOST.to_owned(),
            port: self.ports.port,
            memcached_port: self.ports.memcached_port,
            http_port: self.ports.http_port,
            log: self.proxy.log.clone(),
            ..ProcessEntry::default()
        });
        let file = ClusterFile {
            name: self.layout.name.clone(),
            pid: std::process::id(),
            epoch: status.map_or(self.written.epoch, |s| s.map.epoch.0),
            shards: self.layout.shards,
            replicas: self.layout.replicas,
            processes,
        };
        if file != self.written {
            file.write(&self.dir)?;
            self.written = file;
        }
        Ok(())
    }

    /// Stops everything: the proxy first, so that no client sees the nodes go.
    async fn stop(&mut self) {
        words::stopping();
        self.proxy.signal(Signal::TERM);
        wait_ended([&mut self.proxy], STOP_TIME * 2).await;
        for node in &self.nodes {
            node.signal(Signal::TERM);
        }
        wait_ended(&mut self.nodes, STOP_TIME).await;
        let all = || self.nodes.iter().chain([&self.proxy]);
        // Primaries wait for an heir; all heirs are going too. A second signal stops them at once.
        all().for_each(|process| process.signal(Signal::TERM));
        wait_ended(self.nodes.iter_mut().chain([&mut self.proxy]), KILL_TIME).await;
        self.nodes.iter().chain([&self.proxy]).for_each(|process| process.signal(Signal::KILL));
        wait_ended(self.nodes.iter_mut().chain([&mut self.proxy]), KILL_TIME).await;
        remove_file(&self.dir);
        words::stopped();
    }
}

fn remove_file(dir: &Path) {
    // Without it the other tools say that no cluster runs here.
    let _ = std::fs::remove_file(dir.join(super::state::CLUSTER_FILE));
}

/// Waits until all have ended, at most `time`.
async fn wait_ended<'p>(processes: impl IntoIterator<Item = &'p mut Process>, time: Duration) {
    let until = boottime_ms() + time.as_millis() as u64;
    for process in processes {
        while !process.has_ended() && boottime_ms() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
