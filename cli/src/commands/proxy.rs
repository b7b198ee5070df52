//! `torc proxy`: one address in front of a cluster.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};
use torc_protocol::handshake::Secret;
use torc_proxy::{Listeners, MapSource, ProxyConfig, ReadAgain, Reloaded, Setup};
use torc_runtime::datadir;
use torc_runtime::listen::{Address, Hosts, PortChoice, SocketOptions, bind, parse_mode};
use torc_runtime::shutdown;

use super::options::{ConfigArgs, ListenArgs, LogArgs, LogOptions, check_join, given};

/// Options of `torc proxy`: flags, then the environment, then the file, then defaults.
#[derive(Args, Clone, Debug)]
pub struct ProxyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Bus addresses of nodes of the cluster; others are learnt from the map
    #[arg(long, env = "TORC_JOIN", value_name = "HOST:PORT", value_delimiter = ',')]
    join: Option<Vec<String>>,
    /// File with the cluster secret
    #[arg(long, env = "TORC_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    listen: ListenArgs,
    /// Worker threads [default: 1]
    #[arg(long, env = "TORC_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Name in handshakes and CLUSTER NODES [default: proxy]
    #[arg(long, env = "TORC_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Failure domain of the proxy, as `torc server --zone` [default: none]
    #[arg(long, env = "TORC_ZONE", value_name = "NAME")]
    zone: Option<String>,
    /// Host that cluster clients are told to connect to [default: the one they connected to]
    #[arg(long, env = "TORC_ADVERTISE", value_name = "HOST")]
    advertise: Option<String>,
    /// Password that clients must give
    #[arg(long, env = "TORC_REQUIREPASS", value_name = "PASSWORD", hide_env_values = true)]
    requirepass: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

/// Where a proxy listens and whom it asks for the map; beside it in the file are the keys of [`ProxyConfig`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct ListenConfig {
    /// Bus addresses of nodes of the cluster.
    join: Vec<String>,
    /// File with the cluster secret.
    secret_file: PathBuf,
    /// Port for RESP.
    port: PortChoice,
    /// Port for the memcached protocol.
    memcached_port: PortChoice,
    /// Port for metrics and health over HTTP.
    http_port: PortChoice,
    /// Addresses to listen on. Empty: loopback alone, or every address when a password is set.
    bind: Vec<String>,
    /// Path of a unix socket for RESP as well.
    unixsocket: Option<PathBuf>,
    /// Path of a unix socket for the memcached protocol.
    memcached_unixsocket: Option<PathBuf>,
    /// Mode of these sockets, octal as in chmod.
    unixsocket_mode: String,
}

impl Default for ListenConfig {
    fn default() -> Self {
        ListenConfig {
            join: Vec::new(),
            secret_file: PathBuf::from(datadir::SECRET_FILE),
            port: PortChoice::Number(6379),
            memcached_port: PortChoice::None,
            http_port: PortChoice::None,
            bind: Vec::new(),
            unixsocket: None,
            memcached_unixsocket: None,
            unixsocket_mode: "660".into(),
        }
    }
}

/// Keys of [`ListenConfig`] in the file.
const LISTEN_KEYS: [&str; 9] = [
    "join",
    "secret_file",
    "port",
    "memcached_port",
    "http_port",
    "bind",
    "unixsocket",
    "memcached_unixsocket",
    "unixsocket_mode",
];

/// All options, merged.
#[derive(Debug, Serialize)]
struct Options {
    #[serde(flatten)]
    log: LogOptions,
    #[serde(flatten)]
    listen: ListenConfig,
    #[serde(flatten)]
    proxy: ProxyConfig,
}

/// Runs the proxy until a signal ends it.
pub fn run(args: ProxyArgs) -> Result<(), Box<dyn Error>> {
    let options = checked(args.clone())?;
    if args.config.check_config {
        let mut shown = options;
        if !shown.proxy.requirepass.is_empty() {
            shown.proxy.requirepass = "(hidden)".into();
        }
        print!("{}", toml::to_string(&shown)?);
        return Ok(());
    }
    let Options { log, listen, proxy } = options;
    log.init()?;
    let secret = read_secret(&listen)?;
    let listeners = open(&listen, !proxy.requirepass.is_empty())?;
    let shutdown = shutdown::on_signals()?;
    let maps = MapSource::Watch(listen.join.clone());
    let read_again: ReadAgain = Box::new(move || read_again(&args, &log, &listen));
    let handle = torc_proxy::start(Setup {
        config: proxy,
        listeners,
        secret: Some(secret),
        maps,
        shutdown,
        read_again: Some(read_again),
    })?;
    let at = handle.addresses();
    tracing::info!(
        pid = std::process::id(),
        port = at.port,
        memcached_port = at.memcached_port,
        http_port = at.http_port,
        "ready"
    );
    handle.join();
    tracing::info!("stopped");
    Ok(())
}

