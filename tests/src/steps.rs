//! Several checks on one expensive thing: all run, and all that failed are named at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs named checks one after the other.
#[derive(Debug, Default)]
pub struct Steps(Vec<&'static str>);

impl Steps {
    /// Runs a check; its failure is printed and remembered.
    pub fn step(&mut self, name: &'static str, check: impl FnOnce()) {
        let started = std::time::Instant::now();
        match catch_unwind(AssertUnwindSafe(check)) {
            Ok(()) => println!("{name}: fine, {:.1} s", started.elapsed().as_secs_f64()),
            Err(_) => {
                println!("{name}: FAILED");
                self.0.push(name);
            }
        }
    }

    /// # Panics
    /// When a check has failed.
    pub fn finish(self) {
        assert!(self.0.is_empty(), "failed: {:?} (see above)", self.0);
    }
}
