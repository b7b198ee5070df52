//! A request, and why one is refused.

use smallvec::SmallVec;
use thiserror::Error;

use super::line::{parse_line, words};
use super::meta::Meta;
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
    /// `mg`
    MetaGet,
    /// `ms`
    MetaSet,
    /// `md`
    MetaDelete,
    /// `ma`
    MetaArithmetic,
    /// `me`
    MetaDebug,
    /// `mn`
    MetaNoop,
    /// `lru_crawler`
    LruCrawler,
    /// `lru`
    Lru,
    Slabs,
    Watch,
}

impl Verb {
    pub const ALL: [Verb; 31] = [
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
        Verb::MetaGet,
        Verb::MetaSet,
        Verb::MetaDelete,
        Verb::MetaArithmetic,
        Verb::MetaDebug,
        Verb::MetaNoop,
        Verb::LruCrawler,
        Verb::Lru,
        Verb::Slabs,
        Verb::Watch,
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
            Verb::MetaGet => "mg",
            Verb::MetaSet => "ms",
            Verb::MetaDelete => "md",
            Verb::MetaArithmetic => "ma",
            Verb::MetaDebug => "me",
            Verb::MetaNoop => "mn",
            Verb::LruCrawler => "lru_crawler",
            Verb::Lru => "lru",
            Verb::Slabs => "slabs",
            Verb::Watch => "watch",
        }
    }

    /// Whether it gives values for any number of keys, ended by `END`.
    pub const fn is_retrieval(self) -> bool {
        matches!(self, Verb::Get | Verb::Gets | Verb::Gat | Verb::Gats)
    }

    /// Whether it is a meta command.
    pub const fn is_meta(self) -> bool {
        matches!(
            self,
            Verb::MetaGet
                | Verb::MetaSet
                | Verb::MetaDelete
                | Verb::MetaArithmetic
                | Verb::MetaDebug
                | Verb::MetaNoop
        )
    }

    /// Whether a data block follows its line.
    pub const fn has_data(self) -> bool {
        matches!(
            self,
            Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas | Verb::MetaSet
        )
    }
}

/// One request; it borrows from the buffer it was found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    pub verb: Verb,
    /// As they stand in the line: one, or any number for the retrieval commands (none for `gat <exptime>`: the
    /// answer is `END`).
    pub(super) keys: SmallVec<[&'a [u8]; 4]>,
    /// The key of a meta command that gave it in base64.
    pub(super) decoded: Option<Box<[u8]>>,
    /// The client's flags, of the storage commands.
    pub flags: u32,
    /// The expiry time as given (0 where a meta command gives none); the delay of `flush_all` in seconds (0 when there is none).
    pub exptime: i64,
    /// By how much `incr` and `decr` change; the level of `verbosity`; the megabytes of `cache_memlimit`.
    pub delta: u64,
    /// The unique number of `cas`; of a meta command 0 when it gives none.
    pub cas: u64,
    /// Nothing is answered, not even an error.
    pub noreply: bool,
    /// The data block without its line end.
    pub data: &'a [u8],
    /// The flags of a meta command.
    pub meta: Meta<'a>,
    /// The command line without its line end.
    pub line: &'a [u8],
}

impl<'a> Request<'a> {
    pub(super) fn new(verb: Verb, line: &'a [u8]) -> Self {
        Request {
            verb,
            keys: SmallVec::new(),
            decoded: None,
            flags: 0,
            exptime: 0,
            delta: 0,
            cas: 0,
            noreply: false,
            data: &[],
            meta: Meta::default(),
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
            return Err(Rejection::of(RequestError::BadDataChunk, noreply));
        }
        request.data = data;
        Ok(request)
    }

    /// The key of a command that has one.
    #[inline]
    pub fn key(&self) -> &[u8] {
        match &self.decoded {
            Some(key) => key,
            None => self.keys.first().copied().unwrap_or_default(),
        }
    }

