//! HSCAN and HRANDFIELD.

use smallvec::SmallVec;
use torc_protocol::resp::{Args, ReplyWriter, Version};

use super::read::with_hash;
use crate::exec::parse::{ScanOptions, cursor, picks};
use crate::exec::{CommandResult, Cx};
use crate::store::value::HashRef;
use torc_protocol::glob;
use torc_runtime::random::split_mix;

/// HSCAN key cursor \[MATCH pattern\] \[COUNT count\] \[NOVALUES\]
pub fn hscan(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let from = cursor(&args[2])?;
    with_hash(cx, args, |hash, mut reply| {
        let mut found: SmallVec<[(&[u8], &[u8]); 32]> = SmallVec::new();
        let (mut next, mut names_only) = (0, false);
        // Redis looks at the options only when there is something to scan.
        if let Some(hash) = hash {
            let options = ScanOptions::parse_with_names(args, 3, b"NOVALUES")?;
            names_only = options.names_only;
            let mut visit = |field, value| {
                if options.pattern.is_none_or(|p| glob::matches(p, field)) {
                    found.push((field, value));
                }
            };
            next = hash.scan(from, options.count, &mut visit).unwrap_or(0);
        }
        reply.array(2);
        reply.bulk_fmt(next);
        reply.array(if names_only { found.len() } else { found.len() * 2 });
        for (field, value) in found {
            reply.bulk(field);
            if !names_only {
                reply.bulk(value);
            }
        }
        Ok(())
    })?
}

/// HRANDFIELD key \[count \[WITHVALUES\]\]
pub fn hrandfield(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let Some(count) = args.get(2) else {
        let r = cx.random();
        return with_hash(cx, args, |hash, mut reply| match hash.and_then(|h| h.sample(r)) {
            Some((field, _)) => reply.bulk(field),
            None => reply.null(),
        });
    };
    let (count, with_values) = picks(args, count, b"WITHVALUES")?;
    let seed = cx.random();
    with_hash(cx, args, |hash, reply| {
        let mut reply = Pairs { reply, with_values };
        match hash {
            None => reply.start(0),
            // On a replica: all fields are hidden.
            Some(hash) if hash.shown() == 0 => reply.start(0),
            Some(hash) if count < 0 => repeated(hash, count.unsigned_abs(), seed, &mut reply),
            Some(hash) => distinct(hash, count as u64, seed, &mut reply),
        }
    })
}

/// Writes fields with or without their values, in the shape of the client's protocol.
struct Pairs<'a> {
    reply: ReplyWriter<'a>,
    with_values: bool,
}

impl Pairs<'_> {
    fn start(&mut self, fields: usize) {
        let nested = self.reply.version() == Version::Resp3;
        self.reply.array(if self.with_values && !nested { fields * 2 } else { fields });
    }

    fn pair(&mut self, (field, value): (&[u8], &[u8])) {
        if self.with_values && self.reply.version() == Version::Resp3 {
            self.reply.array(2);
        }
        self.reply.bulk(field);
        if self.with_values {
            self.reply.bulk(value);
        }
    }
}

fn repeated(hash: HashRef<'_>, count: u64, mut rng: u64, reply: &mut Pairs<'_>) {
    reply.start(count as usize);
    // A table is sampled in place; what cannot be is walked once.
    let all: Option<Vec<_>> = hash.samples_slowly().then(|| hash.iter().collect());
    for _ in 0..count {
        let r = split_mix(&mut rng);
        let pair = match &all {
            Some(all) => all.get(r as usize % all.len().max(1)).copied(),
            None => hash.sample(r),
        };
        reply.pair(pair.unwrap_or_default());
    }
}

/// Each field at most once (selection sampling: each is taken with the chance that is left for it).
fn distinct(hash: HashRef<'_>, count: u64, mut rng: u64, reply: &mut Pairs<'_>) {
    let mut left = hash.shown() as u64;
    let mut wanted = count.min(left);
    reply.start(wanted as usize);
    for pair in hash.iter() {
        if wanted == 0 {
            break;
        }
        if split_mix(&mut rng) % left < wanted {
            reply.pair(pair);
            wanted -= 1;
        }
        left -= 1;
    }
}
