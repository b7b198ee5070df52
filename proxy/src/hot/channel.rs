//! A worker's word from the primary of one shard: a connection on which it fetches what it keeps copies of, is told of
//! changes, and asks for how long that holds.
//!
//! ```text
//! worker ─ CTX(track) GET k ─▶ node: reads and notes the key under its stripe's lock     ─▶ reply (copy)
//!        ─ TORC.TRACK ───────▶ for how long nobody else can be primary (its lease)       ─▶ the word holds until then
//!        ◀═ invalidate db key ═ whoever changes the key, under the same lock
//! ```
//! All of it goes over one connection, whose order is that in which the node wrote: a change that came after a reply was
//! read is told behind that reply, and what was changed before TORC.TRACK was sent is told before its answer. So a copy is
//! never older than the moment at which the latest answered TORC.TRACK was sent; copies count for at most
//! `copy_bound_ms` from that moment, and no longer than the node's lease. A connection that breaks ends its copies.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use torc_cluster::ShardId;
use torc_protocol::context::{Context, Tracked};
use torc_protocol::resp::{ProtocolError, ReplyKind, ReplyScanner, Value, request_arg, request_header};
use torc_runtime::clock::boottime_ns;

use super::copies::{Fetch, Form};
use super::stamps::Stamp;
use crate::table::Target;
use crate::upstream::body::write_prefix;
use crate::upstream::handshake::{self, Dialled};
use crate::worker::Worker;

/// Fetches under way on one channel; further keys wait.
const MAX_FETCHES: usize = 128;
/// TORC.TRACK is sent so many times while its last answer holds.
const BEATS_PER_BOUND: u32 = 4;
/// The pause before a node is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// A channel that no copy needs ends after this.
const LINGER_NS: u64 = 10_000_000_000;
/// Bytes of an input buffer that is kept.
const INPUT_BYTES: usize = 16 * 1024;
/// How long a fetch is not tried again whose reply could not be kept.
const REFUSED_PAUSE_NS: u64 = 1_000_000_000;

/// What the next answer is for.
#[derive(Debug)]
enum Asked {
    Word { sent_ns: u64 },
    Fetch { place: u64, ticket: u64, sent_ns: u64 },
}

/// See the module's text.
#[derive(Debug)]
pub struct Channel {
    /// The shard.
    pub shard: ShardId,
    /// Its primary.
    pub target: Target,
    /// CLOCK_BOOTTIME until which copies may be given to clients.
    until_ns: Cell<u64>,
    term: Cell<Option<u64>>,
    open: Cell<bool>,
    ended: Cell<bool>,
    needed_ns: Cell<u64>,
    out: RefCell<Vec<u8>>,
    asked: RefCell<VecDeque<Asked>>,
    wake: Notify,
}

/// Why a connection ended.
#[derive(Debug, Error)]
enum Ended {
    #[error("the node closed the connection")]
    ByNode,
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("malformed reply: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("a reply without a request")]
    Unasked,
    #[error("the node does not take what is sent to it")]
    Stuck,
    #[error("closed")]
    ByUs,
}

impl Channel {
    /// Begins to connect.
    pub fn start(worker: &Rc<Worker>, shard: ShardId, target: Target) -> Rc<Channel> {
        let channel = Rc::new(Channel {
            shard,
            target,
            until_ns: Cell::new(0),
            term: Cell::new(None),
            open: Cell::new(false),
            ended: Cell::new(false),
            needed_ns: Cell::new(worker.clock.now_ns()),
            out: RefCell::default(),
            asked: RefCell::default(),
            wake: Notify::new(),
        });
        tokio::task::spawn_local(run(Rc::clone(worker), Rc::clone(&channel)));
        channel
    }

    /// CLOCK_BOOTTIME nanoseconds until which copies of the shard may be given to clients.
    #[inline]
    pub fn holds_until_ns(&self) -> u64 {
        self.until_ns.get()
    }

    /// It is not needed any more.
    pub fn end(&self) {
        self.ended.set(true);
        self.until_ns.set(0);
        self.wake.notify_one();
    }

    /// Whether [`Channel::end`] was called.
    pub fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether something can be fetched now.
    pub fn has_room(&self) -> bool {
        self.open.get() && self.until_ns.get() > 0 && self.asked.borrow().len() < MAX_FETCHES
    }

