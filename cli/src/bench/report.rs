//! What a run measured, as text and as JSON.

use hdrhistogram::Histogram;

use super::args::{BenchArgs, Protocol};
use super::reply::Verdict;

/// The longest latency that is told apart, nanoseconds.
const MAX_LATENCY_NS: u64 = 600_000_000_000;
/// Decimal digits kept of a latency.
const DIGITS: u8 = 3;
/// The percentiles that are printed.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 50.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("p99_9", 99.9), ("p99_99", 99.99)];

/// Counts and histograms of one thread, or of all after [`Self::merge`].
#[derive(Debug)]
pub struct Outcome {
    /// Replies.
    pub answered: u64,
    /// Replies that were errors.
    pub errors: u64,
    /// Reads that found nothing.
    pub misses: u64,
    /// Requests without a reply: the connection was lost, or the run was over.
    pub lost: u64,
    /// Connections that were lost.
    pub disconnects: u64,
    /// The first error.
    pub first_error: Option<String>,
    /// Length of the run.
    pub seconds: f64,
    /// Processor time of the load generator.
    pub client_cpu_seconds: f64,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
}

impl Outcome {
    /// Nothing yet.
    pub fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, MAX_LATENCY_NS, DIGITS).expect("the bounds are valid");
        Self {
            answered: 0,
            errors: 0,
            misses: 0,
            lost: 0,
            disconnects: 0,
            first_error: None,
            seconds: 0.0,
            client_cpu_seconds: 0.0,
            latency: histogram(),
            lateness: histogram(),
        }
    }

    /// Counts a reply.
    pub fn answer(&mut self, latency_ns: u64, verdict: Verdict, line: &[u8]) {
        self.answered += 1;
        self.latency.saturating_record(latency_ns.max(1));
        match verdict {
            Verdict::Fine => {}
            Verdict::Miss => self.misses += 1,
            Verdict::Error => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| String::from_utf8_lossy(line).into_owned());
            }
        }
    }

    /// Counts a request that was sent this long after it was due.
    pub fn sent_late(&mut self, late_ns: u64) {
        self.lateness.saturating_record(late_ns.max(1));
    }

    /// Counts a lost connection with its requests.
    pub fn disconnected(&mut self, lost: u64, error: &std::io::Error) {
        self.disconnects += 1;
        self.lost += lost;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    /// Adds what another thread measured at the same time.
    pub fn merge(&mut self, other: Self) {
        self.answered += other.answered;
        self.errors += other.errors;
        self.misses += other.misses;
        self.lost += other.lost;
        self.disconnects += other.disconnects;
        self.first_error = self.first_error.take().or(other.first_error);
        self.seconds = self.seconds.max(other.seconds);
        self.client_cpu_seconds += other.client_cpu_seconds;
        // Both have the same bounds, so nothing can be lost here.
        let _ = self.latency.add(other.latency);
        let _ = self.lateness.add(other.lateness);
    }

    fn throughput(&self) -> f64 {
        if self.seconds > 0.0 { self.answered as f64 / self.seconds } else { 0.0 }
    }

    /// Share of the run that the threads of the load generator were busy.
    fn client_busy(&self, args: &BenchArgs) -> f64 {
        if self.seconds > 0.0 { self.client_cpu_seconds / self.seconds / args.threads as f64 } else { 0.0 }
    }

    /// For people.
    pub fn text(&self, args: &BenchArgs) -> String {
        use std::fmt::Write;
        let us = |ns: u64| ns as f64 / 1000.0;
        let mut out = String::new();
        let protocol = match args.protocol {
            Protocol::Resp => "resp",
            Protocol::Memcached => "memcached",
        };
        let mode =
            args.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate} requests/s"));
        let _ = writeln!(
            out,
            "{protocol} {}:{}, {mode}, {} connections, {} threads, pipeline {}, SET:GET {}, {} keys ({}) of {} bytes, values of {} bytes",
            args.host,
            args.port(),
            args.connections,
            args.threads,
            args.pipeline,
            args.ratio,
            args.keys,
            args.distribution,
            args.key_bytes,
            args.value_bytes
        );
        let _ = writeln!(
            out,
            "{} replies in {:.2} s: {:.0} requests/s; {} misses, {} errors, {} lost, {} disconnects",
            self.answered,
            self.seconds,
            self.throughput(),
            self.misses,
            self.errors,
            self.lost,
            self.disconnects
        );
        let _ = write!(out, "latency µs: min {:.1}", us(self.latency.min()));
        for (name, percentile) in PERCENTILES {
            let _ = write!(
                out,
                "  {} {:.1}",
                name.replace('_', "."),
                us(self.latency.value_at_percentile(percentile))
            );
        }
        let _ = writeln!(out, "  max {:.1}", us(self.latency.max()));
        if !self.lateness.is_empty() {
            let _ = writeln!(
                out,
                "sent after the due time, µs: p50 {:.1}  p99 {:.1}  max {:.1}",
                us(self.lateness.value_at_percentile(50.0)),
                us(self.lateness.value_at_percentile(99.0)),
                us(self.lateness.max())
            );
        }
        let _ = write!(out, "load generator: {:.0} % of its threads busy", self.client_busy(args) * 100.0);
        if let Some(error) = &self.first_error {
            let _ = write!(out, "\nfirst error: {error}");
        }
        out
    }

    /// For programs: one object on one line; latencies in microseconds.
    pub fn json(&self, args: &BenchArgs) -> String {
        let us = |ns: u64| serde_json::json!(ns as f64 / 1000.0);
        let percentiles = |histogram: &Histogram<u64>| {
            let mut map = serde_json::Map::new();
            if !histogram.is_empty() {
                map.insert("min".into(), us(histogram.min()));
                map.insert("mean".into(), serde_json::json!(histogram.mean() / 1000.0));
                for (name, percentile) in PERCENTILES {
                    map.insert(name.into(), us(histogram.value_at_percentile(percentile)));
                }
                map.insert("max".into(), us(histogram.max()));
            }
            serde_json::Value::Object(map)
        };
        serde_json::json!({
            "requests": self.answered,
            "seconds": self.seconds,
            "throughput": self.throughput(),
            "errors": self.errors,
            "misses": self.misses,
            "lost": self.lost,
            "disconnects": self.disconnects,
            "first_error": self.first_error,
            "latency_us": percentiles(&self.latency),
            "lateness_us": percentiles(&self.lateness),
            "client_cpu_seconds": self.client_cpu_seconds,
            "client_busy": self.client_busy(args),
            "rate": args.rate,
            "connections": args.connections,
            "threads": args.threads,
            "pipeline": args.pipeline,
        })
        .to_string()
    }
}
