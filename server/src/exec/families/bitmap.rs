//! Handlers of the bitmap family.

use torc_protocol::command::BitmapCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: BitmapCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        BitmapCommand::Bitcount => Err("ERR 'bitcount' is not served yet".into()),
        BitmapCommand::Bitfield => Err("ERR 'bitfield' is not served yet".into()),
        BitmapCommand::BitfieldRo => Err("ERR 'bitfield_ro' is not served yet".into()),
        BitmapCommand::Bitop => Err("ERR 'bitop' is not served yet".into()),
        BitmapCommand::Bitpos => Err("ERR 'bitpos' is not served yet".into()),
        BitmapCommand::Getbit => Err("ERR 'getbit' is not served yet".into()),
        BitmapCommand::Setbit => Err("ERR 'setbit' is not served yet".into()),
    }
}
