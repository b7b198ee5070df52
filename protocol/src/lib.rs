//! Wire formats and the command table of Torc.
//!
//! Everything here is pure: bytes in, values out. There is no I/O, no clock, no randomness and no global
//! state that changes; whoever owns a connection owns the parser that reads it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`resp`] | RESP2 and RESP3: requests in place, replies, scanning, translation |
//! | [`memcached`] | the classic text protocol of memcached |
//! | [`command`] | the command table, the one source of truth about commands |
//! | [`slot`] | keys to slots |
//! | [`shebang`] | what the first line of a script declares |
//! | [`info`], [`memory`] | sizes, as INFO and configurations have them |
//! | [`error`] | every error text that a client can see |
//! | [`context`] | the record that a proxy puts before each request |
//! | [`login`] | the arguments of AUTH and HELLO, and the comparison of passwords |
//! | [`glob`] | patterns over keys and names |
//! | [`handshake`] | how two parts prove the cluster secret to each other |
//! | [`bus`] | frames between nodes |

pub mod bus;
pub mod command;
pub mod context;
pub mod error;
pub mod glob;
pub mod handshake;
pub mod info;
pub mod login;
pub mod memcached;
pub mod memory;
pub mod resp;
pub mod shebang;
pub mod slot;
pub mod trace;

/// The version of Redis whose behaviour is the measure.
pub const REDIS_VERSION: &str = "7.2.4";
/// The same as a number: a byte each for major, minor and patch.
pub const REDIS_VERSION_NUMBER: u32 = 0x0007_0204;
