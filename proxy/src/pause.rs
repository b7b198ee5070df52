//! CLIENT PAUSE: until when which requests of all clients are held back. Shared by the workers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Pause {
    until_ms: AtomicU64,
    only_writes: AtomicBool,
}

impl Pause {
    /// Holds requests back until `until_ms` (Unix milliseconds). Of two pauses the longer and the stricter one holds, as in
    /// Redis.
    pub fn begin(&self, until_ms: u64, only_writes: bool, now_ms: u64) {
        let known_ms = self.until_ms();
        let stricter = known_ms > now_ms && !self.only_writes();
        self.only_writes.store(only_writes && !stricter, Ordering::Relaxed);
        self.until_ms
            .store(if known_ms > now_ms { known_ms.max(until_ms) } else { until_ms }, Ordering::Release);
    }

    /// Ends the pause.
    pub fn end(&self) {
        self.until_ms.store(0, Ordering::Release);
    }

    /// Its end in Unix milliseconds, which may have passed; 0: there is none.
    #[inline]
    pub fn until_ms(&self) -> u64 {
        self.until_ms.load(Ordering::Acquire)
    }

    /// Whether only what may change something is held back.
    pub fn only_writes(&self) -> bool {
        self.only_writes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_and_the_stricter_pause_holds() {
        let pause = Pause::default();
        assert_eq!(pause.until_ms(), 0);
        pause.begin(200, true, 100);
        assert_eq!((pause.until_ms(), pause.only_writes()), (200, true));
        pause.begin(150, false, 100);
        assert_eq!((pause.until_ms(), pause.only_writes()), (200, false));
        pause.begin(300, true, 100);
        assert_eq!((pause.until_ms(), pause.only_writes()), (300, false));
        // A pause that has passed counts no more.
        pause.begin(450, true, 400);
        assert_eq!((pause.until_ms(), pause.only_writes()), (450, true));
        pause.end();
        assert_eq!(pause.until_ms(), 0);
    }
}
