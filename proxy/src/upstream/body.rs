//! The bytes of requests on their way to a node.

use torc_protocol::command::{
    Command, InternalCommand, TransactionCommand, has_a_home, reply_may_be_repeated, resolve_internal,
    retry_is_safe,
};
use torc_protocol::context::{Context, REQUEST_ID_AT, RequestId};
use torc_protocol::resp::{Args, Limits, RequestParser, request_arg, request_header};

/// Arguments of `CTX <context>` before those of the command.
const CONTEXT_ARGS: usize = 2;

/// How a prefix with a request id begins, and where in it the id is.
const NAMED: &[u8] = b"$3\r\nCTX\r\n$42\r\n";
const ID_AT: usize = NAMED.len() + REQUEST_ID_AT;

/// The place of the request id in a prefix that has one.
pub fn id_in_prefix(prefix: &[u8]) -> Option<usize> {
    prefix.starts_with(NAMED).then_some(ID_AT)
}

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
    Frames {
        /// They.
        bytes: &'a [u8],
        /// Where the request id is to be written.
        id_at: Option<usize>,
    },
}

impl Body<'_> {
    /// Appends the bytes; says how many they were.
    #[inline]
    pub fn write(self, id: Option<RequestId>, out: &mut Vec<u8>) -> usize {
        let before = out.len();
        let id_at = match self {
            Body::One { count, prefix, args } => {
                out.reserve(prefix.len() + args.len() + 16);
                request_header(out, count + CONTEXT_ARGS);
                let prefix_at = out.len();
                out.extend_from_slice(prefix);
                out.extend_from_slice(args);
                id_in_prefix(prefix).map(|at| prefix_at + at)
            }
            Body::Frames { bytes, id_at } => {
                out.extend_from_slice(bytes);
                id_at.map(|at| before + at)
            }
        };
        if let (Some(id), Some(at)) = (id, id_at)
            && let Some(place) = out.get_mut(at..at + RequestId::BYTES)
        {
            place.copy_from_slice(&id.to_bytes());
        }
        out.len() - before
    }

    /// How many bytes it has, about.
    pub fn size(self) -> usize {
        match self {
            Body::One { prefix, args, .. } => prefix.len() + args.len() + 16,
            Body::Frames { bytes, .. } => bytes.len(),
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

/// What a context says otherwise at the next sending.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// Version of the map.
    pub epoch: u64,
    /// Time that is left.
    pub deadline_ms: u32,
    /// Its number, where there is one in the context.
    pub id: RequestId,
    /// Whether an earlier sending may have been executed.
    pub repeated: bool,
    /// Milliseconds that a request which waits at the node may still do so; `None`: as it says.
    pub wait_ms: Option<u64>,
}

fn context<'a>(args: &Args<'a>) -> Option<Context<'a>> {
    Context::decode(args.get(1)?).ok()
}

/// Appends the frames in `bytes` again, with other contexts.
pub fn renew(bytes: &[u8], renewal: Renewal, out: &mut Vec<u8>) {
    let Renewal { epoch, deadline_ms, id, repeated, wait_ms } = renewal;
    each_frame(bytes, |args| {
        let Some(context) = context(&args) else { return };
        request_header(out, args.len());
        let request_id = context.request_id.map(|_| id);
        write_prefix(&Context { epoch, deadline_ms, request_id, repeated, ..context }, out);
        let request = args.tail(CONTEXT_ARGS);
        let wait = wait_ms.and_then(|ms| resolve_internal(&request).ok()?.spec().renewed_wait(&request, ms));
        for (index, arg) in request.iter().enumerate() {
            match &wait {
                Some((at, text)) if *at == index => request_arg(out, text.as_bytes()),
                _ => request_arg(out, arg),
            }
        }
    });
}

/// The first key of the first command in `bytes` that has one; the request line of a memcached request.
pub fn first_key(bytes: &[u8]) -> Option<Box<[u8]>> {
    let mut found: Option<Box<[u8]>> = None;
    each_frame(bytes, |args| {
        let request = args.tail(CONTEXT_ARGS);
        if found.is_some() {
            return;
        }
        let Ok(command) = resolve_internal(&request) else { return };
        let at = match command {
            Command::Internal(InternalCommand::Mc) => Some(1),
            _ => command.spec().find_keys(&request).ok().and_then(|keys| keys.first().copied()),
        };
        found = at.and_then(|at| request.get(at)).map(Into::into);
    });
    found
}

/// Whether the request in `bytes` may be sent again when it may have been executed already.
pub fn may_repeat(command: Command, bytes: &[u8]) -> bool {
    if command == Command::Transactions(TransactionCommand::Exec) {
        return transaction_may_repeat(bytes);
    }
    let mut safe = true;
    each_frame(bytes, |args| {
        let request = args.tail(CONTEXT_ARGS);
        safe &= retry_is_safe(command, &request) || (is_numbered(&args) && has_a_home(command, &request));
    });
    safe
}

/// Whether a node that gets the request in `bytes` twice knows it again, and executes it once.
pub fn happens_once(command: Command, bytes: &[u8]) -> bool {
    if command == Command::Transactions(TransactionCommand::Exec) {
        return transaction_may_repeat(bytes);
    }
    let mut known = true;
    each_frame(bytes, |args| known &= is_numbered(&args) && has_a_home(command, &args.tail(CONTEXT_ARGS)));
    known
}

