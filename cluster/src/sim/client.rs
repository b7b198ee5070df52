//! Clients: one request at a time each, to whoever they take for the primary.

use super::message::{Answer, Message, Op};
use super::network::{Host, MS};
use super::world::{CONTROL_HOSTS, Event, World};
use crate::ids::{Position, ShardId};

const KEYS: usize = 12;

#[derive(Default)]
pub(super) struct Client {
    waiting: Option<Asked>,
    /// Whom it asked last.
    last_host: Option<Host>,
}

struct Asked {
    id: u64,
    shard: ShardId,
    op: Op,
    /// What a strong read must not be older than: promised before it was asked.
    newest: Option<Position>,
}

impl World {
    pub(super) fn client_next(&mut self, client: usize) {
        if !self.writes_on {
            return;
        }
        let shard = ShardId(self.rng.index(self.consensus.map.shards.len()) as u16);
        let key = self.rng.index(KEYS) as u8;
        let id = self.next_id();
        let op = match self.rng.range(0, 10) {
            0..5 => Op::Write { key, value: id, in_sync: true },
            5..7 => Op::Write { key, value: id, in_sync: false },
            7..9 => Op::Read { key, strong: true },
            _ => Op::Read { key, strong: false },
        };
        let primary = self.consensus.map.shard(shard).and_then(|shard| shard.primary);
        let known = primary.map(|primary| self.host_of(primary.node));
        let anyone = CONTROL_HOSTS + self.rng.index(self.nodes.len());
        // Now and then one that was the primary once, or never.
        let stale = self.clients[client].last_host.filter(|_| self.rng.chance(250));
        let to = if self.rng.chance(50) { anyone } else { stale.or(known).unwrap_or(anyone) };
        let newest = self.check.newest(shard, key);
        self.clients[client].last_host = Some(to);
        self.clients[client].waiting = Some(Asked { id, shard, op, newest });
        self.check.report.operations += 1;
        let from = self.client_host(client);
        self.send(from, to, Message::Request { id, shard, op });
        self.after(350 * MS, Event::ClientTimeout { client, request: id });
    }

    pub(super) fn client_timeout(&mut self, client: usize, request: u64) {
        if self.clients[client].waiting.as_ref().is_some_and(|asked| asked.id == request) {
            self.clients[client].waiting = None;
            self.client_next(client);
        }
    }

    pub(super) fn client_answer(&mut self, client: usize, id: u64, answer: Answer) {
        let Some(asked) = self.clients[client].waiting.take_if(|asked| asked.id == id) else {
            if let Answer::Refused = answer {
                // Its value was the request's number.
                self.check.refused(id);
            }
            return;
        };
        match (asked.op, answer) {
            (Op::Write { value, .. }, Answer::Refused) => {
                self.check.refused(value);
                self.check.report.refused += 1;
            }
            (Op::Write { key, value, in_sync: true }, Answer::Written) => {
                self.check.report.acknowledged += 1;
                self.check.acknowledged(asked.shard, key, value);
            }
            (Op::Read { key, strong: true }, Answer::Value(value)) => {
                self.check.strong_read(asked.shard, key, asked.newest, value);
            }
            (_, Answer::Uncertain) => self.check.report.uncertain += 1,
            _ => {}
        }
        let think = self.rng.range(MS, 30 * MS);
        self.after(think, Event::ClientNext(client));
    }
}
