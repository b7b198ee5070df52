//! Takes another configuration while clients are connected.
//!
//! What the new one says holds for everything that comes after it; nothing under way is touched and no connection is
//! closed. A configuration that cannot be is refused as a whole, and the old one stays. What only a restart can change
//! (threads, the name, connections per node, where the proxy listens) stays as it is, and is named.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::config::{ConfigError, ProxyConfig};
use crate::shared::Shared;
use crate::table::RouteTable;

/// What a configuration that is read again says.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The proxy's own options.
    pub config: ProxyConfig,
    /// Names of options beside these that differ from those it was started with.
    pub elsewhere: Vec<String>,
}

/// Reads the configuration again; `Err` says what is wrong with it.
pub type ReadAgain = Box<dyn FnMut() -> Result<Reloaded, String> + Send>;

/// Who can change the configuration.
#[derive(Clone, Debug)]
pub struct Reloader {
    shared: Arc<Shared>,
    tables: watch::Sender<Arc<RouteTable>>,
}

impl Reloader {
    /// For the proxy that `tables` belong to.
    pub fn new(shared: Arc<Shared>, tables: watch::Sender<Arc<RouteTable>>) -> Self {
        Reloader { shared, tables }
    }

    /// Takes a configuration. Gives the names of options that differ and need a restart.
    pub fn apply(&self, mut config: ProxyConfig) -> Result<Vec<&'static str>, ConfigError> {
        let taken = config.check().and_then(|()| config.memcached_users());
        let users = match taken {
            Ok(users) => users,
            Err(cause) => {
                self.shared.reload_failures.fetch_add(1, Ordering::Relaxed);
                return Err(cause);
            }
        };
        let started = &self.shared.config;
        let mut needs_restart = Vec::new();
        let mut keep = |differs: bool, name| needs_restart.extend(differs.then_some(name));
        keep(config.threads != started.threads, "threads");
        keep(config.name != started.name, "name");
        keep(config.zone != started.zone, "zone");
        keep(config.connections_per_node != started.connections_per_node, "connections_per_node");
        config.threads = started.threads;
        config.name.clone_from(&started.name);
        config.zone.clone_from(&started.zone);
        config.connections_per_node = started.connections_per_node;
        let changing = self.shared.changing.lock();
        let policies_differ = self.shared.settings.load().policy != config.policy;
        self.shared.memcached_users.store(Arc::new(users));
        self.shared.set_settings(config);
        drop(changing);
        if policies_differ {
            self.tables.send_modify(|table| {
                let policies = &self.shared.settings.load().policy;
                *table = Arc::new(RouteTable::new(Arc::clone(&table.map), policies));
            });
        }
        self.shared.reloads.fetch_add(1, Ordering::Relaxed);
        Ok(needs_restart)
    }

    /// Reads and takes the configuration at each signal.
    pub async fn at_each(self, mut signal: Signal, mut read: ReadAgain) {
        while signal.recv().await.is_some() {
            let Reloaded { config, elsewhere } = match read() {
                Ok(reloaded) => reloaded,
                Err(cause) => {
                    self.shared.reload_failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%cause, "the new configuration is refused; the old one stays in force");
                    continue;
                }
            };
            match self.apply(config) {
                Ok(own) => {
                    tracing::info!("took the configuration again");
                    let names: Vec<&str> =
                        own.into_iter().chain(elsewhere.iter().map(String::as_str)).collect();
                    if !names.is_empty() {
                        tracing::warn!(options = names.join(", "), "changed, but only a restart takes these");
                    }
                }
                Err(cause) => {
                    tracing::error!(%cause, "the new configuration is refused; the old one stays in force");
                }
            }
        }
    }
}
