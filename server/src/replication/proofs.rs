//! Stamps of a replica that are to be given back to it as proofs of freshness; see [`super::stream`].

use parking_lot::Mutex;

/// A stamp, and the last record that had been executed when it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    stamp: u64,
    offset: u64,
}

/// The stamps of one stream. At most two are kept: the one whose records are being sent, which no later one may push out
/// (else a stream that is always behind would prove nothing), and the latest.
#[derive(Debug, Default)]
pub struct Proofs {
    waiting: Mutex<[Option<Stamp>; 2]>,
}

impl Proofs {
    /// A stamp has come when records up to `offset` had been executed, under a lease that held afterwards.
    pub fn stamped(&self, stamp: u64, offset: u64) {
        let mut waiting = self.waiting.lock();
        let place = usize::from(waiting[0].is_some());
        waiting[place] = Some(Stamp { stamp, offset });
    }

    /// The proof to send behind the records up to `sent`; 0: none.
    pub fn take(&self, sent: u64) -> u64 {
        let mut waiting = self.waiting.lock();
        let mut proof = 0;
        while let Some(first) = waiting[0].filter(|first| first.offset <= sent) {
            proof = first.stamp;
            *waiting = [waiting[1], None];
        }
        proof
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_given_back_behind_its_records_and_not_pushed_out() {
        let proofs = Proofs::default();
        assert_eq!(proofs.take(9), 0);
        proofs.stamped(100, 5);
        proofs.stamped(101, 7);
        proofs.stamped(102, 8);
        assert_eq!(proofs.take(4), 0);
        assert_eq!(proofs.take(6), 100);
        assert_eq!(proofs.take(7), 0);
        proofs.stamped(103, 9);
        assert_eq!(proofs.take(8), 102);
        assert_eq!(proofs.take(9), 103);
        proofs.stamped(104, 9);
        proofs.stamped(105, 9);
        assert_eq!(proofs.take(9), 105);
        assert_eq!(proofs.take(9), 0);
    }
}
