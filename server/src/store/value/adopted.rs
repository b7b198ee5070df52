//! A long string in the buffer that it was received in: storing it copies nothing.

use std::ops::Range;
use std::sync::Arc;

/// Values from this many bytes on may stay in the buffer in which they came.
pub const ADOPT_BYTES: usize = 256 * 1024;

/// See the module's text. The buffer is nobody else's, but for the moment in which the request is executed.
#[derive(Debug)]
pub struct Adopted {
    buffer: Arc<Vec<u8>>,
    start: u32,
    end: u32,
}

impl Adopted {
    /// The value as a part of the buffer; `None` when it is no part of it, is short, or would waste more than an eighth of
    /// the buffer.
    pub fn of(buffer: &Arc<Vec<u8>>, value: &[u8]) -> Option<Adopted> {
        if value.len() < ADOPT_BYTES || value.len() < buffer.capacity() / 8 * 7 {
            return None;
        }
        let start = (value.as_ptr() as usize).checked_sub(buffer.as_ptr() as usize)?;
        let end = start.checked_add(value.len()).filter(|end| *end <= buffer.len())?;
        let (start, end) = (u32::try_from(start).ok()?, u32::try_from(end).ok()?);
        Some(Adopted { buffer: buffer.clone(), start, end })
    }

    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The string.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer[self.range()]
    }

    /// The string by itself, to be changed.
    pub fn into_vec(self) -> Vec<u8> {
        let range = self.range();
        match Arc::try_unwrap(self.buffer) {
            Ok(mut bytes) => {
                bytes.truncate(range.end);
                bytes.drain(..range.start);
                bytes
            }
            Err(shared) => shared[range].to_vec(),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        const ARC_BYTES: usize = size_of::<Vec<u8>>() + 2 * size_of::<usize>();
        crate::store::entry::allocated(self.buffer.capacity()) + crate::store::entry::allocated(ARC_BYTES)
    }
}

/// A copy has a buffer of its own, so that each is accounted for what it takes.
impl Clone for Adopted {
    fn clone(&self) -> Adopted {
        let bytes = self.as_slice().to_vec();
        Adopted { buffer: Arc::new(bytes), start: 0, end: self.end - self.start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_in_its_buffer_when_that_is_its_own() {
        let mut bytes = b"head".to_vec();
        bytes.resize(4 + ADOPT_BYTES, b'v');
        bytes.extend_from_slice(b"\r\n");
        bytes.shrink_to_fit();
        let place = bytes.as_ptr() as usize;
        let buffer = Arc::new(bytes);
        let adopted = Adopted::of(&buffer, &buffer[4..4 + ADOPT_BYTES]).expect("most of the buffer");
        assert_eq!(adopted.as_slice().as_ptr() as usize, place + 4);
        assert!(adopted.heap_bytes() > ADOPT_BYTES);
        // A copy stands by itself; the buffer of somebody else is not emptied.
        let copy = adopted.clone();
        assert_ne!(copy.as_slice().as_ptr(), adopted.as_slice().as_ptr());
        assert_eq!(copy.into_vec(), adopted.as_slice());
        drop(buffer);
        let bytes = adopted.into_vec();
        assert_eq!((bytes.as_ptr() as usize, bytes.len()), (place, ADOPT_BYTES));
        assert!(bytes.iter().all(|byte| *byte == b'v'));
    }

    #[test]
    fn little_of_a_buffer_is_copied() {
        let buffer = Arc::new(vec![b'v'; 3 * ADOPT_BYTES]);
        assert!(Adopted::of(&buffer, &buffer[..2 * ADOPT_BYTES]).is_none());
        let short = Arc::new(vec![b'v'; ADOPT_BYTES - 1]);
        assert!(Adopted::of(&short, &short).is_none());
        let other = vec![b'v'; 3 * ADOPT_BYTES];
        assert!(Adopted::of(&buffer, &other).is_none());
    }
}
