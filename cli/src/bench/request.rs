//! Requests as bytes. An [`Encoder`] holds the parts that never change and adds the key.

use super::args::{BenchArgs, Protocol};
use super::keys::write_key;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads a key.
    Get,
    /// Writes a key.
    Set,
}

/// Writes requests of one protocol with one length of keys and values.
#[derive(Debug)]
pub struct Encoder {
    key_bytes: usize,
    get: [Vec<u8>; 2],
    set: [Vec<u8>; 2],
    /// Sent first on each connection; the number of its replies.
    hello: (Vec<u8>, u32),
}

impl Encoder {
    /// For the arguments of a run.
    pub fn new(args: &BenchArgs) -> Self {
        let key_bytes = args.key_bytes;
        // Values that differ from byte to byte, so that nothing on the way can make them shorter.
        let value: Vec<u8> = (0..args.value_bytes).map(|at| b'a' + (at * 7 % 26) as u8).collect();
        let (get, set) = match args.protocol {
            Protocol::Resp => {
                let get = [format!("*2\r\n$3\r\nGET\r\n${key_bytes}\r\n").into_bytes(), b"\r\n".to_vec()];
                let set = format!("*3\r\n$3\r\nSET\r\n${key_bytes}\r\n").into_bytes();
                let tail = format!("\r\n${}\r\n", value.len()).into_bytes();
                (get, [set, [&tail[..], &value, b"\r\n"].concat()])
            }
            Protocol::Memcached => {
                let tail = format!(" 0 0 {}\r\n", value.len()).into_bytes();
                let set = [b"set ".to_vec(), [&tail[..], &value, b"\r\n"].concat()];
                ([b"get ".to_vec(), b"\r\n".to_vec()], set)
            }
        };
        let auth = args.password.as_ref().map(|password| ["AUTH".to_owned(), password.clone()].to_vec());
        let ack = args.ack.as_ref().map(|ack| ["CLIENT".to_owned(), "ACK".to_owned(), ack.clone()].to_vec());
        let hello = auth.into_iter().chain(ack).fold((Vec::new(), 0), |(mut bytes, count), words| {
            bytes.extend(format!("*{}\r\n", words.len()).into_bytes());
            bytes.extend(words.iter().flat_map(|word| format!("${}\r\n{word}\r\n", word.len()).into_bytes()));
            (bytes, count + 1)
        });
        Self { key_bytes, get, set, hello }
    }

    /// Appends a request.
    pub fn write(&self, out: &mut Vec<u8>, kind: Kind, key: u64) {
        let [head, tail] = match kind {
            Kind::Get => &self.get,
            Kind::Set => &self.set,
        };
        out.extend_from_slice(head);
        write_key(out, key, self.key_bytes);
        out.extend_from_slice(tail);
    }

    /// The bytes to send first on a connection, and how many replies they bring.
    pub fn hello(&self) -> (&[u8], u32) {
        (&self.hello.0, self.hello.1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::tests::parse;
    use super::*;

    fn written(words: &[&str], kind: Kind) -> String {
        let encoder =
            Encoder::new(&parse(&[&["--keys", "100", "--key-bytes", "4"], words].concat()).expect("fine"));
        let mut out = Vec::new();
        encoder.write(&mut out, kind, 42);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn requests_are_those_of_the_protocol() {
        assert_eq!(written(&[], Kind::Get), "*2\r\n$3\r\nGET\r\n$4\r\nk042\r\n");
        assert_eq!(
            written(&["--value-bytes", "3"], Kind::Set),
            "*3\r\n$3\r\nSET\r\n$4\r\nk042\r\n$3\r\naho\r\n"
        );
        let memcached = ["--protocol", "memcached", "--value-bytes", "3"];
        assert_eq!(written(&memcached, Kind::Get), "get k042\r\n");
        assert_eq!(written(&memcached, Kind::Set), "set k042 0 0 3\r\naho\r\n");
    }
}
