//! Whether who collects records has to be told that there are some: a flag between many workers and one collector, so
//! that a wake-up is sent once for many records, and none is ever missed.
//!
//! ```text
//! worker:    put a record down → ring ── true: wake the collector
//! collector: woken → collect, again and again … nothing there → quiet → collect once more → sleep
//! ```
//!
//! The last look is what makes it right: a record that was put down before `quiet`, and whose worker was told that the
//! collector is awake, is found by it. `just loom` tries every order of the two.

#[cfg(torc_loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(torc_loom))]
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module's text.
#[derive(Debug)]
pub struct Bell {
    awake: AtomicBool,
}

impl Default for Bell {
    fn default() -> Bell {
        Bell { awake: AtomicBool::new(false) }
    }
}

impl Bell {
    /// Something was put down. True: the collector sleeps, and the caller is the one to wake it.
    #[inline]
    pub fn ring(&self) -> bool {
        !self.awake.swap(true, Ordering::AcqRel)
    }

    /// The collector found nothing. It must look once more before it sleeps.
    pub fn quiet(&self) {
        self.awake.swap(false, Ordering::AcqRel);
    }
}

#[cfg(all(test, torc_loom))]
mod tests {
    use loom::sync::{Arc, Mutex, Notify};
    use loom::thread;

    use super::*;

    /// What each of two workers puts down is collected, however they and the collector interleave. Without the last look
    /// after `quiet` loom finds an order in which the collector sleeps for ever.
    #[test]
    fn no_record_is_left_behind() {
        const WORKERS: usize = 2;
        loom::model(|| {
            let bell = Arc::new((Bell::default(), Mutex::new(0), Notify::new()));
            let workers: Vec<_> = (0..WORKERS)
                .map(|_| {
                    let bell = bell.clone();
                    thread::spawn(move || {
                        let (bell, records, wake) = &*bell;
                        *records.lock().unwrap() += 1;
                        if bell.ring() {
                            wake.notify();
                        }
                    })
                })
                .collect();
            let (bell, records, wake) = &*bell;
            let collect = || std::mem::take(&mut *records.lock().unwrap());
            let mut all = 0;
            while all < WORKERS {
                wake.wait();
                loop {
                    let found: usize = collect();
                    all += found;
                    if found == 0 {
                        break;
                    }
                }
                bell.quiet();
                all += collect();
            }
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
    }
}
