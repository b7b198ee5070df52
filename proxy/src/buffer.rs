//! Buffers of connections, and the pool that lends them, so that idle connections hold none.
//!
//! Owned by one worker; nothing here is shared between threads.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use torc_runtime::listen::StdStream;

/// Bytes of a fresh input buffer.
pub const CHUNK_BYTES: usize = 16 * 1024;
/// An input buffer is not grown by more than this (or doubled) at once, whatever a peer announces.
const GROWTH_BYTES: usize = 1024 * 1024;
/// Buffers above this are freed instead of kept.
const KEEP_BYTES: usize = 64 * 1024;
/// Buffers of each kind that the pool keeps.
const KEEP_BUFFERS: usize = 256;

/// Spare buffers of a worker.
#[derive(Debug, Default)]
pub struct Pool {
    /// Input buffers: all bytes initialised.
    input: RefCell<Vec<Vec<u8>>>,
    /// Output buffers: empty.
    output: RefCell<Vec<Vec<u8>>>,
}

impl Pool {
    fn take_input(&self) -> Vec<u8> {
        self.input.borrow_mut().pop().unwrap_or_else(|| vec![0; CHUNK_BYTES])
    }

    fn give_input(&self, bytes: Vec<u8>) {
        let mut input = self.input.borrow_mut();
        if input.len() < KEEP_BUFFERS && (CHUNK_BYTES..=KEEP_BYTES).contains(&bytes.len()) {
            input.push(bytes);
        }
    }

    /// An empty buffer.
    pub fn take(&self) -> Vec<u8> {
        self.output.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn give(&self, mut bytes: Vec<u8>) {
        let mut output = self.output.borrow_mut();
        if output.len() < KEEP_BUFFERS && (1..=KEEP_BYTES).contains(&bytes.capacity()) {
            bytes.clear();
            output.push(bytes);
        }
    }
}

/// What a read has found.
#[derive(Debug)]
pub enum Received {
    /// So many bytes; `all`: there was room for more.
    Bytes { count: usize, all: bool },
    /// Nothing yet.
    Nothing,
    /// The peer has said all it will say.
    End,
    /// The socket failed.
    Failed(io::Error),
}

/// What was read from a connection and not consumed yet. Holds no memory while that is nothing.
#[derive(Debug, Default)]
pub struct InBuffer {
    /// All initialised; empty when no buffer is held.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl InBuffer {
    /// The bytes that are not consumed.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes are not consumed.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Bytes of memory held.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Drops the first `count` bytes.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Gives the memory back when nothing is left in it.
    pub fn release(&mut self, pool: &Pool) {
        if self.start == self.end && !self.bytes.is_empty() {
            (self.start, self.end) = (0, 0);
            pool.give_input(std::mem::take(&mut self.bytes));
        }
    }

    /// Makes room at the end: for `wanted` bytes (within the bound on growth), at least for a useful read.
    fn make_room(&mut self, wanted: usize, pool: &Pool) {
        if self.bytes.is_empty() {
            self.bytes = pool.take_input();
        }
        let room = self.bytes.len() - self.end;
        if room > 0 && room >= wanted.min(CHUNK_BYTES / 4) {
            return;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.bytes.len() - self.end;
        if room < wanted.max(CHUNK_BYTES / 4) {
            let most = GROWTH_BYTES.max(self.bytes.len());
            let growth =
                wanted.saturating_sub(room).clamp(CHUNK_BYTES.max(self.bytes.len().min(KEEP_BYTES)), most);
            self.bytes.resize(self.bytes.len() + growth, 0);
        }
    }

    /// Reads once, what is there. `wanted`: bytes that the parser knows to be missing, or 0.
    pub fn recv(&mut self, stream: &StdStream, wanted: usize, pool: &Pool) -> Received {
        self.make_room(wanted, pool);
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        let bytes = room.len();
        loop {
            match stream.recv_over(room) {
                Ok(0) => return Received::End,
                Ok(count) => {
                    self.end += count;
                    return Received::Bytes { count, all: count < bytes };
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Received::Nothing,
                Err(cause) => return Received::Failed(cause),
            }
        }
    }

    /// The same from a stream that a runtime has; `Ok(0)` is the end.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        wanted: usize,
        pool: &Pool,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room(wanted, pool);
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        let mut into = ReadBuf::new(room);
        ready!(Pin::new(stream).poll_read(context, &mut into))?;
        let count = into.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read(buffer: &mut InBuffer, from: &mut &[u8], wanted: usize, pool: &Pool) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        match buffer.poll_read(from, wanted, pool, &mut context) {
            Poll::Ready(Ok(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keeps_what_is_not_consumed_and_gives_memory_back() {
        let (pool, mut buffer) = (Pool::default(), InBuffer::default());
        let data: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        let (mut from, mut seen) = (&data[..], Vec::new());
        while read(&mut buffer, &mut from, 0, &pool) > 0 {
            let take = buffer.len() * 2 / 3;
            seen.extend_from_slice(&buffer.unread()[..take]);
            buffer.consume(take);
        }
        seen.extend_from_slice(buffer.unread());
        assert_eq!(seen, data);
        assert!(buffer.capacity() <= 64 * 1024);
        buffer.consume(usize::MAX / 2);
        buffer.release(&pool);
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn an_announced_size_is_not_believed_at_once() {
        let (pool, mut buffer) = (Pool::default(), InBuffer::default());
        read(&mut buffer, &mut &[1, 2, 3][..], 500 << 20, &pool);
        assert!(buffer.capacity() <= CHUNK_BYTES + GROWTH_BYTES);
    }
}
