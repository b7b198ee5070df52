//! The token that ends a process, or a part of it, in good order.
//!
//! A [`Shutdown`] is one flag shared by all its clones: any thread may ask, any runtime may wait.
//! [`on_signals`] trips it at the first SIGTERM or SIGINT; the second one exits at once, for a
//! person who will not wait for the drain. Waiting holds no lock and leaks nothing when dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit code after a second SIGINT: 128 + the signal's number, as a shell reports it.
const EXIT_SIGINT: i32 = 130;
/// Exit code after a second SIGTERM.
const EXIT_SIGTERM: i32 = 143;

/// A flag that goes up once and stays up. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Read on hot paths without the watch's lock; written before the watch.
    flag: AtomicBool,
    changes: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token that nothing has tripped.
    pub fn new() -> Self {
        let (changes, _) = watch::channel(false);
        Self { inner: Arc::new(Inner { flag: AtomicBool::new(false), changes }) }
    }

    /// Trips the token. Answers whether this call was the first.
    pub fn trigger(&self) -> bool {
        let first = !self.inner.flag.swap(true, Ordering::SeqCst);
        self.inner.changes.send_replace(true);
        first
    }

    /// Whether the token was tripped: one atomic load.
    #[inline]
    pub fn triggered(&self) -> bool {
        self.inner.flag.load(Ordering::SeqCst)
    }

    /// Returns once the token is tripped; at once if it already is. Cancel-safe.
    pub async fn wait(&self) {
        let mut changes = self.inner.changes.subscribe();
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = changes.wait_for(|tripped| *tripped).await;
    }
}

/// Trips a new token at SIGTERM or SIGINT. The handlers are in place when this returns; a thread
/// of its own (`torc-signals`) waits for them, so it works whatever the other threads do.
pub fn on_signals() -> io::Result<Shutdown> {
    let shutdown = Shutdown::new();
    let token = shutdown.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("torc-signals".to_owned()).spawn(move || {
        runtime.block_on(async move {
            loop {
                let (name, code) = tokio::select! {
                    got = terminate.recv() => match got { Some(()) => ("SIGTERM", EXIT_SIGTERM), None => return },
                    got = interrupt.recv() => match got { Some(()) => ("SIGINT", EXIT_SIGINT), None => return },
                };
                if token.trigger() {
                    tracing::info!(signal = name, "stopping; a second signal stops at once");
                } else {
                    tracing::warn!(signal = name, "stopping at once");
                    std::process::exit(code);
                }
            }
        });
    })?;
    Ok(shutdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiters_on_any_thread_wake() {
        let token = Shutdown::new();
        let (here, there) = (token.clone(), token.clone());
        let waiting = tokio::spawn(async move { here.wait().await });
        let thread = std::thread::spawn(move || there.trigger());
        assert!(thread.join().unwrap());
        waiting.await.unwrap();
        assert!(token.triggered());
        assert!(!token.trigger());
        token.wait().await;
    }
}
