//! What the policies of several keys say of one request.
//!
//! A read that is split over shards is split by policy as well, so that each key is read as its own policy says. A write is
//! not: what one shard executes at once stays one request, and goes by the strictest acknowledgement of its keys, as does
//! everything else that cannot be split.

use torc_protocol::context::{Ack, ReadLevel};

use crate::downstream::session::Session;
use crate::reads::{self, ReadRule};
use crate::table::RouteTable;

/// How a key is read: keys with the same way may be read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadWay {
    strong: bool,
    /// Which members may answer; `None`: the primary alone.
    elsewhere: Option<ReadRule>,
}

impl ReadWay {
    /// How `key` is read by a command that only the primary can answer, or others too (`elsewhere`).
    pub fn of(session: &Session, table: &RouteTable, key: &[u8], elsewhere: bool) -> ReadWay {
        let strong = session.levels(table.rule(key)).1 == Some(ReadLevel::Strong);
        ReadWay { strong, elsewhere: reads::rule(session, table, key).filter(|_| elsewhere) }
    }
}

/// The key whose policy asks for the most; `None`: there are no keys. Of keys that ask for the same the first one.
pub fn strictest<'a>(
    session: &Session,
    table: &RouteTable,
    write: bool,
    mut keys: impl Iterator<Item = &'a [u8]>,
) -> Option<&'a [u8]> {
    if table.rules.is_empty() {
        return keys.next();
    }
    keys.min_by_key(|key| laxity(session, table, write, key))
}

/// How little the policy of a key asks for. Of writes the acknowledgement counts first; of reads who may answer, and how old
/// what he shows may be.
fn laxity(session: &Session, table: &RouteTable, write: bool, key: &[u8]) -> (u8, u8, u32) {
    let (ack, read) = session.levels(table.rule(key));
    // Without a level the node's own holds, which is not below that of the primary.
    let ack = match ack {
        Some(Ack::InSync) => 0,
        None => 1,
        Some(Ack::Primary) => 2,
        Some(Ack::None) => 3,
    };
    let read_level = u8::from(read != Some(ReadLevel::Strong));
    if write {
        return (ack, read_level, 0);
    }
    (read_level, 0, reads::rule(session, table, key).map_or(0, |rule| rule.max_staleness_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use torc_cluster::ClusterMap;
    use torc_cluster::map::Policy;
    use torc_protocol::context::ReadFrom;

    fn table() -> RouteTable {
        let policy = |prefix: &str, ack, read, from, max_staleness_ms| Policy {
            prefix: prefix.into(),
            ack,
            read,
            read_from: from,
            max_staleness_ms,
            ..Policy::default()
        };
        let policies = [
            policy("lock:", Some(Ack::InSync), None, None, None),
            policy("fast:", Some(Ack::None), None, None, None),
            policy("page:", None, None, Some(ReadFrom::Replica), Some(500)),
            policy("old:", None, None, Some(ReadFrom::Any), Some(60_000)),
            policy("sure:", None, Some(ReadLevel::Strong), None, None),
        ];
        RouteTable::new(Arc::new(ClusterMap::default()), &policies)
    }

    #[test]
    fn a_request_that_cannot_be_split_goes_by_the_strictest_policy() {
        let (mut session, table) = (Session::new(true, 1_000), table());
        let of = |session: &Session, write, line: &str| {
            let keys = line.split(' ').map(str::as_bytes);
            strictest(session, &table, write, keys).map(|key| String::from_utf8_lossy(key).into_owned())
        };
        let key = |text: &str| Some(text.to_owned());
        assert_eq!(of(&session, true, "fast:a b lock:c"), key("lock:c"));
        assert_eq!(of(&session, true, "fast:a b"), key("b"));
        assert_eq!(of(&session, false, "old:a page:b"), key("page:b"));
        assert_eq!(of(&session, false, "old:a page:b c"), key("c"));
        assert_eq!(of(&session, false, "c page:b sure:d"), key("sure:d"));
        assert_eq!(strictest(&session, &table, true, std::iter::empty()), None);
        // What the client chose holds before all of them.
        session.ack = Some(Ack::Primary);
        assert_eq!(of(&session, true, "fast:a b lock:c"), key("fast:a"));
    }

    #[test]
    fn keys_that_are_read_alike_stay_together() {
        let (session, table) = (Session::new(true, 1_000), table());
        let way = |key: &str, elsewhere| ReadWay::of(&session, &table, key.as_bytes(), elsewhere);
        assert_eq!(way("page:a", true), way("page:b", true));
        assert_ne!(way("page:a", true), way("old:a", true));
        assert_ne!(way("page:a", true), way("a", true));
        assert_eq!(way("page:a", false), way("old:a", false));
        // How writes are acknowledged is nothing to reads.
        assert_eq!(way("lock:a", true), way("a", true));
        assert_ne!(way("sure:a", false), way("a", false));
    }
}
