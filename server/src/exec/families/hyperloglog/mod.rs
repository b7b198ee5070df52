//! Handlers of the HyperLogLog family. The values are strings; what their bytes mean is [`crate::hyperloglog`]'s.

mod debug;

use smallvec::SmallVec;
use torc_protocol::command::HyperloglogCommand;
use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::hyperloglog::{self as hll, Corrupted, Registers};
use crate::notify::Class;
use crate::store::Key;

impl From<Corrupted> for CommandError {
    fn from(_: Corrupted) -> Self {
        text::HLL_CORRUPTED.into()
    }
}

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: HyperloglogCommand, args: &Args<'_>) -> CommandResult {
    match command {
        HyperloglogCommand::Pfadd => pfadd(cx, args),
        HyperloglogCommand::Pfcount => pfcount(cx, args),
        HyperloglogCommand::Pfdebug => debug::pfdebug(cx, args),
        HyperloglogCommand::Pfmerge => pfmerge(cx, args),
        HyperloglogCommand::Pfselftest => debug::pfselftest(cx),
    }
}

fn check(bytes: &[u8]) -> Result<&[u8], CommandError> {
    if hll::is_valid(bytes) { Ok(bytes) } else { Err(text::HLL_WRONG_TYPE.into()) }
}

/// The HyperLogLog at a key that is read.
fn read<'c>(cx: &'c mut Cx<'_, '_>, key: &Key<'_>) -> Result<Option<&'c [u8]>, CommandError> {
    cx.read_string(key)?.map(check).transpose()
}

/// The HyperLogLog at a key that is about to be changed.
fn peek<'c>(cx: &'c mut Cx<'_, '_>, key: &Key<'_>) -> Result<Option<&'c [u8]>, CommandError> {
    cx.peek_string(key)?.map(check).transpose()
}

/// Puts a whole HyperLogLog, keeping the expiry of what was there.
fn store(cx: &mut Cx<'_, '_>, key: &Key<'_>, bytes: &[u8]) {
    let changed = cx.update(key, |entry| {
        entry.set_string(bytes);
        entry.mark_modified();
    });
    if changed.is_some() {
        cx.record_put(key);
    } else {
        cx.put_string(key, bytes, None, 0);
        cx.mark(key, |entry| entry.mark_modified());
    }
}

/// Raises registers of a dense HyperLogLog in its place; replicas are told the bytes that changed.
fn raise_dense(cx: &mut Cx<'_, '_>, key: &Key<'_>, places: &[(usize, u8)]) {
    /// The last byte of the cached estimate.
    const STALE_AT: usize = hll::HEADER - 1;
    /// What changed: where, and the bytes there now.
    type Patches = SmallVec<[(usize, SmallVec<[u8; 2]>); 4]>;
    let done = cx.update(key, |entry| {
        let mut patches = Patches::new();
        let Some(bytes) = entry.bytes_mut() else { return patches };
        hll::invalidate(bytes);
        places.iter().for_each(|(index, value)| hll::raise_dense(bytes, *index, *value));
        let spans = places.iter().map(|(index, _)| hll::dense_span(*index));
        for span in std::iter::once(STALE_AT..STALE_AT + 1).chain(spans) {
            patches.push((span.start, bytes.get(span).unwrap_or_default().into()));
        }
        patches
    });
    let Some((patches, version)) = done else { return };
    for (offset, bytes) in patches {
        cx.effects.patch(cx.db, key.bytes, version, offset as u64, &bytes);
    }
}

/// PFADD key \[element \[element …\]\]
fn pfadd(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let max_bytes = cx.env().limits.hll_sparse_bytes;
    let places = args.tail(2).iter().map(hll::place);
    let updated = match peek(cx, &key)? {
        Some(bytes) if hll::is_dense(bytes) => {
            let places: SmallVec<[(usize, u8); 8]> =
                places.filter(|(index, value)| hll::dense_is_below(bytes, *index, *value)).collect();
            if !places.is_empty() {
                raise_dense(cx, &key, &places);
            }
            !places.is_empty()
        }
        found => {
            let mut updated = found.is_none();
            let mut bytes = found.map_or_else(hll::empty, <[u8]>::to_vec);
            for (index, value) in places {
                updated |= hll::raise(&mut bytes, index, value, max_bytes)?;
            }
            if updated {
                hll::invalidate(&mut bytes);
                store(cx, &key, &bytes);
            }
            updated
        }
    };
    if updated {
        cx.notify(Class::STRING, "pfadd", key.bytes);
    }
    cx.reply().integer(i64::from(updated));
    Ok(())
}

