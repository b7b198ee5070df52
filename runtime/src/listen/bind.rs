//! Opening listening sockets.
//!
//! A [`Listener`] owns its socket and, for a unix socket, the file at its path: dropped, it removes
//! the file if that is still its own.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::address::Address;
use super::error::ListenError;
use super::stream::{PeerAddr, StdStream};

/// Longest path of a unix socket: `sun_path` less its final zero byte.
const UNIX_PATH_BYTES: usize = 107;

/// What is set on listening and accepted sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Connections that may wait to be accepted (the kernel's own bound also applies).
    pub backlog: u32,
    /// Send small replies at once.
    pub nodelay: bool,
    /// Probe idle peers after this long; `None`: never.
    pub keepalive: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { backlog: 1024, nodelay: true, keepalive: Some(Duration::from_secs(300)) }
    }
}

impl SocketOptions {
    /// Sets the per-connection options on an accepted or connected socket. Best effort: a peer
    /// that is already gone makes these fail, and the next read says so.
    pub fn apply(&self, stream: &StdStream) {
        if let StdStream::Tcp(stream) = stream {
            self.apply_tcp(SockRef::from(stream));
        }
    }

    /// As [`Self::apply`], for any TCP socket.
    pub fn apply_tcp(&self, socket: SockRef<'_>) {
        let _ = socket.set_tcp_nodelay(self.nodelay);
        if let Some(idle) = self.keepalive {
            let third = (idle / 3).max(Duration::from_secs(1));
            let probes = TcpKeepalive::new().with_time(idle).with_interval(third).with_retries(3);
            let _ = socket.set_tcp_keepalive(&probes);
        }
    }
}

/// A listening socket, not yet tied to a runtime.
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    options: SocketOptions,
}

#[derive(Debug)]
pub(super) enum Inner {
    Tcp(StdTcpListener, SocketAddr),
    Unix(StdUnixListener, SocketFile),
}

/// The file of a unix socket; removes it when dropped, if it is still the same file.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    mode: u32,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens a listener.
pub fn bind(address: &Address, options: &SocketOptions) -> Result<Listener, ListenError> {
    let inner = match address {
        Address::Tcp { host, port } => bind_tcp(address, host, *port, options)?,
        Address::Unix { path, mode } => bind_unix(path, *mode)?,
    };
    Ok(Listener { inner, options: options.clone() })
}

impl Listener {
    /// The address, with the port that the kernel chose where 0 was asked for.
    pub fn local_address(&self) -> Address {
        match &self.inner {
            Inner::Tcp(_, address) => Address::from(*address),
            Inner::Unix(_, file) => Address::Unix { path: file.path.clone(), mode: file.mode },
        }
    }

    /// The port; `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        match &self.inner {
            Inner::Tcp(_, address) => Some(address.port()),
            Inner::Unix(..) => None,
        }
    }

    /// Ties the listener to the runtime it is called in.
    pub fn into_async(self) -> io::Result<AsyncListener> {
        Ok(match self.inner {
            Inner::Tcp(listener, _) => {
                AsyncListener::Tcp(tokio::net::TcpListener::from_std(listener)?, self.options)
            }
            Inner::Unix(listener, file) => {
                AsyncListener::Unix(tokio::net::UnixListener::from_std(listener)?, file)
            }
        })
    }
}

/// A listener tied to a runtime.
#[derive(Debug)]
pub enum AsyncListener {
    /// Over TCP.
    Tcp(tokio::net::TcpListener, SocketOptions),
    /// Over a unix socket; the file goes away with the listener.
    #[expect(private_interfaces, reason = "nobody outside needs to take the file out")]
    Unix(tokio::net::UnixListener, SocketFile),
}

impl AsyncListener {
    /// The next connection, non-blocking and with its socket options set. Cancel-safe.
    pub async fn accept(&self) -> io::Result<(StdStream, PeerAddr)> {
        match self {
            Self::Tcp(listener, options) => {
                let (stream, peer) = listener.accept().await?;
                let stream = StdStream::Tcp(stream.into_std()?);
                options.apply(&stream);
                Ok((stream, PeerAddr::Tcp(peer)))
            }
            Self::Unix(listener, file) => {
                let (stream, _) = listener.accept().await?;
                Ok((StdStream::Unix(stream.into_std()?), PeerAddr::Unix(file.path.clone().into())))
            }
        }
    }
}

