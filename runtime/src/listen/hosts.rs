//! Listening at one port on several hosts.

use super::{Address, ListenError, Listener, PortChoice, SocketOptions, bind};

/// The hosts that a process listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Those that were named. Without a name: loopback alone, or every address when the process is `open`, that is
    /// when strangers may knock because they must give a password or know the cluster secret.
    pub fn new(named: &[String], open: bool) -> Hosts {
        Hosts(match (named, open) {
            ([], true) => vec!["0.0.0.0".to_owned()],
            ([], false) => vec!["127.0.0.1".to_owned()],
            (named, _) => named.to_vec(),
        })
    }

    /// The first of them.
    pub fn first(&self) -> &str {
        self.0.first().map_or("127.0.0.1", String::as_str)
    }

    /// A listener for each host, all at one port; none where no port is wanted. The first host draws the port if it
    /// is to be drawn, the others follow it.
    pub fn bind(&self, choice: PortChoice, options: &SocketOptions) -> Result<Vec<Listener>, ListenError> {
        let Some(mut port) = choice.to_bind() else { return Ok(Vec::new()) };
        let mut bound = Vec::with_capacity(self.0.len());
        for host in &self.0 {
            let listener = bind(&Address::tcp(host.clone(), port), options)?;
            port = listener.port().unwrap_or(port);
            bound.push(listener);
        }
        Ok(bound)
    }
}

/// The TCP port of listeners that share one; 0: none of them has one.
pub fn port_of(listeners: &[Listener]) -> u16 {
    listeners.iter().find_map(Listener::port).unwrap_or(0)
}

/// Mode bits of a unix socket from octal digits as chmod takes them.
pub fn parse_mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_knock_decides_unless_hosts_are_named() {
        assert_eq!(Hosts::new(&[], false).first(), "127.0.0.1");
        assert_eq!(Hosts::new(&[], true).first(), "0.0.0.0");
        let named = ["::1".to_owned(), "127.0.0.2".to_owned()];
        assert_eq!(Hosts::new(&named, true), Hosts::new(&named, false));
        assert_eq!(Hosts::new(&named, true).first(), "::1");
    }

    #[test]
    fn all_hosts_share_the_port_that_the_first_one_drew() {
        let hosts = Hosts::new(&["127.0.0.1".to_owned(), "127.0.0.2".to_owned()], false);
        let options = SocketOptions::default();
        let bound = hosts.bind(PortChoice::Auto, &options).unwrap();
        let ports: Vec<_> = bound.iter().map(|listener| listener.port().unwrap()).collect();
        assert_eq!(ports.len(), 2);
        assert!(ports[0] > 0 && ports[0] == ports[1] && port_of(&bound) == ports[0]);
        assert!(hosts.bind(PortChoice::None, &options).unwrap().is_empty());
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(parse_mode("660"), Some(0o660));
        assert_eq!((parse_mode("1777"), parse_mode("8"), parse_mode("")), (None, None, None));
    }
}
