//! Following the cluster map over the bus.
//!
//! A watcher follows up to [`AT_ONCE`] voters at the same time, asks each for every map newer than the one it has, and
//! publishes what is newest: a voter that stands still, or that is cut off from the others, must not keep news from it.
//! Nodes serve it with [`serve`]. Both sides exchange JSON: a [`WatchRequest`], then one
//! `ClusterMap` per `MapUpdate` frame; empty updates say that the other side is alive.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use torc_cluster::ids::Epoch;
use torc_cluster::map::{ClusterMap, NodeInfo};

use crate::bus::{BusConn, BusIdentity, ConnError, Frame, FrameKind, dial};
use crate::shutdown::Shutdown;

/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// How often the serving side shows that it is alive.
const ALIVE: Duration = Duration::from_millis(500);
/// Silence after which the watcher goes elsewhere.
const SILENCE: Duration = Duration::from_secs(2);
/// Voters that are followed at the same time.
pub const AT_ONCE: usize = 3;
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
    /// Addresses that are followed now: each by one of the tasks only. Never held across an await.
    followed: Mutex<BTreeSet<String>>,
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
        Self { identity, seeds, followed: Mutex::default() }
    }

    /// Starts following on this runtime. The receiver holds an empty map until the first one has come.
    pub fn start(self, shutdown: Shutdown) -> watch::Receiver<Arc<ClusterMap>> {
        let (sender, receiver) = watch::channel(Arc::new(ClusterMap::default()));
        let turn = rand::random_range(0..64);
        let (watcher, sender) = (Arc::new(self), Arc::new(sender));
        for task in 0..AT_ONCE {
            let (watcher, sender, shutdown) = (watcher.clone(), sender.clone(), shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = watcher.run(&sender, turn + task) => {}
                    () = shutdown.wait() => {}
                }
            });
        }
        receiver
    }

    async fn run(&self, maps: &watch::Sender<Arc<ClusterMap>>, mut turn: usize) {
        let mut pause = FIRST_PAUSE;
        let mut failures = 0;
        loop {
            let addresses = self.addresses(&maps.borrow(), failures);
            if maps.is_closed() {
                return;
            }
            // With fewer voters than tasks some find nothing to do and look again later.
            if let Some(address) = addresses.get(turn % addresses.len().max(1))
                && self.followed.lock().insert(address.clone())
            {
                let before = maps.borrow().epoch;
                let ended = self.follow(address, maps).await;
                self.followed.lock().remove(address);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{BusLimits, BusServer};
    use crate::listen::{Address, SocketOptions, bind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use torc_cluster::map::NodeInfo;
    use torc_protocol::handshake::Secret;

    fn identity(id: u64) -> BusIdentity {
        BusIdentity::node(Secret::new(b"0123456789abcdef").unwrap(), id, 1)
    }

    /// A voter that tells what it is given; one that `stands` still takes watchers and never says a word.
    fn voter(
        maps: &watch::Sender<Arc<ClusterMap>>,
        stands: bool,
        watchers: &Arc<AtomicUsize>,
    ) -> (u16, Shutdown) {
        let (maps, watchers) = (maps.subscribe(), Arc::clone(watchers));
        let server = BusServer::new(identity(9), BusLimits::default()).on_stream(
            FrameKind::Watch,
            move |conn, first| {
                let maps = maps.clone();
                watchers.fetch_add(1, Ordering::Relaxed);
                async move {
                    if stands {
                        let _open = conn;
                        std::future::pending::<()>().await;
                    } else {
                        serve(conn, first, maps, true).await;
                    }
                }
            },
        );
        let listener = bind(&Address::tcp("127.0.0.1", 0), &SocketOptions::default()).unwrap();
        let (port, shutdown) = (listener.port().unwrap(), Shutdown::new());
        tokio::spawn(server.serve(listener, shutdown.clone()));
        (port, shutdown)
    }

    fn map(epoch: u64, voters: &[u16]) -> Arc<ClusterMap> {
        let mut map = ClusterMap { epoch: Epoch(epoch), ..ClusterMap::default() };
        for (id, port) in voters.iter().enumerate() {
            let id = torc_cluster::ids::NodeId(id as u64 + 1);
            let host = "127.0.0.1".to_owned();
            map.nodes.insert(
                id,
                NodeInfo { id, host, bus_port: *port, control_voter: true, ..NodeInfo::default() },
            );
        }
        Arc::new(map)
    }

    /// With one watch, or several on the same voter, one run in some never hears the news in time.
    #[tokio::test]
    async fn news_come_although_a_voter_stands_still() {
        let maps = watch::Sender::new(Arc::new(ClusterMap::default()));
        let (well, still) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (a, _a) = voter(&maps, false, &well);
        let (b, _b) = voter(&maps, true, &still);
        maps.send_replace(map(1, &[a, b]));
        for _ in 0..8 {
            let (before, shutdown) = (still.load(Ordering::Relaxed), Shutdown::new());
            let watcher =
                MapWatcher::new(identity(3), vec![format!("127.0.0.1:{a}"), format!("127.0.0.1:{b}")]);
            let mut seen = watcher.start(shutdown.clone());
            seen.wait_for(|map| map.epoch >= Epoch(1)).await.unwrap();
            // The one that stands still is being listened to as well.
            while still.load(Ordering::Relaxed) == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let next = maps.borrow().epoch.0 + 1;
            maps.send_replace(map(next, &[a, b]));
            let news = seen.wait_for(|map| map.epoch == Epoch(next));
            tokio::time::timeout(SILENCE, news).await.expect("well before the silence is noticed").unwrap();
            // Each voter has one watch of it: there are two voters for three tasks.
            assert_eq!(still.load(Ordering::Relaxed), before + 1);
            shutdown.trigger();
        }
    }
}
