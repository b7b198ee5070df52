//! One thread of the load generator: an edge-triggered loop over its connections.
//!
//! The worker owns everything it touches. Times are nanoseconds since the start that all workers share.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use torc_runtime::clock::thread_cpu_ns;

use super::BenchError;
use super::args::{BenchArgs, Protocol, Ratio};
use super::connection::Connection;
use super::keys::Picker;
use super::report::Outcome;
use super::request::{Encoder, Kind};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Events taken at once.
const EVENTS: usize = 1024;
/// Due requests sent before replies are looked at again.
const SEND_BURST: usize = 256;
/// A connection that was lost is tried again after this long.
const RETRY_NS: u64 = 100_000_000;
/// How long replies may still come in after the last request.
const DRAIN_NS: u64 = 5_000_000_000;
/// Without a single reply for this long a run is given up.
const STALL_NS: u64 = 30_000_000_000;
/// The loop sleeps only when nothing is due for longer than this: the sleep of an operating system is
/// not exact. Below, it polls without rest.
const SPIN_NS: u64 = 1_500_000;
/// The longest sleep.
const MAX_SLEEP: Duration = Duration::from_millis(20);

/// When a worker stops sending.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// After this many requests.
    Requests(u64),
    /// After this long.
    After(Duration),
}

/// What one worker does.
#[derive(Debug)]
pub struct Plan {
    address: SocketAddr,
    protocol: Protocol,
    encoder: Encoder,
    picker: Picker,
    ratio: Ratio,
    connections: usize,
    pipeline: usize,
    /// Open loop: nanoseconds between two due times, and the first of them.
    interval: Option<(f64, f64)>,
    /// Each key once, in order, as a write.
    in_order: bool,
    seed: u64,
}

impl Plan {
    /// The part of a run that falls to `thread`.
    pub fn new(args: &BenchArgs, address: SocketAddr, thread: usize) -> Self {
        let threads = args.threads;
        let interval = args.rate.map(|rate| {
            let between = 1e9 / rate;
            (between * threads as f64, between * thread as f64)
        });
        Self {
            address,
            protocol: args.protocol,
            encoder: Encoder::new(args),
            picker: Picker::new(args.keys, args.distribution),
            ratio: args.ratio,
            connections: args.connections / threads + usize::from(thread < args.connections % threads),
            pipeline: args.pipeline,
            interval,
            in_order: false,
            seed: args.seed.wrapping_add((thread as u64) << 32),
        }
    }

    /// The same, writing each key once in order.
    pub fn preload(self) -> Self {
        Self { in_order: true, ..self }
    }
}

/// One thread's state.
#[derive(Debug)]
pub struct Worker {
    plan: Plan,
    stop: Stop,
    poll: Poll,
    connections: Vec<Connection>,
    rng: SmallRng,
    outcome: Outcome,
    sent: u64,
    in_flight: usize,
    down: usize,
    /// Open loop: the connection that gets the next request, and when that is due.
    turn: usize,
    next_due: f64,
    dirty: Vec<usize>,
}

