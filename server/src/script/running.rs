//! Scripts that have been running for a while, so that SCRIPT KILL can find them.
//!
//! A script enters itself at its first hook (after some 100,000 instructions); most scripts end before. Its
//! state has one owner at a time: `CLEAN` becomes `WROTE` by the script, or `KILLED` by somebody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use parking_lot::Mutex;

const CLEAN: u8 = 0;
const WROTE: u8 = 1;
const KILLED: u8 = 2;

/// One script under way.
#[derive(Debug, Default)]
pub struct Running {
    state: AtomicU8,
    /// How often [`Registry::watch`] has seen it.
    looks: AtomicU32,
}

impl Running {
    /// The script is about to write: from now on it cannot be killed. False when it was killed before.
    pub fn begin_write(&self) -> bool {
        let old = self.state.compare_exchange(CLEAN, WROTE, Ordering::AcqRel, Ordering::Acquire);
        !matches!(old, Err(KILLED))
    }

    /// Whether somebody wants its end.
    pub fn is_killed(&self) -> bool {
        self.state.load(Ordering::Acquire) == KILLED
    }
}

/// Why SCRIPT KILL did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillError {
    /// No script is running.
    NotBusy,
    /// Those that are have written.
    Unkillable,
}

/// All scripts that have been running for a while.
#[derive(Debug, Default)]
pub struct Registry {
    scripts: Mutex<Vec<Arc<Running>>>,
}

impl Registry {
    /// Enters a script.
    pub fn enter(&self, script: &Arc<Running>) {
        self.scripts.lock().push(script.clone());
    }

    /// Takes a script out again.
    pub fn leave(&self, script: &Arc<Running>) {
        self.scripts.lock().retain(|other| !Arc::ptr_eq(other, script));
    }

    /// Ends what has not written yet.
    pub fn kill(&self) -> Result<(), KillError> {
        let scripts = self.scripts.lock();
        let mut result = Err(KillError::NotBusy);
        for script in scripts.iter() {
            let old = script.state.compare_exchange(CLEAN, KILLED, Ordering::AcqRel, Ordering::Acquire);
            match old {
                Err(WROTE) if result.is_err() => result = Err(KillError::Unkillable),
                Err(WROTE) => {}
                _ => result = Ok(()),
            }
        }
        result
    }

    /// Looks at all scripts, at a fixed interval; ends those that it has seen more than `patience` times and that
    /// have not written: with one worker nobody else could. Answers how many.
    pub fn watch(&self, patience: u32) -> usize {
        let overdue = |script: &&Arc<Running>| {
            script.looks.fetch_add(1, Ordering::Relaxed) >= patience
                && script.state.compare_exchange(CLEAN, KILLED, Ordering::AcqRel, Ordering::Acquire).is_ok()
        };
        self.scripts.lock().iter().filter(overdue).count()
    }

    /// Ends every script, whatever it has done: the process ends.
    pub fn stop_all(&self) {
        self.scripts.lock().iter().for_each(|script| script.state.store(KILLED, Ordering::Release));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watch_ends_what_goes_on_and_has_not_written() {
        let registry = Registry::default();
        let (reads, writes) = (Arc::new(Running::default()), Arc::new(Running::default()));
        assert!(writes.begin_write());
        registry.enter(&reads);
        registry.enter(&writes);
        assert_eq!((registry.watch(2), registry.watch(2)), (0, 0));
        assert_eq!(registry.watch(2), 1);
        assert!(reads.is_killed() && !writes.is_killed());
    }
}
