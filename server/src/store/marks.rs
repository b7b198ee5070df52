//! What leases and memcached's meta commands know of an entry.
//!
//! Most entries have none of it. It is kept with the entry, and travels with it to the replicas, so that a lease on a
//! key goes on after a failover.
//!
//! ```text
//! encoded: bits u8 | [cas u64] [lease end u64]
//! ```

/// See the module's text. A value that is changed loses them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    bits: u8,
    cas: u64,
    lease_ms: u64,
}

const STALE: u8 = 1;
const SENT: u8 = 2;
const VACANT: u8 = 4;
const BINARY_KEY: u8 = 8;
const FETCHED: u8 = 16;
const HAS_CAS: u8 = 32;
const HAS_LEASE: u8 = 64;

/// The longest encoded form.
pub const MAX_MARKS_BYTES: usize = 17;

macro_rules! bits {
    ($($(#[$doc:meta])* $get:ident $set:ident $bit:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $get(self) -> bool {
                self.bits & $bit != 0
            }

            /// The same marks with this one given or taken.
            #[must_use]
            pub fn $set(self, on: bool) -> Marks {
                Marks { bits: if on { self.bits | $bit } else { self.bits & !$bit }, ..self }
            }
        )*
    };
}

impl Marks {
    bits! {
        /// The value is out of date: it may be used while somebody loads a new one.
        is_stale with_stale STALE;
        /// Somebody was told to load a new value.
        is_sent with_sent SENT;
        /// There was never a value: the entry was made for the lease alone.
        is_vacant with_vacant VACANT;
        /// Its key was given in base64 by a client of memcached's meta commands, and is shown so.
        is_binary_key with_binary_key BINARY_KEY;
        /// It was read since it was stored.
        is_fetched with_fetched FETCHED;
    }

    /// Nothing but the mark of having been read, if that.
    #[inline]
    pub fn is_plain(self) -> bool {
        self.bits & !FETCHED == 0
    }

    /// The CAS value that a client gave.
    pub fn cas(self) -> Option<u64> {
        (self.bits & HAS_CAS != 0).then_some(self.cas)
    }

    /// The same marks with a client's CAS value, or with none.
    #[must_use]
    pub fn with_cas(self, cas: Option<u64>) -> Marks {
        let bits = if cas.is_some() { self.bits | HAS_CAS } else { self.bits & !HAS_CAS };
        Marks { bits, cas: cas.unwrap_or(0), ..self }
    }

    /// When the lease ends whose token was sent, in Unix milliseconds; `None`: with the entry.
    pub fn lease_ms(self) -> Option<u64> {
        (self.bits & HAS_LEASE != 0).then_some(self.lease_ms)
    }

    /// The same marks with another end of the lease.
    #[must_use]
    pub fn with_lease_ms(self, lease_ms: Option<u64>) -> Marks {
        let bits = if lease_ms.is_some() { self.bits | HAS_LEASE } else { self.bits & !HAS_LEASE };
        Marks { bits, lease_ms: lease_ms.unwrap_or(0), ..self }
    }

    /// Bytes of the encoded form.
    #[inline]
    pub fn encoded_len(bits: u8) -> usize {
        1 + usize::from(bits & HAS_CAS != 0) * 8 + usize::from(bits & HAS_LEASE != 0) * 8
    }

    /// Appends the encoded form.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.push(self.bits);
        if let Some(cas) = self.cas() {
            out.extend_from_slice(&cas.to_le_bytes());
        }
        if let Some(lease_ms) = self.lease_ms() {
            out.extend_from_slice(&lease_ms.to_le_bytes());
        }
    }

    /// Reads the encoded form from the front; its rest. `None` when it is cut off.
    pub fn decode(bytes: &[u8]) -> Option<(Marks, &[u8])> {
        let (&bits, mut rest) = bytes.split_first()?;
        let mut number = |bit: u8| -> Option<u64> {
            if bits & bit == 0 {
                return Some(0);
            }
            let (head, tail) = rest.split_first_chunk::<8>()?;
            rest = tail;
            Some(u64::from_le_bytes(*head))
        };
        let cas = number(HAS_CAS)?;
        let lease_ms = number(HAS_LEASE)?;
        Some((Marks { bits, cas, lease_ms }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_back_as_they_went() {
        let plain = Marks::default();
        let full = plain.with_stale(true).with_cas(Some(7)).with_lease_ms(Some(9)).with_binary_key(true);
        for marks in [plain, full, plain.with_cas(Some(0)), plain.with_sent(true).with_lease_ms(Some(1))] {
            let mut out = Vec::new();
            marks.encode(&mut out);
            assert_eq!(out.len(), Marks::encoded_len(out[0]));
            assert!(out.len() <= MAX_MARKS_BYTES);
            assert_eq!(Marks::decode(&out), Some((marks, &[][..])));
            for end in 0..out.len() {
                assert_eq!(Marks::decode(&out[..end]), None);
            }
        }
        assert!(plain.with_fetched(true).is_plain() && !full.is_plain());
        assert_eq!(full.with_cas(None).with_lease_ms(None).with_stale(false).with_binary_key(false), plain);
    }
}
