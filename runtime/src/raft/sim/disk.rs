//! A disk that tears and fails, under the shipped file format: writes are kept apart until a sync, and a crash keeps
//! any of their sectors or none. Its thread is a task of the simulation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::super::store::{Contents, ControlFile, Disk, StoreError};
use super::executor::{MS, chance, range, sleep_ns};
use super::runtime::SimRuntime;

/// What a disk replaces whole or not at all.
const SECTOR: usize = 512;

#[derive(Debug)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Debug, Default)]
struct State {
    /// What the process sees.
    view: Vec<u8>,
    /// What a crash leaves for sure.
    durable: Vec<u8>,
    /// Since the last sync.
    pending: Vec<Op>,
    /// Syncs fail from now on.
    failing: bool,
    /// No sync takes long.
    steady: bool,
    /// The file has its name: it is made under another one, and what was left of that goes at the next start.
    made: bool,
    /// Counts processes: one that is dead changes nothing any more.
    life: u64,
    torn: u64,
}

/// The disk of one host. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

/// The file as one process has it open.
#[derive(Debug)]
struct Open {
    disk: SimDisk,
    life: u64,
}

impl SimDisk {
    /// Opens the file and starts its writer on the current host.
    pub(super) fn open(&self, node_id: u64) -> Result<(Disk, Contents), StoreError> {
        let life = {
            let mut state = self.0.lock();
            if !state.made {
                state.view.clear();
                state.durable.clear();
                state.pending.clear();
            }
            state.life
        };
        let backend = Open { disk: self.clone(), life };
        let (file, contents) = ControlFile::open_backend(&PathBuf::from("simulated.redb"), node_id, backend)?;
        self.0.lock().made = true;
        let disk = self.clone();
        let pause = move || {
            let slow = chance(20) && !disk.0.lock().steady;
            sleep_ns(if slow { range(20 * MS, 400 * MS) } else { range(MS / 5, 5 * MS) })
        };
        Ok((Disk::start_as_task::<SimRuntime, _>(file, pause), contents))
    }

    /// No sync takes long from now on.
    pub(super) fn be_steady(&self) {
        self.0.lock().steady = true;
    }

    /// Every sync fails until the next start.
    pub(super) fn fail(&self) {
        self.0.lock().failing = true;
    }

    /// The process is gone. Of what was not synced some sectors are there, some are not.
    pub(super) fn crash(&self) -> bool {
        let mut state = self.0.lock();
        let State { view, durable, pending, failing, life, torn, .. } = &mut *state;
        *life += 1;
        *failing = false;
        let some = !pending.is_empty();
        // All, none, or any.
        let share = [0, 1_000, range(0, 1_001)][range(0, 3) as usize];
        for op in pending.drain(..) {
            match op {
                Op::SetLen(len) if chance(share) => durable.resize(len as usize, 0),
                Op::SetLen(_) => {}
                Op::Write(offset, data) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if chance(share) {
                            put(durable, offset as usize + index * SECTOR, sector);
                        }
                    }
                }
            }
        }
        *torn += u64::from(some && share > 0 && share < 1_000);
        view.clone_from(durable);
        some
    }

    /// Times that a crash left a part of what was written.
    pub(super) fn torn(&self) -> u64 {
        self.0.lock().torn
    }

    /// Everything is gone.
    pub(super) fn wipe(&self) {
        let mut state = self.0.lock();
        state.life += 1;
        state.failing = false;
        state.made = false;
        state.view.clear();
        state.durable.clear();
        state.pending.clear();
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl Open {
    /// The state, unless this process is dead.
    fn alive<T>(&self, otherwise: T, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.0.lock();
        if state.life == self.life { work(&mut state) } else { Ok(otherwise) }
    }
}

impl StorageBackend for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().view.len() as u64)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let state = self.disk.0.lock();
        let offset = offset as usize;
        state
            .view
            .get(offset..offset + len)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.alive((), |state| {
            state.view.resize(len as usize, 0);
            state.pending.push(Op::SetLen(len));
            Ok(())
        })
    }

    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        self.alive((), |state| {
            if state.failing {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let State { durable, pending, .. } = state;
            for op in pending.drain(..) {
                match op {
                    Op::SetLen(len) => durable.resize(len as usize, 0),
                    Op::Write(offset, data) => put(durable, offset as usize, &data),
                }
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.alive((), |state| {
            put(&mut state.view, offset as usize, data);
            state.pending.push(Op::Write(offset, data.to_vec()));
            Ok(())
        })
    }
}