    /// How many keys it has.
    #[inline]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// All keys.
    #[inline]
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let plain = if self.decoded.is_some() { &[][..] } else { &self.keys[..] };
        self.decoded.as_deref().into_iter().chain(plain.iter().copied())
    }

    /// The words after the command's name, of commands without keys (`stats`, `lru_crawler` …).
    pub fn args(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        words(self.line).skip(1)
    }

    /// Whether it may change an item (`gat` its expiry, `mg` its lease).
    pub fn is_write(&self) -> bool {
        match self.verb {
            Verb::MetaGet => [b'N', b'R', b'T'].iter().any(|letter| self.meta.has(*letter)),
            Verb::MetaDelete | Verb::MetaArithmetic => true,
            verb => {
                verb.has_data()
                    || matches!(
                        verb,
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
    }

    /// Whether executing it twice leaves the same item and gives the same answer as executing it once. (CAS values
    /// change with each store; nobody can have seen the first one.)
    pub fn is_repeatable(&self) -> bool {
        match self.verb {
            Verb::MetaGet => !self.meta.has(b'N') && !self.meta.has(b'R'),
            Verb::MetaSet => matches!(self.meta.mode, 0 | b'S') && self.cas == 0,
            verb => {
                verb.is_retrieval() || matches!(verb, Verb::Set | Verb::Touch | Verb::Stats | Verb::MetaDebug)
            }
        }
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
    /// A flag of a meta command that none of them knows.
    #[error("CLIENT_ERROR invalid flag")]
    InvalidFlag,
    #[error("CLIENT_ERROR duplicate flag")]
    DuplicateFlag,
    /// What `md` and `ma` say of any mistake in their flags.
    #[error("CLIENT_ERROR invalid or duplicate flag")]
    InvalidOrDuplicateFlag,
    /// The argument of `D`.
    #[error("CLIENT_ERROR invalid numeric delta value")]
    InvalidDeltaValue,
    /// The argument of `J`.
    #[error("CLIENT_ERROR invalid numeric initial value")]
    InvalidInitialValue,
    #[error("CLIENT_ERROR bad token in command line format")]
    BadToken,
    /// The key is not the base64 that `b` promises.
    #[error("CLIENT_ERROR error decoding key")]
    BadBinaryKey,
    #[error("CLIENT_ERROR options flags are too long")]
    FlagsAreTooLong,
    /// The same of every command but `mg`.
    #[error("CLIENT_ERROR options flags too long")]
    FlagsTooLong,
    #[error("CLIENT_ERROR opaque token too long")]
    OpaqueTooLong,
    #[error("CLIENT_ERROR incorrect length for M token")]
    BadModeLength,
    #[error("CLIENT_ERROR invalid mode for ms M token")]
    BadSetMode,
    #[error("CLIENT_ERROR invalid mode for ma M token")]
    BadArithmeticMode,
}

/// The key of an item that must go: a `set` that was too large must not leave the old value to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlink<'a> {
    /// As it stood in the line.
    pub key: &'a [u8],
    /// It is in base64.
    pub binary: bool,
}

impl Unlink<'_> {
    /// The line of a request that deletes the item.
    pub fn line(&self) -> Vec<u8> {
        if self.binary { [b"md ", self.key, b" b"].concat() } else { [b"delete ", self.key].concat() }
    }
}

/// A refused request; the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection<'a> {
    pub error: RequestError,
    /// The error is not answered.
    pub noreply: bool,
    /// What is to be deleted all the same.
    pub unlink: Option<Unlink<'a>>,
    /// Bytes of a data block (its line end counted) that follow the line and are passed over.
    pub swallow: usize,
}

impl Rejection<'_> {
    /// A refusal without any consequence.
    pub(super) fn of(error: RequestError, noreply: bool) -> Self {
        Rejection { error, noreply, unlink: None, swallow: 0 }
    }
}
