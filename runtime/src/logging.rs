//! Logging: text or JSON lines to a standard stream or a file, filtered by target and level.
//!
//! The process owns one subscriber, installed once by [`init`]. Lines are written one `write` call
//! each to a file opened for appending, so lines of several threads never mix. Secrets are kept
//! out at their source: the type that holds one prints `Secret(…)`.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// Libraries that speak too much at `info`; a filter that names one of them overrides this.
const QUIET_TARGETS: [(&str, LevelFilter); 3] =
    [("openraft", LevelFilter::OFF), ("hyper", LevelFilter::WARN), ("hyper_util", LevelFilter::WARN)];

/// Lines of one kind that are logged in a second; see [`LineLimit`].
pub const LINES_PER_SECOND: u32 = 10;

/// Keeps what may happen with every request from filling the log.
#[derive(Debug, Default)]
pub struct LineLimit(parking_lot::Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    second: u64,
    logged: u32,
    left_out: u64,
}

impl LineLimit {
    /// Whether a line may be logged at `now_ms` (any clock): how many were left out since the latest one.
    pub fn admit(&self, now_ms: u64) -> Option<u64> {
        let mut lines = self.0.lock();
        let second = now_ms / 1000;
        if lines.second != second {
            (lines.second, lines.logged) = (second, 0);
        }
        if lines.logged >= LINES_PER_SECOND {
            lines.left_out += 1;
            return None;
        }
        lines.logged += 1;
        Some(std::mem::take(&mut lines.left_out))
    }
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LogError::Format(other.to_owned())),
        }
    }
}

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// The standard error stream.
    #[default]
    Stderr,
    /// The standard output stream (what container platforms collect).
    Stdout,
    /// A file, appended to; created with mode 0640 if it is missing.
    File(PathBuf),
}

impl LogTarget {
    /// Reads `stderr`, `stdout` or a path.
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "stderr" => Self::Stderr,
            "stdout" | "-" => Self::Stdout,
            path => Self::File(PathBuf::from(path)),
        }
    }
}

/// What the log of a process looks like.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Text or JSON.
    pub format: LogFormat,
    /// A level, or levels by target: `info`, `warn,torc_server=debug`, `off`.
    pub filter: String,
    /// Where lines go.
    pub target: LogTarget,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned(), target: LogTarget::Stderr }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The format is not one we write.
    #[error("unknown log format '{0}': use 'text' or 'json'")]
    Format(String),
    /// The filter cannot be read.
    #[error(
        "bad log filter '{filter}': {cause}; write a level (error, warn, info, debug, trace, off) or 'target=level' pairs, as in 'info,torc_server=debug'"
    )]
    Filter {
        /// The text as given.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The log file cannot be opened.
    #[error("cannot open the log file {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// A subscriber was installed before.
    #[error("logging was already set up in this process")]
    AlreadyInstalled,
}

/// Installs the subscriber of this process. Call once, before threads are started.
pub fn init(config: &LogConfig) -> Result<(), LogError> {
    let dispatch = build(config)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogError::AlreadyInstalled)
}

/// Builds the subscriber without installing it.
pub fn build(config: &LogConfig) -> Result<Dispatch, LogError> {
    let filter = parse_filter(&config.filter)?;
    let (writer, colours) = match &config.target {
        LogTarget::Stderr => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
        LogTarget::Stdout => (BoxMakeWriter::new(io::stdout), io::stdout().is_terminal()),
        LogTarget::File(path) => (BoxMakeWriter::new(Arc::new(open_log_file(path)?)), false),
    };
    Ok(Dispatch::new(subscriber(config.format, filter, writer, colours)))
}

/// Checks a filter without building anything, for `--check-config`.
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    parse_filter(filter).map(|_| ())
}

fn subscriber<W>(
    format: LogFormat,
    filter: Targets,
    writer: W,
    colours: bool,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    match format {
        LogFormat::Text => Box::new(Registry::default().with(layer.with_filter(filter))),
        LogFormat::Json => {
            Box::new(Registry::default().with(layer.json().flatten_event(true).with_filter(filter)))
        }
    }
}

fn parse_filter(filter: &str) -> Result<Targets, LogError> {
    let text = if filter.trim().is_empty() { "info" } else { filter.trim() };
    let mut targets = Targets::from_str(text)
        .map_err(|cause| LogError::Filter { filter: filter.to_owned(), cause: cause.to_string() })?;
    // `Targets` reads an unknown bare word as the name of a target that is wholly on; a person
    // who mistyped a level would get that silently.
    for part in text.split(',').map(str::trim) {
        if !part.contains('=') && !part.contains("::") && LevelFilter::from_str(part).is_err() {
            let cause = format!("'{part}' is not a level");
            return Err(LogError::Filter { filter: filter.to_owned(), cause });
        }
    }
    let named: Vec<String> = targets.iter().map(|(target, _)| target.to_owned()).collect();
    for (quiet, level) in QUIET_TARGETS {
        let default = targets.default_level().unwrap_or(LevelFilter::OFF);
        if !named.iter().any(|target| target.starts_with(quiet)) && default > level {
            targets = targets.with_target(quiet, level);
        }
    }
    Ok(targets)
}

fn open_log_file(path: &Path) -> Result<File, LogError> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
        .map_err(|cause| LogError::File { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_kind_are_few_in_a_second() {
        let limit = LineLimit::default();
        let admitted = (0..25).filter(|_| limit.admit(7_100).is_some()).count();
        assert_eq!(admitted, LINES_PER_SECOND as usize);
        assert_eq!(limit.admit(8_000), Some(15));
        assert_eq!(limit.admit(8_001), Some(0));
    }

    fn lines_of(format: LogFormat, filter: &str, speak: impl FnOnce()) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("torc.log");
        let config = LogConfig { format, filter: filter.to_owned(), target: LogTarget::File(path.clone()) };
        tracing::dispatcher::with_default(&build(&config).unwrap(), speak);
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn levels_are_chosen_by_target() {
        let lines = lines_of(LogFormat::Text, "warn,torc_server=debug", || {
            tracing::info!(target: "torc_proxy", "left out");
            tracing::debug!(target: "torc_server::store", shard = 3, "kept");
        });
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("kept") && lines[0].contains("shard=3"), "{lines:?}");
    }

    #[test]
    fn json_lines_are_json() {
        let lines = lines_of(LogFormat::Json, "info", || tracing::info!(slot = 7, "moved"));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((line["message"].as_str(), line["slot"].as_u64()), (Some("moved"), Some(7)));
    }

    #[test]
    fn loud_libraries_are_quiet_unless_named() {
        let speak = || tracing::info!(target: "openraft::core", "chatter");
        assert!(lines_of(LogFormat::Text, "info", speak).is_empty());
        assert_eq!(lines_of(LogFormat::Text, "info,openraft=info", speak).len(), 1);
    }

    #[test]
    fn a_bad_filter_is_named() {
        for bad in ["loud", "info,torc_server=noisy", "inffo"] {
            let error = check_filter(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        check_filter("").unwrap();
        check_filter("off").unwrap();
        check_filter("INFO,torc_runtime::raft=trace").unwrap();
    }

    #[test]
    fn an_unwritable_file_is_named() {
        let config =
            LogConfig { target: LogTarget::parse("/nonexistent-torc/x.log"), ..LogConfig::default() };
        assert!(build(&config).unwrap_err().to_string().contains("/nonexistent-torc/x.log"));
    }
}
