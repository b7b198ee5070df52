//! The value of a set: integers in a sorted array, a few members in one piece of memory, or buckets.
//!
//! Which of them is decided as Redis 7.2 does (`set-max-intset-entries`, `set-max-listpack-entries`,
//! `set-max-listpack-value`), so OBJECT ENCODING answers the same. A set that left a form does not come back to it.

mod change;
mod ints;
mod members;
mod packed;

use members::Members;
use packed::Packed;
use torc_protocol::resp::{ReplyWriter, parse_i64};

use super::{Collection, Env, Kind, variant};
use crate::effect::DecodeError;
use crate::store::entry::allocated;

pub use change::{MemberList, SetChange};
pub use ints::Ints;

/// Redis's intsets have no more elements than this, whatever the option says.
const INTS_MAX: usize = 1 << 30;

/// A set value; see the module's text.
#[derive(Clone, Debug)]
pub enum SetValue {
    /// Integers.
    Ints(Ints),
    /// A few members.
    Packed(Packed),
    /// Any members.
    Table(Box<Members>),
}

impl Default for SetValue {
    fn default() -> Self {
        SetValue::Ints(Ints::default())
    }
}

/// A member as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Member<'a> {
    /// One of a set of integers.
    Int(i64),
    /// Any other, which may look like an integer as well.
    Bytes(&'a [u8]),
}

impl<'a> Member<'a> {
    /// The member's bytes; `buffer` keeps the digits of an integer.
    #[inline]
    pub fn bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Member::Int(n) => buffer.format(n).as_bytes(),
            Member::Bytes(bytes) => bytes,
        }
    }

    /// The member's bytes, owned.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// Writes the member as a bulk string.
    #[inline]
    pub fn reply(self, reply: &mut ReplyWriter<'_>) {
        match self {
            Member::Int(n) => reply.bulk_integer(n),
            Member::Bytes(bytes) => reply.bulk(bytes),
        }
    }
}

/// Which of the three forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ints,
    Packed,
    Table,
}

/// Decimal digits of an integer, the sign included.
fn digits(n: i64) -> usize {
    itoa::Buffer::new().format(n).len()
}

fn ints_max(env: &Env) -> usize {
    env.limits.set_intset_entries.min(INTS_MAX)
}

