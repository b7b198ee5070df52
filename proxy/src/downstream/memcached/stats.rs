//! `stats`: what the nodes count, added up, under what only the proxy knows.

use std::sync::atomic::Ordering;

use torc_protocol::memcached::{Request, text as words};

use super::{Door, Step};
use crate::info::TORC_VERSION;
use crate::join::How;

/// How long a list of connections may be.
const MAX_CONNS_BYTES: usize = 1 << 20;

/// An address as `stats conns` has it. The path of a unix socket comes in Redis's form, which ends in a port.
fn shown(address: &str) -> String {
    match address.strip_suffix(":0") {
        Some(path) => format!("unix:{path}"),
        None => format!("tcp:{address}"),
    }
}

impl Door<'_> {
    /// `stats conns`: the proxy's own clients.
    fn connections(&self, request: &Request<'_>) -> Step {
        let mut text = String::new();
        let now_ms = torc_runtime::clock::unix_ms();
        for client in self.worker.shared.clients.all() {
            let id = client.id;
            let idle_s = now_ms.saturating_sub(client.active_ms.load(Ordering::Relaxed)) / 1000;
            let (address, local) = (shown(&client.address), shown(&client.local));
            text.push_str(&format!("STAT {id}:addr {address}\r\nSTAT {id}:listen_addr {local}\r\n"));
            text.push_str(&format!("STAT {id}:state conn_parse_cmd\r\n"));
            text.push_str(&format!("STAT {id}:secs_since_last_cmd {idle_s}\r\n"));
            if text.len() > MAX_CONNS_BYTES {
                break;
            }
        }
        text.push_str(words::END);
        self.answer(request, &text)
    }

    /// `stats [<kind>]`
    pub(super) fn statistics(&mut self, request: &Request<'_>, scratch: &mut Vec<u8>) -> Step {
        match request.args().next() {
            // No sum of ports means anything.
            Some(b"reset" | b"settings") => self.all(request, How::First, scratch),
            Some(b"conns") => self.connections(request),
            Some(b"cachedump") => self.all(request, How::Dump, scratch),
            Some(_) => self.all(request, How::Statistics(Vec::new()), scratch),
            None => self.all(request, How::Statistics(self.own()), scratch),
        }
    }

    /// What only the proxy knows: names and values.
    fn own(&self) -> Vec<(String, String)> {
        let shared = &self.worker.shared;
        let now_s = torc_runtime::clock::unix_ms() / 1000;
        let own = [
            ("pid", std::process::id().to_string()),
            ("uptime", now_s.saturating_sub(shared.started_ms / 1000).to_string()),
            ("time", now_s.to_string()),
            ("version", format!("1.6.18-torc-{TORC_VERSION}")),
            ("pointer_size", usize::BITS.to_string()),
            ("max_connections", shared.limit.limit().to_string()),
            ("curr_connections", shared.limit.open().to_string()),
            ("total_connections", shared.limit.accepted().to_string()),
            ("rejected_connections", shared.limit.refused().to_string()),
            ("threads", shared.config.threads.to_string()),
        ];
        own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_memcached_shows_them() {
        assert_eq!(shown("127.0.0.1:4000"), "tcp:127.0.0.1:4000");
        assert_eq!(shown("/run/torc.sock:0"), "unix:/run/torc.sock");
    }
}
