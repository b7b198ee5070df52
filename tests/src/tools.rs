//! Other people's command-line tools: redis-cli, redis-benchmark, memcstat, memccapable.
//!
//! Each function runs one tool against an address and checks what it says; a tool that is not installed is skipped
//! (see [`peer::skip`]).

use std::net::SocketAddr;
use std::process::{Command, Output};

use crate::peer;

/// The longest that one run may take, seconds.
const RUN_SECONDS: &str = "240";

/// Runs a tool that must succeed; `None` when it is not installed.
///
/// # Panics
/// When it fails; the message holds its output.
pub fn run(program: &str, hint: &str, args: &[&str]) -> Option<Output> {
    let path = peer::find_or_skip(program, hint)?;
    let output = Command::new("timeout").args(["--signal=KILL", RUN_SECONDS]).arg(path).args(args).output();
    let output = output.expect("timeout can be started");
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output)
}

/// What redis-cli prints for a terminal; `None` when it is not installed.
pub fn redis_cli(address: SocketAddr, args: &[&str]) -> Option<String> {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let all = [&["-h", &host, "-p", &port, "--no-raw"], args].concat();
    let output = run("redis-cli", "apt-get install redis-tools", &all)?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// redis-benchmark's usual tests, with these options besides; none may see an error.
///
/// # Panics
/// When a test is missing in its output or the server answered an error.
pub fn redis_benchmark(address: SocketAddr, requests: u32, more: &[&str]) {
    let (host, port, requests) = (address.ip().to_string(), address.port().to_string(), requests.to_string());
    let usual = ["-h", &host, "-p", &port, "-t", "ping,set,get,incr,hset,mset", "-n", &requests, "--csv"];
    let all = [&usual, more].concat();
    let Some(output) = run("redis-benchmark", "apt-get install redis-tools", &all) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    for name in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "HSET", "MSET (10 keys)"] {
        assert!(text.contains(&format!("\"{name}\"")), "{name} is missing:\n{text}");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("rror from server") && !errors.contains("WARNING"), "{errors}");
}

/// memcstat: what libmemcached's users look at.
///
/// # Panics
/// When a figure is missing.
pub fn memcstat(address: SocketAddr) {
    let servers = format!("--servers={address}");
    let Some(output) = run("memcstat", "apt-get install libmemcached-tools", &[&servers]) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    for name in ["pid:", "version:", "curr_items:", "cmd_get:", "get_hits:", "limit_maxbytes:"] {
        assert!(text.contains(name), "{name} is missing:\n{text}");
    }
}

/// memcapable's tests of the text protocol.
///
/// # Panics
/// When one of them fails.
pub fn memcapable(address: SocketAddr) {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    // Debian calls it memccapable.
    let name = if peer::find("memcapable").is_some() { "memcapable" } else { "memccapable" };
    let args = ["-a", "-h", &host, "-p", &port];
    let Some(output) = run(name, "apt-get install libmemcached-tools", &args) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("All tests passed"), "{text}");
}
