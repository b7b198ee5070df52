//! How much a client may ask for in one request.

/// Most arguments of a request.
pub const MAX_ARGS: usize = 1024 * 1024;
/// Most bytes of one argument: Redis's default for `proto-max-bulk-len`.
pub const MAX_BULK_BYTES: usize = 512 * 1024 * 1024;
/// Most bytes of an inline request, and of a length line.
pub const MAX_INLINE_BYTES: usize = 64 * 1024;
/// Most bytes of one whole request: Redis's default for `client-query-buffer-limit`.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024 * 1024;
/// Most arguments of a request before authentication, as in Redis.
pub const MAX_UNAUTHENTICATED_ARGS: usize = 10;
/// Most bytes of one argument before authentication, as in Redis.
pub const MAX_UNAUTHENTICATED_BULK_BYTES: usize = 16 * 1024;

/// The bounds that a [`RequestParser`](super::RequestParser) keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most arguments of a request, the command's name included.
    pub max_args: usize,
    /// Most bytes of one argument.
    pub max_bulk_bytes: usize,
    /// Most bytes of an inline request, and of a length line.
    pub max_inline_bytes: usize,
    /// Most bytes of one whole request. Never above `u32::MAX`: ranges are 32 bits wide.
    pub max_frame_bytes: usize,
    /// Whether the client has still to authenticate: the two `MAX_UNAUTHENTICATED_…` bounds apply as well.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_args: MAX_ARGS,
            max_bulk_bytes: MAX_BULK_BYTES,
            max_inline_bytes: MAX_INLINE_BYTES,
            max_frame_bytes: MAX_FRAME_BYTES,
            unauthenticated: false,
        }
    }
}

impl Limits {
    /// The default limits for a client that has still to authenticate.
    pub fn unauthenticated() -> Self {
        Limits { unauthenticated: true, ..Limits::default() }
    }
}
