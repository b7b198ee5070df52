//! A `torc proxy` of its own in front of a cluster under test, from a configuration file that can be changed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Connection, Endpoint};
use crate::cluster::Cluster;
use crate::process::{Process, Workdir};
use crate::torc::binary;

/// A running proxy. Its file says where the cluster is, a free port for RESP and HTTP each, and a unix socket.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    dir: Workdir,
    first_lines: String,
    resp: SocketAddr,
    http: SocketAddr,
}

impl Proxy {
    /// Starts a proxy whose file ends with `more`, and waits until it is ready to serve every shard.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(cluster: &Cluster, more: &str) -> Proxy {
        let dir = Workdir::new("proxy");
        let buses: Vec<String> = cluster
            .file()
            .processes
            .iter()
            .filter(|entry| entry.bus_port != 0)
            .map(|entry| format!("\"{}\"", entry.bus()))
            .collect();
        let first_lines = format!(
            "join = [{}]\nsecret_file = \"{}\"\nport = \"auto\"\nhttp_port = \"auto\"\nunixsocket = \"{}\"\n",
            buses.join(", "),
            cluster.dir().join("cluster.secret").display(),
            dir.path().join("torc.sock").display(),
        );
        let file = dir.path().join("proxy.toml");
        std::fs::write(&file, format!("{first_lines}{more}")).expect("the folder can be written");
        let mut command = Command::new(binary());
        command.args(["proxy", "--config"]).arg(&file);
        for name in ["TORC_REQUIREPASS", "TORC_JOIN", "TORC_SECRET_FILE", "TORC_THREADS", "TORC_LOG_LEVEL"] {
            command.env_remove(name);
        }
        let mut process = Process::start("torc proxy", command, &dir.path().join("proxy.log"))
            .unwrap_or_else(|error| panic!("torc proxy cannot be started: {error}"));
        let log = dir.path().join("proxy.log");
        let ports = process.wait_until("the line 'ready' in its log", || ports(&log));
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut proxy = Proxy { process, dir, first_lines, resp: at(ports.0), http: at(ports.1) };
        let http = proxy.http;
        proxy.process.wait_until("/readyz", || {
            crate::http::get(http, "/readyz").ok().filter(|(status, _)| *status == 200)
        });
        proxy
    }

    /// Replaces what stands in its file behind the first lines.
    pub fn write_config(&self, more: &str) {
        let text = format!("{}{more}", self.first_lines);
        std::fs::write(self.dir.path().join("proxy.toml"), text).expect("the folder can be written");
    }

    /// Its RESP address.
    pub fn resp(&self) -> SocketAddr {
        self.resp
    }

    /// Its HTTP address.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("torc.sock")
    }

    /// A connection to its RESP port.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn connect(&self) -> Connection {
        Connection::open(&Endpoint::Tcp(self.resp)).expect("the proxy takes connections")
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Resident bytes of its process.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn resident_bytes(&self) -> u64 {
        status_bytes(self.process.pid(), "VmRSS:")
    }

    /// The most resident bytes that its process ever had.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn peak_bytes(&self) -> u64 {
        status_bytes(self.process.pid(), "VmHWM:")
    }
}

/// The RESP and HTTP port of the line that says "ready".
fn ports(log: &Path) -> Option<(u16, u16)> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.contains(" ready "))?;
    let number = |name: &str| -> Option<u16> {
        let rest = line.split(' ').find_map(|word| word.strip_prefix(name))?;
        rest.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    Some((number("port=")?, number("http_port=")?))
}

fn status_bytes(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel says it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}
