//! Handlers of the list family.

mod block;
mod pop;
mod push;
mod read;
#[cfg(test)]
mod tests;

use torc_protocol::command::ListCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::End;

/// LEFT or RIGHT.
fn end(word: &[u8]) -> Result<End, CommandError> {
    if word.eq_ignore_ascii_case(b"left") {
        Ok(End::Front)
    } else if word.eq_ignore_ascii_case(b"right") {
        Ok(End::Back)
    } else {
        Err(CommandError::Syntax)
    }
}

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ListCommand, args: &Args<'_>) -> CommandResult {
    match command {
        ListCommand::Blmpop => block::mpop(cx, args),
        ListCommand::Blpop => block::pop(cx, args, End::Front),
        ListCommand::Brpop => block::pop(cx, args, End::Back),
        ListCommand::Llen => read::llen(cx, args),
        ListCommand::Lmpop => pop::mpop(cx, args),
        ListCommand::Lpop => pop::pop(cx, args, End::Front),
        ListCommand::Lpush => push::push(cx, args, End::Front),
        ListCommand::Rpop => pop::pop(cx, args, End::Back),
        ListCommand::Rpush => push::push(cx, args, End::Back),
    }
}
