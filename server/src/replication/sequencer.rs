//! Puts the records of all workers back into the order of their offsets.
//!
//! Offsets are drawn while stripes are locked; records arrive later, worker by worker. Each offset that was
//! drawn arrives: a worker hands over at the end of its batch, and a process that panics ends.
//!
//! Owner: the replication state's lock.

use std::collections::BTreeMap;

use crate::effect::{self, DecodeError};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Sequencer {
    last: u64,
    waiting: BTreeMap<u64, Box<[u8]>>,
    waiting_bytes: usize,
}

impl Sequencer {
    /// Starts after `last`, forgetting what waits.
    pub fn restart(&mut self, last: u64) {
        *self = Sequencer { last, ..Sequencer::default() };
    }

    /// The last offset that came out.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Bytes that wait for a predecessor.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Takes whole records in any order; calls `next` with each record (header included) whose turn has come.
    /// Records at or below the last one are dropped: they belong to a role that is over.
    pub fn feed(&mut self, records: &[u8], mut next: impl FnMut(u64, &[u8])) -> Result<(), DecodeError> {
        let mut rest = records;
        while !rest.is_empty() {
            let (record, len) = effect::record(rest)?.ok_or(DecodeError::Truncated)?;
            let (bytes, tail) = rest.split_at(len);
            rest = tail;
            if record.offset == self.last + 1 {
                self.last += 1;
                next(record.offset, bytes);
                self.release(&mut next);
            } else if record.offset > self.last {
                self.waiting_bytes += bytes.len();
                self.waiting.insert(record.offset, bytes.into());
            }
        }
        Ok(())
    }

    fn release(&mut self, next: &mut impl FnMut(u64, &[u8])) {
        while let Some(bytes) = self.waiting.remove(&(self.last + 1)) {
            self.waiting_bytes -= bytes.len();
            self.last += 1;
            next(self.last, &bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::effect::EffectWriter;

    fn record(offset: u64) -> Vec<u8> {
        let mut writer = EffectWriter::new(true);
        writer.delete(0, offset.to_string().as_bytes());
        let mut out = Vec::new();
        writer.take_record(1, offset, &mut out);
        out
    }

    proptest! {
        #[test]
        fn any_order_comes_out_in_order(order in Just((1u64..60).collect::<Vec<_>>()).prop_shuffle(), cut in 1usize..10) {
            let mut sequencer = Sequencer::default();
            let mut seen = Vec::new();
            for part in order.chunks(cut) {
                let bytes: Vec<u8> = part.iter().flat_map(|&o| record(o)).collect();
                sequencer.feed(&bytes, |offset, _| seen.push(offset)).unwrap();
            }
            prop_assert_eq!(seen, (1..60).collect::<Vec<_>>());
            prop_assert_eq!(sequencer.waiting_bytes(), 0);
        }
    }
}
