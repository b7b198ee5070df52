//! The `torc` binary under test, and servers started from it.
//!
//! [`binary`] finds `target/<profile>/torc` beside the test's own executable and has cargo build it when
//! it is missing or older than a source file. `TORC_BIN` names another one, which is taken as it is.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::client::{Connection, Endpoint};
use crate::process::{Process, Workdir};

/// Names another binary than the one of this build.
pub const BINARY: &str = "TORC_BIN";

/// The folders whose sources make the binary.
const SOURCES: [&str; 6] = ["protocol", "cluster", "runtime", "server", "proxy", "cli"];

/// The `torc` binary, built when it is missing or stale; looked at once per test process.
///
/// # Panics
/// When cargo cannot build it.
pub fn binary() -> &'static Path {
    static BINARY_PATH: OnceLock<PathBuf> = OnceLock::new();
    BINARY_PATH.get_or_init(|| match std::env::var_os(BINARY) {
        Some(path) => PathBuf::from(path),
        None => fresh_binary(),
    })
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

fn fresh_binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its executable");
    // target/<profile>/deps/<test> or target/<profile>/<program>
    let folder = test.parent().expect("an executable lies in a folder");
    let folder =
        if folder.ends_with("deps") { folder.parent().expect("deps lies in a profile") } else { folder };
    let path = folder.join("torc");
    if is_stale(&path) {
        let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
        let profile = if profile == "debug" { "dev" } else { profile };
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace()).args([
            "build",
            "--quiet",
            "-p",
            "torc",
            "--bin",
            "torc",
            "--profile",
            profile,
        ]);
        if let Some(target) = folder.parent() {
            cargo.arg("--target-dir").arg(target);
        }
        let status = cargo.status().expect("cargo can be started");
        assert!(status.success(), "cargo could not build the torc binary ({status})");
    }
    path
}

fn is_stale(binary: &Path) -> bool {
    let Ok(built) = std::fs::metadata(binary).and_then(|meta| meta.modified()) else { return true };
    let root = workspace();
    [root.join("Cargo.toml"), root.join("Cargo.lock")].iter().any(|path| is_newer(path, built))
        || SOURCES.iter().any(|folder| any_newer(&root.join(folder), built, 0))
}

fn is_newer(path: &Path, than: SystemTime) -> bool {
    std::fs::metadata(path).and_then(|meta| meta.modified()).is_ok_and(|time| time > than)
}

fn any_newer(folder: &Path, than: SystemTime, depth: usize) -> bool {
    const MAX_DEPTH: usize = 8;
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => depth < MAX_DEPTH && any_newer(&path, than, depth + 1),
            Ok(_) => {
                path.extension().is_some_and(|e| e == "rs" || e == "toml" || e == "lua")
                    && is_newer(&path, than)
            }
            Err(_) => false,
        }
    })
}

/// What a started server is given besides its ports and folder.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Worker threads; 0 stands for 2.
    pub threads: usize,
    /// More command-line arguments.
    pub more: Vec<String>,
}

/// A running `torc server`: one plain store.
#[derive(Debug)]
pub struct Server {
    process: Process,
    dir: Workdir,
    resp: SocketAddr,
    memcached: SocketAddr,
    http: Option<SocketAddr>,
}

impl Server {
    /// Starts a server on free ports and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        Self::start_with(&ServerOptions::default())
    }

    /// As [`Self::start`], with options.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_with(options: &ServerOptions) -> Self {
        let dir = Workdir::new("server");
        let mut command = Command::new(binary());
        let threads = if options.threads == 0 { 2 } else { options.threads };
        command
            .args(["server", "--port", "auto", "--memcached-port", "auto", "--http-port", "auto"])
            .args(["--threads", &threads.to_string()])
            .arg("--dir")
            .arg(dir.path())
            .args(&options.more);
        let mut process = Process::start("torc server", command, &dir.path().join("test-output.log"))
            .unwrap_or_else(|error| panic!("torc server cannot be started: {error}"));
        let file = dir.path().join("server.json");
        let addresses = process.wait_until("its server.json", || Addresses::read(&file));
        let resp = addresses.resp.expect("server.json names the RESP address");
        let memcached = addresses.memcached.expect("server.json names the memcached address");
        process.wait_until("its first answer", || {
            let mut connection = Connection::open(&Endpoint::Tcp(resp)).ok()?;
            connection.call(&["PING"]).ok()
        });
        Self { process, dir, resp, memcached, http: addresses.http }
    }

    /// Where it speaks RESP, for a [`Connection`].
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.resp)
    }

    /// Where it speaks RESP.
    pub fn resp(&self) -> SocketAddr {
        self.resp
    }

    /// Where it speaks memcached.
    pub fn memcached(&self) -> SocketAddr {
        self.memcached
    }

    /// Where it speaks HTTP.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// The addresses that a server writes into its folder once it listens.
#[derive(Debug, Default, PartialEq, Eq)]
struct Addresses {
    resp: Option<SocketAddr>,
    memcached: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

impl Addresses {
    /// Reads the file; `None` while it is not there or not whole.
    fn read(file: &Path) -> Option<Self> {
        Self::parse(&std::fs::read(file).ok()?)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let json: serde_json::Value = serde_json::from_slice(text).ok()?;
        let host: IpAddr = json.get("host")?.as_str()?.parse().ok()?;
        // Port 0 stands for no listener.
        let address = |name: &str| {
            let port = json.get(name)?.as_u64().and_then(|port| u16::try_from(port).ok())?;
            (port != 0).then(|| SocketAddr::new(host, port))
        };
        Some(Self { resp: address("port"), memcached: address("memcached_port"), http: address("http_port") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_whole_files_only() {
        let whole = br#"{"pid":7,"host":"127.0.0.1","port":7000,"memcached_port":7001,"http_port":0}"#;
        let read = Addresses::parse(whole).expect("whole");
        assert_eq!(read.resp.map(|a| a.port()), Some(7000));
        assert_eq!(read.memcached.map(|a| a.port()), Some(7001));
        assert_eq!(read.http, None);
        assert_eq!(Addresses::parse(&whole[..20]), None);
    }
}
