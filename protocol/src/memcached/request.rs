//! A request, and why one is refused.

use smallvec::SmallVec;
use thiserror::Error;

use super::line::parse_line;
use super::reply::text;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    Gets,
    /// Get and touch.
    Gat,
    Gats,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
    Delete,
    Incr,
    Decr,
    Touch,
    FlushAll,
    Version,
    Verbosity,
    Stats,
    CacheMemlimit,
    Shutdown,
    Quit,
}

impl Verb {
    pub const ALL: [Verb; 21] = [
        Verb::Get,
        Verb::Gets,
        Verb::Gat,
        Verb::Gats,
        Verb::Set,
        Verb::Add,
        Verb::Replace,
        Verb::Append,
        Verb::Prepend,
        Verb::Cas,
        Verb::Delete,
        Verb::Incr,
        Verb::Decr,
        Verb::Touch,
        Verb::FlushAll,
        Verb::Version,
        Verb::Verbosity,
        Verb::Stats,
        Verb::CacheMemlimit,
        Verb::Shutdown,
        Verb::Quit,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Gets => "gets",
            Verb::Gat => "gat",
            Verb::Gats => "gats",
            Verb::Set => "set",
            Verb::Add => "add",
            Verb::Replace => "replace",
            Verb::Append => "append",
            Verb::Prepend => "prepend",
            Verb::Cas => "cas",
            Verb::Delete => "delete",
            Verb::Incr => "incr",
            Verb::Decr => "decr",
            Verb::Touch => "touch",
            Verb::FlushAll => "flush_all",
            Verb::Version => "version",
            Verb::Verbosity => "verbosity",
            Verb::Stats => "stats",
            Verb::CacheMemlimit => "cache_memlimit",
            Verb::Shutdown => "shutdown",
            Verb::Quit => "quit",
        }
    }

    /// Whether it gives values for any number of keys, ended by `END`.
    pub const fn is_retrieval(self) -> bool {
        matches!(self, Verb::Get | Verb::Gets | Verb::Gat | Verb::Gats)
    }

    /// Whether a data block follows its line.
    pub const fn has_data(self) -> bool {
        matches!(self, Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas)
    }

    /// Whether it may change an item (`gat` its expiry).
    pub const fn is_write(self) -> bool {
        self.has_data()
            || matches!(
                self,
                Verb::Gat
                    | Verb::Gats
                    | Verb::Delete
                    | Verb::Incr
                    | Verb::Decr
                    | Verb::Touch
                    | Verb::FlushAll
            )
    }
}

/// One request; it borrows from the buffer it was found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    pub verb: Verb,
    /// One, or any number for the retrieval commands (none for `gat <exptime>`: the answer is `END`).
    pub keys: SmallVec<[&'a [u8]; 4]>,
    /// The client's flags, of the storage commands.
    pub flags: u32,
    /// The expiry time as given; the delay of `flush_all` in seconds (0 when there is none).
    pub exptime: i64,
    /// By how much `incr` and `decr` change; the level of `verbosity`; the megabytes of `cache_memlimit`.
    pub delta: u64,
    /// The unique number of `cas`.
    pub cas: u64,
    /// Nothing is answered, not even an error.
    pub noreply: bool,
    /// The data block without its line end.
    pub data: &'a [u8],
    /// The words after `stats`.
    pub args: SmallVec<[&'a [u8]; 2]>,
    /// The command line without its line end.
    pub line: &'a [u8],
}

impl<'a> Request<'a> {
    pub(super) fn new(verb: Verb, line: &'a [u8]) -> Self {
        Request {
            verb,
            keys: SmallVec::new(),
            flags: 0,
            exptime: 0,
            delta: 0,
            cas: 0,
            noreply: false,
            data: &[],
            args: SmallVec::new(),
            line,
        }
    }

    /// The request of a line (without its end) and a data block (without its end, empty for commands that have
    /// none): how it travels between proxy and server. The block's length must be what the line says.
    pub fn from_parts(line: &'a [u8], data: &'a [u8]) -> Result<Request<'a>, Rejection<'a>> {
        let parsed = parse_line(line)?;
        let mut request = parsed.request;
        if parsed.data_bytes.unwrap_or(0) != data.len() {
            let noreply = request.noreply;
            return Err(Rejection { error: RequestError::BadDataChunk, noreply, unlink: None });
        }
        request.data = data;
        Ok(request)
    }

    /// The key of a command that has one.
    pub fn key(&self) -> &'a [u8] {
        self.keys.first().copied().unwrap_or_default()
    }
}

/// Why a request is refused. `Display` gives the line that memcached answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// An unknown command, or a known one with too few or too many words.
    #[error("{}", text::ERROR)]
    Unknown,
    #[error("{}", text::BAD_FORMAT)]
    BadFormat,
    #[error("{}.  Usage: delete <key> [noreply]", text::BAD_FORMAT)]
    BadDelete,
    #[error("CLIENT_ERROR invalid exptime argument")]
    InvalidExptime,
    #[error("CLIENT_ERROR invalid numeric delta argument")]
    InvalidDelta,
    /// The data block does not end where the line said.
    #[error("{}", text::BAD_DATA_CHUNK)]
    BadDataChunk,
    #[error("{}", text::TOO_LARGE)]
    TooLarge,
}

/// A refused request; the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection<'a> {
    pub error: RequestError,
    /// The error is not answered.
    pub noreply: bool,
    /// A key that is to be deleted all the same: a `set` that was too large must not leave the old value to be
    /// read.
    pub unlink: Option<&'a [u8]>,
}