    /// Sends for a reply to keep.
    pub fn fetch(&self, place: u64, fetch: &Fetch<'_>, epoch: u64) {
        let mut out = self.out.borrow_mut();
        request_header(&mut out, fetch.count + 2);
        let context = Context { db: fetch.db, resp2: fetch.resp2, epoch, track: true, ..Context::default() };
        write_prefix(&context, &mut out);
        out.extend_from_slice(fetch.args);
        let sent_ns = boottime_ns();
        self.asked.borrow_mut().push_back(Asked::Fetch { place, ticket: fetch.ticket, sent_ns });
        self.wake.notify_one();
    }

    fn ask_for_word(&self) {
        let mut asked = self.asked.borrow_mut();
        let mut out = self.out.borrow_mut();
        request_header(&mut out, 1);
        request_arg(&mut out, b"TORC.TRACK");
        asked.push_back(Asked::Word { sent_ns: boottime_ns() });
    }

    /// The ticker's look: a channel without copies ends after a while. False: it has ended.
    pub fn tick(&self, now_ns: u64, needed: bool) -> bool {
        if needed {
            self.needed_ns.set(now_ns);
        } else if self.needed_ns.get() + LINGER_NS < now_ns {
            self.end();
        }
        !self.ended.get()
    }

    /// One frame of the node.
    fn heard(&self, worker: &Rc<Worker>, frame: (ReplyKind, &[u8], Option<&[u8]>)) -> Result<(), Ended> {
        let (kind, body, attribute) = frame;
        if kind == ReplyKind::Push {
            self.told(worker, body);
            return Ok(());
        }
        let asked = self.asked.borrow_mut().pop_front().ok_or(Ended::Unasked)?;
        match asked {
            Asked::Word { sent_ns } => self.word(worker, sent_ns, body),
            Asked::Fetch { place, ticket, sent_ns } => {
                self.fetched(worker, (place, ticket), sent_ns, (body, attribute));
            }
        }
        Ok(())
    }

    /// `invalidate <database> <key>`.
    fn told(&self, worker: &Worker, body: &[u8]) {
        let words = match Value::decode(body) {
            Ok(Some((Value::Push(words), _))) => words,
            _ => return,
        };
        let [word, db, key] = words.as_slice() else { return };
        if word.as_bytes() != Some(b"invalidate") {
            return;
        }
        let db = db.as_str().and_then(|db| db.parse().ok());
        if let (Some(db), Some(key)) = (db, key.as_bytes()) {
            worker.metrics.invalidations.add(1);
            worker.hot.copies.borrow_mut().changed(db, key, boottime_ns());
        }
    }

    /// `[milliseconds, term]`: from when it was asked nobody else can serve the shard for so long.
    fn word(&self, worker: &Worker, sent_ns: u64, body: &[u8]) {
        let bound_ms = worker.settings.borrow().copy_bound_ms;
        let answer = match Value::decode(body) {
            Ok(Some((value, _))) => value.into_array().unwrap_or_default(),
            _ => Vec::new(),
        };
        let number = |at: usize| answer.get(at).and_then(Value::as_int);
        let (Some(left_ms), Some(term)) = (number(0), number(1).and_then(|term| u64::try_from(term).ok()))
        else {
            // A node of an older version.
            self.until_ns.set(0);
            return;
        };
        let another = self.term.replace(Some(term)).is_some_and(|known| known != term);
        if another || left_ms == 0 {
            worker.drop_copies_of(self.shard);
        }
        let ms = u64::try_from(left_ms).unwrap_or(u64::MAX).min(bound_ms);
        self.until_ns.set(if ms == 0 { 0 } else { sent_ns.saturating_add(ms * 1_000_000) });
    }

