//! The file under the database, with a checksum over the database's header.
//!
//! redb guards its pages by checksums but not the flags in its header, one bit of which says which
//! of two commits is the newest: flipped, the last commit (a vote, say) would be forgotten without
//! a word. redb writes its header as one piece of [`HEADER_BYTES`] at the start of an otherwise
//! empty page. We write header, padding and checksum together as the first 512 bytes, which a disk
//! replaces whole or not at all, and refuse a file whose checksum does not match.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::StorageBackend;
use redb::backends::FileBackend;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of redb's header: 64, and twice 128 for the commit slots.
const HEADER_BYTES: usize = 320;
/// What we write instead: one sector.
const BLOCK_BYTES: usize = 512;
const SUM_AT: usize = BLOCK_BYTES - 8;

/// A storage whose header carries a checksum.
#[derive(Debug)]
pub(super) struct SealedHeader<B> {
    inner: B,
}

impl SealedHeader<FileBackend> {
    /// Opens the file (mode 0600 if it is new).
    pub(super) fn open(path: &Path, create: bool) -> Result<Self, redb::DatabaseError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(redb::StorageError::Io)?;
        Ok(Self { inner: FileBackend::new(file)? })
    }
}

impl<B: StorageBackend> SealedHeader<B> {
    #[cfg(test)]
    pub(super) fn new(inner: B) -> Self {
        Self { inner }
    }

    /// Whether the header is as it was written; an empty file has none yet.
    pub(super) fn verify(&self) -> io::Result<bool> {
        match self.inner.len()? {
            0 => Ok(true),
            len if len < BLOCK_BYTES as u64 => Ok(false),
            _ => {
                let block = self.inner.read(0, BLOCK_BYTES)?;
                Ok(block
                    .split_last_chunk::<8>()
                    .is_some_and(|(header, sum)| u64::from_le_bytes(*sum) == xxh3_64(header)))
            }
        }
    }
}

impl<B: StorageBackend> StorageBackend for SealedHeader<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.inner.read(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self, eventual: bool) -> io::Result<()> {
        self.inner.sync_data(eventual)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset >= BLOCK_BYTES as u64 {
            return self.inner.write(offset, data);
        }
        if offset != 0 || data.len() != HEADER_BYTES {
            let text = format!("the database writes {} bytes at {offset}, not a header", data.len());
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let mut block = [0; BLOCK_BYTES];
        block[..HEADER_BYTES].copy_from_slice(data);
        let sum = xxh3_64(&block[..SUM_AT]);
        block[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        self.inner.write(0, &block)
    }
}
