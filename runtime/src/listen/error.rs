//! Why a listener could not be opened, in words that say what to do.

use std::io;
use std::path::PathBuf;

use super::address::AddressError;

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else listens there.
    #[error("port {port} on {host} is taken: stop the process that listens there or choose another port")]
    PortTaken {
        /// The host as configured.
        host: String,
        /// The port.
        port: u16,
    },
    /// The port needs a privilege.
    #[error("port {port} on {host} may not be opened by this user: choose a port above 1023")]
    PortForbidden {
        /// The host as configured.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host is not an address of this machine.
    #[error("cannot listen on {host}:{port}: this machine does not have the address {host}")]
    NotOurs {
        /// The host as configured.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host name cannot be resolved.
    #[error("cannot listen: {0}")]
    Address(#[from] AddressError),
    /// A live process listens on the unix socket.
    #[error("the unix socket {0} is taken: stop the process that listens there or choose another path")]
    SocketTaken(PathBuf),
    /// Something that is not a socket stands at the path.
    #[error("{0} exists and is not a socket: remove it or choose another path")]
    NotASocket(PathBuf),
    /// The path is longer than the kernel allows.
    #[error("the unix socket path {path} is too long: at most {limit_bytes} bytes")]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// The bound, in bytes.
        limit_bytes: usize,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {cause}")]
    Io {
        /// The address as configured.
        address: String,
        /// The system's answer.
        cause: io::Error,
    },
}
