//! What all long-running subcommands share: the configuration file, where they listen, the log.

use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde::Serialize;
use torc_runtime::listen::{Address, PortChoice};
use torc_runtime::logging::{self, LogConfig, LogFormat, LogTarget};

/// The configuration file.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// Configuration file (TOML); its keys are the long options with underscores.
    #[arg(long, value_name = "FILE", env = "TORC_CONFIG")]
    pub config: Option<PathBuf>,
    /// Check the options, print what they come to, and exit.
    #[arg(long)]
    pub check_config: bool,
}

impl ConfigArgs {
    /// The file's keys; none without a file.
    pub fn read(&self) -> Result<toml::Table, Box<dyn Error>> {
        let Some(path) = &self.config else { return Ok(toml::Table::new()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the configuration {}: {error}", path.display()))?;
        Ok(toml::from_str(&text).map_err(|error| self.in_file(error))?)
    }

    /// An error with the file's name.
    pub fn in_file(&self, error: toml::de::Error) -> String {
        match &self.config {
            Some(path) => format!("in {}: {error}", path.display()),
            None => error.to_string(),
        }
    }
}

/// Where clients and scrapers reach the process.
#[derive(Args, Clone, Debug)]
pub struct ListenArgs {
    /// Port for RESP: a number, 'auto' for a free one, 0 for none [default: 6379]
    #[arg(long, env = "TORC_PORT")]
    pub port: Option<PortChoice>,
    /// Port for the memcached protocol: a number, 'auto' or 0 [default: 0]
    #[arg(long, env = "TORC_MEMCACHED_PORT", value_name = "PORT")]
    pub memcached_port: Option<PortChoice>,
    /// Port for metrics and health over HTTP: a number, 'auto' or 0 [default: 0]
    #[arg(long, env = "TORC_HTTP_PORT", value_name = "PORT")]
    pub http_port: Option<PortChoice>,
    /// Address to listen on; may be given more than once [default: loopback; every address with a password, and for a
    /// node with a cluster secret]
    #[arg(long, env = "TORC_BIND", value_name = "ADDRESS", value_delimiter = ',')]
    pub bind: Option<Vec<String>>,
    /// Unix socket for RESP as well
    #[arg(long, env = "TORC_UNIXSOCKET", value_name = "PATH")]
    pub unixsocket: Option<PathBuf>,
    /// Unix socket for the memcached protocol
    #[arg(long, env = "TORC_MEMCACHED_UNIXSOCKET", value_name = "PATH")]
    pub memcached_unixsocket: Option<PathBuf>,
    /// File with the users of the memcached protocol, user:password one a line
    #[arg(long, env = "TORC_MEMCACHED_AUTH_FILE", value_name = "FILE")]
    pub memcached_auth_file: Option<PathBuf>,
    /// Mode of the unix sockets, octal [default: 660]
    #[arg(long, env = "TORC_UNIXSOCKET_MODE", value_name = "MODE")]
    pub unixsocket_mode: Option<String>,
}

/// What was given as an argument takes the place of what the file said.
macro_rules! given {
    ($args:expr => $config:ident: $($field:ident),*) => {
        $(if let Some(value) = $args.$field { $config.$field = value; })*
    };
}
pub(crate) use given;

/// Checks that each of the nodes to join is written as an address; whether it answers shows only later.
pub fn check_join(join: &[String]) -> Result<(), String> {
    let is_bus = |text: &str| matches!(text.parse::<Address>(), Ok(Address::Tcp { port: 1.., .. }));
    match join.iter().find(|text| !is_bus(text)) {
        Some(text) => Err(format!("option 'join': '{text}' is no address: write HOST:PORT or [IPV6]:PORT")),
        None => Ok(()),
    }
}

/// Options of the log.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// What is logged: a level, or target=level pairs [default: info]
    #[arg(long, env = "TORC_LOG_LEVEL", value_name = "FILTER")]
    log_level: Option<String>,
    /// How it is logged: text or json [default: text]
    #[arg(long, env = "TORC_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,
    /// Where it is logged: stderr, stdout or a file [default: stderr]
    #[arg(long, env = "TORC_LOG_FILE", value_name = "TARGET")]
    log_file: Option<String>,
}

/// The log's options, merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogOptions {
    log_level: String,
    log_format: String,
    log_file: String,
}

impl LogOptions {
    /// Flags and environment before the file's keys, which are taken out of `table`.
    pub fn merge(args: LogArgs, table: &mut toml::Table) -> Result<LogOptions, Box<dyn Error>> {
        let mut choose = |flag: Option<String>, key: &str, default: &str| -> Result<String, Box<dyn Error>> {
            let in_file = match table.remove(key) {
                None => None,
                Some(toml::Value::String(text)) => Some(text),
                Some(_) => return Err(format!("option '{key}' is a text").into()),
            };
            Ok(flag.or(in_file).unwrap_or_else(|| default.to_owned()))
        };
        Ok(LogOptions {
            log_level: choose(args.log_level, "log_level", "info")?,
            log_format: choose(args.log_format, "log_format", "text")?,
            log_file: choose(args.log_file, "log_file", "stderr")?,
        })
    }

    fn config(&self) -> Result<LogConfig, Box<dyn Error>> {
        Ok(LogConfig {
            format: LogFormat::from_str(&self.log_format)?,
            filter: self.log_level.clone(),
            target: LogTarget::parse(&self.log_file),
        })
    }

    /// Checks the options without opening anything.
    pub fn check(&self) -> Result<(), Box<dyn Error>> {
        Ok(logging::check_filter(&self.config()?.filter)?)
    }

    /// Opens the log.
    pub fn init(&self) -> Result<(), Box<dyn Error>> {
        Ok(logging::init(&self.config()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::check_join;

    #[test]
    fn nodes_to_join_are_addresses() {
        let check = |text: &str| check_join(&["node-1:16379".to_owned(), text.to_owned()]);
        for good in ["node-2.example:16379", "127.0.0.1:1", "[::1]:65535"] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in [
            "",
            "node-2",
            "node-2:",
            ":16379",
            "node-2:0",
            "node-2:65536",
            "::1:16379",
            "a b:1",
            "unix:/x",
            "/x",
        ] {
            assert!(check(bad).is_err_and(|error| error.contains(&format!("'{bad}'"))), "{bad}");
        }
        assert_eq!(check_join(&[]), Ok(()));
    }
}
