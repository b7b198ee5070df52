//! Opening all listeners of a server.

use torc_runtime::listen::{Address, Listener, PortChoice, SocketOptions, bind};

use super::{Addresses, StartError};
use crate::config::{ConfigError, ServerConfig};
use crate::conn::Protocol;
use crate::settings::Settings;

/// How far the bus port is above the RESP port unless something else is said.
const BUS_PORT_DISTANCE: u16 = 10_000;

/// The listeners of a server.
pub struct Listeners {
    /// For clients.
    pub clients: Vec<(Listener, Protocol)>,
    /// For HTTP.
    pub http: Vec<Listener>,
    /// For other nodes; `None` in a plain store.
    pub bus: Option<Listener>,
    /// Where all of them are.
    pub addresses: Addresses,
}

/// Binds everything; `open`: there is a password or a secret, so strangers may knock.
pub fn bind_all(config: &ServerConfig, open: bool) -> Result<Listeners, StartError> {
    let hosts = match (config.bind.is_empty(), open) {
        (false, _) => config.bind.clone(),
        (true, true) => vec!["0.0.0.0".to_owned()],
        (true, false) => vec!["127.0.0.1".to_owned()],
    };
    let options = SocketOptions::default();
    let on_all = |choice: PortChoice| -> Result<(Vec<Listener>, u16), StartError> {
        let Some(mut port) = choice.to_bind() else { return Ok((Vec::new(), 0)) };
        let mut bound = Vec::new();
        for host in &hosts {
            let listener = bind(&Address::tcp(host.clone(), port), &options)?;
            // The first host draws the port, the others follow it.
            port = listener.port().unwrap_or(port);
            bound.push(listener);
        }
        Ok((bound, port))
    };
    let (resp, port) = on_all(config.port)?;
    let (memcached, memcached_port) = on_all(config.memcached_port)?;
    let (http, http_port) = on_all(config.http_port)?;
    let mut clients: Vec<_> = resp.into_iter().map(|l| (l, Protocol::Resp)).collect();
    clients.extend(memcached.into_iter().map(|l| (l, Protocol::Memcached)));
    if let Some(path) = &config.unixsocket {
        let address = Address::Unix { path: path.clone(), mode: config.unixsocket_mode_bits()? };
        clients.push((bind(&address, &options)?, Protocol::Resp));
    }
    let host = match hosts.first().map(String::as_str) {
        None | Some("0.0.0.0" | "::") => "127.0.0.1".to_owned(),
        Some(host) => host.to_owned(),
    };
    let unixsocket = config.unixsocket.clone();
    let bus = match config.cluster {
        Some(_) => Some(bind(&Address::tcp(hosts[0].clone(), bus_port(config, port)?), &options)?),
        None => None,
    };
    let bus_port = bus.as_ref().and_then(Listener::port).unwrap_or(0);
    let pid = std::process::id();
    let addresses = Addresses { pid, host, port, memcached_port, http_port, bus_port, unixsocket };
    Ok(Listeners { clients, http, bus, addresses })
}

/// The port that the bus is to be bound to; 0: any.
fn bus_port(config: &ServerConfig, port: u16) -> Result<u16, StartError> {
    match (config.bus_port, config.port) {
        (Some(PortChoice::None), _) => {
            Err(ConfigError::new("bus_port", "a member of a cluster cannot do without a bus").into())
        }
        (Some(PortChoice::Number(port)), _) => Ok(port),
        (Some(PortChoice::Auto), _) | (None, PortChoice::Auto | PortChoice::None) => Ok(0),
        (None, PortChoice::Number(_)) => port.checked_add(BUS_PORT_DISTANCE).ok_or_else(|| {
            ConfigError::new("bus_port", format!("{port} + {BUS_PORT_DISTANCE} is no port: name one")).into()
        }),
    }
}

/// Puts what was bound where CONFIG GET shows it.
pub fn tell(config: &ServerConfig, addresses: &Addresses, settings: &mut Settings) {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or(String::new(), |path| path.display().to_string())
    };
    let mode = config.unixsocket.as_ref().map_or("0", |_| config.unixsocket_mode.as_str());
    let bind = if config.bind.is_empty() { addresses.host.clone() } else { config.bind.join(" ") };
    settings.fixed.extend([
        ("port", addresses.port.to_string()),
        ("memcached-port", addresses.memcached_port.to_string()),
        ("http-port", addresses.http_port.to_string()),
        ("bind", bind),
        ("unixsocket", path(&config.unixsocket)),
        ("unixsocketperm", mode.to_owned()),
        ("dir", path(&config.dir)),
        ("io-threads", config.worker_threads().to_string()),
        ("cluster-enabled", if config.cluster.is_some() { "yes".into() } else { "no".into() }),
        ("cluster-port", addresses.bus_port.to_string()),
    ]);
}