    fn fetched(
        &self,
        worker: &Worker,
        (place, ticket): (u64, u64),
        sent_ns: u64,
        (body, attribute): (&[u8], Option<&[u8]>),
    ) {
        let config = worker.settings();
        let mut copies = worker.hot.copies.borrow_mut();
        let Some((slot, stamp)): Option<(_, Stamp)> = copies.fetched(place, ticket) else { return };
        let now_ns = boottime_ns();
        let tracked = attribute.and_then(Tracked::from_attribute);
        let fits = body.len() <= config.copy_value_bytes && body.first() != Some(&b'-');
        let Some(tracked) = tracked.filter(|_| fits) else {
            worker.metrics.copies_refused.add(1);
            copies.give_up(place, now_ns, REFUSED_PAUSE_NS);
            return;
        };
        if worker.shared.stamps.of(slot) != stamp {
            // Somebody has written meanwhile.
            copies.give_up(place, now_ns, 0);
            return;
        }
        let lives_ms = tracked.left_ms.unwrap_or(u64::MAX).min(config.copy_ttl_ms);
        let until_ns = sent_ns.saturating_add(lives_ms.saturating_mul(1_000_000));
        if copies.fill(place, body, stamp, until_ns, config.copy_bytes) {
            worker.metrics.copies_fetched.add(1);
        } else {
            worker.metrics.copies_refused.add(1);
            copies.give_up(place, now_ns, REFUSED_PAUSE_NS);
        }
    }

    /// One connection, to its end.
    async fn serve(&self, worker: &Rc<Worker>, stream: torc_runtime::listen::Stream) -> Ended {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut scanner = ReplyScanner::new();
        let mut input: Vec<u8> = Vec::with_capacity(INPUT_BYTES);
        let bound = || Duration::from_millis(worker.settings.borrow().copy_bound_ms.max(1));
        let mut beat = tokio::time::interval(bound() / BEATS_PER_BOUND);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let out = self.out.take();
            if !out.is_empty() {
                // What is asked for fits into the socket's buffer unless the node stands still.
                match tokio::time::timeout(bound(), writer.write_all(&out)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(cause)) => return cause.into(),
                    Err(_) => return Ended::Stuck,
                }
            }
            tokio::select! {
                biased;
                () = self.wake.notified() => {
                    if self.ended.get() {
                        return Ended::ByUs;
                    }
                }
                read = reader.read_buf(&mut input) => {
                    match read {
                        Ok(0) => return Ended::ByNode,
                        Ok(_) => {}
                        Err(cause) => return cause.into(),
                    }
                    let mut at = 0;
                    loop {
                        let bytes = input.get(at..).unwrap_or_default();
                        let frame = match scanner.next(bytes) {
                            Ok(Some(frame)) => frame,
                            Ok(None) => break,
                            Err(cause) => return cause.into(),
                        };
                        let body = bytes.get(frame.body.clone()).unwrap_or_default();
                        let attribute = frame.attribute.clone().and_then(|range| bytes.get(range));
                        if let Err(ended) = self.heard(worker, (frame.kind, body, attribute)) {
                            return ended;
                        }
                        at += frame.len;
                    }
                    input.drain(..at);
                    if input.is_empty() && input.capacity() > INPUT_BYTES {
                        input = Vec::with_capacity(INPUT_BYTES);
                    }
                }
                _ = beat.tick() => {
                    beat_again(&mut beat, bound() / BEATS_PER_BOUND);
                    // One that stands still is not asked over and over: its word is over anyway.
                    if self.asked.borrow().len() < 2 * MAX_FETCHES {
                        self.ask_for_word();
                    }
                }
            }
        }
    }
}

/// Settings may have changed how often the node is asked.
fn beat_again(beat: &mut tokio::time::Interval, period: Duration) {
    if beat.period() != period {
        *beat = tokio::time::interval(period);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.reset();
    }
}

async fn run(worker: Rc<Worker>, channel: Rc<Channel>) {
    while !channel.is_ended() {
        let address = &channel.target.address;
        let cause = match handshake::dial(&worker, address, false).await {
            Ok(Dialled { stream, .. }) => {
                channel.open.set(true);
                worker.metrics.copy_channels.add(1);
                let ended = channel.serve(&worker, stream).await;
                worker.metrics.copy_channels.sub(1);
                channel.open.set(false);
                channel.until_ns.set(0);
                channel.asked.borrow_mut().clear();
                channel.out.take();
                worker.drop_copies_of(channel.shard);
                if matches!(ended, Ended::ByUs) {
                    return;
                }
                ended.to_string()
            }
            Err(cause) => cause.to_string(),
        };
        tracing::debug!(node = %address, %cause, "no word from the node: nothing of its shard is kept");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a reply to this form could be kept at all.
pub fn fits(form: &Form<'_>, most_bytes: usize) -> bool {
    form.args.len() <= most_bytes
}
