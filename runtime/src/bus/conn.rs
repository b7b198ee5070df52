//! A connection that carries frames. One task owns each half; nothing is shared.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use torc_protocol::bus::{
    FrameDecoder, FrameKind, HEADER_BYTES, MAX_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES, encode_header,
};

use super::error::ConnError;
use super::identity::BusPeer;

/// Bytes reserved for reading at a time: a length in a header alone reserves no more than this.
const READ_CHUNK: usize = 256 * 1024;
/// A write buffer larger than this is given back once it is empty.
const KEPT_BUFFER: usize = 1024 * 1024;

/// A frame as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is about.
    pub kind: FrameKind,
    /// What it holds.
    pub payload: Bytes,
}

/// The reading half.
#[derive(Debug)]
pub struct BusReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    decoder: FrameDecoder,
}

impl BusReader {
    /// The next frame; `None` when the peer closed between frames. Cancel-safe: what was read so
    /// far is kept.
    pub async fn read_frame(&mut self) -> Result<Option<Frame>, ConnError> {
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Ok(Some(frame));
            }
            let wanted = self.decoder.need_hint(&self.buffer).clamp(4096, READ_CHUNK);
            self.buffer.reserve(wanted);
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
    }

    /// A frame that is already whole in the buffer: lets a reader take a batch without waiting.
    pub fn buffered_frame(&mut self) -> Result<Option<Frame>, ConnError> {
        let Some(frame) = self.decoder.next(&self.buffer)? else {
            return Ok(None);
        };
        let (kind, len) = (frame.kind, frame.len);
        let mut payload = self.buffer.split_to(len);
        payload.advance(HEADER_BYTES);
        Ok(Some(Frame { kind, payload: payload.freeze() }))
    }

    /// As [`Self::read_frame`], the end of the connection being an error.
    pub async fn expect_frame(&mut self) -> Result<Frame, ConnError> {
        self.read_frame().await?.ok_or(ConnError::Closed)
    }
}

/// The writing half, with a buffer that the caller flushes.
#[derive(Debug)]
pub struct BusWriter {
    half: OwnedWriteHalf,
    buffer: BytesMut,
}

impl BusWriter {
    /// Appends a frame to the buffer. Its size is bounded by [`MAX_FRAME_BYTES`]; how many may
    /// wait is the caller's to bound, by [`Self::queued_bytes`].
    pub fn queue_frame(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), ConnError> {
        self.queue_parts(kind, &[payload])
    }

    /// As [`Self::queue_frame`], the payload in several pieces.
    pub fn queue_parts(&mut self, kind: FrameKind, parts: &[&[u8]]) -> Result<(), ConnError> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let header = encode_header(kind, bytes)?;
        self.buffer.reserve(HEADER_BYTES + bytes);
        self.buffer.extend_from_slice(&header);
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
        Ok(())
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Writes what waits. Cancel-safe: a later call goes on where this one was dropped.
    pub async fn flush(&mut self) -> Result<(), ConnError> {
        while self.buffer.has_remaining() {
            if self.half.write_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
        }
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    /// Appends a frame and writes everything.
    pub async fn write_frame(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), ConnError> {
        self.queue_frame(kind, payload)?;
        self.flush().await
    }
}

/// An authenticated connection.
#[derive(Debug)]
pub struct BusConn {
    reader: BusReader,
    writer: BusWriter,
    peer: BusPeer,
}

/// The two halves of a connection before its handshake.
pub(super) struct RawConn {
    pub reader: BusReader,
    pub writer: BusWriter,
}

impl RawConn {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        let decoder = FrameDecoder::new(MAX_HANDSHAKE_FRAME_BYTES);
        Self {
            reader: BusReader { half: read, buffer: BytesMut::new(), decoder },
            writer: BusWriter { half: write, buffer: BytesMut::new() },
        }
    }

    pub(super) fn authenticated(mut self, peer: BusPeer) -> BusConn {
        self.reader.decoder = FrameDecoder::new(MAX_FRAME_BYTES);
        BusConn { reader: self.reader, writer: self.writer, peer }
    }

    pub(super) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.reader.half.peer_addr()
    }
}

impl BusConn {
    /// Who is at the other end.
    pub fn peer(&self) -> &BusPeer {
        &self.peer
    }

    /// As [`BusReader::read_frame`].
    pub async fn read_frame(&mut self) -> Result<Option<Frame>, ConnError> {
        self.reader.read_frame().await
    }

    /// As [`BusReader::expect_frame`].
    pub async fn expect_frame(&mut self) -> Result<Frame, ConnError> {
        self.reader.expect_frame().await
    }

    /// As [`BusWriter::write_frame`].
    pub async fn write_frame(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), ConnError> {
        self.writer.write_frame(kind, payload).await
    }

    /// The two halves, for two tasks. Bytes that were already read stay with the reader.
    pub fn split(self) -> (BusReader, BusWriter, BusPeer) {
        (self.reader, self.writer, self.peer)
    }

    /// Unties the connection from its runtime, so that another thread's can take it. Waiting
    /// bytes of both directions go along.
    pub fn detach(self) -> io::Result<DetachedConn> {
        let stream = self.reader.half.reunite(self.writer.half).map_err(io::Error::other)?.into_std()?;
        Ok(DetachedConn { stream, read: self.reader.buffer, written: self.writer.buffer, peer: self.peer })
    }
}

/// A connection on its way to another runtime.
#[derive(Debug)]
pub struct DetachedConn {
    stream: std::net::TcpStream,
    read: BytesMut,
    written: BytesMut,
    peer: BusPeer,
}

impl DetachedConn {
    /// Ties the connection to the runtime this is called in.
    pub fn attach(self) -> io::Result<BusConn> {
        let mut raw = RawConn::new(TcpStream::from_std(self.stream)?);
        raw.reader.buffer = self.read;
        raw.writer.buffer = self.written;
        Ok(raw.authenticated(self.peer))
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &BusPeer {
        &self.peer
    }
}
