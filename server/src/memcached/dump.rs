//! `lru_crawler metadump` and `mgdump`: every item of the database, one line each.
//!
//! A dump goes on stripe by stripe, between other requests: it is no snapshot. A connection continues it when its
//! client has read what is there, so it takes no memory; where the whole must be one reply it has a bound.

use torc_protocol::memcached::{Request, Verb, encode_base64, text, write_line};

use super::admin::are_classes;
use super::meta::item_bytes;
use super::uri::UriEncoded;
use crate::node::Node;
use crate::store::{Busy, Entry, SLOTS_PER_STRIPE, STRIPES};

/// A dump that is one reply may not be longer.
pub const MAX_BULK_DUMP_BYTES: usize = 16 << 20;

/// A dump under way.
#[derive(Debug)]
pub struct Dump {
    next: u16,
    db: u8,
    /// Lines that are `mg` requests, in place of descriptions.
    as_requests: bool,
}

impl Dump {
    /// The dump that a request asks for, of this database; `None` when it asks for none.
    pub fn of(request: &Request<'_>, db: u8) -> Option<Dump> {
        if request.verb != Verb::LruCrawler {
            return None;
        }
        let mut words = request.args();
        let as_requests = match words.next()? {
            b"metadump" => false,
            b"mgdump" => true,
            _ => return None,
        };
        let classes = words.next()?;
        (are_classes(classes) && words.next().is_none()).then_some(Dump { next: 0, db, as_requests })
    }

    /// Appends the items of one more stripe; true behind the last one, whose end is written too. Fails when somebody
    /// (a script) holds the stripe for longer than a command waits.
    pub fn step(&mut self, node: &Node, now_ms: u64, out: &mut Vec<u8>) -> Result<bool, Busy> {
        if usize::from(self.next) < STRIPES {
            let clock = node.eviction_clock(now_ms);
            let slot = self.next * SLOTS_PER_STRIPE as u16;
            let mut access = node.store.access_one(slot)?;
            for entry in access.stripe(slot).iter(self.db) {
                if entry.expire_ms().is_some_and(|at| at <= now_ms) {
                    continue;
                }
                if self.as_requests {
                    request_line(entry, out);
                } else {
                    let idle_s = if clock.keeps_history() { 0 } else { clock.idle_s(entry.access()) };
                    describe(entry, (now_ms / 1000).saturating_sub(u64::from(idle_s)), out);
                }
            }
            self.next += 1;
            return Ok(false);
        }
        write_line(out, if self.as_requests { "EN" } else { text::END });
        Ok(true)
    }
}

/// `key=… exp=… la=… cas=… fetch=… cls=… size=…`, ended by a line feed alone.
fn describe(entry: Entry<'_>, used_s: u64, out: &mut Vec<u8>) {
    let expiry = entry.expire_ms().map_or_else(|| "-1".to_owned(), |at| (at / 1000).to_string());
    let fetched = if entry.marks().is_fetched() { "yes" } else { "no" };
    let (cas, size) = (entry.cas(), item_bytes(entry));
    let key = UriEncoded(entry.key());
    let line = format!("key={key} exp={expiry} la={used_s} cas={cas} fetch={fetched} cls=1 size={size}\n");
    out.extend_from_slice(line.as_bytes());
}

/// The request that reads the item.
fn request_line(entry: Entry<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"mg ");
    if entry.marks().is_binary_key() || entry.key().iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        encode_base64(entry.key(), out);
        out.extend_from_slice(b" b\r\n");
    } else {
        out.extend_from_slice(entry.key());
        out.extend_from_slice(b"\r\n");
    }
}
