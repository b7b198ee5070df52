//! `torc proxy`: one address in front of a cluster.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};
use torc_protocol::handshake::Secret;
use torc_proxy::{Listeners, MapSource, ProxyConfig, Setup};
use torc_runtime::datadir;
use torc_runtime::listen::{Address, Listener, PortChoice, SocketOptions, bind};
use torc_runtime::shutdown;

use super::options::{ConfigArgs, LogArgs, LogOptions};

/// Options of `torc proxy`: flags, then the environment, then the file, then defaults.
#[derive(Args, Debug)]
pub struct ProxyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Bus addresses of nodes of the cluster; others are learnt from the map
    #[arg(long, env = "TORC_JOIN", value_name = "HOST:PORT", value_delimiter = ',')]
    join: Option<Vec<String>>,
    /// File with the cluster secret
    #[arg(long, env = "TORC_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Port for RESP: a number, 'auto' for a free one, 0 for none [default: 6379]
    #[arg(long, env = "TORC_PORT")]
    port: Option<PortChoice>,
    /// Port for the memcached protocol: a number, 'auto' or 0 [default: 0]
    #[arg(long, env = "TORC_MEMCACHED_PORT", value_name = "PORT")]
    memcached_port: Option<PortChoice>,
    /// Port for metrics and health over HTTP: a number, 'auto' or 0 [default: 0]
    #[arg(long, env = "TORC_HTTP_PORT", value_name = "PORT")]
    http_port: Option<PortChoice>,
    /// Address to listen on; may be given more than once [default: loopback; every address with a password]
    #[arg(long, env = "TORC_BIND", value_name = "ADDRESS", value_delimiter = ',')]
    bind: Option<Vec<String>>,
    /// Unix socket for RESP as well
    #[arg(long, env = "TORC_UNIXSOCKET", value_name = "PATH")]
    unixsocket: Option<PathBuf>,
    /// Mode of the unix socket, octal [default: 660]
    #[arg(long, env = "TORC_UNIXSOCKET_MODE", value_name = "MODE")]
    unixsocket_mode: Option<String>,
    /// Worker threads [default: 1]
    #[arg(long, env = "TORC_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Name in handshakes and CLUSTER NODES [default: proxy]
    #[arg(long, env = "TORC_NAME", value_name = "NAME")]
    name: Option<String>,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Mode of that socket, octal as in chmod.
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
            unixsocket_mode: "660".into(),
        }
    }
}

/// Keys of [`ListenConfig`] in the file.
const LISTEN_KEYS: [&str; 8] =
    ["join", "secret_file", "port", "memcached_port", "http_port", "bind", "unixsocket", "unixsocket_mode"];

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
    let check_only = args.config.check_config;
    let options = merge(args)?;
    options.log.check()?;
    options.proxy.check().map_err(|error| format!("option '{}': {}", error.setting, error.problem))?;
    if options.listen.join.is_empty() {
        return Err("option 'join': name the bus of at least one node (HOST:PORT)".into());
    }
    if check_only {
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
    let maps = MapSource::Watch(listen.join);
    let handle = torc_proxy::start(Setup { config: proxy, listeners, secret: Some(secret), maps, shutdown })?;
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
    macro_rules! given {
        ($($to:ident . $field:ident),*) => { $(if let Some(value) = args.$field { $to.$field = value; })* };
    }
    given!(listen.join, listen.secret_file, listen.port, listen.memcached_port, listen.http_port);
    given!(listen.bind, listen.unixsocket_mode);
    given!(proxy.threads, proxy.name, proxy.advertise, proxy.requirepass);
    if args.unixsocket.is_some() {
        listen.unixsocket = args.unixsocket;
    }
    Ok(Options { log, listen, proxy })
}

fn read_secret(listen: &ListenConfig) -> Result<Secret, Box<dyn Error>> {
    let file = &listen.secret_file;
    let text = datadir::read_secret(file)?.ok_or_else(|| {
        format!("option 'secret_file': there is no file {}: copy the cluster's secret there", file.display())
    })?;
    Ok(Secret::from_hex(&text).map_err(|error| format!("{}: {error}", file.display()))?)
}

/// Binds everything; `open`: there is a password, so strangers may knock.
fn open(listen: &ListenConfig, open: bool) -> Result<Listeners, Box<dyn Error>> {
    let hosts = match (listen.bind.is_empty(), open) {
        (false, _) => listen.bind.clone(),
        (true, true) => vec!["0.0.0.0".to_owned()],
        (true, false) => vec!["127.0.0.1".to_owned()],
    };
    let options = SocketOptions::default();
    let on_all = |choice: PortChoice| -> Result<Vec<Listener>, Box<dyn Error>> {
        let Some(mut port) = choice.to_bind() else { return Ok(Vec::new()) };
        let mut bound = Vec::new();
        for host in &hosts {
            let listener = bind(&Address::tcp(host.clone(), port), &options)?;
            port = listener.port().unwrap_or(port);
            bound.push(listener);
        }
        Ok(bound)
    };
    let mut resp = on_all(listen.port)?;
    let memcached = on_all(listen.memcached_port)?;
    let http = on_all(listen.http_port)?.into_iter().next();
    if let Some(path) = &listen.unixsocket {
        let mode = u32::from_str_radix(&listen.unixsocket_mode, 8).ok().filter(|mode| *mode <= 0o777);
        let mode = mode.ok_or_else(|| {
            format!("option 'unixsocket_mode': '{}' is no octal mode such as 660", listen.unixsocket_mode)
        })?;
        resp.push(bind(&Address::Unix { path: path.clone(), mode }, &options)?);
    }
    if resp.is_empty() && memcached.is_empty() {
        return Err(
            "option 'port': no port, no memcached_port and no unixsocket: nobody could connect".into()
        );
    }
    Ok(Listeners { resp, memcached, http })
}
