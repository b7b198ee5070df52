//! What the simulated voters agree on: a list of numbers. Its places show at a glance what was lost, doubled or
//! changed.

use super::super::RaftApp;
use super::runtime::SimRuntime;

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Journal(pub(super) Vec<u64>);

impl RaftApp for Journal {
    type Command = u64;
    /// Its place, from 1 on.
    type Reply = u64;
    type Runtime = SimRuntime;

    fn apply(&mut self, command: u64) -> u64 {
        self.0.push(command);
        self.0.len() as u64
    }
}
