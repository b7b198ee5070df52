//! What can be known of a request before its turn: the command, and where its first key is.
//!
//! Worked out for several requests together, so that the store can fetch what they will look up while the first
//! of them still runs. Nothing here depends on what an earlier request may change: the database is a guess.

use torc_protocol::command::{Command, InternalCommand, resolve_internal};
use torc_protocol::context::Context;
use torc_protocol::resp::Args;
use torc_protocol::slot::Slot;

use super::Session;
use crate::store::prefetch::Hint;
use crate::store::{Key, Store};

/// Arguments in front of the command in a request with a context prefix.
const PREFIX_ARGS: usize = 2;

/// See the module's text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Foreseen {
    /// The command, unless it is one that only parts of Torc may use.
    pub(super) command: Option<Command>,
    key: Option<FirstKey>,
}

#[derive(Clone, Copy, Debug)]
struct FirstKey {
    index: usize,
    hash: u64,
    slot: Slot,
}

impl Foreseen {
    /// Looks at a request; `hint` gets its first key.
    #[inline]
    pub fn of(store: &Store, session: &Session, args: &Args<'_>, hint: impl FnOnce(Hint)) -> Foreseen {
        let Ok(outer) = resolve_internal(args) else { return Foreseen::default() };
        if !outer.spec().is_internal() {
            let key = first_key(store, outer, args, session.db, hint);
            return Foreseen { command: Some(outer), key };
        }
        let in_context = session.trusted && outer == Command::Internal(InternalCommand::Ctx);
        let context = if in_context { Context::decode(args.get(1).unwrap_or_default()).ok() } else { None };
        let inner = args.tail(PREFIX_ARGS);
        let key = match (context, resolve_internal(&inner)) {
            (Some(context), Ok(command)) => first_key(store, command, &inner, context.db, hint)
                .map(|key| FirstKey { index: key.index + PREFIX_ARGS, ..key }),
            _ => None,
        };
        Foreseen { command: None, key }
    }

    /// The first key in `args`, which are those that were looked at.
    #[inline]
    pub(super) fn key<'a>(&self, args: &Args<'a>) -> Option<Key<'a>> {
        let FirstKey { index, hash, slot } = self.key?;
        Some(Key { bytes: args.get(index)?, hash, slot })
    }
}

#[inline]
fn first_key(
    store: &Store,
    command: Command,
    args: &Args<'_>,
    db: u8,
    hint: impl FnOnce(Hint),
) -> Option<FirstKey> {
    let index = command.spec().keys.first(args)?;
    let Key { hash, slot, .. } = store.key(args.get(index)?);
    store.prefetch_stripe(slot);
    hint(Hint { hash, slot, db });
    Some(FirstKey { index, hash, slot })
}
