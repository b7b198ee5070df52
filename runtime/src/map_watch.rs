//! Following the cluster map over the bus.
//!
//! A watcher dials one control address after another, asks for every map newer than the one it has, and
//! publishes what comes. Nodes serve it with [`serve`]. Both sides exchange JSON: a [`WatchRequest`], then one
//! `ClusterMap` per `MapUpdate` frame; empty updates say that the other side is alive.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use torc_cluster::ids::Epoch;
use torc_cluster::map::{ClusterMap, NodeInfo};

use crate::bus::{BusConn, BusIdentity, ConnError, Frame, FrameKind, dial};
use crate::shutdown::Shutdown;

/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// How often the serving side shows that it is alive.
const ALIVE: Duration = Duration::from_secs(1);
/// Silence after which the watcher goes elsewhere.
const SILENCE: Duration = Duration::from_secs(3);
/// First pause after a failure, doubled up to [`LONGEST_PAUSE`], with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What a watcher asks for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WatchRequest {
    /// Maps above this epoch are wanted.
    pub epoch: Epoch,
}

/// Follows the map; see the module's text.
pub struct MapWatcher {
    identity: BusIdentity,
    seeds: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Conn(#[from] ConnError),
    #[error("the map cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("nothing heard for {SILENCE:?}")]
    Silent,
    #[error("{0:?} instead of a map")]
    Unexpected(FrameKind),
    #[error("nobody listens for maps any more")]
    Unwanted,
}

impl MapWatcher {
    /// A watcher that begins with these bus addresses and learns others from the map.
    pub fn new(identity: BusIdentity, seeds: Vec<String>) -> Self {
        Self { identity, seeds }
    }

    /// Starts following on this runtime. The receiver holds an empty map until the first one has come.
    pub fn start(self, shutdown: Shutdown) -> watch::Receiver<Arc<ClusterMap>> {
        let (sender, receiver) = watch::channel(Arc::new(ClusterMap::default()));
        tokio::spawn(async move {
            tokio::select! {
                () = self.run(&sender) => {}
                () = shutdown.wait() => {}
            }
        });
        receiver
    }

    async fn run(&self, maps: &watch::Sender<Arc<ClusterMap>>) {
        let mut turn = rand::random_range(0..64);
        let mut pause = FIRST_PAUSE;
        let mut failures = 0;
        loop {
            let addresses = self.addresses(&maps.borrow(), failures);
            if let Some(address) = addresses.get(turn % addresses.len().max(1)) {
                let before = maps.borrow().epoch;
                let ended = self.follow(address, maps).await;
                failures += 1;
                if maps.is_closed() {
                    return;
                }
                if let Err(error) = ended {
                    tracing::debug!(%address, %error, "not following the map there now");
                }
                if maps.borrow().epoch != before {
                    pause = FIRST_PAUSE;
                    failures = 0;
                }
            }
            turn += 1;
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whom to ask: the map's voters; the seeds as well while there is no map, or when no voter answered for two
    /// rounds (they may all have moved).
    fn addresses(&self, map: &ClusterMap, failures: usize) -> Vec<String> {
        let mut all: Vec<String> = map.voters().map(NodeInfo::bus_address).collect();
        if failures >= 2 * all.len() {
            for seed in &self.seeds {
                if !all.contains(seed) {
                    all.push(seed.clone());
                }
            }
        }
        all
    }

    async fn follow(&self, address: &str, maps: &watch::Sender<Arc<ClusterMap>>) -> Result<(), WatchError> {
        let mut conn = dial(address, &self.identity, CONNECT_TIME).await?;
        let request = WatchRequest { epoch: maps.borrow().epoch };
        conn.write_frame(FrameKind::Watch, &serde_json::to_vec(&request)?).await?;
        loop {
            let frame = tokio::time::timeout(SILENCE, conn.expect_frame()).await;
            let frame = frame.map_err(|_| WatchError::Silent)??;
            if frame.kind != FrameKind::MapUpdate {
                return Err(WatchError::Unexpected(frame.kind));
            }
            if maps.is_closed() {
                return Err(WatchError::Unwanted);
            }
            if frame.payload.is_empty() {
                continue;
            }
            let map: ClusterMap = serde_json::from_slice(&frame.payload)?;
            maps.send_if_modified(|known| {
                let newer = map.epoch > known.epoch;
                if newer {
                    *known = Arc::new(map);
                }
                newer
            });
        }
    }
}

/// Serves one watcher: the stream handler of [`FrameKind::Watch`]. A node that votes (`votes`) goes on until the
/// watcher does. Any other tells the map that it has, if any, and ends: the watcher learns the voters from it. Two
/// nodes that wait for each other's news would never hear any.
pub async fn serve(mut conn: BusConn, first: Frame, mut maps: watch::Receiver<Arc<ClusterMap>>, votes: bool) {
    let Ok(request) = serde_json::from_slice::<WatchRequest>(&first.payload) else { return };
    let mut known = request.epoch;
    maps.mark_changed();
    if !votes && maps.borrow().epoch <= known {
        return;
    }
    loop {
        let changed = tokio::time::timeout(ALIVE, maps.changed()).await;
        let payload = match changed {
            Ok(Err(_)) => return,
            Err(_) => Vec::new(),
            Ok(Ok(())) => {
                let map = maps.borrow_and_update().clone();
                if map.epoch <= known {
                    continue;
                }
                known = map.epoch;
                match serde_json::to_vec(&*map) {
                    Ok(json) => json,
                    Err(error) => {
                        tracing::error!(%error, "the map cannot be written");
                        return;
                    }
                }
            }
        };
        if conn.write_frame(FrameKind::MapUpdate, &payload).await.is_err() || !votes {
            return;
        }
    }
}
