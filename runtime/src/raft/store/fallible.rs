//! A disk that can be made to fail, for tests.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::disk::Disk;
use super::file::{Contents, ControlFile};

#[derive(Debug)]
struct Fallible {
    inner: InMemoryBackend,
    broken: Arc<AtomicBool>,
}

/// A disk in memory whose syncs fail while `broken` is set, as on a full disk.
pub(in crate::raft) async fn fallible_disk(node_id: u64, broken: Arc<AtomicBool>) -> (Disk, Contents) {
    let backend = Fallible { inner: InMemoryBackend::new(), broken };
    let path = PathBuf::from("in-memory.redb");
    let file = path.clone();
    let opener = Box::new(move || ControlFile::open_backend(&file, node_id, backend));
    Disk::start(path, opener).await.unwrap()
}

impl StorageBackend for Fallible {
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
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.inner.sync_data(eventual)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
}
