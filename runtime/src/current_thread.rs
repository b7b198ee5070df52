//! Runtimes of one thread, and their end.

use std::io;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime, Runtime};

/// A runtime that lives on the thread that blocks on it.
pub fn new() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A runtime that never leaves this thread, so that its tasks need not either. It looks at what they wait for, if it does not
/// rest anyway, after each `polls_per_look` polls.
pub fn local(polls_per_look: u32) -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .event_interval(polls_per_look)
        .build_local(LocalOptions::default())
}

/// As [`block_on`].
pub fn block_on_local<F: Future>(runtime: LocalRuntime, future: F) -> F::Output {
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    output
}

/// Runs a future to its end, and then leaves at once: dropping a runtime waits for the names that are being looked
/// up, which a resolver that does not know a host that has gone may take many seconds for.
pub fn block_on<F: Future>(runtime: Runtime, future: F) -> F::Output {
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    output
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    #[test]
    fn the_end_waits_for_nothing_that_blocks() {
        let (release, held) = mpsc::channel::<()>();
        let (ended, wait_ended) = mpsc::channel();
        let runtime = super::new().unwrap();
        super::block_on(runtime, async move {
            tokio::task::spawn_blocking(move || {
                let _ = held.recv();
                ended.send(()).unwrap();
            });
            tokio::task::yield_now().await;
        });
        // We are here although the call still blocks.
        assert!(wait_ended.try_recv().is_err());
        release.send(()).unwrap();
        wait_ended.recv().unwrap();
    }
}