fn is_numbered(args: &Args<'_>) -> bool {
    context(args).and_then(|context| context.request_id).is_some_and(|id| id.seq != 0)
}

/// As [`may_repeat`] for MULTI, commands, EXEC: where EXEC is numbered and a command has a key, or all only read.
fn transaction_may_repeat(bytes: &[u8]) -> bool {
    let (mut numbered, mut home, mut repeatable, mut reads) = (false, false, true, true);
    each_frame(bytes, |args| {
        let request = args.tail(CONTEXT_ARGS);
        match resolve_internal(&request) {
            Ok(Command::Transactions(TransactionCommand::Exec)) => numbered = is_numbered(&args),
            Ok(Command::Transactions(_)) => {}
            Ok(command) => {
                home |= has_a_home(command, &request);
                repeatable &= reply_may_be_repeated(command);
                reads &= command.spec().is_readonly();
            }
            Err(_) => (repeatable, reads) = (false, false),
        }
    });
    reads || (numbered && home && repeatable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use torc_protocol::command::{ScriptingCommand, StringCommand, lookup};

    fn body(line: &str, context: &Context<'_>) -> Vec<u8> {
        let (mut prefix, mut args, mut out) = (Vec::new(), Vec::new(), Vec::new());
        write_prefix(context, &mut prefix);
        line.split(' ').for_each(|arg| request_arg(&mut args, arg.as_bytes()));
        Body::One { count: line.split(' ').count(), prefix: &prefix, args: &args }.write(None, &mut out);
        out
    }

    #[test]
    fn a_request_is_renewed() {
        let old = Context { db: 3, epoch: 1, deadline_ms: 5000, ..Context::default() };
        let new = Context { epoch: 2, deadline_ms: 77, repeated: true, ..old };
        let (zero, id) = (RequestId::default(), RequestId { origin: 1, seq: 5, settled: 3 });
        let named = |context: Context<'static>, id| Context { request_id: Some(id), ..context };
        let mut out = Vec::new();
        let renewal = Renewal { epoch: 2, deadline_ms: 77, id, repeated: true, wait_ms: None };
        renew(&[body("set a b", &named(old, zero)), body("get a", &old)].concat(), renewal, &mut out);
        assert_eq!(out, [body("set a b", &named(new, id)), body("get a", &new)].concat());
    }

    #[test]
    fn what_waits_is_told_how_long_it_may_still_do_so() {
        let context = Context { deadline_ms: 77, ..Context::default() };
        let renewal = Renewal {
            epoch: 0,
            deadline_ms: 77,
            id: RequestId::default(),
            repeated: false,
            wait_ms: Some(900),
        };
        let mut out = Vec::new();
        renew(&body("blpop a 5", &context), renewal, &mut out);
        assert_eq!(out, body("blpop a 0.900", &context));
    }

    #[test]
    fn a_number_is_written_into_its_place() {
        let id = RequestId { origin: 1, seq: 5, settled: 3 };
        let (mut prefix, mut out) = (Vec::new(), b"before".to_vec());
        let context = Context { request_id: Some(RequestId::default()), ..Context::default() };
        write_prefix(&context, &mut prefix);
        let count = 2;
        Body::One { count, prefix: &prefix, args: b"$4\r\nINCR\r\n$1\r\na\r\n" }.write(Some(id), &mut out);
        assert_eq!(out[6..], body("INCR a", &Context { request_id: Some(id), ..context }));
        // A context without a place for it stays as it is.
        let (mut prefix, mut out) = (Vec::new(), Vec::new());
        write_prefix(&Context::default(), &mut prefix);
        Body::One { count, prefix: &prefix, args: b"$3\r\nGET\r\n$1\r\na\r\n" }.write(Some(id), &mut out);
        assert_eq!(out, body("GET a", &Context::default()));
    }

    #[test]
    fn what_may_be_repeated_depends_on_the_arguments() {
        let context = Context::default();
        let set = Command::String(StringCommand::Set);
        assert!(may_repeat(set, &body("set a b", &context)));
        assert!(!may_repeat(set, &body("set a b nx", &context)));
        let incr = lookup(b"incr").expect("known");
        assert!(!may_repeat(incr, &body("incr a", &context)));
        let id = RequestId { origin: 1, seq: 5, settled: 3 };
        let named = Context { request_id: Some(id), ..context };
        assert!(may_repeat(incr, &body("incr a", &named)));
        assert!(
            happens_once(incr, &body("incr a", &named)) && !happens_once(incr, &body("incr a", &context))
        );
        let flush = Command::Scripting(ScriptingCommand::ScriptFlush);
        let forget = body("script flush", &named);
        assert!(may_repeat(flush, &forget) && !happens_once(flush, &forget));
        assert!(!may_repeat(
            incr,
            &body("incr a", &Context { request_id: Some(RequestId::default()), ..named })
        ));
        let exec = Command::Transactions(TransactionCommand::Exec);
        let transaction = |lines: [&str; 2], last: &Context<'_>| {
            let queued = lines.map(|line| body(line, &context)).concat();
            may_repeat(exec, &[body("multi", &context), queued, body("exec", last)].concat())
        };
        assert!(transaction(["incr a", "get a"], &named));
        assert!(!transaction(["incr a", "get a"], &context));
        assert!(transaction(["get b", "get a"], &context));
        assert!(!transaction(["incr a", "lock.acquire a ttl 5"], &named));
    }
}