/// Merges the HyperLogLogs at several keys; says whether one of them was dense.
pub(super) fn merged<'k>(
    cx: &mut Cx<'_, '_>,
    names: impl IntoIterator<Item = &'k [u8]>,
) -> Result<(Registers, bool), CommandError> {
    let mut registers = Registers::default();
    let mut dense = false;
    for name in names {
        let key = cx.key(name);
        if let Some(bytes) = read(cx, &key)? {
            dense |= hll::is_dense(bytes);
            registers.merge(bytes)?;
        }
    }
    Ok((registers, dense))
}

/// PFCOUNT key \[key …\]
fn pfcount(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len() > 2 {
        let (registers, _) = merged(cx, args.tail(1))?;
        cx.reply().integer(registers.estimate() as i64);
        return Ok(());
    }
    let key = cx.key(&args[1]);
    let (estimate, fresh) = match read(cx, &key)? {
        None => (0, false),
        Some(bytes) => match hll::cached(bytes) {
            Some(estimate) => (estimate, false),
            None => (hll::count(bytes)?, true),
        },
    };
    // The estimate is kept in the value, and replicas are told: a replica by itself changes nothing. It is a note and
    // no change: the reply is a read's, which neither waits for replicas nor is refused without them.
    if fresh && cx.node.may_expire() && !cx.node.shard.is_behind() {
        let dirty = cx.dirty;
        let done = cx.update(&key, |entry| {
            if let Some(bytes) = entry.bytes_mut() {
                hll::set_cached(bytes, estimate);
            }
        });
        if let Some(((), version)) = done {
            cx.effects.patch(cx.db, key.bytes, version, hll::CACHE.start as u64, &estimate.to_le_bytes());
        }
        cx.dirty = dirty;
    }
    cx.reply().integer(estimate as i64);
    Ok(())
}

/// PFMERGE destination \[source \[source …\]\]
fn pfmerge(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (registers, dense) = merged(cx, args.tail(2))?;
    merge_into(cx, &args[1], registers, dense)
}

/// Merges registers into the HyperLogLog of this name; `dense`: one of those that they come from was dense.
pub(super) fn merge_into(
    cx: &mut Cx<'_, '_>,
    name: &[u8],
    mut registers: Registers,
    mut dense: bool,
) -> CommandResult {
    let max_bytes = cx.env().limits.hll_sparse_bytes;
    let key = cx.key(name);
    if let Some(bytes) = read(cx, &key)? {
        dense |= hll::is_dense(bytes);
        registers.merge(bytes)?;
    }
    let found = peek(cx, &key)?;
    let bytes = if dense {
        // All registers are known: the destination's own are among them.
        let mut bytes = found.map_or_else(hll::empty, |bytes| bytes[..hll::HEADER].to_vec());
        hll::write_dense(&mut bytes, &registers);
        bytes
    } else if let (None, Some(bytes)) = (found, hll::sparse_of(&registers, max_bytes)) {
        bytes
    } else {
        let mut bytes = found.map_or_else(hll::empty, <[u8]>::to_vec);
        let mut own = Registers::default();
        own.merge(&bytes)?;
        for (index, value) in registers.iter().enumerate() {
            if value > own.get(index) {
                hll::raise(&mut bytes, index, value, max_bytes)?;
            }
        }
        hll::invalidate(&mut bytes);
        bytes
    };
    store(cx, &key, &bytes);
    cx.notify(Class::STRING, "pfadd", key.bytes);
    cx.reply().ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::exec::testing::Harness;
    use crate::exec::{ReplyKind, Session};

    #[test]
    fn counting_is_a_read_although_the_estimate_is_kept() {
        let mut t = Harness::primary();
        t.run("CONFIG SET default-ack in-sync");
        t.node.shard.set_in_sync_enough(true);
        t.run("PFADD h a b c");
        t.node.shard.set_in_sync_enough(false);
        assert!(t.run_as(&mut Session::new(2, true), "PFADD h d").starts_with("-NOREPLICAS"));
        let _ = t.records();
        let (reply, done) = t.execute(["PFCOUNT", "h"]);
        assert_eq!((&reply[..], done.barrier), (&b":3\r\n"[..], 0));
        assert!(matches!(done.kind, ReplyKind::Read));
        assert!(!t.records().is_empty(), "replicas are told the estimate");
        assert_eq!(t.run("PFCOUNT h"), ":3\r\n");
        assert!(t.records().is_empty());
    }
}
