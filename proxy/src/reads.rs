//! Which member of its shard a read goes to: the primary, or a replica where the policy of its key lets one answer.
//!
//! ```text
//! policy of the key ─▶ choose: a member that may be asked now ─▶ replica: fresh enough, and has the client's own writes?
//!                        │ none, or a write under way                  │ no, no answer, gone
//!                        ▼                                             ▼
//!                      primary ◀───────────────────────────────────────┘
//! ```
//! The replica decides: only it knows how old its data is. The request tells it the bound and the position (term, offset)
//! of the client's last write on that shard, which came with that write's reply. While a write is under way nobody knows
//! its position, and reads behind it go to the primary.

use std::rc::Rc;

use torc_cluster::map::DEFAULT_MAX_STALENESS_MS;
use torc_protocol::command::{Command, GenericCommand};
use torc_protocol::context::{ReadFrom, ReadLevel, ReplicaRead};
use torc_protocol::memcached::{Request, Verb};

use crate::downstream::client::Client;
use crate::downstream::session::Session;
use crate::table::RouteTable;
use crate::upstream::connection::Connection;
use crate::upstream::link::Link;
use crate::upstream::pending::{Lane, Pending};
use crate::worker::{Members, Routes, Worker};

/// What a policy says of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRule {
    /// Which members are read from; never [`ReadFrom::Primary`].
    pub from: ReadFrom,
    /// How old what a replica shows may be (ms).
    pub max_staleness_ms: u32,
}

/// Where a read goes.
#[derive(Debug)]
pub struct Choice {
    /// The replica; `None`: the primary.
    pub link: Option<Rc<Link>>,
    /// How old its data may be (ms).
    pub max_staleness_ms: u32,
    /// Why, in words.
    pub why: &'static str,
}

/// Whether a replica can answer a command: it only reads what keys hold. What is said of the use of a key is another
/// thing on each member; scripts may have been loaded by the primary a moment ago.
pub fn can_be_read_elsewhere(command: Command) -> bool {
    if !command.spec().is_readonly() || command.spec().keys.is_none() {
        return false;
    }
    match command {
        Command::String(_)
        | Command::Hash(_)
        | Command::List(_)
        | Command::Set(_)
        | Command::SortedSet(_)
        | Command::Stream(_)
        | Command::Bitmap(_)
        | Command::Geo(_)
        | Command::Hyperloglog(_)
        | Command::Sort(_) => true,
        Command::Generic(command) => matches!(
            command,
            GenericCommand::Exists
                | GenericCommand::Ttl
                | GenericCommand::Pttl
                | GenericCommand::Expiretime
                | GenericCommand::Pexpiretime
                | GenericCommand::Type
                | GenericCommand::Dump
        ),
        _ => false,
    }
}

/// The same for a memcached request: it gives items, and neither changes them nor tells of their use (`h`, `l` of `mg`).
pub fn items_can_be_read_elsewhere(request: &Request<'_>) -> bool {
    match request.verb {
        Verb::Get | Verb::Gets => true,
        Verb::MetaGet => !request.is_write() && !request.meta.has(b'h') && !request.meta.has(b'l'),
        _ => false,
    }
}

/// What holds for reads of a key; `None`: the primary alone. Who asked for strong reads, for all or for this key, gets
/// them; READONLY counts where no policy says which members are read from.
pub fn rule(session: &Session, table: &RouteTable, key: &[u8]) -> Option<ReadRule> {
    let rule = table.rule(key);
    if session.levels(rule).1 == Some(ReadLevel::Strong) {
        return None;
    }
    match rule.and_then(|rule| Some((rule.read_from?, rule.max_staleness_ms))) {
        Some((ReadFrom::Primary, _)) => None,
        Some((from, max_staleness_ms)) => Some(ReadRule { from, max_staleness_ms }),
        None => session
            .readonly
            .then_some(ReadRule { from: ReadFrom::Any, max_staleness_ms: DEFAULT_MAX_STALENESS_MS }),
    }
}

