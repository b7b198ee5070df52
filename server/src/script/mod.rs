//! Lua scripts: EVAL and its kin.
//!
//! ```text
//! Node.scripts: ScriptCache ── bodies by SHA1 (all workers, one mutex), scripts under way (SCRIPT KILL)
//! Executor.scripts: Engine  ── one Lua state per worker, made at its first script, compiled functions
//!     engine ── runs a function under hooks ── call (redis.call) ── families::dispatch on the same Cx
//! ```
//!
//! A script runs on the stripes that its keys were locked with, and all its effects are one record. In a plain
//! store a script may turn to keys that it did not declare: their stripes are locked on the way, and where that
//! fails before it wrote anything it is run again with the whole store locked. In a cluster that is an error.

mod cache;
mod call;
mod convert;
mod engine;
mod error;
mod library;
mod number;
mod running;
#[cfg(test)]
mod tests;

pub use cache::{Loaded, ScriptCache, Sha, hex, sha_from_hex, sha1};
pub use engine::{Engine, Meanwhile};
pub use error::ScriptError;
pub use running::KillError;

use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};

use crate::exec::{CommandError, CommandResult, Cx, Depth};

/// Digits of a digest; what is of another length is none, whatever else is wrong.
const DIGEST_DIGITS: usize = 2 * size_of::<Sha>();

/// The body or the digest of the script that EVAL or EVALSHA names, its keys and arguments.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What EVAL gives: the text; what EVALSHA gives: the digest in hexadecimal.
    pub script: &'a [u8],
    /// It is a digest.
    pub by_digest: bool,
    /// It may not write.
    pub read_only: bool,
    /// Keys, then arguments.
    pub rest: Args<'a>,
    /// How many of them are keys.
    pub keys: usize,
}

/// EVAL, EVALSHA and their read-only kin.
pub fn eval(cx: &mut Cx<'_, '_>, args: &Args<'_>, by_digest: bool, read_only: bool) -> CommandResult {
    if by_digest && args.get(1).is_none_or(|sha| sha.len() != DIGEST_DIGITS) {
        return Err(text::NOSCRIPT.into());
    }
    let count = args.get(2).and_then(parse_i64).ok_or(CommandError::NotInteger)?;
    let keys = usize::try_from(count).map_err(|_| CommandError::from(text::NEGATIVE_KEYS))?;
    let rest = args.tail(3);
    if keys > rest.len() {
        return Err(text::TOO_MANY_KEYS.into());
    }
    let request = Request { script: args.get(1).unwrap_or_default(), by_digest, read_only, rest, keys };
    // The engine is borrowed from the context while the script works with the rest of it.
    let mut engine = std::mem::take(cx.scripts);
    cx.scripts.out_of_memory = engine.out_of_memory;
    let result = run(cx, &mut engine, &request);
    *cx.scripts = engine;
    result
}

fn run(cx: &mut Cx<'_, '_>, engine: &mut Engine, request: &Request<'_>) -> CommandResult {
    let at = cx.out.len();
    let mut result = engine.run(cx, request);
    if result == Err(ScriptError::WantsWholeStore) && cx.depth == Depth::Command {
        cx.out.truncate(at);
        result = match cx.lock_whole_store() {
            Ok(()) => engine.run(cx, request),
            Err(error) => Err(ScriptError::Failed(error.text().into_owned())),
        };
    }
    let error = match result {
        Ok(()) => return Ok(()),
        Err(ScriptError::WantsWholeStore) => CommandError::Undeclared,
        Err(ScriptError::Failed(text)) => CommandError::Bytes(text.into()),
    };
    if cx.dirty == 0 {
        return Err(error);
    }
    // It has written: its error is the reply to a write that happened.
    cx.out.truncate(at);
    error.write(&mut cx.reply());
    Ok(())
}
