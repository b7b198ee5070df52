//! BITFIELD and BITFIELD_RO: integers of 1 to 64 bits at any bit of a string.

use smallvec::SmallVec;
use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};

use super::bit_offset;
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;

/// An integer's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    signed: bool,
    bits: u32,
}

impl Kind {
    fn parse(arg: &[u8]) -> Result<Kind, CommandError> {
        let (signed, digits, most) = match arg {
            [b'i', rest @ ..] => (true, rest, 64),
            [b'u', rest @ ..] => (false, rest, 63),
            _ => return Err(text::BITFIELD_TYPE.into()),
        };
        parse_i64(digits)
            .filter(|bits| (1..=most).contains(bits))
            .map(|bits| Kind { signed, bits: bits as u32 })
            .ok_or_else(|| text::BITFIELD_TYPE.into())
    }

    fn limits(self) -> (i128, i128) {
        if self.signed {
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    /// What the lowest bits of `n` mean in this type.
    fn wrap(self, n: i128) -> i128 {
        let low = n & ((1 << self.bits) - 1);
        if self.signed && low >> (self.bits - 1) != 0 { low - (1 << self.bits) } else { low }
    }

    /// `n` made to fit; `None` when it does not and the caller wants to fail.
    fn fit(self, n: i128, overflow: Overflow) -> Option<i128> {
        let (least, most) = self.limits();
        if (least..=most).contains(&n) {
            return Some(n);
        }
        match overflow {
            Overflow::Wrap => Some(self.wrap(n)),
            Overflow::Saturate => Some(n.clamp(least, most)),
            Overflow::Fail => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    action: Action,
    kind: Kind,
    offset: u64,
    overflow: Overflow,
}

impl Step {
    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// The bytes that the field lies in.
    fn bytes(&self) -> (usize, usize) {
        ((self.offset >> 3) as usize, ((self.offset + u64::from(self.kind.bits) - 1) >> 3) as usize)
    }

    fn load(&self, bytes: &[u8]) -> i128 {
        let (first, last) = self.bytes();
        let mut n = 0i128;
        for at in first..=last {
            n = (n << 8) | i128::from(bytes.get(at).copied().unwrap_or(0));
        }
        self.kind.wrap(n >> self.below(last))
    }

    /// Bits of the last byte that lie below the field.
    fn below(&self, last: usize) -> u64 {
        (last as u64 * 8 + 8) - (self.offset + u64::from(self.kind.bits))
    }

    /// The bytes that the field lies in, with its new value.
    fn store(&self, bytes: &[u8], value: i128) -> SmallVec<[u8; 16]> {
        let (first, last) = self.bytes();
        let below = self.below(last);
        let mask = ((1i128 << self.kind.bits) - 1) << below;
        let mut n = 0i128;
        for at in first..=last {
            n = (n << 8) | i128::from(bytes.get(at).copied().unwrap_or(0));
        }
        n = (n & !mask) | ((value << below) & mask);
        (0..=last - first).rev().map(|at| (n >> (at * 8)) as u8).collect()
    }
}

type Steps = SmallVec<[Step; 4]>;

fn parse(cx: &Cx<'_, '_>, args: &Args<'_>) -> Result<Steps, CommandError> {
    let mut steps = Steps::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while let Some(name) = args.get(at) {
        let operands = args.len() - at - 1;
        if name.eq_ignore_ascii_case(b"OVERFLOW") && operands >= 1 {
            let how = &args[at + 1];
            overflow =
                [(&b"WRAP"[..], Overflow::Wrap), (b"SAT", Overflow::Saturate), (b"FAIL", Overflow::Fail)]
                    .into_iter()
                    .find_map(|(n, o)| how.eq_ignore_ascii_case(n).then_some(o))
                    .ok_or(CommandError::from(text::BITFIELD_OVERFLOW))?;
            at += 2;
            continue;
        }
        let get = name.eq_ignore_ascii_case(b"GET") && operands >= 2;
        let set = name.eq_ignore_ascii_case(b"SET") && operands >= 3;
        let add = name.eq_ignore_ascii_case(b"INCRBY") && operands >= 3;
        if !(get || set || add) {
            return Err(CommandError::Syntax);
        }
        let kind = Kind::parse(&args[at + 1])?;
        let offset = bit_offset(cx, &args[at + 2], Some(kind.bits))?;
        let action = if get {
            Action::Get
        } else {
            let n = integer(&args[at + 3])?;
            if set { Action::Set(n) } else { Action::Add(n) }
        };
        steps.push(Step { action, kind, offset, overflow });
        at += if get { 3 } else { 4 };
    }
    Ok(steps)
}

/// BITFIELD key \[GET type offset | \[OVERFLOW WRAP | SAT | FAIL\] SET type offset value | INCRBY type offset increment\] …
pub fn bitfield(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let steps = parse(cx, args)?;
    run(cx, args, &steps)
}

/// BITFIELD_RO key \[GET type offset …\]
pub fn bitfield_ro(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let steps = parse(cx, args)?;
    if steps.iter().any(Step::writes) {
        return Err(text::BITFIELD_RO.into());
    }
    run(cx, args, &steps)
}

fn run(cx: &mut Cx<'_, '_>, args: &Args<'_>, steps: &Steps) -> CommandResult {
    let key = cx.key(&args[1]);
    let (dirty, mut grown, mut changes) = (cx.dirty, false, 0);
    let last_written = steps.iter().filter(|s| s.writes()).map(|s| s.bytes().1).max();
    match last_written {
        None => drop(cx.read_string(&key)?),
        Some(last) => {
            // The string is made long enough for all that may be written, even if then nothing is.
            if cx.peek_string(&key)?.map_or(0, <[u8]>::len) <= last {
                cx.patch(&key, last, &[0]);
                grown = true;
            }
        }
    }
    cx.reply().array(steps.len());
    for step in steps {
        let bytes = cx.peek_string(&key)?.unwrap_or_default();
        let old = step.load(bytes);
        let (new, shown) = match step.action {
            Action::Get => (None, Some(old)),
            Action::Set(n) => {
                // Seen through 64 bits, as the value of an unsigned field is.
                let n = if step.kind.signed { i128::from(n) } else { i128::from(n as u64) };
                let new = match step.overflow {
                    // Redis computes the distance to the largest number in 64 bits: from so far below it wraps,
                    // and counts as too large.
                    Overflow::Saturate
                        if step.kind.limits().1 - n > i128::from(i64::MAX) && step.kind.bits < 64 =>
                    {
                        Some(step.kind.limits().1)
                    }
                    overflow => step.kind.fit(n, overflow),
                };
                (new, new.map(|_| old))
            }
            Action::Add(n) => {
                let new = step.kind.fit(old + i128::from(n), step.overflow);
                (new, new)
            }
        };
        if let Some(new) = new {
            changes += u64::from(grown || new != old);
            // A field that has its value already changes nothing.
            if new != old {
                let patch = step.store(bytes, new);
                cx.patch(&key, step.bytes().0, &patch);
            }
        }
        match shown {
            Some(n) => cx.reply().integer(n as i64),
            None => cx.reply().null(),
        }
    }
    // As Redis counts: that it grew is no change of its own.
    cx.dirty = dirty + changes.max(u64::from(grown));
    if changes > 0 {
        cx.notify(Class::STRING, "setbit", key.bytes);
    }
    Ok(())
}
