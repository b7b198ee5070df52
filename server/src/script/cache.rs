//! Script bodies by the SHA1 of their text, for EVALSHA on any worker.
//!
//! Owned by the node, under one mutex that a script takes only when its worker has not compiled it yet. Bodies
//! that only EVAL brought are bounded in number and bytes, the oldest go first; those of SCRIPT LOAD stay until
//! SCRIPT FLUSH and are bounded in bytes: beyond that loading is refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use parking_lot::Mutex;
use sha1::{Digest, Sha1};
use torc_protocol::command::{Command, ScriptingCommand};
use torc_protocol::resp::Args;
use torc_protocol::shebang::split;

use super::running::{KillError, Registry};
use crate::effect::EffectWriter;

/// Bodies that EVAL may leave behind.
const MAX_EVAL_SCRIPTS: usize = 500;

/// Bytes of them.
const MAX_EVAL_BYTES: usize = 16 << 20;

/// Bytes of bodies that SCRIPT LOAD brought.
const MAX_LOADED_BYTES: usize = 64 << 20;

/// The digest of a script's text.
pub type Sha = [u8; 20];

/// The digest of `bytes`.
pub fn sha1(bytes: &[u8]) -> Sha {
    Sha1::digest(bytes).into()
}

/// Forty small hexadecimal digits.
pub fn hex(sha: &Sha) -> String {
    sha.iter()
        .flat_map(|b| [b >> 4, b & 15])
        .map(|d| char::from(b"0123456789abcdef"[usize::from(d)]))
        .collect()
}

/// The digest that forty hexadecimal digits in any case write.
pub fn sha_from_hex(text: &[u8]) -> Option<Sha> {
    let mut sha = Sha::default();
    if text.len() != 2 * sha.len() {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    for (byte, pair) in sha.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(sha)
}

/// Whether SCRIPT LOAD could take a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is kept under this digest.
    Kept(Sha),
    /// There is no room.
    Full,
}

#[derive(Debug)]
struct Script {
    body: Arc<[u8]>,
    loaded: bool,
}

#[derive(Debug, Default)]
struct Bodies {
    scripts: AHashMap<Sha, Script>,
    /// Those that EVAL brought, oldest first; some may have been loaded since.
    evals: VecDeque<Sha>,
    eval_bytes: usize,
    loaded_bytes: usize,
}

