//! RESP2 and RESP3 (the Redis serialization protocol).
//!
//! Source: the Redis protocol specification; where the text leaves room, what Redis 7 does.
//!
//! - [`RequestParser`] reads requests in place and answers with ranges of the caller's buffer.
//! - [`ReplyWriter`] appends replies to a caller's buffer in the version that the client speaks.
//! - [`ReplyScanner`] finds where a reply ends without building it; [`Value`] is the tree.
//! - [`downgrade`] translates the bytes of a RESP3 reply into those of RESP2.

mod args;
mod double;
mod downgrade;
mod encode;
mod error;
mod inline;
mod integer;
mod limits;
mod request;
mod scan;
mod strtod;
mod value;
mod writer;

pub use args::{ArgRange, ArgRanges, Args, ArgsIter, OwnedArgs};
pub use double::{DoubleBuffer, format_double};
pub use downgrade::{NullKind, downgrade};
pub use encode::{encode_request, encode_request_iter, request_arg, request_header};
pub use error::ProtocolError;
pub use inline::split_args;
pub use integer::parse_i64;
pub use limits::Limits;
pub use request::{Frame, RequestParser};
pub use scan::{MAX_DEPTH, MAX_LINE_BYTES, MAX_REPLY_BYTES, ReplyFrame, ReplyKind, ReplyScanner};
pub use strtod::{parse_bound, parse_double, parse_weight};
pub use value::Value;
pub use writer::{ReplyWriter, Version};