fn bind_tcp(address: &Address, host: &str, port: u16, options: &SocketOptions) -> Result<Inner, ListenError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortTaken { host: host.to_owned(), port },
        io::ErrorKind::PermissionDenied => ListenError::PortForbidden { host: host.to_owned(), port },
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs { host: host.to_owned(), port },
        _ => ListenError::Io { address: address.to_string(), cause },
    };
    let Some(target) = address.resolve()? else {
        return Err(failed(io::Error::other("not a TCP address")));
    };
    let open = || -> io::Result<(StdTcpListener, SocketAddr)> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        // Lets a restarted process take its port back while old connections linger in TIME_WAIT;
        // on Linux it does not let two listeners share a port.
        socket.set_reuse_address(true)?;
        socket.bind(&target.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        let listener = StdTcpListener::from(socket);
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    let (listener, local) = open().map_err(failed)?;
    Ok(Inner::Tcp(listener, local))
}

fn bind_unix(path: &Path, mode: u32) -> Result<Inner, ListenError> {
    use std::os::unix::ffi::OsStrExt;
    let failed = |cause: io::Error| ListenError::Io { address: format!("unix:{}", path.display()), cause };
    // The socket is made under a name of its own, given its mode, and then moved to its place: no
    // moment in which it can be reached with the wrong mode, or in which no socket is there.
    let suffix = format!(".{}", std::process::id());
    if path.as_os_str().as_bytes().len() + suffix.len() > UNIX_PATH_BYTES {
        let limit_bytes = UNIX_PATH_BYTES - suffix.len();
        return Err(ListenError::PathTooLong { path: path.to_owned(), limit_bytes });
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) if StdUnixStream::connect(path).is_ok() => {
            return Err(ListenError::SocketTaken(path.to_owned()));
        }
        // A socket that nobody answers on is left over from a crash: replaced below.
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(failed(cause)),
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(&suffix);
    let temporary = PathBuf::from(temporary);
    let open = || -> io::Result<(StdUnixListener, (u64, u64))> {
        let _ = fs::remove_file(&temporary);
        let listener = StdUnixListener::bind(&temporary)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
        fs::rename(&temporary, path)?;
        let meta = fs::symlink_metadata(path)?;
        Ok((listener, (meta.dev(), meta.ino())))
    };
    let (listener, identity) = open().map_err(|cause| {
        let _ = fs::remove_file(&temporary);
        failed(cause)
    })?;
    Ok(Inner::Unix(listener, SocketFile { path: path.to_owned(), mode, identity }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let first = bind(&Address::tcp("127.0.0.1", 0), &SocketOptions::default()).unwrap();
        let port = first.port().unwrap();
        let error = bind(&Address::tcp("127.0.0.1", port), &SocketOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("port {port} on 127.0.0.1 is taken: ")), "{error}");
        drop(first);
        bind(&Address::tcp("127.0.0.1", port), &SocketOptions::default()).unwrap();
    }

    #[test]
    fn a_foreign_address_is_named() {
        // 192.0.2.0/24 is kept for documentation (RFC 5737).
        let error = bind(&Address::tcp("192.0.2.1", 0), &SocketOptions::default()).unwrap_err();
        assert!(matches!(error, ListenError::NotOurs { .. }), "{error}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("torc.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let address = Address::Unix { path: path.clone(), mode: 0o600 };
        let listener = bind(&address, &SocketOptions::default()).unwrap();
        assert_eq!(listener.local_address(), address);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = bind(&address, &SocketOptions::default()).unwrap_err();
        assert!(matches!(error, ListenError::SocketTaken(_)), "{error}");
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let error = bind(&address, &SocketOptions::default()).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_long_path_is_named() {
        let address = Address::unix(format!("/tmp/{}", "x".repeat(200)));
        let error = bind(&address, &SocketOptions::default()).unwrap_err();
        assert!(matches!(error, ListenError::PathTooLong { .. }), "{error}");
    }
}
