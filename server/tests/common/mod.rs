//! A whole server in this process, spoken to over real sockets: what the tests about connections share.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use torc_runtime::clock::boottime_ns;
use torc_runtime::listen::PortChoice;
use torc_runtime::shutdown::Shutdown;
use torc_server::{Running, ServerConfig, run};

/// How long anything may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long we listen for what must not come.
pub const SILENCE: Duration = Duration::from_millis(150);

pub fn config() -> ServerConfig {
    ServerConfig { port: PortChoice::Auto, threads: 2, maxmemory: "0".into(), ..ServerConfig::default() }
}

pub fn start(config: &ServerConfig) -> Running {
    run(config, Shutdown::new()).expect("the server starts")
}

pub fn stop(server: Running) {
    server.shutdown().trigger();
    server.wait();
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = boottime_ns() + PATIENCE.as_nanos() as u64;
    while !holds() {
        assert!(boottime_ns() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client that reads replies as bytes.
pub struct Client<S>(pub S);

impl Client<TcpStream> {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Client(stream)
    }

    /// Asserts that nothing comes for a while.
    pub fn expect_silence(&mut self) {
        self.0.set_read_timeout(Some(SILENCE)).expect("a time-out");
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            other => panic!("{other:?} {:?} came", byte),
        }
        self.0.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    }
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("sent");
    }

    pub fn expect(&mut self, reply: impl AsRef<[u8]>) {
        let reply = reply.as_ref();
        let mut got = vec![0; reply.len()];
        let mut filled = 0;
        while filled < got.len() {
            match self.0.read(&mut got[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&got[..filled])),
            }
        }
        assert_eq!(String::from_utf8_lossy(&got[..filled]), String::from_utf8_lossy(reply));
    }

    #[track_caller]
    pub fn ask(&mut self, line: &str, reply: impl AsRef<[u8]>) {
        self.send(format!("{line}\r\n"));
        self.expect(reply);
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> String {
        let mut all = Vec::new();
        // A reset after the last word is an end, too.
        let _ = self.0.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            assert_eq!(self.0.read(&mut byte).expect("a line"), 1, "the connection ended");
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).into_owned()
    }
}