impl Worker {
    /// Connects.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn new(plan: Plan, stop: Stop) -> Result<Self, BenchError> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(plan.connections);
        for token in 0..plan.connections {
            let mut connection = Connection::open(plan.address, plan.protocol, &plan.encoder)
                .map_err(|error| BenchError::Connect(plan.address, error))?;
            connection.register(poll.registry(), Token(token))?;
            connections.push(connection);
        }
        let rng = SmallRng::seed_from_u64(plan.seed);
        let next_due = plan.interval.map_or(0.0, |(_, first)| first);
        Ok(Self {
            plan,
            stop,
            poll,
            connections,
            rng,
            outcome: Outcome::new(),
            sent: 0,
            in_flight: 0,
            down: 0,
            turn: 0,
            next_due,
            dirty: Vec::new(),
        })
    }

    /// Runs to the end and gives what was measured.
    ///
    /// # Errors
    /// Those of the selector.
    pub fn run(mut self, began: Instant) -> Result<Outcome, BenchError> {
        let now = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let cpu_before = thread_cpu_seconds();
        let started = now();
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ_BYTES];
        let mut stopped_at = None;
        let mut last_answer = started;
        let mut answered = 0;
        if self.plan.interval.is_none() {
            for at in 0..self.connections.len() {
                self.fill(at, now());
            }
        } else {
            self.next_due += started as f64;
        }
        loop {
            let time = now();
            if self.outcome.answered != answered {
                answered = self.outcome.answered;
                last_answer = time;
            }
            if stopped_at.is_none() && self.is_over(time - started) {
                stopped_at = Some(time);
            }
            let drained = stopped_at.is_some_and(|at| self.in_flight == 0 || time - at > DRAIN_NS);
            if drained || time - last_answer > STALL_NS {
                break;
            }
            if stopped_at.is_none() {
                if self.down > 0 {
                    self.reconnect(time);
                }
                if self.plan.interval.is_some() {
                    self.send_due(time);
                }
            }
            match self.poll.poll(&mut events, Some(self.sleep(time, stopped_at.is_some()))) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.ready(event.token().0, event.is_readable(), now(), stopped_at.is_some(), &mut buffer);
            }
        }
        self.outcome.lost += self.in_flight as u64;
        // A count of requests ends with its last reply; a time ends when it is over.
        let end = stopped_at.filter(|_| matches!(self.stop, Stop::After(_))).unwrap_or_else(now);
        self.outcome.seconds = (end - started) as f64 / 1e9;
        self.outcome.client_cpu_seconds = thread_cpu_seconds() - cpu_before;
        Ok(self.outcome)
    }

    fn is_over(&self, elapsed: u64) -> bool {
        match self.stop {
            Stop::Requests(requests) => self.sent >= requests,
            Stop::After(time) => u128::from(elapsed) >= time.as_nanos(),
        }
    }

    fn sleep(&self, time: u64, stopped: bool) -> Duration {
        if self.plan.interval.is_none() || stopped {
            return MAX_SLEEP;
        }
        // With no room for a request only a reply or a lost connection changes anything.
        let wait = (self.next_due as u64).saturating_sub(time);
        if wait > SPIN_NS { Duration::from_nanos(wait - SPIN_NS / 2).min(MAX_SLEEP) } else { Duration::ZERO }
    }

    /// The next request's kind and key.
    fn draw(&mut self) -> (Kind, u64) {
        if self.plan.in_order {
            return (Kind::Set, self.sent);
        }
        let Ratio { sets, gets } = self.plan.ratio;
        let kind = if self.rng.random_range(0..sets + gets) < sets { Kind::Set } else { Kind::Get };
        (kind, self.plan.picker.pick(&mut self.rng))
    }

    /// Closed loop: gives a connection without requests in flight its next ones.
    fn fill(&mut self, at: usize, time: u64) {
        let mut count = self.plan.pipeline;
        if let Stop::Requests(requests) = self.stop {
            count = count.min(usize::try_from(requests - self.sent.min(requests)).unwrap_or(usize::MAX));
        }
        for _ in 0..count {
            let (kind, key) = self.draw();
            self.connections[at].push(&self.plan.encoder, kind, key, time);
            self.sent += 1;
        }
        self.in_flight += count;
        self.flush(at, time);
    }

    /// Open loop: sends what is due, as far as connections have room.
    fn send_due(&mut self, time: u64) {
        let Some((interval, _)) = self.plan.interval else { return };
        let room = (self.connections.len() - self.down) * self.plan.pipeline;
        for _ in 0..SEND_BURST {
            let finished = matches!(self.stop, Stop::Requests(requests) if self.sent >= requests);
            if finished || self.next_due > time as f64 || self.in_flight >= room {
                break;
            }
            let at = loop {
                let at = self.turn;
                self.turn = (self.turn + 1) % self.connections.len();
                let connection = &self.connections[at];
                if connection.is_open() && connection.in_flight() < self.plan.pipeline {
                    break at;
                }
            };
            let due = self.next_due as u64;
            self.next_due += interval;
            let (kind, key) = self.draw();
            let connection = &mut self.connections[at];
            connection.push(&self.plan.encoder, kind, key, due);
            if !connection.is_dirty {
                connection.is_dirty = true;
                self.dirty.push(at);
            }
            self.sent += 1;
            self.in_flight += 1;
            self.outcome.sent_late(time - due);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for at in dirty.drain(..) {
            self.connections[at].is_dirty = false;
            self.flush(at, time);
        }
        self.dirty = dirty;
    }

    fn flush(&mut self, at: usize, time: u64) {
        if let Err(error) = self.connections[at].flush() {
            self.lose(at, time, &error);
        }
    }

    fn ready(&mut self, at: usize, readable: bool, time: u64, stopped: bool, buffer: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(at) else { return };
        if readable {
            let (outcome, in_flight) = (&mut self.outcome, &mut self.in_flight);
            let result = connection.read(buffer, |due, verdict, line| {
                *in_flight -= 1;
                outcome.answer(time.saturating_sub(due), verdict, line);
            });
            if let Err(error) = result {
                self.lose(at, time, &error);
                return;
            }
        }
        let idle = self.connections[at].is_open() && self.connections[at].in_flight() == 0;
        if self.plan.interval.is_none() && idle && !stopped && !self.is_over(0) {
            self.fill(at, time);
        } else {
            self.flush(at, time);
        }
    }

    fn lose(&mut self, at: usize, time: u64, error: &std::io::Error) {
        if !self.connections[at].is_open() {
            return;
        }
        let lost = self.connections[at].lose(time + RETRY_NS);
        self.outcome.disconnected(lost, error);
        self.in_flight -= usize::try_from(lost).unwrap_or(0);
        self.down += 1;
    }

    fn reconnect(&mut self, time: u64) {
        for at in 0..self.connections.len() {
            let connection = &mut self.connections[at];
            if connection.is_open() || connection.retry_at() > time {
                continue;
            }
            let plan = &self.plan;
            let registry = self.poll.registry();
            match connection.reopen(plan.address, plan.protocol, &plan.encoder, registry, Token(at)) {
                Ok(()) => {
                    self.down -= 1;
                    if plan.interval.is_none() {
                        self.fill(at, time);
                    }
                }
                Err(_) => {
                    connection.lose(time + RETRY_NS);
                }
            }
        }
    }
}

/// Processor time that this thread has used, in seconds.
fn thread_cpu_seconds() -> f64 {
    thread_cpu_ns() as f64 / 1e9
}
