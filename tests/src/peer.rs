//! The servers Torc is compared with: Debian's `redis-server` and `memcached`.
//!
//! They listen on unix sockets in a folder of their own, so that no port can be taken twice. A missing
//! one is skipped with a notice nobody can overlook, unless `TORC_REQUIRE_PEERS=1`, which makes that a
//! failure.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Connection, Endpoint};
use crate::process::{Process, Workdir};

/// Set to `1`, a missing peer or client library fails the test instead of skipping it.
pub const REQUIRE_PEERS: &str = "TORC_REQUIRE_PEERS";

/// Names another `redis-server` than that on `PATH`, such as a newer one.
pub const REDIS_SERVER: &str = "TORC_REDIS_SERVER";

/// Whether a missing peer is a failure.
pub fn required() -> bool {
    std::env::var(REQUIRE_PEERS).is_ok_and(|value| value == "1")
}

/// Skips what needs `missing`: loudly, past the capture of the test's output.
///
/// # Panics
/// When peers are required.
pub fn skip(missing: &str, hint: &str) {
    assert!(!required(), "{missing} is missing and {REQUIRE_PEERS}=1; {hint}");
    notice(missing, &format!("{hint}; {REQUIRE_PEERS}=1 makes this a failure"));
}

/// As [`skip`], for what not even a machine with all peers can always have: never a failure.
pub fn notice(missing: &str, hint: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let text = format!("\n!!!!! SKIPPED {test}: {missing} is missing; {hint}\n\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A program on `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A program on `PATH`, or a skip.
pub fn find_or_skip(program: &str, hint: &str) -> Option<PathBuf> {
    let found = find(program);
    if found.is_none() {
        skip(program, hint);
    }
    found
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    process: Process,
    dir: Workdir,
    endpoint: Endpoint,
}

impl Peer {
    /// Starts `redis-server` without persistence; `None` when it is not installed (see [`skip`]).
    pub fn redis() -> Option<Self> {
        let program = match std::env::var_os(REDIS_SERVER) {
            Some(program) => PathBuf::from(program),
            None => find_or_skip("redis-server", "apt-get install redis-server")?,
        };
        Some(Self::redis_at(&program, &[]))
    }

    /// Starts the `redis-server` at `program`, with more options.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn redis_at(program: &Path, options: &[&str]) -> Self {
        let dir = Workdir::new("redis");
        let socket = dir.path().join("socket");
        let mut command = Command::new(program);
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(dir.path())
            .args(options);
        Self::start("redis-server", command, dir, socket, |connection| {
            connection.call(&["PING"]).is_ok_and(|reply| !reply.is_error())
        })
    }

    /// Starts `memcached`; `None` when it is not installed (see [`skip`]).
    pub fn memcached() -> Option<Self> {
        let program = find_or_skip("memcached", "apt-get install memcached")?;
        let dir = Workdir::new("memcached");
        let socket = dir.path().join("socket");
        let mut command = Command::new(program);
        // Root is told apart by memcached: it wants to know whom to become.
        command.args(["-u", "root", "-U", "0", "-t", "1", "-m", "64"]);
        // Its background threads hold items now and then, and what an `incr` answers depends on that.
        command.args(["-o", "no_lru_maintainer,no_lru_crawler,no_slab_reassign", "-s"]).arg(&socket);
        Some(Self::start("memcached", command, dir, socket, |connection| {
            connection.send(b"version\r\n").is_ok()
                && connection.read_until(|bytes| bytes.ends_with(b"\r\n")).is_ok_and(|(_, ended)| !ended)
        }))
    }

    fn start(
        name: &str,
        command: Command,
        dir: Workdir,
        socket: PathBuf,
        answers: impl Fn(&mut Connection) -> bool,
    ) -> Self {
        let endpoint = Endpoint::Unix(socket);
        let mut process = Process::start(name, command, &dir.path().join("log"))
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        process.wait_until("its first answer", || {
            Connection::open(&endpoint).is_ok_and(|mut c| answers(&mut c)).then_some(())
        });
        Self { process, dir, endpoint }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}
