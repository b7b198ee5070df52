//! What INFO tells of requests: the proxy's counters since the latest `CONFIG RESETSTAT`. The counters themselves only rise,
//! as a scrape wants them; what they were then is taken away.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use torc_protocol::command::Command;
use torc_runtime::metrics::HistogramSnapshot;

use super::sum;
use crate::shared::Shared;

/// The counters of one command.
#[derive(Clone, Debug, Default)]
struct Calls {
    calls: u64,
    failed: u64,
    times: HistogramSnapshot,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Counted {
    /// By [`Command::index`]; empty: nothing was called.
    commands: Vec<Calls>,
    /// Error replies by code.
    errors: BTreeMap<Box<str>, u64>,
    /// Lines of `stats`.
    stats: Vec<(&'static str, u64)>,
}

impl Counted {
    /// Since the start.
    pub fn ever(shared: &Shared) -> Counted {
        let of = |command: Command| {
            let mut all = Calls::default();
            for metrics in shared.workers.iter().map(|worker| worker.command(command)) {
                all.calls += metrics.requests.get();
                all.failed += metrics.errors.get();
                metrics.latency.get().into_iter().for_each(|times| all.times.merge(&times.snapshot()));
            }
            all
        };
        let commands: Vec<Calls> = Command::ALL.iter().map(|command| of(*command)).collect();
        let mut errors = BTreeMap::new();
        shared.workers.iter().for_each(|worker| worker.error_codes.add_to(&mut errors));
        let stats = vec![
            ("total_connections_received", shared.limit.accepted()),
            ("rejected_connections", shared.limit.refused()),
            ("total_commands_processed", commands.iter().map(|command| command.calls).sum()),
            ("total_error_replies", errors.values().sum()),
            ("total_net_input_bytes", sum(shared, |w| &w.bytes_in)),
            ("total_net_output_bytes", sum(shared, |w| &w.bytes_out)),
            (
                "client_output_buffer_limit_disconnections",
                sum(shared, |w| &w.output_closed) + sum(shared, |w| &w.listeners_closed),
            ),
        ];
        Counted { commands, errors, stats }
    }

    /// Since the latest reset.
    pub fn now(shared: &Shared) -> Counted {
        let mut now = Counted::ever(shared);
        let then = shared.reset.lock();
        for (now, then) in now.commands.iter_mut().zip(&then.commands) {
            now.calls = now.calls.saturating_sub(then.calls);
            now.failed = now.failed.saturating_sub(then.failed);
            now.times.take_away(&then.times);
        }
        for (now, then) in now.stats.iter_mut().zip(&then.stats) {
            now.1 = now.1.saturating_sub(then.1);
        }
        now.errors.retain(|code, count| {
            *count = count.saturating_sub(then.errors.get(code).copied().unwrap_or(0));
            *count > 0
        });
        now
    }

    /// Lines of `# Stats`.
    pub fn stats(&self, text: &mut String) {
        for (name, value) in &self.stats {
            let _ = write!(text, "{name}:{value}\r\n");
        }
    }

    /// Lines of `# Errorstats`.
    pub fn errors(&self, text: &mut String) {
        for (code, count) in &self.errors {
            let _ = write!(text, "errorstat_{code}:count={count}\r\n");
        }
    }

    fn called(&self) -> impl Iterator<Item = (&'static str, &Calls)> {
        let named = Command::ALL.iter().zip(&self.commands);
        named.filter(|(_, calls)| calls.calls > 0).map(|(command, calls)| (command.spec().name, calls))
    }

    /// Lines of `# Commandstats`.
    pub fn commands(&self, text: &mut String) {
        for (name, Calls { calls, failed, times }) in self.called() {
            let microseconds = times.sum_ns() / 1000;
            let _ = write!(
                text,
                "cmdstat_{name}:calls={calls},usec={microseconds},usec_per_call={:.2},rejected_calls=0,\
                 failed_calls={failed}\r\n",
                microseconds as f64 / *calls as f64,
            );
        }
    }

    /// Lines of `# Latencystats`.
    pub fn latencies(&self, text: &mut String) {
        for (name, Calls { times, .. }) in self.called() {
            let at = |q: f64| times.quantile_ns(q) as f64 / 1000.0;
            let _ = write!(
                text,
                "latency_percentiles_usec_{name}:p50={:.3},p99={:.3},p99.9={:.3}\r\n",
                at(0.5),
                at(0.99),
                at(0.999),
            );
        }
    }
}
