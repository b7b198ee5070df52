//! A collector over a closure, for counters that are plain fields elsewhere.
//!
//! The closure runs on the thread that scrapes and reads what the workers left in their fields.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, Result};

use super::histogram::HistogramSnapshot;

/// Yields families made by a closure at each scrape.
pub struct FnCollector<F> {
    descs: Vec<Desc>,
    gather: F,
}

impl<F> FnCollector<F>
where
    F: Fn() -> Vec<MetricFamily> + Send + Sync,
{
    /// A collector of the named families: `(name, help)` for each that `gather` may yield. The
    /// names are how the registry finds out that two collectors yield the same family.
    pub fn new(families: &[(&str, &str)], gather: F) -> Result<Self> {
        let describe = |(name, help): &(&str, &str)| {
            Desc::new((*name).into(), (*help).into(), vec![], Default::default())
        };
        let descs = families.iter().map(describe).collect::<Result<Vec<_>>>()?;
        Ok(Self { descs, gather })
    }
}

impl<F> Collector for FnCollector<F>
where
    F: Fn() -> Vec<MetricFamily> + Send + Sync,
{
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A family without samples is an error to the text encoder: leave it out.
        (self.gather)().into_iter().filter(|family| !family.get_metric().is_empty()).collect()
    }
}

/// Registers a closure that yields the named families.
pub fn register<F>(registry: &Registry, families: &[(&str, &str)], gather: F) -> Result<()>
where
    F: Fn() -> Vec<MetricFamily> + Send + Sync + 'static,
{
    registry.register(Box::new(FnCollector::new(families, gather)?))
}

/// Builds one family sample by sample.
#[derive(Debug)]
pub struct FamilyBuilder {
    family: MetricFamily,
    kind: MetricType,
}

impl FamilyBuilder {
    /// A family of values that only grow.
    pub fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// A family of values that go up and down.
    pub fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// A family of histograms, in seconds.
    pub fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self { family, kind }
    }

    /// Adds a counter's or gauge's sample.
    #[must_use]
    pub fn sample(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        self.add(labels, value);
        self
    }

    /// As [`Self::sample`], in place.
    pub fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = labelled(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.family.mut_metric().push(metric);
    }

    /// Adds a histogram's sample, with cumulative buckets at `bounds_ns` (ascending, nanoseconds).
    pub fn add_histogram(
        &mut self,
        labels: &[(&str, &str)],
        snapshot: &HistogramSnapshot,
        bounds_ns: &[u64],
    ) {
        let mut metric = labelled(labels);
        metric.set_histogram(snapshot.to_prometheus(bounds_ns));
        self.family.mut_metric().push(metric);
    }

    /// Adds a histogram's sample whose buckets were counted elsewhere: `counts[i]` observations at most
    /// `bounds[i]` (ascending, seconds) and above the bound before; further counts are above all bounds.
    pub fn add_counts(&mut self, labels: &[(&str, &str)], bounds: &[f64], counts: &[u64], sum: f64) {
        let mut cumulative = 0;
        let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = prometheus::proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.family.mut_metric().push(metric);
    }

    /// The family.
    pub fn build(self) -> MetricFamily {
        self.family
    }
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut metric = Metric::default();
    metric.set_label(labels.iter().map(pair).collect());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{DEFAULT_BOUNDS_NS, LatencyHistogram, encode};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn plain_counters_are_read_at_the_scrape() {
        let registry = Registry::new();
        let requests = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&requests);
        let latency = LatencyHistogram::new();
        latency.record(1_500);
        register(&registry, &[("torc_requests_total", "Requests."), ("torc_seconds", "Time.")], move || {
            let mut times = FamilyBuilder::histogram("torc_seconds", "Time.");
            times.add_histogram(&[("command", "get")], &latency.snapshot(), &DEFAULT_BOUNDS_NS);
            vec![
                FamilyBuilder::counter("torc_requests_total", "Requests.")
                    .sample(&[("command", "get")], read.load(Ordering::Relaxed) as f64)
                    .build(),
                FamilyBuilder::gauge("torc_empty", "Nothing.").build(),
                times.build(),
            ]
        })
        .unwrap();
        requests.store(41, Ordering::Relaxed);
        let text = encode(&registry).unwrap();
        assert!(text.contains("# TYPE torc_requests_total counter"), "{text}");
        assert!(text.contains("torc_requests_total{command=\"get\"} 41"), "{text}");
        assert!(text.contains("torc_seconds_bucket{command=\"get\",le=\"0.000002048\"} 1"), "{text}");
        assert!(text.contains("torc_seconds_count{command=\"get\"} 1"), "{text}");
    }

    #[test]
    fn counts_become_cumulative() {
        let registry = Registry::new();
        register(&registry, &[("torc_seconds", "Time.")], || {
            let mut times = FamilyBuilder::histogram("torc_seconds", "Time.");
            times.add_counts(&[], &[0.5, 1.0], &[2, 1, 4], 9.5);
            vec![times.build()]
        })
        .unwrap();
        let text = encode(&registry).unwrap();
        for line in [
            "torc_seconds_bucket{le=\"0.5\"} 2\n",
            "torc_seconds_bucket{le=\"1\"} 3\n",
            "torc_seconds_bucket{le=\"+Inf\"} 7\n",
            "torc_seconds_sum 9.5\n",
            "torc_seconds_count 7\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn the_same_family_twice_is_refused() {
        let registry = Registry::new();
        register(&registry, &[("torc_x", "X.")], Vec::new).unwrap();
        assert!(register(&registry, &[("torc_x", "X.")], Vec::new).is_err());
    }
}