impl Bodies {
    fn shrink(&mut self) {
        while self.evals.len() > MAX_EVAL_SCRIPTS || self.eval_bytes > MAX_EVAL_BYTES {
            let Some(oldest) = self.evals.pop_front() else { return };
            if self.scripts.get(&oldest).is_some_and(|script| !script.loaded)
                && let Some(script) = self.scripts.remove(&oldest)
            {
                self.eval_bytes -= script.body.len();
            }
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct ScriptCache {
    bodies: Mutex<Bodies>,
    /// Rises with each flush: engines drop what they have compiled.
    generation: AtomicU64,
    running: Arc<Registry>,
}

impl ScriptCache {
    /// EVAL was given this body.
    pub fn saw(&self, sha: Sha, body: &[u8]) {
        if body.len() > MAX_EVAL_BYTES {
            return;
        }
        let mut bodies = self.bodies.lock();
        if bodies.scripts.contains_key(&sha) {
            return;
        }
        bodies.scripts.insert(sha, Script { body: body.into(), loaded: false });
        bodies.evals.push_back(sha);
        bodies.eval_bytes += body.len();
        bodies.shrink();
    }

    /// SCRIPT LOAD: keeps a body until the next flush.
    pub fn load(&self, body: &[u8]) -> Loaded {
        let sha = sha1(body);
        let mut bodies = self.bodies.lock();
        let known = bodies.scripts.get(&sha).map(|script| script.loaded);
        if known == Some(true) {
            return Loaded::Kept(sha);
        }
        if bodies.loaded_bytes + body.len() > MAX_LOADED_BYTES {
            return Loaded::Full;
        }
        if known == Some(false) {
            bodies.eval_bytes -= body.len();
            bodies.evals.retain(|other| *other != sha);
        }
        bodies.loaded_bytes += body.len();
        bodies.scripts.insert(sha, Script { body: body.into(), loaded: true });
        Loaded::Kept(sha)
    }

    /// Whether a request runs a script whose first line declares `no-writes`.
    pub fn only_reads(&self, command: Command, args: &Args<'_>) -> bool {
        let declares = |body: &[u8]| split(body).is_ok_and(|(declared, _)| declared.no_writes);
        match (command, args.get(1)) {
            (Command::Scripting(ScriptingCommand::Eval), Some(body)) => declares(body),
            (Command::Scripting(ScriptingCommand::Evalsha), Some(sha)) => {
                sha_from_hex(sha).and_then(|sha| self.get(&sha)).is_some_and(|body| declares(&body))
            }
            _ => false,
        }
    }

    /// The body of that digest.
    pub fn get(&self, sha: &Sha) -> Option<Arc<[u8]>> {
        self.bodies.lock().scripts.get(sha).map(|script| script.body.clone())
    }

    /// Whether a body of that digest is known.
    pub fn contains(&self, sha: &Sha) -> bool {
        self.bodies.lock().scripts.contains_key(sha)
    }

    /// Forgets all bodies.
    pub fn flush(&self) {
        let old = std::mem::take(&mut *self.bodies.lock());
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(old);
    }

    /// Changes with each flush.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Number of bodies and their bytes.
    pub fn usage(&self) -> (usize, usize) {
        let bodies = self.bodies.lock();
        (bodies.scripts.len(), bodies.eval_bytes + bodies.loaded_bytes)
    }

    /// Writes the bodies that SCRIPT LOAD brought, for a full sync. What EVAL brought comes back with EVAL.
    pub fn snapshot_into(&self, effects: &mut EffectWriter) {
        effects.script_flush();
        for script in self.bodies.lock().scripts.values().filter(|script| script.loaded) {
            effects.script(&script.body);
        }
    }

    /// SCRIPT KILL.
    pub fn kill(&self) -> Result<(), KillError> {
        self.running.kill()
    }

    /// Ends scripts that go on without a write although they were seen `patience` times; see [`Registry::watch`].
    pub fn watch(&self, patience: u32) -> usize {
        self.running.watch(patience)
    }

    /// Ends every script that has been running for a while: the process ends.
    pub fn stop_all(&self) {
        self.running.stop_all();
    }

    /// Where scripts enter themselves.
    pub fn running(&self) -> &Arc<Registry> {
        &self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests() {
        let text = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        assert_eq!(hex(&sha1(b"return 1")), text);
        assert_eq!(sha_from_hex(text.to_uppercase().as_bytes()), Some(sha1(b"return 1")));
        assert_eq!(sha_from_hex(b"00"), None);
        assert_eq!(sha_from_hex("x".repeat(40).as_bytes()), None);
    }

    #[test]
    fn what_eval_brought_goes_first() {
        let cache = ScriptCache::default();
        let Loaded::Kept(kept) = cache.load(b"kept") else { panic!("there is room") };
        let body = |i: usize| format!("return {i}").into_bytes();
        for i in 0..=MAX_EVAL_SCRIPTS {
            cache.saw(sha1(&body(i)), &body(i));
        }
        assert!(!cache.contains(&sha1(&body(0))) && cache.contains(&sha1(&body(1))) && cache.contains(&kept));
        // One that is loaded after it was seen stays too.
        assert_eq!(cache.load(&body(1)), Loaded::Kept(sha1(&body(1))));
        cache.saw(sha1(b"a"), b"a");
        cache.saw(sha1(b"b"), b"b");
        assert!(cache.contains(&sha1(&body(1))) && !cache.contains(&sha1(&body(2))));
        cache.flush();
        assert_eq!(cache.usage(), (0, 0));
    }

    #[test]
    fn bytes_are_bounded() {
        let cache = ScriptCache::default();
        let big = |n: u8| vec![n; MAX_EVAL_BYTES / 2 + 1];
        cache.saw(sha1(&big(1)), &big(1));
        cache.saw(sha1(&big(2)), &big(2));
        assert_eq!(cache.usage(), (1, MAX_EVAL_BYTES / 2 + 1));
        for n in 0..7 {
            assert!(matches!(cache.load(&big(10 + n)), Loaded::Kept(_)), "{n}");
        }
        assert_eq!(cache.load(&big(20)), Loaded::Full);
    }
}
