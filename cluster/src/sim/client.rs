//! Clients: one request at a time each, to whoever they take for the primary. Writes with a request id are sent
//! again until they have an answer; locks are held, used under their token, given back or forgotten, and used once
//! more when their time is over.

use super::data::MAX_TTL_MS;
use super::message::{Answer, Key, Message, Op, Request, Value};
use super::network::{Host, MS};
use super::world::{CONTROL_HOSTS, Event, KEYS, World, slot_of};
use crate::ids::{Position, ShardId};
use crate::lock::Token;
use torc_protocol::context::RequestId;

/// Keys whose locks are fought for.
const LOCKS: usize = 4;
/// Sendings of one request at most.
const SENDINGS: u32 = 8;

#[derive(Default)]
pub(super) struct Client {
    waiting: Option<Asked>,
    /// Whom it asked last.
    last_host: Option<Host>,
    /// Requests with an id so far.
    numbered: u64,
    /// The last lock it got, and what it may still believe of it.
    lock: Option<(Key, Token)>,
}

#[derive(Clone)]
struct Asked {
    /// Of the last sending.
    id: u64,
    request: Request,
    sendings: u32,
    /// Some sending may have been executed, and what became of it is not known.
    doubtful: bool,
    /// When the last sending left, by the client's own clock.
    sent: u64,
    /// What a strong read must not be older than: promised before it was asked.
    newest: Option<Position>,
    /// Tokens promised before it was asked: of this lock, and of this key's register.
    newest_token: Token,
    newest_fence: Token,
    /// Of the checker, when it was asked.
    life: u64,
}

impl World {
    pub(super) fn client_next(&mut self, client: usize) {
        if !self.writes_on {
            return;
        }
        let key = self.rng.index(KEYS) as Key;
        let in_sync = self.rng.chance(700);
        let value: Value = self.next_id();
        let lock = self.clients[client].lock;
        let op = match self.rng.range(0, 100) {
            0..35 => Op::Put { key, in_sync },
            35..48 => match self.partner(key) {
                Some(other) => Op::Pair { keys: [key, other], in_sync },
                None => Op::Put { key, in_sync },
            },
            48..65 => Op::Read { key, strong: true },
            65..70 => Op::Read { key, strong: false },
            70..82 => {
                let name = self.rng.index(LOCKS) as Key;
                Op::Acquire { name, ttl_ms: self.rng.range(200, MAX_TTL_MS + 1) }
            }
            82..92 => match lock {
                // Often enough the lock is long over.
                Some((name, token)) => Op::Fenced { key: name, token },
                None => Op::Put { key, in_sync },
            },
            _ => match lock {
                Some((name, token)) => {
                    self.check.released(client, token, self.now);
                    Op::Release { name, token }
                }
                None => Op::Read { key, strong: true },
            },
        };
        let Some(shard) = self.consensus.map.slots.owner(slot_of(op.home())) else { return };
        let numbered =
            matches!(op, Op::Put { .. } | Op::Pair { .. } | Op::Fenced { .. }) && self.rng.chance(600);
        let rid = numbered.then(|| {
            let state = &mut self.clients[client];
            state.numbered += 1;
            RequestId { origin: client as u64 + 1, seq: state.numbered, settled: state.numbered - 1 }
        });
        let asked = Asked {
            id: value,
            request: Request { id: value, shard, op, value, rid, repeated: false },
            sendings: 0,
            doubtful: false,
            sent: 0,
            newest: self.check.newest(shard, op.home()),
            newest_token: self.check.newest_token(op.home()),
            newest_fence: self.check.newest_fence(op.home()),
            life: self.check.life(),
        };
        self.check.report.operations += 1;
        self.client_send(client, asked);
    }

    /// Another key of the same shard.
    fn partner(&mut self, key: Key) -> Option<Key> {
        let owner = self.consensus.map.slots.owner(slot_of(key))?;
        let start = self.rng.index(KEYS);
        (0..KEYS)
            .map(|step| ((start + step) % KEYS) as Key)
            .find(|other| *other != key && self.consensus.map.slots.owner(slot_of(*other)) == Some(owner))
    }

    fn client_send(&mut self, client: usize, mut asked: Asked) {
        let shard: ShardId = asked.request.shard;
        let primary = self.consensus.map.shard(shard).and_then(|shard| shard.primary);
        let known = primary.map(|primary| self.host_of(primary.node));
        let anyone = CONTROL_HOSTS + self.rng.index(self.nodes.len());
        // Now and then one that was the primary once, or never.
        let stale = self.clients[client].last_host.filter(|_| self.rng.chance(250));
        let to = if self.rng.chance(50) { anyone } else { stale.or(known).unwrap_or(anyone) };
        let from = self.client_host(client);
        if asked.sendings > 0 {
            asked.id = self.next_id();
            asked.request.id = asked.id;
            asked.request.repeated = asked.doubtful;
        }
        asked.sendings += 1;
        asked.sent = self.local(from);
        let (id, request) = (asked.id, asked.request);
        self.check.asks(client, id);
        self.clients[client].last_host = Some(to);
        self.clients[client].waiting = Some(asked);
        self.send(from, to, Message::Request(request));
        self.after(350 * MS, Event::ClientTimeout { client, request: id });
    }

