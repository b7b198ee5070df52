//! A proxy in this process, before two nodes that answer anything with anything.
//!
//! The proxy's own threads are instrumented like all else; a panic on any of them ends the fuzzer.

mod node;

#[path = "../../../tests/common/mod.rs"]
mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use torc_proxy::{Listeners, MapSource, ProxyConfig, Setup};

/// The longest input.
const MAX_BYTES: usize = 4096;

/// How long a connection may be silent: some requests wait for as long as they like.
const SILENCE: Duration = Duration::from_millis(300);

/// How long another client may wait for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What changes the proxy for all that come after, or ends connections of others.
const LEFT_ALONE: [&[u8]; 4] = [b"shutdown", b"config", b"pause", b"kill"];

/// What a client sends, in two pieces.
pub struct Input<'a> {
    pieces: [&'a [u8]; 2],
}

impl<'a> Input<'a> {
    /// The input in a fuzzer's bytes: the first one says where it is cut. `None` when it is left alone.
    pub fn of(data: &'a [u8]) -> Option<Input<'a>> {
        let (&cut, bytes) = data.split_first()?;
        let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
        let lower = bytes.to_ascii_lowercase();
        let has = |word: &&[u8]| lower.windows(word.len()).any(|window| window == *word);
        if LEFT_ALONE.iter().any(has) {
            return None;
        }
        let cut = usize::from(cut) * bytes.len() / usize::from(u8::MAX);
        let (first, second) = bytes.split_at(cut);
        Some(Input { pieces: [first, second] })
    }
}

/// See the module's text.
pub struct World {
    /// Port for RESP.
    pub resp: u16,
    /// Port for memcached.
    pub memcached: u16,
    // Both live as long as the process.
    _runtime: tokio::runtime::Runtime,
    _proxy: torc_proxy::ProxyHandle,
    _maps: tokio::sync::watch::Sender<std::sync::Arc<torc_cluster::ClusterMap>>,
}

/// The only one, started when it is first asked for.
pub fn get() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::start)
}

impl World {
    fn start() -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (proxy, maps) = runtime.block_on(async {
            let ports = [Some(node::start().await), Some(node::start().await)];
            let map = std::sync::Arc::new(common::map(1, &ports));
            let (maps, receiver) = tokio::sync::watch::channel(map);
            let proxy = torc_proxy::start(Setup {
                config: ProxyConfig { threads: 1, request_timeout_ms: 50, ..ProxyConfig::default() },
                listeners: Listeners {
                    resp: vec![common::listener()],
                    memcached: vec![common::listener()],
                    http: vec![common::listener()],
                },
                secret: Some(common::secret()),
                maps: MapSource::Given(receiver),
                shutdown: torc_runtime::shutdown::Shutdown::new(),
                read_again: None,
            })
            .expect("a proxy");
            while proxy.ready().is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (proxy, maps)
        });
        let addresses = proxy.addresses();
        World {
            resp: addresses.port,
            memcached: addresses.memcached_port,
            _runtime: runtime,
            _proxy: proxy,
            _maps: maps,
        }
    }

    /// Sends an input over a fresh connection, and what its client hears until the end, or a silence.
    pub fn talk(&self, port: u16, input: &Input<'_>) -> Vec<u8> {
        let mut client = connect(port, SILENCE);
        for piece in input.pieces {
            // A connection that was closed meanwhile is not written to.
            if client.write_all(piece).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Write);
        read(&mut client, |_| false)
    }

    /// A request of another client is answered so.
    pub fn check(&self, port: u16, request: &[u8], answer: &[u8]) {
        let mut client = connect(port, PATIENCE);
        client.write_all(request).expect("sent");
        let got = read(&mut client, |bytes| bytes.len() >= answer.len());
        assert_eq!(got, answer, "{}", got.escape_ascii());
    }
}

fn connect(port: u16, patience: Duration) -> TcpStream {
    let client = TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
    client.set_nodelay(true).expect("a socket");
    client.set_read_timeout(Some(patience)).expect("a socket");
    client
}

fn read(client: &mut TcpStream, done: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    while !done(&bytes) {
        match client.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    bytes
}