/// The member for a read that others than the primary can answer; `None`: none may, whatever their state.
pub fn choose(
    worker: &Worker,
    client: &Client,
    session: &Session,
    routes: &Routes,
    pending: &Pending,
    key: &[u8],
) -> Option<Choice> {
    if pending.write || key.is_empty() {
        return None;
    }
    let rule = rule(session, &routes.table, key)?;
    let place = routes.place(pending.dest);
    Some(member(worker, client, place.and_then(|place| routes.members(place)), rule))
}

/// The member for a read under `rule`.
pub fn member(worker: &Worker, client: &Client, members: Option<&Members>, rule: ReadRule) -> Choice {
    let max_staleness_ms = rule.max_staleness_ms;
    let primary = |why| Choice { link: None, max_staleness_ms, why };
    let Some(members) = members else { return primary("nobody owns the slot") };
    if client.is_writing() {
        return primary("primary: a write of this connection is not answered yet");
    }
    let replicas = &members.replicas;
    let turn = client.id() as usize;
    match rule.from {
        ReadFrom::Primary => return primary("primary: the policy says so"),
        ReadFrom::Nearest if worker.shared.config.zone.is_empty() => {
            return primary("primary: the proxy has no zone");
        }
        ReadFrom::Nearest if members.primary_is_near => return primary("primary: it is in the proxy's zone"),
        ReadFrom::Nearest if !replicas.iter().any(|(_, near)| *near) => {
            return primary("primary: no member is in the proxy's zone");
        }
        ReadFrom::Any if turn.is_multiple_of(replicas.len() + 1) => {
            return primary("primary: this client's turn among all members");
        }
        ReadFrom::Replica if replicas.is_empty() => {
            return primary("primary: the in-sync set has no replica");
        }
        ReadFrom::Nearest | ReadFrom::Replica | ReadFrom::Any => {}
    }
    let near_only = rule.from == ReadFrom::Nearest;
    let count = replicas.len();
    let in_turn = (0..count).filter_map(|step| replicas.get((turn + step) % count));
    let wanted = in_turn.filter(|(_, near)| *near || !near_only);
    let found = wanted.map(|(link, _)| link).find(|link| link.is_readable(worker, client.id()));
    match found {
        Some(link) => {
            let why = if near_only { "replica in the proxy's zone" } else { "replica: this client's turn" };
            Choice { link: Some(Rc::clone(link)), max_staleness_ms, why }
        }
        None => primary("primary: no such replica can be asked (stale a moment ago, or not reachable)"),
    }
}

/// The connection to the chosen replica; `None`: the primary is asked.
pub fn connection(worker: &Rc<Worker>, client: &Client, choice: &Choice) -> Option<Rc<Connection>> {
    let link = choice.link.as_ref()?;
    let connection = link.shared(worker, client.id(), Lane::Quick)?;
    link.note_read();
    Some(connection)
}

impl Choice {
    /// What the replica must be able to say of its data.
    pub fn limits(&self, client: &Client, routes: &Routes, pending: &Pending) -> ReplicaRead {
        let shard = routes.place(pending.dest).map(|place| routes.shard_id(place));
        let after = shard.and_then(|shard| client.position(shard));
        ReplicaRead { max_staleness_ms: self.max_staleness_ms, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torc_protocol::command::lookup;

    #[test]
    fn only_reads_of_what_keys_hold_leave_the_primary() {
        let can = |name: &str| can_be_read_elsewhere(lookup(name.as_bytes()).expect(name));
        for yes in
            ["get", "mget", "hgetall", "zrange", "xrange", "exists", "pfcount", "sort_ro", "bitcount", "ttl"]
        {
            assert!(can(yes), "{yes}");
        }
        for no in
            ["set", "touch", "eval_ro", "scan", "dbsize", "randomkey", "xreadgroup", "lock.info", "getlease"]
        {
            assert!(!can(no), "{no}");
        }
        let item = |line: &'static str| {
            items_can_be_read_elsewhere(&Request::from_parts(line.as_bytes(), b"").expect(line))
        };
        for yes in ["get a", "gets a b", "mg a v", "mg a t f c s k O7 q", "mg YQ== b v"] {
            assert!(item(yes), "{yes}");
        }
        for no in
            ["gat 9 a", "touch a 9", "mg a v T9", "mg a v N9", "mg a v R9", "mg a h", "mg a l v", "me a"]
        {
            assert!(!item(no), "{no}");
        }
    }
}
