//! Opening all listeners of a server.

use torc_runtime::listen::{Address, Hosts, Listener, PortChoice, SocketOptions, bind, port_of};

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
    let hosts = Hosts::new(&config.bind, open);
    let options = SocketOptions::default();
    let resp = hosts.bind(config.port, &options)?;
    let memcached = hosts.bind(config.memcached_port, &options)?;
    let http = hosts.bind(config.http_port, &options)?;
    let (port, memcached_port, http_port) = (port_of(&resp), port_of(&memcached), port_of(&http));
    let mut clients: Vec<_> = resp.into_iter().map(|l| (l, Protocol::Resp)).collect();
    clients.extend(memcached.into_iter().map(|l| (l, Protocol::Memcached)));
    for (path, protocol) in
        [(&config.unixsocket, Protocol::Resp), (&config.memcached_unixsocket, Protocol::Memcached)]
    {
        let Some(path) = path else { continue };
        let address = Address::Unix { path: path.clone(), mode: config.unixsocket_mode_bits()? };
        clients.push((bind(&address, &options)?, protocol));
    }
    let host = match hosts.first() {
        "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
        host => host.to_owned(),
    };
    let unixsocket = config.unixsocket.clone();
    let bus = match config.cluster {
        Some(_) => Some(bind(&Address::tcp(hosts.first(), bus_port(config, port)?), &options)?),
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
        ("memcached-unixsocket", path(&config.memcached_unixsocket)),
        ("unixsocketperm", mode.to_owned()),
        ("dir", path(&config.dir)),
        ("io-threads", config.worker_threads().to_string()),
        ("cluster-enabled", if config.cluster.is_some() { "yes".into() } else { "no".into() }),
        ("cluster-port", addresses.bus_port.to_string()),
    ]);
}
