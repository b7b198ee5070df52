//! Puts the records of all workers back into the order of their offsets.
//!
//! Offsets are drawn while stripes are locked; records arrive later, worker by worker. Each offset that was
//! drawn arrives: a worker hands over at the end of its batch, and a process that panics ends.
//!
//! Owner: the replication state's lock.

use std::collections::BTreeMap;

use crate::effect::{self, Amount, DecodeError, LongRecord, Records};

/// A record whose turn has come.
#[derive(Debug)]
pub enum Next<'a> {
    /// A short one, its header included.
    Short(u64, &'a [u8]),
    /// A long one.
    Long(LongRecord),
}

/// A record that waits for a predecessor.
#[derive(Debug)]
enum Early {
    Short(Box<[u8]>),
    Long(LongRecord),
}

impl Early {
    fn amount(&self) -> Amount {
        match self {
            Early::Short(bytes) => Amount { short: bytes.len(), long: 0 },
            Early::Long(record) => Amount { short: 0, long: record.bytes() },
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Sequencer {
    last: u64,
    early: BTreeMap<u64, Early>,
    waiting: Amount,
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

    /// How much waits for a predecessor.
    pub fn waiting(&self) -> Amount {
        self.waiting
    }

    /// Takes whole records in any order; calls `next` with each record whose turn has come. Records at or below the last
    /// one are dropped: they belong to a role that is over.
    pub fn feed(&mut self, records: Records, mut next: impl FnMut(Next<'_>)) -> Result<(), DecodeError> {
        // The long ones first: what waits for them need not be put aside.
        for record in records.long {
            if record.offset == self.last + 1 {
                self.last += 1;
                next(Next::Long(record));
                self.release(&mut next);
            } else {
                self.wait(record.offset, || Early::Long(record));
            }
        }
        let mut rest = &records.short[..];
        while !rest.is_empty() {
            let (record, len) = effect::record(rest)?.ok_or(DecodeError::Truncated)?;
            let (offset, (bytes, tail)) = (record.offset, rest.split_at(len));
            rest = tail;
            if offset == self.last + 1 {
                self.last += 1;
                next(Next::Short(offset, bytes));
                self.release(&mut next);
            } else {
                self.wait(offset, || Early::Short(bytes.into()));
            }
        }
        Ok(())
    }

    fn wait(&mut self, offset: u64, record: impl FnOnce() -> Early) {
        if offset > self.last {
            let record = record();
            self.waiting = self.waiting.plus(record.amount());
            self.early.insert(offset, record);
        }
    }

    fn release(&mut self, next: &mut impl FnMut(Next<'_>)) {
        while let Some(record) = self.early.remove(&(self.last + 1)) {
            self.waiting = self.waiting.minus(record.amount());
            self.last += 1;
            match record {
                Early::Short(bytes) => next(Next::Short(self.last, &bytes)),
                Early::Long(record) => next(Next::Long(record)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::effect::EffectWriter;

    /// Each fifth record is a long one.
    fn put(offset: u64, records: &mut Records) {
        if offset.is_multiple_of(5) {
            records.long.push(LongRecord { offset, term: 1, body: vec![0; 7] });
        } else {
            let mut writer = EffectWriter::new(true);
            writer.delete(0, offset.to_string().as_bytes());
            writer.take_into(1, offset, records);
        }
    }

    proptest! {
        #[test]
        fn any_order_comes_out_in_order(order in Just((1u64..60).collect::<Vec<_>>()).prop_shuffle(), cut in 1usize..10) {
            let mut sequencer = Sequencer::default();
            let (mut seen, mut given, mut taken) = (Vec::new(), Amount::default(), Amount::default());
            for part in order.chunks(cut) {
                let mut records = Records::default();
                part.iter().for_each(|offset| put(*offset, &mut records));
                given = given.plus(records.amount());
                sequencer.feed(records, |next| match next {
                    Next::Short(offset, bytes) => {
                        taken.short += bytes.len();
                        seen.push(offset);
                    }
                    Next::Long(record) => {
                        taken.long += record.bytes();
                        seen.push(record.offset);
                    }
                }).unwrap();
                prop_assert_eq!(sequencer.waiting(), given.minus(taken));
            }
            prop_assert_eq!(seen, (1..60).collect::<Vec<_>>());
            prop_assert_eq!(sequencer.waiting(), Amount::default());
        }
    }
}
