//! Helpers around the `prometheus` crate. The registry is always passed in: several nodes live in
//! one test process, so there is no global one.
//!
//! Hot paths count in plain per-worker fields; a [`FnCollector`] sums them when somebody scrapes.
//! [`LatencyHistogram`] has one writer and any number of readers.

mod collector;
mod errors;
mod histogram;

pub use collector::{FamilyBuilder, FnCollector, register};
pub use errors::ErrorCodes;
pub use histogram::{DEFAULT_BOUNDS_NS, HistogramSnapshot, LatencyHistogram};

use prometheus::{Encoder, Registry, TextEncoder};

/// Content type of [`encode`]'s text.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All families of the registry in Prometheus's text format.
pub fn encode(registry: &Registry) -> Result<String, prometheus::Error> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|cause| prometheus::Error::Msg(cause.to_string()))
}
