//! Where to listen or connect: `HOST:PORT` or the path of a unix socket.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// An address as written in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or IP address, and a port (0: any free one).
    Tcp {
        /// Name or IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Mode bits of the socket file when we listen on it.
        mode: u32,
    },
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither form fits.
    #[error("'{0}' is not an address: write HOST:PORT, [IPV6]:PORT, or unix:/path/to/socket")]
    Malformed(String),
    /// A host name has no address.
    #[error("the host name '{0}' does not resolve to an address")]
    Unresolved(String),
}

/// Mode of a unix socket unless said otherwise: the owner and the group.
const UNIX_SOCKET_MODE: u32 = 0o660;

impl Address {
    /// A TCP address.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp { host: host.into(), port }
    }

    /// A unix socket with the usual mode (0660).
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix { path: path.into(), mode: UNIX_SOCKET_MODE }
    }

    /// Whether only this machine can reach it. A host name counts by what it resolves to now.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Unix { .. } => true,
            Self::Tcp { host, port } => (host.as_str(), *port)
                .to_socket_addrs()
                .is_ok_and(|mut all| all.all(|address| address.ip().is_loopback())),
        }
    }

    /// The first socket address of a TCP address, IPv4 before IPv6; `None` for a unix socket.
    pub fn resolve(&self) -> Result<Option<SocketAddr>, AddressError> {
        let Self::Tcp { host, port } = self else {
            return Ok(None);
        };
        let unresolved = || AddressError::Unresolved(host.clone());
        let all: Vec<SocketAddr> =
            (host.as_str(), *port).to_socket_addrs().map_err(|_| unresolved())?.collect();
        let first = all.iter().find(|address| address.is_ipv4()).or(all.first());
        first.copied().map(Some).ok_or_else(unresolved)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(malformed()) } else { Ok(Self::unix(path)) };
        }
        if text.starts_with('/') {
            return Ok(Self::unix(text));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        let port = port.parse().map_err(|_| malformed())?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(malformed)?,
            None if host.contains(':') => return Err(malformed()),
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(malformed());
        }
        Ok(Self::tcp(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(out, "{host}:{port}"),
            Self::Unix { path, .. } => write!(out, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address.ip().to_string(), address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_written() {
        for text in ["127.0.0.1:6379", "localhost:0", "[::1]:6379", "unix:/run/torc/torc.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("/run/x".parse::<Address>().unwrap(), Address::unix("/run/x"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "6379", "host", "host:", ":1", "host:70000", "::1:80", "[::1:80", "unix:", "a b:1"] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
        }
    }

    #[test]
    fn loopback_is_told_apart() {
        assert!(Address::tcp("127.0.0.1", 1).is_loopback());
        assert!(Address::tcp("::1", 1).is_loopback());
        assert!(Address::unix("/x").is_loopback());
        assert!(!Address::tcp("0.0.0.0", 1).is_loopback());
        assert_eq!(Address::tcp("127.0.0.1", 5).resolve().unwrap(), Some(([127, 0, 0, 1], 5).into()));
    }
}
