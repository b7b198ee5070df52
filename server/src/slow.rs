//! What took long: the slow log and the latency monitor.
//!
//! Workers time those commands that may be slow one by one (the others share the mean of their batch) and come
//! here only with what is above a threshold; the rings' locks are off the path of all other requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use torc_protocol::command::{Command, Flags, HyperloglogCommand, StringCommand};
use torc_protocol::resp::Args;
use torc_runtime::logging::LineLimit;

use crate::exec::{Session, redact};
use crate::settings::Settings;

/// Arguments of a slow request that are kept (Redis's number).
const MAX_ARGS: usize = 32;

/// Bytes of one argument that are kept (Redis's number).
const MAX_ARG_BYTES: usize = 128;

/// The most entries that `slowlog-max-len` may ask for.
pub const MAX_ENTRIES: usize = 1 << 20;

/// Samples that the latency monitor keeps of one event (Redis's number).
const MAX_SAMPLES: usize = 160;

/// With a threshold below this even the quickest commands are timed by themselves.
const TIME_ALL_BELOW_NS: u64 = 1_000_000;

/// Whether a request is timed by itself: anything but what takes constant time, SET, and PFCOUNT of one key, which
/// looks at 16,384 registers at most.
#[inline]
pub fn may_be_slow(command: Command, args: &Args<'_>) -> bool {
    let is_short = match command {
        Command::String(StringCommand::Set) => true,
        Command::Hyperloglog(HyperloglogCommand::Pfcount) => args.len() == 2,
        _ => false,
    };
    !command.spec().flags.contains(Flags::FAST) && !is_short
}

/// An entry of the slow log.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Rises by one with each entry.
    pub id: i64,
    /// Unix seconds.
    pub at_s: u64,
    /// How long it took, microseconds.
    pub micros: u64,
    /// The arguments, shortened.
    pub args: Vec<Box<[u8]>>,
    /// Who asked.
    pub addr: Box<str>,
    /// The client's name.
    pub name: Box<[u8]>,
}

/// What the latency monitor knows of an event.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// (Unix seconds, milliseconds), oldest first; one for each second, the worst of it.
    pub samples: VecDeque<(u64, u64)>,
    /// The worst ever, milliseconds.
    pub worst_ms: u64,
}

/// See the module's text.
#[derive(Debug)]
pub struct SlowLog {
    /// Nanoseconds from which a command is slow; `u64::MAX`: none is.
    slow_ns: AtomicU64,
    /// The same for the latency monitor.
    event_ns: AtomicU64,
    max_len: AtomicUsize,
    next_id: AtomicI64,
    entries: Mutex<VecDeque<SlowEntry>>,
    lines: LineLimit,
    events: Mutex<BTreeMap<&'static str, Event>>,
}

impl SlowLog {
    /// An empty log.
    pub fn new(settings: &Settings) -> SlowLog {
        let log = SlowLog {
            slow_ns: AtomicU64::new(u64::MAX),
            event_ns: AtomicU64::new(u64::MAX),
            max_len: AtomicUsize::new(0),
            next_id: AtomicI64::new(0),
            entries: Mutex::default(),
            lines: LineLimit::default(),
            events: Mutex::default(),
        };
        log.configure(settings);
        log
    }

    /// Takes over thresholds and length.
    pub fn configure(&self, settings: &Settings) {
        let slow_ns =
            u64::try_from(settings.slowlog_slower_than_us).map_or(u64::MAX, |us| us.saturating_mul(1000));
        let event_ns = match settings.latency_threshold_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
        self.slow_ns.store(slow_ns, Ordering::Relaxed);
        self.event_ns.store(event_ns, Ordering::Relaxed);
        let max_len = settings.slowlog_max_len.min(MAX_ENTRIES);
        self.max_len.store(max_len, Ordering::Relaxed);
        self.entries.lock().truncate(max_len);
    }

    /// Whether the thresholds are so low that every command is timed by itself.
    #[inline]
    pub fn times_all(&self) -> bool {
        self.slow_ns.load(Ordering::Relaxed).min(self.event_ns.load(Ordering::Relaxed)) < TIME_ALL_BELOW_NS
    }

