//! Ports for the processes of a cluster on this machine.
//!
//! A port is drawn some time before its process binds it, and a node that ended binds it again seconds later. In
//! between nobody else may take it:
//! - the kernel gives ports of its ephemeral range to outgoing connections, so none is drawn from there;
//! - another `torc up` must not draw it, so ports come in blocks, and `torc up` listens on the first port of each
//!   block of its cluster as long as it lives: that port is the block's lock.

use std::error::Error;
use std::net::TcpListener;

use torc_runtime::datadir;

use super::layout::HOST;

/// Ports of one block, the lock included; blocks begin at multiples of it.
const BLOCK: u16 = 32;
/// Below it are the ports of well-known services.
const LOWEST: u16 = 20_480;
/// Where Linux says which ports outgoing connections get.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Draws ports and holds the locks of their blocks; lives as long as the cluster runs.
#[derive(Debug)]
pub struct Ports {
    ephemeral: (u16, u16),
    locks: Vec<TcpListener>,
    /// Next port to try, and the end of its block.
    next: (u16, u16),
}

impl Ports {
    /// Nothing drawn yet.
    pub fn new() -> Ports {
        let text = std::fs::read_to_string(EPHEMERAL).unwrap_or_default();
        Ports { ephemeral: parse_range(&text), locks: Vec::new(), next: (0, 0) }
    }

    /// Locks the blocks of ports that an earlier run drew, as far as nobody else has them.
    pub fn keep(&mut self, ports: impl IntoIterator<Item = u16>) {
        let mut blocks: Vec<u16> = ports.into_iter().map(|port| port - port % BLOCK).collect();
        blocks.sort_unstable();
        blocks.dedup();
        self.locks.extend(blocks.into_iter().filter_map(|first| TcpListener::bind((HOST, first)).ok()));
    }

    /// A port that is free now and is drawn by no other cluster.
    pub fn draw(&mut self) -> Result<u16, Box<dyn Error>> {
        loop {
            while self.next.0 < self.next.1 {
                let port = self.next.0;
                self.next.0 += 1;
                if TcpListener::bind((HOST, port)).is_ok() {
                    return Ok(port);
                }
            }
            self.take_block()?;
        }
    }

    fn take_block(&mut self) -> Result<(), Box<dyn Error>> {
        let blocks = blocks(self.ephemeral);
        let mut bytes = [0; 4];
        datadir::random_bytes(&mut bytes)?;
        let start = u32::from_le_bytes(bytes) as usize % blocks.len().max(1);
        for first in blocks.iter().cycle().skip(start).take(blocks.len()) {
            if let Ok(lock) = TcpListener::bind((HOST, *first)) {
                self.locks.push(lock);
                self.next = (first + 1, first + BLOCK);
                return Ok(());
            }
        }
        Err(format!("no block of {BLOCK} ports is free on {HOST}").into())
    }
}

/// First ports of all blocks outside the ephemeral range; all of them when that range leaves none.
fn blocks(ephemeral: (u16, u16)) -> Vec<u16> {
    let all = || (LOWEST..=u16::MAX - BLOCK).step_by(usize::from(BLOCK));
    let outside: Vec<u16> =
        all().filter(|first| first + BLOCK <= ephemeral.0 || *first > ephemeral.1).collect();
    if outside.is_empty() { all().collect() } else { outside }
}

/// `32768 60999`; anything else is taken for that.
fn parse_range(text: &str) -> (u16, u16) {
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(low)), Some(Ok(high))) => (low, high),
        _ => (32_768, 60_999),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_outside_the_ephemeral_range() {
        assert_eq!(parse_range("1024\t65535\n"), (1024, 65_535));
        assert_eq!(parse_range(""), (32_768, 60_999));
        let usual = blocks((32_768, 60_999));
        assert!(usual.iter().all(|first| first + BLOCK <= 32_768 || *first > 60_999));
        assert!(usual.len() > 300, "{}", usual.len());
        assert!(!blocks((1024, 65_535)).is_empty());
    }

    #[test]
    fn two_clusters_draw_no_port_twice() {
        let (mut one, mut two) = (Ports::new(), Ports::new());
        let mut drawn: Vec<u16> = Vec::new();
        for _ in 0..40 {
            drawn.push(one.draw().expect("a port"));
            drawn.push(two.draw().expect("a port"));
        }
        let count = drawn.len();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), count);
        // The blocks of a cluster that has gone can be had again.
        drop((one, two));
        let mut again = Ports::new();
        again.keep(drawn.iter().copied());
        assert!(!again.locks.is_empty());
    }
}