    pub(super) fn client_again(&mut self, client: usize, request: u64) {
        if let Some(asked) = self.clients[client].waiting.take_if(|asked| asked.id == request) {
            self.client_send(client, asked);
        }
    }

    pub(super) fn client_timeout(&mut self, client: usize, request: u64) {
        let Some(mut asked) = self.clients[client].waiting.take_if(|asked| asked.id == request) else {
            return;
        };
        asked.doubtful = true;
        if asked.request.rid.is_some() && asked.sendings < SENDINGS && self.writes_on {
            self.client_send(client, asked);
        } else {
            self.check.report.uncertain += 1;
            self.client_next(client);
        }
    }

    pub(super) fn client_answer(&mut self, client: usize, id: u64, answer: Answer) {
        let mine = self.check.asked_by(id, client);
        self.check.demand(13, mine, || format!("client {client} got the answer to request {id} of another"));
        let Some(mut asked) = self.clients[client].waiting.take_if(|asked| asked.id == id) else { return };
        let again = asked.request.rid.is_some() && asked.sendings < SENDINGS && self.writes_on;
        if again && self.answered_again(client, &mut asked, answer) {
            return;
        }
        self.judge(client, &asked, answer);
        let think = self.rng.range(MS, self.think_ms * MS);
        self.after(think, Event::ClientNext(client));
    }

    /// Whether a request with an id is to be sent again: it was refused, or its reply got lost on the way.
    fn answered_again(&mut self, client: usize, asked: &mut Asked, answer: Answer) -> bool {
        let lost = self.faults_on && answer != Answer::TooOld && self.rng.chance(120);
        match answer {
            Answer::Uncertain => asked.doubtful = true,
            Answer::Refused => {}
            _ if lost => asked.doubtful = true,
            _ => return false,
        }
        let pause = if lost { self.rng.range(MS, 2_500 * MS) } else { self.rng.range(MS, 60 * MS) };
        let id = asked.id;
        self.clients[client].waiting = Some(asked.clone());
        self.after(pause, Event::ClientAgain { client, request: id });
        true
    }

    /// What the answer says, against what is known.
    fn judge(&mut self, client: usize, asked: &Asked, answer: Answer) {
        let Request { shard, op, value, .. } = asked.request;
        let home = op.home();
        match (op, answer) {
            (_, Answer::Uncertain) => self.check.report.uncertain += 1,
            (_, Answer::TooOld) => {
                let doubtful = asked.doubtful;
                self.check.demand(9, doubtful, || format!("write {value} was too old at its first sending"));
                self.check.report.uncertain += 1;
            }
            (_, Answer::Refused | Answer::Fenced) if asked.doubtful => self.check.report.uncertain += 1,
            (Op::Read { .. }, Answer::Refused) => self.check.report.refused += 1,
            (_, Answer::Refused) => {
                self.check.refused(value);
                self.check.report.refused += 1;
            }
            (Op::Put { in_sync, .. } | Op::Pair { in_sync, .. }, Answer::Written) => {
                self.check.report.acknowledged += u64::from(in_sync);
                if in_sync {
                    self.check.acknowledged(value);
                }
            }
            (Op::Fenced { token, .. }, Answer::Written) => {
                self.check.report.acknowledged += 1;
                self.check.report.fenced += 1;
                let newest = if asked.life == self.check.life() { asked.newest_fence } else { Token(0) };
                self.check.fence_passed(home, token, newest, value);
            }
            (Op::Fenced { .. }, Answer::Fenced) => {
                self.check.report.fenced_off += 1;
                self.check.refused(value);
            }
            (Op::Read { strong: true, .. }, Answer::Value(shown)) if asked.life == self.check.life() => {
                self.check.strong_read(shard, home, asked.newest, shown);
            }
            (Op::Acquire { name, .. }, Answer::Granted { token, remaining_ms, executed }) => {
                self.check.report.locks += 1;
                self.clients[client].lock = Some((name, token));
                let host = self.client_host(client);
                // As a careful client counts: from its sending, with the bound taken off.
                let bound = u64::from(self.consensus.map.settings.clock_rate_bound_ppm);
                let careful = remaining_ms * MS / 1_000_000 * (1_000_000 - bound);
                let until = self.real(host, asked.sent + careful);
                let now = self.now;
                self.check.granted(client, name, token, asked.newest_token, executed, now, until);
            }
            _ => {}
        }
    }
}