    /// Notes a command if it took long enough.
    pub fn note(&self, command: Command, args: &Args<'_>, session: &Session, nanos: u64, now_ms: u64) {
        if nanos >= self.event_ns.load(Ordering::Relaxed) {
            let fast = command.spec().flags.contains(Flags::FAST);
            self.note_event(if fast { "fast-command" } else { "command" }, nanos / 1_000_000, now_ms);
        }
        let spec = command.spec();
        if nanos < self.slow_ns.load(Ordering::Relaxed) || spec.flags.contains(Flags::SKIP_SLOWLOG) {
            return;
        }
        if session.trace.is_some()
            && let Some(left_out) = self.lines.admit(now_ms)
        {
            let (request, micros) = (session.trace, nanos / 1000);
            tracing::warn!(%request, command = spec.name, micros, left_out, "slow request of a proxy");
        }
        if spec.is_internal() {
            return;
        }
        let max_len = self.max_len.load(Ordering::Relaxed);
        if max_len == 0 {
            return;
        }
        let client = session.client.as_ref();
        let entry = SlowEntry {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            at_s: now_ms / 1000,
            micros: nanos / 1000,
            args: shortened(command, args),
            addr: client.map_or("", |c| &*c.addr).into(),
            name: client.map(|c| c.names().name).unwrap_or_default(),
        };
        let mut entries = self.entries.lock();
        entries.push_front(entry);
        entries.truncate(max_len);
    }

    /// Adds a sample to an event.
    fn note_event(&self, name: &'static str, ms: u64, now_ms: u64) {
        let mut events = self.events.lock();
        let event = events.entry(name).or_default();
        event.worst_ms = event.worst_ms.max(ms);
        let at_s = now_ms / 1000;
        match event.samples.back_mut() {
            Some((s, worst)) if *s == at_s => *worst = (*worst).max(ms),
            _ => {
                if event.samples.len() == MAX_SAMPLES {
                    event.samples.pop_front();
                }
                event.samples.push_back((at_s, ms));
            }
        }
    }

    /// The latest entries, newest first.
    pub fn latest(&self, count: usize) -> Vec<SlowEntry> {
        self.entries.lock().iter().take(count).cloned().collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.lock().is_empty()
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        self.entries.lock().clear();
    }

    /// All events with their samples.
    pub fn events(&self) -> Vec<(&'static str, Event)> {
        self.events.lock().iter().map(|(name, event)| (*name, event.clone())).collect()
    }

    /// Forgets the events that `which` names; answers how many there were.
    pub fn reset_events(&self, which: impl Fn(&str) -> bool) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|name, _| !which(name));
        before - events.len()
    }
}

fn shortened(command: Command, args: &Args<'_>) -> Vec<Box<[u8]>> {
    let keep = if args.len() > MAX_ARGS { MAX_ARGS - 1 } else { args.len() };
    let mut kept: Vec<Box<[u8]>> = args
        .iter()
        .take(keep)
        .enumerate()
        .map(|(at, arg)| {
            shortened_arg(if redact::is_secret(command, args, at) { redact::SHOWN } else { arg })
        })
        .collect();
    if args.len() > keep {
        kept.push(format!("... ({} more arguments)", args.len() - keep).into_bytes().into());
    }
    kept
}

fn shortened_arg(arg: &[u8]) -> Box<[u8]> {
    if arg.len() <= MAX_ARG_BYTES {
        return arg.into();
    }
    let mut text = arg[..MAX_ARG_BYTES].to_vec();
    text.extend_from_slice(format!("... ({} more bytes)", arg.len() - MAX_ARG_BYTES).as_bytes());
    text.into()
}

#[cfg(test)]
mod tests {
    use torc_protocol::command::lookup;
    use torc_protocol::resp::OwnedArgs;

    use super::*;

    #[test]
    fn only_what_is_slow_enough_is_kept_and_no_more_than_asked() {
        let settings = Settings { slowlog_max_len: 2, latency_threshold_ms: 20, ..Settings::default() };
        let log = SlowLog::new(&settings);
        let session = Session::new(1, true);
        let keys = lookup(b"keys").expect("known");
        let args = OwnedArgs::new((0..40).map(|i| format!("{i}-{}", "x".repeat(i * 10))));
        for ms in [9, 10, 30, 31] {
            log.note(keys, &args.view(), &session, ms * 1_000_000, 5_000);
        }
        let entries = log.latest(10);
        assert_eq!(entries.iter().map(|e| (e.id, e.micros)).collect::<Vec<_>>(), [(2, 31_000), (1, 30_000)]);
        assert_eq!(entries[0].args.len(), 32);
        assert_eq!(&*entries[0].args[31], b"... (9 more arguments)");
        assert!(entries[0].args[20].ends_with(b"... (75 more bytes)"));
        let events = log.events();
        assert_eq!((events[0].0, events[0].1.worst_ms), ("command", 31));
        assert_eq!(events[0].1.samples, [(5, 31)]);
        assert_eq!((log.reset_events(|_| true), log.events().len()), (1, 0));
        log.reset();
        assert!(log.is_empty());
        assert!(!log.times_all());
        log.configure(&Settings { slowlog_slower_than_us: 0, ..settings });
        assert!(log.times_all());
    }
}
