//! Buffers that the connections of a worker take turns with: a connection that waits for its client has none.

use std::cell::RefCell;

/// Capacity of a fresh buffer, bytes: what one read takes at most.
pub const BUFFER_BYTES: usize = 32 * 1024;

/// A buffer that has grown beyond this is not kept.
const MAX_KEPT_BYTES: usize = 128 * 1024;

/// Buffers that are kept.
const MAX_KEPT: usize = 128;

/// See the module's text. Owned by a worker.
#[derive(Debug, Default)]
pub struct Buffers {
    free: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer with room in it; the one that was given back last.
    #[inline]
    pub fn take(&self) -> Vec<u8> {
        self.free.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Gives a buffer back.
    #[inline]
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if (1..=MAX_KEPT_BYTES).contains(&buffer.capacity()) && free.len() < MAX_KEPT {
            buffer.clear();
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_round_and_big_ones_go() {
        let buffers = Buffers::default();
        let mut one = buffers.take();
        one.extend_from_slice(b"old");
        let place = one.as_ptr();
        buffers.give(one);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        buffers.give(Vec::with_capacity(MAX_KEPT_BYTES + 1));
        buffers.give(Vec::new());
        assert!(buffers.free.borrow().is_empty());
    }
}
