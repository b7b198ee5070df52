//! Handlers of the bitmap family.
//!
//! Bit 0 of a string is the highest bit of its first byte.

mod bits;
mod count;
mod field;
mod op;

use torc_protocol::command::BitmapCommand;
use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};

use crate::exec::{CommandError, CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: BitmapCommand, args: &Args<'_>) -> CommandResult {
    match command {
        BitmapCommand::Bitcount => count::bitcount(cx, args),
        BitmapCommand::Bitfield => field::bitfield(cx, args),
        BitmapCommand::BitfieldRo => field::bitfield_ro(cx, args),
        BitmapCommand::Bitop => op::bitop(cx, args),
        BitmapCommand::Bitpos => count::bitpos(cx, args),
        BitmapCommand::Getbit => bits::getbit(cx, args),
        BitmapCommand::Setbit => bits::setbit(cx, args),
    }
}

/// A bit offset: in bits, or with `#` in multiples of `width` where that is allowed.
fn bit_offset(cx: &Cx<'_, '_>, arg: &[u8], width: Option<u32>) -> Result<u64, CommandError> {
    let (digits, factor) = match (arg, width) {
        ([b'#', rest @ ..], Some(width)) => (rest, u64::from(width)),
        _ => (arg, 1),
    };
    parse_i64(digits)
        .and_then(|n| u64::try_from(n).ok())
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| n >> 3 < cx.node.settings.load().proto_max_bulk_bytes)
        .ok_or_else(|| text::BIT_OFFSET.into())
}
