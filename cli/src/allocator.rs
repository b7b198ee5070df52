//! jemalloc's arenas: each worker has one of its own, up to a bound, and the first one shares its with all other threads.
//!
//! The allocator would give every thread an arena, of which an idle one takes some 90 KiB. Threads that only accept, free
//! or wait for signals have no use for that, and what one thread has freed another can use only where they share one. So
//! `.cargo/config.toml` has it make a single arena by itself.
//!
//! What was freed goes back to the system a second later, which a thread of the allocator's sees to: otherwise each thread
//! would do it at its next requests for memory, and one that has become idle never. That too is said in `.cargo/config.toml`:
//! to ask the allocator for anything (`mallctl`) costs 100 KiB once, which an idle server with one worker does not spend.

use std::sync::OnceLock;

use tikv_jemalloc_ctl::{Access, AsName, Error};
use torc_server::node::AllocatorStats;

/// Arenas at most; more of them would only spread the same memory thinner.
const MAX_ARENAS: usize = 8;

/// Those that were made, by the place of a worker; the first place is the arena that all begin with.
static ARENAS: [OnceLock<Option<u32>>; MAX_ARENAS] = [const { OnceLock::new() }; MAX_ARENAS];

/// Gives the thread of worker `index` its arena. Where that fails it goes on with the one that all share.
pub fn begin_worker(index: usize) {
    let place = index % MAX_ARENAS;
    if place == 0 {
        return;
    }
    let arena = ARENAS[place].get_or_init(|| b"arenas.create\0".name().read().ok());
    let bound: Option<Result<(), Error>> = arena.map(|arena| b"thread.arena\0".name().write(arena));
    if !matches!(bound, Some(Ok(()))) {
        tracing::warn!(worker = index, ?bound, "no arena of its own for a worker");
    }
}

/// Asks jemalloc.
pub fn stats() -> AllocatorStats {
    use tikv_jemalloc_ctl::{epoch, stats};
    // The figures are those of the last epoch: begin a new one. An allocator that cannot be asked says 0.
    let _ = epoch::advance();
    let bytes = |read: Result<usize, Error>| read.unwrap_or(0) as u64;
    AllocatorStats {
        allocated: bytes(stats::allocated::read()),
        active: bytes(stats::active::read()),
        resident: bytes(stats::resident::read()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena() -> u32 {
        // To free and allocate first binds a thread that has not allocated yet.
        drop(std::hint::black_box(Box::new(0)));
        b"thread.arena\0".name().read().unwrap()
    }

    fn arena_of_worker(index: usize) -> u32 {
        let thread = std::thread::spawn(move || {
            begin_worker(index);
            arena()
        });
        thread.join().unwrap()
    }

    #[test]
    fn workers_have_arenas_of_their_own_up_to_a_bound() {
        let shared = arena();
        assert_eq!(std::thread::spawn(arena).join().unwrap(), shared);
        assert_eq!(arena_of_worker(0), shared);
        let (one, two) = (arena_of_worker(1), arena_of_worker(2));
        assert!(one != shared && two != shared && one != two);
        assert_eq!(arena_of_worker(1), one, "also one that is started later");
        assert_eq!(arena_of_worker(MAX_ARENAS + 1), one);
        assert_eq!(arena_of_worker(MAX_ARENAS), shared);
        assert!(stats().allocated > 0);
    }
}
