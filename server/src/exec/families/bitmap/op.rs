//! BITOP.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    And,
    Or,
    Xor,
    Not,
}

impl Op {
    fn parse(name: &[u8]) -> Result<Op, CommandError> {
        [(&b"AND"[..], Op::And), (b"OR", Op::Or), (b"XOR", Op::Xor), (b"NOT", Op::Not)]
            .into_iter()
            .find_map(|(n, op)| name.eq_ignore_ascii_case(n).then_some(op))
            .ok_or(CommandError::Syntax)
    }

    /// Joins another string to `result`, which is at least as long; beyond its end it has zeros.
    fn join(self, result: &mut [u8], other: &[u8]) {
        let (head, tail) = result.split_at_mut(other.len());
        let pairs = head.iter_mut().zip(other);
        match self {
            Op::And => {
                pairs.for_each(|(r, o)| *r &= o);
                tail.fill(0);
            }
            Op::Or => pairs.for_each(|(r, o)| *r |= o),
            Op::Xor => pairs.for_each(|(r, o)| *r ^= o),
            Op::Not => {}
        }
    }
}

/// BITOP AND | OR | XOR | NOT destination key \[key …\]
pub fn bitop(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let op = Op::parse(&args[1])?;
    let sources = args.tail(3);
    if op == Op::Not && sources.len() != 1 {
        return Err(text::BITOP_NOT.into());
    }
    let mut longest = 0;
    for name in sources {
        let key = cx.key(name);
        longest = longest.max(cx.read_string(&key)?.map_or(0, <[u8]>::len));
    }
    let mut result = Vec::with_capacity(longest);
    for (index, name) in sources.iter().enumerate() {
        let key = cx.key(name);
        let bytes = cx.peek_string(&key)?.unwrap_or_default();
        if index == 0 {
            result.extend_from_slice(bytes);
            result.resize(longest, 0);
        } else {
            op.join(&mut result, bytes);
        }
    }
    if op == Op::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let destination = cx.key(&args[2]);
    if result.is_empty() {
        if cx.delete(&destination) {
            cx.notify(Class::GENERIC, "del", destination.bytes);
        }
    } else {
        cx.put_string(&destination, &result, None, 0);
        cx.mark(&destination, |entry| entry.mark_modified());
        cx.notify(Class::STRING, "set", destination.bytes);
    }
    cx.reply().integer(longest as i64);
    Ok(())
}