impl SetValue {
    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self.form() {
            Form::Ints => "intset",
            Form::Packed => "listpack",
            Form::Table => "hashtable",
        }
    }

    fn form(&self) -> Form {
        match self {
            SetValue::Ints(_) => Form::Ints,
            SetValue::Packed(_) => Form::Packed,
            SetValue::Table(_) => Form::Table,
        }
    }

    /// A set that is to get about `hint` members, of which `first` is the first.
    pub fn for_members(first: &[u8], hint: usize, env: &Env) -> SetValue {
        if parse_i64(first).is_some() && hint <= env.limits.set_intset_entries {
            SetValue::default()
        } else if hint <= env.limits.set.entries {
            SetValue::Packed(Packed::default())
        } else {
            SetValue::Table(Box::new(Members::new(env.hasher)))
        }
    }

    /// Members are about to be added, `hint` of them: takes the form that so many need. An empty set becomes what
    /// [`SetValue::for_members`] says.
    pub fn expect(&mut self, first: &[u8], hint: usize, env: &Env) {
        if self.is_empty() {
            *self = SetValue::for_members(first, hint, env);
            return;
        }
        let limit = match self {
            SetValue::Ints(_) => env.limits.set_intset_entries,
            SetValue::Packed(_) => env.limits.set.entries,
            SetValue::Table(_) => return,
        };
        if hint > limit {
            self.make_table(env);
        }
    }

    fn make_table(&mut self, env: &Env) {
        let mut table = Members::new(env.hasher);
        let mut buffer = itoa::Buffer::new();
        for member in self.iter() {
            table.insert(member.bytes(&mut buffer));
        }
        *self = SetValue::Table(Box::new(table));
    }

    /// Whether `member` is in the set.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self {
            SetValue::Ints(ints) => parse_i64(member).is_some_and(|n| ints.contains(n)),
            SetValue::Packed(packed) => packed.contains(member),
            SetValue::Table(table) => table.contains(member),
        }
    }

    /// Whether a member of another set is in this one.
    #[inline]
    pub fn has(&self, member: Member<'_>) -> bool {
        match (self, member) {
            (SetValue::Ints(ints), Member::Int(n)) => ints.contains(n),
            _ => self.contains(member.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Adds a member; false when it was there.
    pub fn add(&mut self, member: &[u8], env: &Env) -> bool {
        match self {
            SetValue::Table(table) => table.insert(member),
            SetValue::Packed(packed) => {
                if packed.contains(member) {
                    return false;
                }
                let limits = &env.limits.set;
                if packed.len() < limits.entries && member.len() <= limits.value_bytes {
                    packed.push(member);
                    return true;
                }
                self.make_table(env);
                self.add(member, env)
            }
            SetValue::Ints(ints) => {
                if let Some(n) = parse_i64(member) {
                    let added = ints.insert(n);
                    if ints.len() > ints_max(env) {
                        self.make_table(env);
                    }
                    return added;
                }
                let limits = &env.limits.set;
                let ends = [ints.get(0), ints.len().checked_sub(1).and_then(|last| ints.get(last))];
                let longest = ends.into_iter().flatten().map(digits).max().unwrap_or(0);
                if ints.len() < limits.entries && member.len().max(longest) <= limits.value_bytes {
                    let mut packed = Packed::default();
                    let mut buffer = itoa::Buffer::new();
                    ints.iter().for_each(|n| packed.push(buffer.format(n).as_bytes()));
                    packed.push(member);
                    *self = SetValue::Packed(packed);
                    return true;
                }
                self.make_table(env);
                self.add(member, env)
            }
        }
    }

    /// Adds a member of another set; false when it was there.
    pub fn add_member(&mut self, member: Member<'_>, env: &Env) -> bool {
        match (&mut *self, member) {
            (SetValue::Ints(ints), Member::Int(n)) if ints.len() < ints_max(env) => ints.insert(n),
            _ => self.add(member.bytes(&mut itoa::Buffer::new()), env),
        }
    }

    /// Takes a member out; false when it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            SetValue::Ints(ints) => parse_i64(member).is_some_and(|n| ints.remove(n)),
            SetValue::Packed(packed) => packed.remove(member),
            SetValue::Table(table) => table.remove(member),
        }
    }

    /// A set of integers alone takes the form for them, if it is not too big for it.
    pub fn make_ints(&mut self, env: &Env) {
        if self.form() == Form::Ints || self.len() > ints_max(env) {
            return;
        }
        let mut ints = Ints::default();
        let mut buffer = itoa::Buffer::new();
        for member in self.iter() {
            match parse_i64(member.bytes(&mut buffer)) {
                Some(n) => ints.insert(n),
                None => return,
            };
        }
        *self = SetValue::Ints(ints);
    }

    /// What is left after most members were popped is put together anew, which may bring a smaller form.
    pub fn rebuild(&mut self, env: &Env) {
        let mut new = match self.form() {
            Form::Ints => SetValue::default(),
            _ => SetValue::Packed(Packed::default()),
        };
        self.iter().for_each(|member| {
            new.add_member(member, env);
        });
        *self = new;
    }

    /// An empty set in the form for a few members of any kind.
    pub fn packed() -> SetValue {
        SetValue::Packed(Packed::default())
    }

    /// An empty set in the form for any number of members.
    pub fn table(env: &Env) -> SetValue {
        SetValue::Table(Box::new(Members::new(env.hasher)))
    }

    /// The integers of a set that is kept so.
    pub fn as_ints(&self) -> Option<&Ints> {
        match self {
            SetValue::Ints(ints) => Some(ints),
            _ => None,
        }
    }

    /// Whether its members have the order in which they were added.
    pub fn is_packed(&self) -> bool {
        self.form() == Form::Packed
    }

    /// All members: integers ascending, a few in the order they came in, many in no order.
    pub fn iter(&self) -> impl Iterator<Item = Member<'_>> {
        let (ints, packed, table) = match self {
            SetValue::Ints(ints) => (Some(ints), None, None),
            SetValue::Packed(packed) => (None, Some(packed), None),
            SetValue::Table(table) => (None, None, Some(table)),
        };
        let ints = ints.into_iter().flat_map(Ints::iter).map(Member::Int);
        let packed = packed.into_iter().flat_map(Packed::iter).map(Member::Bytes);
        ints.chain(packed).chain(table.into_iter().flat_map(|table| table.iter()).map(Member::Bytes))
    }

    /// SSCAN: a small set is given whole, a big one from the cursor on as [`Members::scan`] does.
    pub fn scan<'s>(&'s self, from: u64, count: usize, mut visit: impl FnMut(Member<'s>)) -> Option<u64> {
        match self {
            SetValue::Table(table) => table.scan(from, count, |member| visit(Member::Bytes(member))),
            _ => {
                self.iter().for_each(visit);
                None
            }
        }
    }

    /// A member picked with the random number `r`.
    pub fn sample(&self, r: u64) -> Option<Member<'_>> {
        match self {
            SetValue::Ints(ints) => ints.get(r as usize % ints.len().max(1)).map(Member::Int),
            SetValue::Packed(packed) => {
                packed.iter().nth(r as usize % packed.len().max(1)).map(Member::Bytes)
            }
            SetValue::Table(table) => table.sample(r).map(Member::Bytes),
        }
    }
}

impl Collection for SetValue {
    const KIND: Kind = Kind::Set;

    variant!(Set);

    fn len(&self) -> usize {
        match self {
            SetValue::Ints(ints) => ints.len(),
            SetValue::Packed(packed) => packed.len(),
            SetValue::Table(table) => table.len(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            SetValue::Ints(ints) => ints.heap_bytes(),
            SetValue::Packed(packed) => packed.heap_bytes(),
            SetValue::Table(table) => allocated(size_of::<Members>()) + table.heap_bytes(),
        }
    }

    fn replay(&mut self, body: &[u8], env: &Env) -> Result<(), DecodeError> {
        match SetChange::decode(body)? {
            SetChange::Add { hint, mut members } => {
                let first = members.clone().next().unwrap_or_default();
                self.expect(first, hint as usize, env);
                members.all(|member| {
                    self.add(member, env);
                    true
                });
            }
            SetChange::Remove { rebuild, members } => {
                members.for_each(|member| {
                    self.remove(member);
                });
                if rebuild {
                    self.rebuild(env);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
