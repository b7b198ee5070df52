//! A resync by slots: the replica keeps what it holds, compares each part with its primary's at one place of the stream,
//! and takes what differs at a later one. As a server does it, but that a part is compared itself, not its digest.
//!
//! Everything goes behind the records that it holds: a place in the stream says which those are.

use super::data::{Chunk, KEY_PARTS, PARTS, Standing};
use super::message::Message;
use super::network::{Host, MS};
use super::world::{Event, World};
use crate::bugs::{Bug, planted};
use crate::ids::{Member, ShardId, Term};

/// How often a primary looks whether answers have come.
const LOOK: u64 = 10 * MS;
/// After so many looks without one an answer got lost: the connection is broken.
const MOST_LOOKS: u32 = 100;

/// What a primary knows of a part of its replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Not asked, or not answered.
    None,
    Differs,
    /// It is the same, or was sent.
    Done,
}

/// What a primary has asked a replica.
pub(super) struct Asked {
    answers: [Answer; KEY_PARTS],
    /// Since the last answer.
    looks: u32,
}

impl Default for Asked {
    fn default() -> Self {
        Asked { answers: [Answer::None; KEY_PARTS], looks: 0 }
    }
}

/// What a replica has compared and taken.
pub(super) struct Comparing([Standing; PARTS]);

impl Default for Comparing {
    fn default() -> Self {
        Comparing([Standing::Open; PARTS])
    }
}

impl Comparing {
    pub(super) fn parts(&self) -> &[Standing; PARTS] {
        &self.0
    }

    pub(super) fn came(&mut self, part: usize) {
        self.0[part] = Standing::Same;
    }

    pub(super) fn is_done(&self) -> bool {
        self.0.iter().all(|part| *part == Standing::Same)
    }
}

impl World {
    /// The next step of a resync: a part to compare, the locks, what is wanted, the end.
    pub(super) fn send_compared(
        &mut self,
        host: Host,
        to: Member,
        conn: u64,
        id: ShardId,
        term: Term,
        part: usize,
    ) {
        let now_ms = self.local(host) / MS;
        let ahead = part == PARTS && planted(Bug::ContentAheadOfRecords);
        if !ahead {
            self.stream(host, id, to, usize::MAX);
        }
        let Some(shard) = self.node_shard(host, id).filter(|shard| shard.member.term() == term) else {
            return;
        };
        let (at, mark) = (shard.member.last().offset, shard.member.mark());
        let Some(peer) = shard.peers.get_mut(&to).filter(|peer| peer.conn == conn && peer.sent.is_some())
        else {
            return;
        };
        let address = peer.host;
        let Some(Asked { answers, looks }) = &mut peer.asked else { return };
        let wanted = answers.iter().position(|answer| *answer == Answer::Differs);
        let answered = answers.iter().all(|answer| *answer != Answer::None);
        if part == PARTS && wanted.is_none() && !answered {
            *looks += 1;
            if *looks > MOST_LOOKS {
                shard.peers.remove(&to);
                return;
            }
            self.after(LOOK, Event::Chunk { host, to, conn, shard: id, term, part });
            return;
        }
        peer.seq += 1;
        let seq = peer.seq;
        if let (PARTS, Some(part)) = (part, wanted) {
            answers[part] = Answer::Done;
        }
        let message = match (part, wanted) {
            (0..KEY_PARTS, _) => {
                Message::Digest { conn, shard: id, term, seq, part, chunk: shard.data.chunk(part, now_ms) }
            }
            (KEY_PARTS, _) => {
                Message::Chunk { conn, shard: id, term, seq, part, at, chunk: shard.data.chunk(part, now_ms) }
            }
            (_, Some(part)) => {
                Message::Chunk { conn, shard: id, term, seq, part, at, chunk: shard.data.chunk(part, now_ms) }
            }
            (_, None) => {
                let history = shard.member.history().clone();
                Message::SyncEnd { conn, shard: id, term, seq, history, mark }
            }
        };
        let ends = matches!(message, Message::SyncEnd { .. });
        self.send(host, address, message);
        if !ends {
            let delay = self.rng.range(MS, 40 * MS);
            self.after(delay, Event::Chunk { host, to, conn, shard: id, term, part: PARTS.min(part + 1) });
        }
    }

    /// A replica compares a part.
    #[allow(clippy::too_many_arguments)] // The fields of one message.
    pub(super) fn digest(
        &mut self,
        from: Host,
        host: Host,
        conn: u64,
        id: ShardId,
        term: Term,
        part: usize,
        chunk: &Chunk,
    ) {
        let now_ms = self.local(host) / MS;
        let Some(shard) = self.node_shard(host, id) else { return };
        let sealed = shard.member.sealed();
        let sync = shard.link.as_mut().and_then(|link| link.sync.as_mut());
        let sync = sync.filter(|sync| sync.term == term && term >= sealed && part < KEY_PARTS);
        let Some(Comparing(parts)) = sync.and_then(|sync| sync.comparing.as_mut()) else {
            self.break_link(host, id);
            return;
        };
        let differs = !shard.data.chunk(part, now_ms).agrees(chunk) && !planted(Bug::DifferenceKept);
        parts[part] = if differs { Standing::Awaited } else { Standing::Same };
        self.check.report.compared += 1;
        self.check.report.differed += u64::from(differs);
        self.send(host, from, Message::Compared { conn, shard: id, term, part, differs });
    }

    /// A replica's answer.
    pub(super) fn compared(
        &mut self,
        host: Host,
        conn: u64,
        id: ShardId,
        term: Term,
        part: usize,
        differs: bool,
    ) {
        let Some(shard) = self.node_shard(host, id).filter(|s| s.member.term() == term) else { return };
        let peer = shard.peers.values_mut().find(|peer| peer.conn == conn);
        if let Some(Asked { answers, looks }) = peer.and_then(|peer| peer.asked.as_mut())
            && let Some(answer) = answers.get_mut(part).filter(|answer| **answer == Answer::None)
        {
            *looks = 0;
            *answer = if differs { Answer::Differs } else { Answer::Done };
        }
    }
}
