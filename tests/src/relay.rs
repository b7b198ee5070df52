//! A TCP relay in front of one listener, which delays, stalls, cuts and breaks what goes through it.
//!
//! ```text
//!  others ──▶ relay ──▶ listener        each direction of each connection is a thread, which asks the faults
//!         ◀──       ◀──                 before it passes a piece on
//! ```
//!
//! Nothing is lost out of the middle of a stream: TCP would send it again. What is lost is a connection
//! ([`Relay::break_all`]), or everything from some moment on ([`Relay::cut`]): bytes of a direction that is cut wait, as
//! they do in a sender whose packets vanish, and go on when the cut ends, unless the connection is broken first.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Connections through one relay at once; beyond it new ones are closed.
const MAX_CONNECTIONS: usize = 1024;
/// Bytes that are passed on at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How often the acceptor looks whether the relay has ended.
const LOOK: Duration = Duration::from_millis(5);
/// How long a connection to the listener may take.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// A direction of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Towards the listener.
    In,
    /// From the listener.
    Out,
}

/// What is wrong now.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    delay: Duration,
    cut_in: bool,
    cut_out: bool,
    /// New connections are accepted and closed at once.
    refuse: bool,
}

impl Faults {
    fn is_cut(self, way: Way) -> bool {
        match way {
            Way::In => self.cut_in,
            Way::Out => self.cut_out,
        }
    }
}

#[derive(Default)]
struct Shared {
    faults: Mutex<Faults>,
    /// Told when faults change.
    changed: Condvar,
    /// Both sockets of each connection, by its number.
    open: Mutex<Vec<(u64, TcpStream, TcpStream)>>,
    ended: AtomicBool,
    connections: AtomicU64,
}

/// See the module's text. Dropped, it closes everything.
pub struct Relay {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Relay {
    /// Listens on `address` and passes on to `to`.
    ///
    /// # Errors
    /// Those of listening.
    pub fn start(address: SocketAddr, to: SocketAddr) -> io::Result<Relay> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, to, &of_thread));
        Ok(Relay { shared, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.faults.lock());
        self.shared.changed.notify_all();
    }

    /// Delays every piece, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.set(|faults| faults.delay = delay);
    }

    /// Cuts one direction: nothing passes until [`Relay::heal`].
    pub fn cut(&self, way: Way) {
        self.set(|faults| match way {
            Way::In => faults.cut_in = true,
            Way::Out => faults.cut_out = true,
        });
    }

    /// Closes new connections at once.
    pub fn refuse(&self) {
        self.set(|faults| faults.refuse = true);
    }

    /// Breaks every connection that stands now; what waited in a cut is lost.
    pub fn break_all(&self) {
        for (_, inside, outside) in self.shared.open.lock().drain(..) {
            let _ = inside.shutdown(Shutdown::Both);
            let _ = outside.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }

    /// Ends all faults. Connections that were broken stay so.
    pub fn heal(&self) {
        self.set(|faults| *faults = Faults::default());
    }

    /// Connections made through it so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.heal();
        self.break_all();
    }
}

fn accept(listener: &TcpListener, to: SocketAddr, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((outside, _)) => {
                let full = shared.open.lock().len() >= MAX_CONNECTIONS;
                if !full && !shared.faults.lock().refuse {
                    let shared = Arc::clone(shared);
                    // Connecting may take long; others must not wait for it.
                    std::thread::spawn(move || connect(outside, to, &shared));
                }
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

fn connect(outside: TcpStream, to: SocketAddr, shared: &Arc<Shared>) {
    let joined = || -> io::Result<_> {
        outside.set_nonblocking(false)?;
        let inside = TcpStream::connect_timeout(&to, CONNECT_TIME)?;
        inside.set_nodelay(true)?;
        outside.set_nodelay(true)?;
        Ok((inside.try_clone()?, outside.try_clone()?, inside, outside.try_clone()?))
    };
    // Dropped otherwise: the one outside sees its connection closed.
    let Ok((inside, of_list, inside_of_list, from)) = joined() else { return };
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    let Ok((to_inside, to_outside)) = inside.try_clone().and_then(|a| Ok((a, from.try_clone()?))) else {
        return;
    };
    shared.open.lock().push((number, inside_of_list, of_list));
    let other = Arc::clone(shared);
    std::thread::spawn(move || pass(inside, to_outside, Way::Out, number, &other));
    pass(from, to_inside, Way::In, number, shared);
}

/// Passes one direction on until it ends, then closes both.
fn pass(mut from: TcpStream, mut to: TcpStream, way: Way, number: u64, shared: &Shared) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if !shared.may_pass(way, number, Instant::now()) || to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
    shared.open.lock().retain(|(known, ..)| *known != number);
}

impl Shared {
    /// Waits until a piece that came at `came` may go on. False: its connection was broken meanwhile.
    fn may_pass(&self, way: Way, number: u64, came: Instant) -> bool {
        let mut faults = self.faults.lock();
        loop {
            if self.ended.load(Ordering::Relaxed) {
                return false;
            }
            let early = (came + faults.delay).saturating_duration_since(Instant::now());
            if !faults.is_cut(way) && early.is_zero() {
                return true;
            }
            let wait = if faults.is_cut(way) { Duration::from_millis(100) } else { early };
            let _ = self.changed.wait_for(&mut faults, wait);
            if !self.open.lock().iter().any(|(known, ..)| *known == number) {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener that sends back what it gets.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        std::thread::spawn(move || {
            for stream in listener.incoming().take(8) {
                let Ok(mut stream) = stream else { return };
                std::thread::spawn(move || {
                    let mut writer = stream.try_clone()?;
                    io::copy(&mut stream, &mut writer)
                });
            }
        });
        address
    }

    fn client(relay: &Relay) -> TcpStream {
        let stream = TcpStream::connect(relay.address()).expect("the relay accepts");
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a time-out");
        stream
    }

    fn ask(stream: &mut TcpStream) -> io::Result<usize> {
        stream.write_all(b"x")?;
        answer(stream)
    }

    fn answer(stream: &mut TcpStream) -> io::Result<usize> {
        stream.read(&mut [0; 8])
    }

    #[test]
    fn faults_come_and_go() {
        let relay = Relay::start("127.0.0.1:0".parse().expect("an address"), echo()).expect("it listens");
        let mut a = client(&relay);
        assert_eq!(ask(&mut a).expect("an echo"), 1);
        relay.delay(Duration::from_millis(50));
        let sent = Instant::now();
        assert_eq!(ask(&mut a).expect("a late echo"), 1);
        assert!(sent.elapsed() >= Duration::from_millis(100), "two directions");
        relay.heal();

        for way in [Way::In, Way::Out] {
            relay.cut(way);
            assert!(ask(&mut a).is_err(), "{way:?}: nothing comes back");
            relay.heal();
            assert_eq!(answer(&mut a).expect("it was only held up"), 1, "{way:?}");
        }

        relay.cut(Way::Out);
        assert!(ask(&mut a).is_err());
        relay.break_all();
        assert_eq!(answer(&mut a).expect("the end of the stream"), 0);
        relay.heal();
        relay.refuse();
        assert_eq!(answer(&mut client(&relay)).unwrap_or(0), 0);
        relay.heal();
        assert_eq!(ask(&mut client(&relay)).expect("an echo"), 1);
        assert_eq!(relay.connections(), 2);
    }
}
