//! From a name to a command: an open hash table that the compiler fills.

use super::Command;
use super::flags::Flags;
use crate::error;
use crate::resp::{Args, ReplyWriter};

/// The table has 2^TABLE_BITS places, several times as many as there are names, so that a search ends soon.
const TABLE_BITS: u32 = 11;
const TABLE_PLACES: usize = 1 << TABLE_BITS;
const EMPTY: u16 = u16::MAX;

/// The longest name in the table, in bytes; longer ones are unknown without a look.
const MAX_NAME_BYTES: usize = {
    let mut longest = 0;
    let mut index = 0;
    while index < Command::COUNT {
        let length = Command::ALL[index].spec().name.len();
        if length > longest {
            longest = length;
        }
        index += 1;
    }
    longest
};

/// Places of [`Command::ALL`] by hash of the name, searched linearly.
static TABLE: [u16; TABLE_PLACES] = {
    let mut table = [EMPTY; TABLE_PLACES];
    let mut index = 0;
    while index < Command::COUNT {
        let mut place = hash(Command::ALL[index].spec().name.as_bytes());
        while table[place] != EMPTY {
            place = (place + 1) % TABLE_PLACES;
        }
        table[place] = index as u16;
        index += 1;
    }
    table
};

static COMMANDS: [Command; Command::COUNT] = Command::ALL;

/// Up to eight bytes at `from`, as one little-endian number.
const fn load(name: &[u8], from: usize, count: usize) -> u64 {
    let mut value = 0u64;
    let mut index = 0;
    while index < count {
        value |= (name[from + index] as u64) << (index * 8);
        index += 1;
    }
    value
}

/// Hashes a name without regard to case: its first and last eight bytes and its length.
#[inline]
const fn hash(name: &[u8]) -> usize {
    /// Sets the bit that tells capitals from small letters, in each byte.
    const CASE: u64 = 0x2020_2020_2020_2020;
    let len = name.len();
    let (first, last) = if len >= 8 {
        (load(name, 0, 8), load(name, len - 8, 8))
    } else if len >= 4 {
        (load(name, 0, 4), load(name, len - 4, 4))
    } else {
        (load(name, 0, len), 0)
    };
    let mixed = (first | CASE).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (last | CASE).rotate_left(29).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
        ^ (len as u64).wrapping_mul(0x1656_67B1_9E37_79F9);
    (mixed.wrapping_mul(0xFF51_AFD7_ED55_8CCD) >> (64 - TABLE_BITS)) as usize
}

/// The command of that full name (`get`, `client|list`), in any case.
#[inline]
pub fn lookup_full(name: &[u8]) -> Option<Command> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let mut place = hash(name);
    loop {
        let index = TABLE[place];
        if index == EMPTY {
            return None;
        }
        let command = *COMMANDS.get(usize::from(index))?;
        if command.spec().name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(command);
        }
        place = (place + 1) % TABLE_PLACES;
    }
}

/// The command of that name, in any case; subcommands have no name of their own here.
#[inline]
pub fn lookup(name: &[u8]) -> Option<Command> {
    lookup_full(name).filter(|command| !command.spec().flags.contains(Flags::SUBCOMMAND))
}

/// The subcommand `name` of `container`, in any case.
pub fn lookup_sub(container: Command, name: &[u8]) -> Option<Command> {
    let mut full = [0u8; MAX_NAME_BYTES];
    let container = container.spec().name.as_bytes();
    let end = container.len() + 1 + name.len();
    // The container's name, a bar, the subcommand's name.
    let place = full.get_mut(..end)?;
    place[..container.len()].copy_from_slice(container);
    place[container.len()] = b'|';
    place[container.len() + 1..].copy_from_slice(name);
    lookup_full(&full[..end])
}

/// Why a request names no command that could be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveError {
    UnknownCommand,
    UnknownSubcommand,
    /// Too few or too many arguments for this command.
    Arity(Command),
}

impl ResolveError {
    /// The error's text as Redis 7 gives it, without the leading `-`; it repeats bytes of the request.
    pub fn text(self, args: Args<'_>) -> Vec<u8> {
        match self {
            ResolveError::UnknownCommand => error::unknown_command(args),
            ResolveError::UnknownSubcommand => {
                error::unknown_subcommand(args.get(0).unwrap_or_default(), args.get(1).unwrap_or_default())
            }
            ResolveError::Arity(command) => error::wrong_arity(command.spec().name).into_bytes(),
        }
    }

    /// Answers with the error.
    pub fn write(self, args: Args<'_>, reply: &mut ReplyWriter<'_>) {
        reply.error_bytes(&self.text(args));
    }
}

/// The command (or subcommand) that a request names, when it has a fitting number of arguments. Internal commands
/// are unknown here.
#[inline]
pub fn resolve(args: &Args<'_>) -> Result<Command, ResolveError> {
    let command = resolve_internal(args)?;
    if command.spec().is_internal() { Err(ResolveError::UnknownCommand) } else { Ok(command) }
}

/// As [`resolve`], for a peer that has proved the cluster secret: internal commands are known too.
#[inline]
pub fn resolve_internal(args: &Args<'_>) -> Result<Command, ResolveError> {
    let name = args.get(0).ok_or(ResolveError::UnknownCommand)?;
    let mut command = lookup(name).ok_or(ResolveError::UnknownCommand)?;
    let mut spec = command.spec();
    if spec.flags.contains(Flags::CONTAINER)
        && let Some(sub) = args.get(1)
    {
        command = lookup_sub(command, sub).ok_or(ResolveError::UnknownSubcommand)?;
        spec = command.spec();
    }
    if spec.arity_allows(args.len()) {
        Ok(command)
    } else if spec.is_internal() {
        // Nothing may tell a stranger that the name exists.
        Err(ResolveError::UnknownCommand)
    } else {
        Err(ResolveError::Arity(command))
    }
}
