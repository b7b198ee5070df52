//! From a name to a command: an open hash table that the compiler fills.

use super::flags::Flags;
use super::{Command, TransactionCommand};
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
        let name = Command::ALL[index].spec().name.as_bytes();
        let mut place = Ends::of(name).hash(name.len());
        while table[place] != EMPTY {
            place = (place + 1) % TABLE_PLACES;
        }
        table[place] = index as u16;
        index += 1;
    }
    table
};

/// A command beside its name, so that a search needs no other table.
#[derive(Clone, Copy)]
struct Named {
    name: &'static [u8],
    ends: Ends,
    /// The case bit where the name has a letter: what may differ in a request.
    letters: Ends,
    command: Command,
    /// Neither a subcommand nor anything else that cannot stand first in a request.
    top_level: bool,
}

static NAMED: [Named; Command::COUNT] = {
    let none = Ends { first: 0, last: 0 };
    let mut named =
        [Named { name: b"", ends: none, letters: none, command: Command::ALL[0], top_level: false };
            Command::COUNT];
    let mut index = 0;
    while index < Command::COUNT {
        let command = Command::ALL[index];
        let spec = command.spec();
        let name = spec.name.as_bytes();
        let top_level = !spec.flags.contains(Flags::SUBCOMMAND);
        let ends = Ends::of(name);
        named[index] = Named { name, ends, letters: ends.letters(), command, top_level };
        index += 1;
    }
    named
};

/// The case bit of every byte.
const CASE: u64 = 0x2020_2020_2020_2020;

/// The first and the last eight bytes of a name (they overlap, or are fewer, when it is shorter than sixteen): all of
/// it, nearly always.
#[derive(Clone, Copy)]
struct Ends {
    first: u64,
    last: u64,
}

impl Ends {
    #[inline]
    const fn of(name: &[u8]) -> Ends {
        let len = name.len();
        if len >= 8 {
            Ends { first: load8(name, 0), last: load8(name, len - 8) }
        } else if len >= 4 {
            Ends { first: load4(name, 0), last: load4(name, len - 4) }
        } else if len > 0 {
            // Every byte of a name of three.
            let first = name[0] as u64 | (name[len / 2] as u64) << 8 | (name[len - 1] as u64) << 16;
            Ends { first, last: 0 }
        } else {
            Ends { first: 0, last: 0 }
        }
    }

    /// The case bit of each byte that is a small letter.
    const fn letters(self) -> Ends {
        const fn letters(bytes: u64) -> u64 {
            let mut bits = 0;
            let mut index = 0;
            while index < 8 {
                let byte = (bytes >> (index * 8)) as u8;
                if byte.is_ascii_lowercase() {
                    bits |= 0x20 << (index * 8);
                }
                index += 1;
            }
            bits
        }
        Ends { first: letters(self.first), last: letters(self.last) }
    }

    /// Hashes a name of `len` bytes without regard to case.
    #[inline]
    const fn hash(self, len: usize) -> usize {
        let mixed = (self.first | CASE).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ (self.last | CASE).rotate_left(29).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
            ^ (len as u64).wrapping_mul(0x1656_67B1_9E37_79F9);
        (mixed.wrapping_mul(0xFF51_AFD7_ED55_8CCD) >> (64 - TABLE_BITS)) as usize
    }
}

impl Named {
    /// Whether this is the name, in any case.
    #[inline]
    fn is(&self, name: &[u8], ends: Ends) -> bool {
        /// Longer names have a middle that their ends do not cover.
        const COVERED_BYTES: usize = 16;
        self.name.len() == name.len()
            && ends.first | self.letters.first == self.ends.first
            && ends.last | self.letters.last == self.ends.last
            && (name.len() <= COVERED_BYTES || self.name.eq_ignore_ascii_case(name))
    }
}

/// The eight bytes at `from`, as one little-endian number. `from` is within the name by the callers' checks.
const fn load8(name: &[u8], from: usize) -> u64 {
    match name.split_at(from).1.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// The four bytes at `from`, likewise.
const fn load4(name: &[u8], from: usize) -> u64 {
    match name.split_at(from).1.first_chunk::<4>() {
        Some(bytes) => u32::from_le_bytes(*bytes) as u64,
        None => 0,
    }
}

#[inline]
fn find(name: &[u8]) -> Option<&'static Named> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let ends = Ends::of(name);
    let mut place = ends.hash(name.len());
    loop {
        let named = NAMED.get(usize::from(TABLE[place]))?;
        if named.is(name, ends) {
            return Some(named);
        }
        place = (place + 1) % TABLE_PLACES;
    }
}

/// The command of that full name (`get`, `client|list`), in any case.
pub fn lookup_full(name: &[u8]) -> Option<Command> {
    find(name).map(|named| named.command)
}

/// The command of that name, in any case; subcommands have no name of their own here.
#[inline]
pub fn lookup(name: &[u8]) -> Option<Command> {
    find(name).filter(|named| named.top_level).map(|named| named.command)
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
            ResolveError::Arity(command) => {
                let text = error::wrong_arity(command.spec().name);
                if self.ends_transaction() {
                    let why = text.strip_prefix("ERR ").unwrap_or(&text);
                    return format!("EXECABORT Transaction discarded because of: {why}").into_bytes();
                }
                text.into_bytes()
            }
        }
    }

    /// Whether an open transaction is over with this error: EXEC with arguments discards it, as in Redis.
    pub fn ends_transaction(self) -> bool {
        self == ResolveError::Arity(Command::Transactions(TransactionCommand::Exec))
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
