//! Listeners and streams over TCP and unix sockets.
//!
//! [`bind`] opens a [`Listener`], [`Hosts`] one for each host; [`acceptor`] accepts on one task and hands the sockets round to
//! worker threads, each of which owns those it was given; [`Stream`] is what a connection reads and
//! writes, whichever kind it is. Who drives many connections in one task leaves them [`StdStream`]s and has a [`Poller`].
//!
//! ```text
//!   Listener ──accept──▶ acceptor ──bounded channel──▶ worker 0 (own runtime) ─▶ Stream
//!                                └─────────────────▶ worker 1 (own runtime) ─▶ Stream
//! ```

pub mod acceptor;
mod address;
mod bind;
mod error;
mod hosts;
mod poller;
mod port;
mod stream;

pub use address::{Address, AddressError};
pub use bind::{Listener, SocketOptions, bind};
pub use error::ListenError;
pub use hosts::{Hosts, parse_mode, port_of};
pub use poller::{Poller, Readiness};
pub use port::{PortChoice, PortError};
pub use stream::{PeerAddr, StdStream, Stream};
