//! What the program does when a worker thread begins.

use std::sync::OnceLock;

static AT_WORKER_START: OnceLock<fn(usize)> = OnceLock::new();

/// Has `hook` called with its number at the beginning of each worker thread. The program says so once, before it starts
/// any: what belongs to the whole process, as the allocator does, is not known to servers and proxies. A second hook
/// is ignored.
pub fn at_worker_start(hook: fn(usize)) {
    let _ = AT_WORKER_START.set(hook);
}

/// Worker `index` begins; called on its thread.
pub fn worker_begins(index: usize) {
    if let Some(hook) = AT_WORKER_START.get() {
        hook(index);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static BEGAN: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn the_first_hook_is_called_on_the_threads_that_begin() {
        worker_begins(1);
        at_worker_start(|index| {
            BEGAN.fetch_add(index, Ordering::Relaxed);
        });
        at_worker_start(|_| unreachable!("a second hook"));
        std::thread::spawn(|| worker_begins(2)).join().unwrap();
        worker_begins(3);
        assert_eq!(BEGAN.load(Ordering::Relaxed), 5);
    }
}
