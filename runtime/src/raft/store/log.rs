//! The log and the vote: served from memory, written through the disk thread.
//!
//! openraft's core task is the only writer; its replication tasks read through clones. The lock is
//! held for single map operations only, never across an await.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogId, RaftLogReader};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::disk::Disk;
use super::file::{Change, Contents};
use crate::raft::bugs::{Bug, planted};
use crate::raft::types::{LogEntry, LogId, RaftApp, StorageError, StorageIOError, Types, Vote, VoterId};

/// The log of one voter. Clones share it.
pub(in crate::raft) struct LogStore<A: RaftApp> {
    memory: Arc<Mutex<Memory<A>>>,
    disk: Disk,
}

impl<A: RaftApp> Clone for LogStore<A> {
    fn clone(&self) -> Self {
        Self { memory: Arc::clone(&self.memory), disk: self.disk.clone() }
    }
}

struct Memory<A: RaftApp> {
    /// Entries after the purged ones, without holes. Their number is bounded by the snapshot
    /// policy.
    entries: BTreeMap<u64, LogEntry<A>>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl<A: RaftApp> LogStore<A> {
    /// Takes over what the file held. `Err` names what cannot be understood.
    pub(in crate::raft) fn new(disk: Disk, contents: &Contents) -> Result<Self, String> {
        let purged: Option<LogId> = parse(contents.purged.as_deref(), "the last purged id")?;
        let mut entries = BTreeMap::new();
        for (index, bytes) in &contents.entries {
            let entry: LogEntry<A> = serde_json::from_slice(bytes)
                .map_err(|cause| format!("entry {index} cannot be read: {cause}"))?;
            if entry.log_id.index != *index {
                return Err(format!("entry {} stands in the place of entry {index}", entry.log_id.index));
            }
            entries.insert(*index, entry);
        }
        // Without purged entries the log begins at 0, the entry with the first membership.
        let expected = purged.map_or(0, |log_id| log_id.index + 1);
        if let Some(first) = entries.keys().next()
            && *first != expected
        {
            return Err(format!("the log begins at entry {first} instead of {expected}"));
        }
        let memory = Memory {
            entries,
            purged,
            vote: parse(contents.vote.as_deref(), "the vote")?,
            committed: parse(contents.committed.as_deref(), "the last committed id")?,
        };
        Ok(Self { memory: Arc::new(Mutex::new(memory)), disk })
    }

    /// Takes the leadership out of a vote that this voter, `id`, gave to itself and won in an earlier life.
    ///
    /// openraft 0.9 makes a voter that starts with such a vote the leader again at once, without an election, in the
    /// same term and without an entry of its own. It then takes for committed what this disk says, a hint that lags
    /// behind, and confirms its leadership before it has applied what it had acknowledged. Without leadership it
    /// stands in a higher term, and commits a blank entry before it answers. The disk keeps the vote as it is: no
    /// vote lies between the two, so whatever is voted for next lies above both.
    pub(in crate::raft) fn resign(&self, id: VoterId) {
        if planted(Bug::LeadershipResumed) {
            return;
        }
        let mut memory = self.memory.lock();
        if let Some(vote) = memory.vote.as_mut().filter(|vote| vote.leader_id().voted_for() == Some(id)) {
            vote.committed = false;
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: Option<&[u8]>, what: &str) -> Result<Option<T>, String> {
    let read =
        |bytes| serde_json::from_slice(bytes).map_err(|cause| format!("{what} cannot be read: {cause}"));
    bytes.map(read).transpose()
}

impl<A: RaftApp> RaftLogReader<Types<A>> for LogStore<A> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry<A>>, StorageError> {
        let memory = self.memory.lock();
        Ok(memory.entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }
}

impl<A: RaftApp> RaftLogStorage<Types<A>> for LogStore<A> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types<A>>, StorageError> {
        let memory = self.memory.lock();
        let last = memory.entries.values().next_back().map(|entry| *entry.get_log_id());
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: last.or(memory.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let bytes = serde_json::to_vec(vote).map_err(|cause| StorageIOError::write_vote(&cause))?;
        if planted(Bug::VoteNotDurable) {
            self.disk.submit(Change::Vote(bytes), Box::new(|_| {})).await;
            self.memory.lock().vote = Some(*vote);
            return Ok(());
        }
        self.disk.write(Change::Vote(bytes)).await.map_err(|cause| StorageIOError::write_vote(&cause))?;
        self.memory.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.memory.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let bytes = committed.map(|log_id| serde_json::to_vec(&log_id)).transpose();
        self.disk.note_committed(bytes.map_err(|cause| StorageIOError::write(&cause))?);
        self.memory.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.memory.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types<A>>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = LogEntry<A>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        {
            let mut memory = self.memory.lock();
            for entry in entries {
                let bytes = serde_json::to_vec(&entry)
                    .map_err(|cause| StorageIOError::write_log_entry(entry.log_id, &cause))?;
                records.push((entry.log_id.index, bytes));
                memory.entries.insert(entry.log_id.index, entry);
            }
        }
        if planted(Bug::AppendNotDurable) {
            callback.log_io_completed(Ok(()));
            self.disk.submit(Change::Append(records), Box::new(|_| {})).await;
            return Ok(());
        }
        let done = move |result: Result<(), StoreError>| {
            callback.log_io_completed(result.map_err(|cause| io::Error::other(cause.to_string())));
        };
        self.disk.submit(Change::Append(records), Box::new(done)).await;
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.memory.lock().entries.split_off(&log_id.index);
        let written = self.disk.write(Change::Truncate(log_id.index)).await;
        Ok(written.map_err(|cause| StorageIOError::write_logs(&cause))?)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let last = serde_json::to_vec(&log_id).map_err(|cause| StorageIOError::write_logs(&cause))?;
        {
            let mut memory = self.memory.lock();
            memory.entries = memory.entries.split_off(&(log_id.index + 1));
            memory.purged = Some(log_id);
        }
        let written = self.disk.write(Change::Purge { upto: log_id.index, last }).await;
        Ok(written.map_err(|cause| StorageIOError::write_logs(&cause))?)
    }
}