/// The options, merged and fit to be used.
fn checked(args: ProxyArgs) -> Result<Options, Box<dyn Error>> {
    let options = merge(args)?;
    options.log.check()?;
    options.proxy.check().map_err(|error| format!("option '{}': {}", error.setting, error.problem))?;
    if options.listen.join.is_empty() {
        return Err("option 'join': name the bus of at least one node (HOST:PORT)".into());
    }
    check_join(&options.listen.join)?;
    check_listen(&options.listen)?;
    Ok(options)
}

/// The options as they are now, and which of those that need a restart differ from `log` and `listen`.
fn read_again(args: &ProxyArgs, log: &LogOptions, listen: &ListenConfig) -> Result<Reloaded, String> {
    let now = checked(args.clone()).map_err(|error| error.to_string())?;
    let mut elsewhere = now.listen.differing(listen);
    if now.log != *log {
        elsewhere.push("the log's".to_owned());
    }
    Ok(Reloaded { config: now.proxy, elsewhere })
}

impl ListenConfig {
    /// Names of the options that differ.
    fn differing(&self, other: &ListenConfig) -> Vec<String> {
        let differs = [
            ("join", self.join != other.join),
            ("secret_file", self.secret_file != other.secret_file),
            ("port", self.port != other.port),
            ("memcached_port", self.memcached_port != other.memcached_port),
            ("http_port", self.http_port != other.http_port),
            ("bind", self.bind != other.bind),
            ("unixsocket", self.unixsocket != other.unixsocket),
            ("memcached_unixsocket", self.memcached_unixsocket != other.memcached_unixsocket),
            ("unixsocket_mode", self.unixsocket_mode != other.unixsocket_mode),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
    }
}

fn merge(args: ProxyArgs) -> Result<Options, Box<dyn Error>> {
    let mut table = args.config.read()?;
    let log = LogOptions::merge(args.log, &mut table)?;
    let mut listen_table = toml::Table::new();
    for key in LISTEN_KEYS {
        if let Some(value) = table.remove(key) {
            listen_table.insert(key.to_owned(), value);
        }
    }
    let named = |error: toml::de::Error| args.config.in_file(error);
    let mut listen: ListenConfig = toml::Value::Table(listen_table).try_into().map_err(named)?;
    let mut proxy: ProxyConfig = toml::Value::Table(table).try_into().map_err(named)?;
    given!(args => listen: join, secret_file);
    given!(args.listen => listen: port, memcached_port, http_port, bind, unixsocket_mode);
    given!(args => proxy: threads, name, zone, advertise, requirepass);
    listen.unixsocket = args.listen.unixsocket.or(listen.unixsocket);
    proxy.memcached_auth_file = args.listen.memcached_auth_file.or(proxy.memcached_auth_file);
    listen.memcached_unixsocket = args.listen.memcached_unixsocket.or(listen.memcached_unixsocket);
    Ok(Options { log, listen, proxy })
}

fn read_secret(listen: &ListenConfig) -> Result<Secret, Box<dyn Error>> {
    let file = &listen.secret_file;
    let text = datadir::read_secret(file)?.ok_or_else(|| {
        format!("option 'secret_file': there is no file {}: copy the cluster's secret there", file.display())
    })?;
    Ok(Secret::from_hex(&text).map_err(|error| format!("{}: {error}", file.display()))?)
}

/// Checks what [`open`] will be asked for.
fn check_listen(listen: &ListenConfig) -> Result<(), Box<dyn Error>> {
    let (port, memcached_port) = (listen.port.to_bind(), listen.memcached_port.to_bind());
    let no_socket = listen.unixsocket.is_none() && listen.memcached_unixsocket.is_none();
    if port.is_none() && memcached_port.is_none() && no_socket {
        return Err(
            "option 'port': no port, no memcached_port and no unixsocket: nobody could connect".into()
        );
    }
    if parse_mode(&listen.unixsocket_mode).is_none() {
        return Err(unknown_mode(&listen.unixsocket_mode).into());
    }
    Ok(())
}

fn unknown_mode(text: &str) -> String {
    format!("option 'unixsocket_mode': '{text}' is no octal mode such as 660")
}

/// Binds everything; `open`: there is a password, so strangers may knock.
fn open(listen: &ListenConfig, open: bool) -> Result<Listeners, Box<dyn Error>> {
    let hosts = Hosts::new(&listen.bind, open);
    let options = SocketOptions::default();
    let mut resp = hosts.bind(listen.port, &options)?;
    let mut memcached = hosts.bind(listen.memcached_port, &options)?;
    let http = hosts.bind(listen.http_port, &options)?;
    for (listeners, path) in [(&mut resp, &listen.unixsocket), (&mut memcached, &listen.memcached_unixsocket)]
    {
        let Some(path) = path else { continue };
        let mode =
            parse_mode(&listen.unixsocket_mode).ok_or_else(|| unknown_mode(&listen.unixsocket_mode))?;
        listeners.push(bind(&Address::Unix { path: path.clone(), mode }, &options)?);
    }
    Ok(Listeners { resp, memcached, http })
}
