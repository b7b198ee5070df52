//! The bytes of requests on their way to a node.

use torc_protocol::command::{Command, TransactionCommand, retry_is_safe};
use torc_protocol::context::Context;
use torc_protocol::resp::{Args, Limits, RequestParser, request_arg, request_header};

/// Arguments of `CTX <context>` before those of the command.
const CONTEXT_ARGS: usize = 2;

/// One request, or a row of them that are sent without a gap.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// A command for its client's context.
    One {
        /// Arguments of the command.
        count: usize,
        /// `CTX <context>` as bulk strings.
        prefix: &'a [u8],
        /// The command's arguments as bulk strings.
        args: &'a [u8],
    },
    /// Whole frames.
    Frames(&'a [u8]),
}

impl Body<'_> {
    /// Appends the bytes; says how many they were.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>) -> usize {
        let before = out.len();
        match self {
            Body::One { count, prefix, args } => {
                out.reserve(prefix.len() + args.len() + 16);
                request_header(out, count + CONTEXT_ARGS);
                out.extend_from_slice(prefix);
                out.extend_from_slice(args);
            }
            Body::Frames(bytes) => out.extend_from_slice(bytes),
        }
        out.len() - before
    }

    /// How many bytes it has, about.
    pub fn size(self) -> usize {
        match self {
            Body::One { prefix, args, .. } => prefix.len() + args.len() + 16,
            Body::Frames(bytes) => bytes.len(),
        }
    }
}

/// Appends `CTX <context>` as bulk strings.
pub fn write_prefix(context: &Context<'_>, out: &mut Vec<u8>) {
    request_arg(out, b"CTX");
    let mut record = Vec::with_capacity(torc_protocol::context::MAX_CONTEXT_BYTES);
    context.encode(&mut record);
    request_arg(out, &record);
}

/// Frames of our own making.
fn parser() -> RequestParser {
    RequestParser::new(Limits {
        max_bulk_bytes: usize::MAX,
        max_frame_bytes: u32::MAX as usize,
        ..Limits::default()
    })
}

/// Calls `visit` with the arguments (`CTX`, context, command …) of each of our own frames in `bytes`.
fn each_frame(bytes: &[u8], mut visit: impl FnMut(Args<'_>)) {
    let mut rest = bytes;
    let mut parser = parser();
    while let Ok(Some(frame)) = parser.next(rest) {
        visit(frame.view(rest));
        rest = rest.get(frame.len..).unwrap_or_default();
    }
}

/// Appends the frames in `bytes` again, with another epoch and another time that is left.
pub fn renew(bytes: &[u8], epoch: u64, deadline_ms: u32, out: &mut Vec<u8>) {
    each_frame(bytes, |args| {
        let Some(context) = args.get(1).and_then(|record| Context::decode(record).ok()) else { return };
        request_header(out, args.len());
        write_prefix(&Context { epoch, deadline_ms, ..context }, out);
        args.iter().skip(CONTEXT_ARGS).for_each(|arg| request_arg(out, arg));
    });
}

/// Whether the request in `bytes` may be sent again when it may have been executed already.
pub fn may_repeat(command: Command, bytes: &[u8]) -> bool {
    if command == Command::Transactions(TransactionCommand::Exec) {
        return false;
    }
    let mut safe = true;
    each_frame(bytes, |args| safe &= retry_is_safe(command, &args.tail(CONTEXT_ARGS)));
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use torc_protocol::command::{StringCommand, lookup};

    fn body(line: &str, context: &Context<'_>) -> Vec<u8> {
        let (mut prefix, mut args, mut out) = (Vec::new(), Vec::new(), Vec::new());
        write_prefix(context, &mut prefix);
        line.split(' ').for_each(|arg| request_arg(&mut args, arg.as_bytes()));
        Body::One { count: line.split(' ').count(), prefix: &prefix, args: &args }.write(&mut out);
        out
    }

    #[test]
    fn a_request_is_renewed() {
        let old = Context { db: 3, epoch: 1, deadline_ms: 5000, ..Context::default() };
        let new = Context { epoch: 2, deadline_ms: 77, ..old };
        let mut out = Vec::new();
        renew(&[body("set a b", &old), body("get a", &old)].concat(), 2, 77, &mut out);
        assert_eq!(out, [body("set a b", &new), body("get a", &new)].concat());
    }

    #[test]
    fn what_may_be_repeated_depends_on_the_arguments() {
        let context = Context::default();
        let set = Command::String(StringCommand::Set);
        assert!(may_repeat(set, &body("set a b", &context)));
        assert!(!may_repeat(set, &body("set a b nx", &context)));
        assert!(!may_repeat(lookup(b"incr").expect("known"), &body("incr a", &context)));
    }
}
