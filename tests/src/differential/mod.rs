//! The differential harness: the same requests to Torc and to the server it must agree with, replies
//! compared byte for byte.
//!
//! - [`list`]: the text files under `differential/redis/*.cmds`, and what their directives mean;
//! - [`compare`]: how two replies are compared;
//! - [`redis`]: runs a list against two servers;
//! - [`random`]: makes sequences of commands from a seed, in pipelined batches, and compares the [`keyspace`] at the
//!   end of each;
//! - [`raw`]: byte streams (`*.raw`), for protocol errors;
//! - [`memcached`]: lists for the memcached text protocol.
//!
//! A run owns its connections; the servers belong to the test.

pub mod compare;
pub mod keyspace;
pub mod list;
pub mod memcached;
pub mod random;
pub mod raw;
pub mod redis;

use std::path::{Path, PathBuf};

use torc_protocol::command;
use torc_protocol::resp::OwnedArgs;

use crate::client::Endpoint;

use list::Of;

/// Differences shown of one run; a run with more is cut short.
pub const MAX_DIFFERENCES: usize = 40;
/// Bytes shown of one reply.
pub const SHOWN_BYTES: usize = 400;
/// Bytes shown of one argument.
pub const SHOWN_ARG_BYTES: usize = 80;

/// The two servers of a comparison.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The server under test.
    pub ours: Endpoint,
    /// The server that is right by definition.
    pub theirs: Endpoint,
    /// Whether what the lists ask of Torc alone (`since`, `ours`) is required of `ours`.
    pub ours_is_torc: bool,
    /// Whether Torc is asked through its proxy; see [`Pair::leaves_out`].
    pub through_proxy: bool,
    /// Whether that has several shards: then keys get one hash tag (see [`tagged`]).
    pub several_shards: bool,
}

impl Pair {
    /// Torc beside the server that it must agree with.
    pub fn new(ours: Endpoint, theirs: Endpoint) -> Self {
        Self { ours, theirs, ours_is_torc: true, through_proxy: false, several_shards: false }
    }

    /// Torc's proxy beside the server that it must agree with.
    pub fn proxy(ours: Endpoint, theirs: Endpoint) -> Self {
        Self { through_proxy: true, ..Self::new(ours, theirs) }
    }

    /// The same for a cluster of several shards.
    pub fn proxy_of_several(ours: Endpoint, theirs: Endpoint) -> Self {
        Self { several_shards: true, ..Self::proxy(ours, theirs) }
    }

    /// Whether a command is not compared: it is not asked of such a Torc.
    pub fn leaves_out(&self, of: Of) -> bool {
        match of {
            Of::All => false,
            Of::OneShard => self.several_shards,
            Of::Direct => self.through_proxy,
        }
    }

    /// Two of the other servers: a test of the harness.
    pub fn of_peers(ours: Endpoint, theirs: Endpoint) -> Self {
        Self { ours, theirs, ours_is_torc: false, through_proxy: false, several_shards: false }
    }
}

/// The command with one hash tag in front of each key, so that all keys lie in one slot: a cluster refuses
/// commands over several.
pub fn tagged(args: &[Vec<u8>]) -> Vec<Vec<u8>> {
    const TAG: &[u8] = b"{t}";
    let mut args = args.to_vec();
    let owned = OwnedArgs::new(&args);
    // What cannot be resolved is sent as it is: both sides have to refuse it.
    let command = command::resolve(&owned.view()).ok();
    let keys = command.and_then(|command| command.spec().find_keys(&owned.view()).ok());
    for at in keys.into_iter().flatten() {
        if let Some(key) = args.get_mut(at) {
            key.splice(0..0, TAG.iter().copied());
        }
    }
    args
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    /// Sequences of commands: a list in one protocol is one, a random sequence is one.
    pub sequences: usize,
    /// Comparisons made.
    pub compared: usize,
    /// Each difference, readable, with its place.
    pub differences: Vec<String>,
    /// Known gaps that still differ.
    pub gaps: usize,
}

impl Report {
    /// Adds what another run found.
    pub fn merge(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.compared += other.compared;
        self.gaps += other.gaps;
        self.differences.extend(other.differences);
    }

    /// Whether so many differences were found that going on tells nothing new.
    pub fn is_full(&self) -> bool {
        self.differences.len() >= MAX_DIFFERENCES
    }

    /// Ends the test.
    ///
    /// # Panics
    /// When there was a difference, with all of them as the message; or when nothing was compared.
    pub fn finish(self, what: &str) {
        assert!(self.compared > 0, "{what}: nothing was compared");
        assert!(
            self.differences.is_empty(),
            "{what}: {} of {} comparisons differ\n\n{}\n",
            self.differences.len(),
            self.compared,
            self.differences.join("\n\n")
        );
        let Self { sequences, compared, gaps, .. } = self;
        println!("{what}: {compared} comparisons in {sequences} sequences agree, {gaps} known gaps");
    }
}

/// The folder of the lists for one protocol (`redis`, `memcached`).
pub fn folder(protocol: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("differential").join(protocol)
}

/// The files of a folder that end in `extension`, sorted.
///
/// # Panics
/// When the folder cannot be read.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}
