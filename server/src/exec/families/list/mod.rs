//! Handlers of the list family.

mod block;
mod change;
mod mv;
mod pop;
mod position;
mod push;
mod read;
#[cfg(test)]
mod tests;

use torc_protocol::command::ListCommand;
use torc_protocol::resp::{Args, ReplyWriter};

use crate::exec::{CommandError, CommandResult, Cx};
use crate::rdb::Element;
use crate::store::value::{End, Fill};

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

/// What a node of a list may hold now.
fn fill(cx: &Cx<'_, '_>) -> Fill {
    Fill(cx.env().limits.list_node_size)
}

/// Answers with an element.
#[inline]
fn bulk(reply: &mut ReplyWriter<'_>, element: Element<'_>) {
    match element {
        Element::String(bytes) => reply.bulk(bytes),
        Element::Integer(n) => reply.bulk(itoa::Buffer::new().format(n).as_bytes()),
    }
}

/// Which element a negative or positive index means; `None`: none.
fn index_within(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 {
        len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
    } else {
        usize::try_from(index).ok()?
    };
    (index < len).then_some(index)
}

/// Which elements of `len` the range from `start` to `stop` means, as LRANGE and LTRIM see it: a stop in front of the
/// first element means none. `None` when there is nothing in it.
fn range_within(start: i64, stop: i64, len: usize) -> Option<(usize, usize)> {
    let len = i64::try_from(len).ok()?;
    let from_end = |n: i64| if n < 0 { n.saturating_add(len) } else { n };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { None } else { Some((start as usize, stop as usize)) }
}

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ListCommand, args: &Args<'_>) -> CommandResult {
    match command {
        ListCommand::Blmove => block::lmove(cx, args),
        ListCommand::Blmpop => block::mpop(cx, args),
        ListCommand::Blpop => block::pop(cx, args, End::Front),
        ListCommand::Brpop => block::pop(cx, args, End::Back),
        ListCommand::Brpoplpush => block::rpoplpush(cx, args),
        ListCommand::Lindex => read::lindex(cx, args),
        ListCommand::Linsert => change::linsert(cx, args),
        ListCommand::Llen => read::llen(cx, args),
        ListCommand::Lmove => mv::lmove(cx, args),
        ListCommand::Lmpop => pop::mpop(cx, args),
        ListCommand::Lpop => pop::pop(cx, args, End::Front),
        ListCommand::Lpos => position::lpos(cx, args),
        ListCommand::Lpush => push::push(cx, args, End::Front),
        ListCommand::Lpushx => push::pushx(cx, args, End::Front),
        ListCommand::Lrange => read::lrange(cx, args),
        ListCommand::Lrem => change::lrem(cx, args),
        ListCommand::Lset => change::lset(cx, args),
        ListCommand::Ltrim => change::ltrim(cx, args),
        ListCommand::Rpop => pop::pop(cx, args, End::Back),
        ListCommand::Rpoplpush => mv::rpoplpush(cx, args),
        ListCommand::Rpush => push::push(cx, args, End::Back),
        ListCommand::Rpushx => push::pushx(cx, args, End::Back),
    }
}
