//! Commands that take elements from an end: LPOP, RPOP, LMPOP.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter, parse_i64};

use super::{bulk, fill};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::value::{End, ListChange, ListValue};
use crate::store::{Collection, Key};

/// What stands in front of the elements that are taken.
#[derive(Clone, Copy, Debug)]
pub enum Front<'f> {
    /// Nothing: one element by itself.
    Nothing,
    /// The length of an array of them.
    Array,
    /// An array of two: this key and the element.
    Key(&'f [u8]),
    /// An array of two: this key and an array of the elements.
    KeyAndArray(&'f [u8]),
}

/// Takes up to `count` elements from an end of the list at a key, writes them to the reply and tells so. False when
/// there is no list: nothing is written then.
pub fn take(
    cx: &mut Cx<'_, '_>,
    key: &Key<'_>,
    end: End,
    count: usize,
    front: Front<'_>,
) -> Result<bool, CommandError> {
    // The elements go to the reply without a copy between.
    let (mut out, version, fill) = (std::mem::take(cx.out), cx.version, fill(cx));
    let result = cx.modify(
        key,
        |list: &mut ListValue| {
            let count = count.min(list.len());
            if count == 0 {
                return ((0, list.is_empty()), false);
            }
            let mut reply = ReplyWriter::new(&mut out, version);
            match front {
                Front::Nothing => {}
                Front::Array => reply.array(count),
                Front::Key(key) => {
                    reply.array(2);
                    reply.bulk(key);
                }
                Front::KeyAndArray(key) => {
                    reply.array(2);
                    reply.bulk(key);
                    reply.array(count);
                }
            }
            list.pop(end, count, fill, |element| bulk(&mut reply, element));
            ((count, list.is_empty()), true)
        },
        |out, (count, _)| ListChange::Pop(end, *count as u64).put(out),
    );
    *cx.out = out;
    let (taken, empty) = result?;
    if taken > 0 {
        tell(cx, key, end, empty);
    }
    Ok(taken > 0)
}

/// Keyspace events of elements that were taken from an end.
pub fn tell(cx: &mut Cx<'_, '_>, key: &Key<'_>, end: End, gone: bool) {
    cx.notify(Class::LIST, if end == End::Front { "lpop" } else { "rpop" }, key.bytes);
    if gone {
        cx.notify(Class::GENERIC, "del", key.bytes);
    }
}

/// LPOP and RPOP key \[count\]
pub fn pop(cx: &mut Cx<'_, '_>, args: &Args<'_>, end: End) -> CommandResult {
    if args.len() > 3 {
        return Err(text::wrong_arity(if end == End::Front { "lpop" } else { "rpop" }).into());
    }
    let count = match args.get(2) {
        None => None,
        Some(arg) => {
            let count = parse_i64(arg).and_then(|n| usize::try_from(n).ok());
            Some(count.ok_or("ERR value is out of range, must be positive")?)
        }
    };
    let key = cx.key(&args[1]);
    let front = if count.is_some() { Front::Array } else { Front::Nothing };
    if take(cx, &key, end, count.unwrap_or(1), front)? {
        return Ok(());
    }
    let missing = cx.peek_as::<&ListValue>(&key)?.is_none();
    let mut reply = cx.reply();
    match count {
        Some(_) if missing => reply.null_array(),
        Some(_) => reply.array(0),
        None => reply.null(),
    }
    Ok(())
}

/// What LMPOP and BLMPOP ask for: `numkeys key [key …] LEFT | RIGHT [COUNT count]`.
#[derive(Clone, Copy, Debug)]
pub struct Mpop<'a> {
    keys: Args<'a>,
    count_of_keys: usize,
    end: End,
    count: usize,
}

impl<'a> Mpop<'a> {
    /// Reads the arguments behind those of the command itself.
    pub fn parse(args: Args<'a>) -> Result<Mpop<'a>, CommandError> {
        let positive = |arg: Option<&[u8]>| {
            let number = arg.and_then(parse_i64).filter(|n| *n > 0);
            number.and_then(|n| usize::try_from(n).ok())
        };
        let count_of_keys = positive(args.get(0)).ok_or("ERR numkeys should be greater than 0")?;
        let at = count_of_keys.checked_add(1).ok_or(CommandError::Syntax)?;
        let end = super::end(args.get(at).ok_or(CommandError::Syntax)?)?;
        let count = match args.get(at + 1) {
            None => 1,
            Some(word) if word.eq_ignore_ascii_case(b"count") && args.len() > at + 2 => {
                let count = positive(args.get(at + 2)).ok_or("ERR count should be greater than 0")?;
                if args.len() > at + 3 {
                    return Err(CommandError::Syntax);
                }
                count
            }
            Some(_) => return Err(CommandError::Syntax),
        };
        Ok(Mpop { keys: args.tail(1), count_of_keys, end, count })
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.keys.iter().take(self.count_of_keys)
    }

    /// Takes from the first list that has anything; false when none has.
    pub fn take(&self, cx: &mut Cx<'_, '_>) -> Result<bool, CommandError> {
        for bytes in self.keys() {
            let key = cx.key(bytes);
            if take(cx, &key, self.end, self.count, Front::KeyAndArray(bytes))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// LMPOP numkeys key \[key …\] LEFT | RIGHT \[COUNT count\]
pub fn mpop(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if !Mpop::parse(args.tail(1))?.take(cx)? {
        cx.reply().null_array();
    }
    Ok(())
}
