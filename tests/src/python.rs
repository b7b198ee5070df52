//! End-to-end tests in Python: scripts under `python/`, run with `python3`, which learn by the
//! environment where the server is.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::peer;

/// The longest that one script may take, seconds.
const SCRIPT_SECONDS: &str = "300";

/// Where the servers of a script are.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The RESP address.
    pub resp: SocketAddr,
    /// The memcached address.
    pub memcached: SocketAddr,
}

/// Runs `python/<script>.py`; skips (see [`peer::skip`]) when python or one of `modules` is missing.
///
/// # Panics
/// When the script fails; the message holds its output.
pub fn run(script: &str, modules: &[&str], addresses: Addresses, environment: &[(&str, &str)]) {
    let Some(python) = peer::find_or_skip("python3", "apt-get install python3") else { return };
    for module in modules {
        let found = Command::new(&python).args(["-c", &format!("import {module}")]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            peer::skip(&format!("Python's {module}"), "pip install -r tests/python/requirements.txt");
            return;
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(format!("{script}.py"));
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", SCRIPT_SECONDS])
        .arg(&python)
        .arg(&path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TORC_HOST", addresses.resp.ip().to_string())
        .env("TORC_PORT", addresses.resp.port().to_string())
        .env("TORC_MEMCACHED_PORT", addresses.memcached.port().to_string())
        .envs(environment.iter().copied());
    let output = command.output().expect("timeout and python3 can be started");
    assert!(
        output.status.success(),
        "{} failed ({}):\n{}{}",
        path.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{}", String::from_utf8_lossy(&output.stdout));
}
