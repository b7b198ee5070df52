//! A client without opinions: sends bytes, reads replies.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use torc_protocol::resp::{Value, encode_request};

use super::PATIENCE;

pub struct Client {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
        stream.set_nodelay(true).expect("a socket");
        Client { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, line: &str) {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, &line.split(' ').collect::<Vec<_>>());
        self.stream.write_all(&bytes).await.expect("writes");
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("writes");
    }

    /// The next reply.
    pub async fn reply(&mut self) -> Value {
        loop {
            if let Some((value, used)) = Value::decode(&self.buffer).expect("a reply") {
                self.buffer.drain(..used);
                return value;
            }
            let count = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer))
                .await
                .expect("in time")
                .expect("reads");
            assert!(count > 0, "closed; left: {}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// The next reply's bytes.
    pub async fn reply_bytes(&mut self) -> String {
        loop {
            if let Some((_, used)) = Value::decode(&self.buffer).expect("a reply") {
                return String::from_utf8_lossy(&self.buffer.drain(..used).collect::<Vec<_>>()).into_owned();
            }
            let count = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer))
                .await
                .expect("in time")
                .expect("reads");
            assert!(count > 0, "closed; left: {}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// Asks and gives the reply's bytes.
    pub async fn ask(&mut self, line: &str) -> String {
        self.send(line).await;
        self.reply_bytes().await
    }

    /// Reads until the text ends so.
    pub async fn until(&mut self, end: &str) -> String {
        while !self.buffer.ends_with(end.as_bytes()) {
            let count = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            let count =
                count.unwrap_or_else(|_| panic!("no {end:?} in {:?}", String::from_utf8_lossy(&self.buffer)));
            assert!(count.expect("reads") > 0, "closed; left: {}", String::from_utf8_lossy(&self.buffer));
        }
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    /// Reads until the other end closes; gives what came.
    pub async fn rest(&mut self) -> Vec<u8> {
        loop {
            match timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("in time") {
                Ok(0) | Err(_) => return std::mem::take(&mut self.buffer),
                Ok(_) => {}
            }
        }
    }

    /// The next reply's bytes, or what came before the end.
    pub async fn rest_or_reply(&mut self) -> String {
        loop {
            if let Ok(Some((_, used))) = Value::decode(&self.buffer) {
                return String::from_utf8_lossy(&self.buffer.drain(..used).collect::<Vec<_>>()).into_owned();
            }
            match timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("in time") {
                Ok(0) | Err(_) => {
                    return String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned();
                }
                Ok(_) => {}
            }
        }
    }

    /// Whether nothing comes for a while.
    pub async fn is_silent(&mut self, for_ms: u64) -> bool {
        timeout(Duration::from_millis(for_ms), self.stream.read_buf(&mut self.buffer)).await.is_err()
    }
}

impl Client {
    /// Asks and gives an integer reply.
    pub async fn reply_of(&mut self, line: &str) -> i64 {
        self.send(line).await;
        self.reply().await.as_int().expect("an integer")
    }
}
