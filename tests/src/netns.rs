//! Hosts of their own on this machine: network namespaces on a switch, whose cables can be pulled.
//!
//! ```text
//!  this process ─ veth ─┐
//!  host 0  eth0 ─ veth ─┤ bridge, in a namespace of its own
//!  host 1  eth0 ─ veth ─┘
//! ```
//!
//! Needs root and `ip` of iproute2. Where namespaces cannot be made the test is skipped, loudly. A [`Network`] owns its
//! namespaces and removes them when dropped; those of test processes that were killed are removed by the next one.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::peer;

/// Hosts of one network at most.
pub const MAX_HOSTS: usize = 32;

/// Names of namespaces begin with it, then the process id and the network's number in that process.
const PREFIX: &str = "torctest-";
/// The number of this process in each network.
const OUTSIDE: u8 = 254;

/// See the module's text.
#[derive(Debug)]
pub struct Network {
    name: String,
    subnet: [u8; 3],
    hosts: usize,
}

impl Network {
    /// A network with that many hosts; `None`, with a notice, where namespaces cannot be made.
    ///
    /// # Panics
    /// With more than [`MAX_HOSTS`].
    pub fn make(hosts: usize) -> Option<Network> {
        static MADE: AtomicU8 = AtomicU8::new(0);
        assert!(hosts <= MAX_HOSTS, "at most {MAX_HOSTS} hosts");
        sweep();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let name = format!("{PREFIX}{pid}-{number}");
        // Two test processes at once must not share addresses.
        let subnet = [10, 64 + (pid % 128) as u8, (pid / 128 % 16) as u8 * 16 + number % 16];
        let network = Network { name, subnet, hosts };
        match network.build() {
            Ok(()) => Some(network),
            Err(why) => {
                peer::notice("a network namespace", &format!("run as root, with iproute2 ({why})"));
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        let switch = self.switch();
        ip(["netns", "add", &switch])?;
        ip(["-n", &switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0"])?;
        ip(["-n", &switch, "link", "set", "br0", "up"])?;
        let outside = self.outside();
        ip(["link", "add", &outside, "type", "veth", "peer", "name", "out", "netns", &switch])?;
        self.plug("out")?;
        ip(["addr", "add", &format!("{}/24", self.at(OUTSIDE)), "dev", &outside])?;
        ip(["link", "set", &outside, "up"])?;
        for host in 0..self.hosts {
            let (name, port) = (self.host(host), format!("h{host}"));
            ip(["netns", "add", &name])?;
            ip([
                "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ])?;
            self.plug(&port)?;
            ip(["-n", &name, "link", "set", "lo", "up"])?;
            ip(["-n", &name, "addr", "add", &format!("{}/24", self.address(host)), "dev", "eth0"])?;
            ip(["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    fn plug(&self, port: &str) -> Result<(), String> {
        ip(["-n", &self.switch(), "link", "set", port, "master", "br0", "up"])
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn host(&self, host: usize) -> String {
        format!("{}-h{host}", self.name)
    }

    /// This process's end of its cable: at most fifteen letters.
    fn outside(&self) -> String {
        format!("tt{}", self.name.trim_start_matches(PREFIX))
    }

    fn at(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.hosts
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> IpAddr {
        self.at(host as u8 + 1).into()
    }

    /// A command that runs on a host. The program takes the place of `ip`, so its process id is the child's.
    pub fn command(&self, host: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host)]).arg(program);
        command
    }

    /// Pulls a host's cable: from here on nothing gets in or out.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn cut(&self, host: usize) {
        self.must(["-n", &self.switch(), "link", "set", &format!("h{host}"), "down"]);
    }

    /// Plugs the cable in again.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn heal(&self, host: usize) {
        self.must(["-n", &self.switch(), "link", "set", &format!("h{host}"), "up"]);
    }

    /// One-way cut: what `from` sends to `to` vanishes, what `to` sends arrives.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn mute(&self, from: usize, to: usize) {
        self.must(["-n", &self.host(from), "route", "add", "blackhole", &self.address(to).to_string()]);
    }

    /// Ends a one-way cut.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn unmute(&self, from: usize, to: usize) {
        self.must(["-n", &self.host(from), "route", "del", "blackhole", &self.address(to).to_string()]);
    }

    fn must<const N: usize>(&self, words: [&str; N]) {
        ip(words).unwrap_or_else(|why| panic!("{}: {why}", self.name));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cables go with the namespaces; those of processes that still run, when these end.
        let _ = ip(["link", "del", &self.outside()]);
        for host in 0..self.hosts {
            let _ = ip(["netns", "del", &self.host(host)]);
        }
        let _ = ip(["netns", "del", &self.switch()]);
    }
}

fn ip<const N: usize>(words: [&str; N]) -> Result<(), String> {
    run(words).map(drop)
}

fn run<const N: usize>(words: [&str; N]) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        Command::new("ip").args(words.map(OsStr::new)).output().map_err(|error| format!("ip: {error}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&stderr).trim()))
}

/// Removes the namespaces of test processes that are no more.
fn sweep() {
    let Ok(list) = run(["netns", "list"]) else { return };
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = ip(["netns", "del", name]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a host hears an echo of another.
    fn reaches(network: &Network, from: usize, to: usize) -> bool {
        // A connection that is refused has crossed the network both ways; one that was cut waits until the end.
        let script = format!("timeout 3 bash -c '</dev/tcp/{}/9'; [ $? -ne 124 ]", network.address(to));
        let mut command = network.command(from, Path::new("bash"));
        command.args(["-c", &script]).stderr(std::process::Stdio::null());
        command.status().expect("bash can be started").success()
    }

    #[test]
    fn cables_can_be_pulled_and_ways_be_closed() {
        let Some(network) = Network::make(3) else { return };
        assert!(reaches(&network, 0, 1) && reaches(&network, 1, 0) && reaches(&network, 2, 1));
        network.cut(0);
        assert!(!reaches(&network, 0, 1) && !reaches(&network, 1, 0));
        assert!(reaches(&network, 2, 1));
        network.heal(0);
        // Whoever asked for an address in vain asks again after a second.
        assert!((0..10).any(|_| reaches(&network, 0, 1)));
        network.mute(1, 2);
        assert!(!reaches(&network, 2, 1), "the answer is lost");
        assert!(reaches(&network, 0, 1) && reaches(&network, 0, 2));
        network.unmute(1, 2);
        assert!(reaches(&network, 2, 1));
        let name = network.name.clone();
        drop(network);
        assert!(!run(["netns", "list"]).expect("ip lists").contains(&name));
    }
}
