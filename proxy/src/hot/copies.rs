//! Copies of replies: what a worker may answer without asking a node.
//!
//! A copy belongs to one request as the client spells it (arguments, database, version of the protocol): RESP and
//! memcached, `GET` and `STRLEN` of one key have copies of their own, and a change of the key ends them all.
//!
//! ```text
//! hot ─▶ Empty ─ asked ─▶ Fetching ─ reply ─▶ Full ─ changed, too old ─▶ Empty …     asked for seldom: gone
//!                            └ changed meanwhile ─▶ Empty
//! ```
//! Times are nanoseconds of CLOCK_BOOTTIME. Nothing here sends; [`super::serve`] does.

use std::collections::HashMap;
use std::rc::Rc;

use ahash::RandomState;
use smallvec::SmallVec;
use torc_cluster::ShardId;
use torc_protocol::slot::Slot;

use super::stamps::Stamp;

/// What an entry takes beside its bytes, about.
const OVERHEAD_BYTES: usize = 256;
/// A copy that has answered fewer requests than this when its key changes did not pay: the next one has to wait.
const PAYS_FROM: u64 = 4;
/// How long it waits, doubled each time up to the second one.
const FIRST_PAUSE_NS: u64 = 10_000_000;
const LAST_PAUSE_NS: u64 = 1_000_000_000;

/// A request as a client spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form<'a> {
    /// The database.
    pub db: u8,
    /// Its client speaks RESP2: nodes answer otherwise.
    pub resp2: bool,
    /// Its arguments as bulk strings.
    pub args: &'a [u8],
}

#[derive(Debug)]
enum State {
    Empty,
    Fetching { ticket: u64, stamp: Stamp },
    Full { body: Rc<[u8]>, stamp: Stamp, until_ns: u64, served: u64 },
}

#[derive(Debug)]
struct Entry {
    db: u8,
    resp2: bool,
    args: Box<[u8]>,
    /// How many arguments there are.
    count: usize,
    key: Box<[u8]>,
    slot: Slot,
    shard: ShardId,
    state: State,
    /// Requests since the last tick.
    asked: u64,
    pause_ns: u64,
    not_before_ns: u64,
}

impl Entry {
    fn is(&self, form: &Form<'_>) -> bool {
        Form { db: self.db, resp2: self.resp2, args: &self.args } == *form
    }

    fn bytes(&self) -> usize {
        let body = match &self.state {
            State::Full { body, .. } => body.len(),
            _ => 0,
        };
        OVERHEAD_BYTES + self.args.len() + self.key.len() + body
    }

    /// What it held holds no more.
    fn empty(&mut self, now_ns: u64) {
        if let State::Full { served, .. } = self.state {
            self.pause_ns = match served < PAYS_FROM {
                true => (self.pause_ns * 2).clamp(FIRST_PAUSE_NS, LAST_PAUSE_NS),
                false => 0,
            };
            self.not_before_ns = now_ns.saturating_add(self.pause_ns);
        }
        self.state = State::Empty;
    }
}

/// What [`Copies::look`] finds.
#[derive(Debug)]
pub enum Found {
    /// There is nothing to do with this request.
    Nothing,
    /// Its reply may be fetched; the request itself goes its way.
    Wanted {
        /// Where its entry is.
        place: u64,
        /// The shard to ask.
        shard: ShardId,
        /// The key's slot.
        slot: Slot,
    },
    /// This is its reply, if the shard's word still holds and the key's stamp is this one.
    Copy {
        /// Where its entry is.
        place: u64,
        /// The reply's frame.
        body: Rc<[u8]>,
        /// Whose word counts.
        shard: ShardId,
        /// The key's slot.
        slot: Slot,
        /// Its stamp.
        stamp: Stamp,
    },
}

/// A request to fetch, as [`Copies::fetch`] gives it.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// Names the fetch.
    pub ticket: u64,
    /// The database.
    pub db: u8,
    /// See [`Form::resp2`].
    pub resp2: bool,
    /// The arguments.
    pub args: &'a [u8],
    /// How many there are.
    pub count: usize,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Copies {
    hasher: RandomState,
    /// By the hash of the form.
    entries: HashMap<u64, Entry, RandomState>,
    /// The entries of a key, by the hash of database and key.
    keys: HashMap<u64, SmallVec<[u64; 2]>, RandomState>,
    bytes: usize,
    tickets: u64,
}

impl Copies {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the entry of a form is.
    fn place(&self, form: &Form<'_>) -> u64 {
        self.hasher.hash_one(form)
    }

    fn key_place(&self, db: u8, key: &[u8]) -> u64 {
        self.hasher.hash_one((db, key))
    }

    /// A key has become hot: its replies to this form are kept from now on. False when `most_bytes` are in use.
    pub fn open(
        &mut self,
        form: &Form<'_>,
        (count, key): (usize, &[u8]),
        (slot, shard): (Slot, ShardId),
        most_bytes: usize,
    ) -> bool {
        let place = self.place(form);
        if self.entries.contains_key(&place) {
            return true;
        }
        let entry = Entry {
            db: form.db,
            resp2: form.resp2,
            args: form.args.into(),
            count,
            key: key.into(),
            slot,
            shard,
            state: State::Empty,
            // Not to be found cold at the next tick.
            asked: u64::MAX / 2,
            pause_ns: 0,
            not_before_ns: 0,
        };
        if self.bytes + entry.bytes() > most_bytes {
            return false;
        }
        self.bytes += entry.bytes();
        self.keys.entry(self.key_place(form.db, key)).or_default().push(place);
        self.entries.insert(place, entry);
        true
    }

    /// What there is for a request at `now_ns`.
    pub fn look(&mut self, form: &Form<'_>, now_ns: u64) -> Found {
        let place = self.place(form);
        let Some(entry) = self.entries.get_mut(&place).filter(|entry| entry.is(form)) else {
            return Found::Nothing;
        };
        entry.asked += 1;
        let (shard, slot) = (entry.shard, entry.slot);
        match &entry.state {
            State::Full { body, stamp, until_ns, .. } if now_ns < *until_ns => {
                Found::Copy { place, body: Rc::clone(body), shard, slot, stamp: *stamp }
            }
            State::Full { .. } => {
                // Its time is over, nobody has changed it: the next one need not wait.
                self.bytes -= entry.bytes();
                entry.state = State::Empty;
                self.bytes += entry.bytes();
                Found::Wanted { place, shard, slot }
            }
            State::Empty if entry.not_before_ns <= now_ns => Found::Wanted { place, shard, slot },
            State::Empty | State::Fetching { .. } => Found::Nothing,
        }
    }

    /// The copy that was found has answered a request.
    pub fn served(&mut self, place: u64) {
        if let Some(Entry { state: State::Full { served, .. }, .. }) = self.entries.get_mut(&place) {
            *served += 1;
        }
    }

    /// The copy that was found is no good: its stamp has changed.
    pub fn spoil(&mut self, place: u64, now_ns: u64) {
        self.empty(place, now_ns);
    }

    fn empty(&mut self, place: u64, now_ns: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&place) else { return false };
        let was = !matches!(entry.state, State::Empty);
        self.bytes -= entry.bytes();
        entry.empty(now_ns);
        self.bytes += entry.bytes();
        was
    }

    /// The reply of an entry is fetched from now on, while the key's stamp is this one.
    pub fn fetch(&mut self, place: u64, stamp: Stamp) -> Option<Fetch<'_>> {
        let ticket = self.tickets;
        let entry = self.entries.get_mut(&place).filter(|entry| matches!(entry.state, State::Empty))?;
        self.tickets += 1;
        entry.state = State::Fetching { ticket, stamp };
        Some(Fetch { ticket, db: entry.db, resp2: entry.resp2, args: &entry.args, count: entry.count })
    }

    /// The stamp that the key of a fetch had, with its slot; `None` when it was called off.
    pub fn fetched(&self, place: u64, ticket: u64) -> Option<(Slot, Stamp)> {
        let entry = self.entries.get(&place)?;
        match entry.state {
            State::Fetching { ticket: known, stamp } if known == ticket => Some((entry.slot, stamp)),
            _ => None,
        }
    }

    /// The reply to a fetch has come and may be kept until `until_ns`. False: there is no room.
    pub fn fill(&mut self, place: u64, body: &[u8], stamp: Stamp, until_ns: u64, most_bytes: usize) -> bool {
        if self.bytes + body.len() > most_bytes {
            return false;
        }
        let Some(entry) = self.entries.get_mut(&place) else { return false };
        self.bytes -= entry.bytes();
        entry.state = State::Full { body: body.into(), stamp, until_ns, served: 0 };
        self.bytes += entry.bytes();
        true
    }

    /// A fetch led to nothing: none is tried for a while.
    pub fn give_up(&mut self, place: u64, now_ns: u64, pause_ns: u64) {
        self.empty(place, now_ns);
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.not_before_ns = now_ns.saturating_add(pause_ns);
        }
    }

    /// The key has changed. Says how many copies and fetches ended.
    pub fn changed(&mut self, db: u8, key: &[u8], now_ns: u64) -> usize {
        let places = self.keys.get(&self.key_place(db, key)).cloned().unwrap_or_default();
        places.into_iter().filter(|place| self.empty(*place, now_ns)).count()
    }

    /// A shard's word holds no more: all its copies and fetches end, and so do their entries. Says how many they were.
    pub fn drop_shard(&mut self, shard: ShardId) -> usize {
        let places: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| entry.shard == shard).map(|(place, _)| *place).collect();
        places.iter().for_each(|place| self.close(*place));
        places.len()
    }

    /// Whether any entry is of that shard.
    pub fn needs(&self, shard: ShardId) -> bool {
        self.entries.values().any(|entry| entry.shard == shard)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.keys.clear();
        self.bytes = 0;
    }

    /// Drops the entries that were asked for fewer than `least` times since the last call.
    pub fn cool(&mut self, least: u64) {
        let mut cold = Vec::new();
        for (place, entry) in &mut self.entries {
            if std::mem::take(&mut entry.asked) < least {
                cold.push(*place);
            }
        }
        cold.into_iter().for_each(|place| self.close(place));
    }

    fn close(&mut self, place: u64) {
        let Some(entry) = self.entries.remove(&place) else { return };
        self.bytes -= entry.bytes();
        let key = self.key_place(entry.db, &entry.key);
        if let Some(places) = self.keys.get_mut(&key) {
            places.retain(|known| *known != place);
            if places.is_empty() {
                self.keys.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::stamps::Stamps;

    const MOST: usize = 1 << 20;

    fn form(args: &str) -> Form<'_> {
        Form { db: 0, resp2: true, args: args.as_bytes() }
    }

    /// Opens, fetches and fills.
    fn full(copies: &mut Copies, name: &str, now_ns: u64) {
        let (form, stamp) = (form(name), Stamps::default().of(0));
        assert!(copies.open(&form, (2, b"k"), (0, ShardId(1)), MOST));
        let place = copies.place(&form);
        let ticket = copies.fetch(place, stamp).expect("empty").ticket;
        assert_eq!(copies.fetched(place, ticket), Some((0, stamp)));
        assert!(copies.fill(place, b"+v\r\n", stamp, now_ns + 100, MOST));
    }

    fn has(copies: &mut Copies, name: &str, now_ns: u64) -> bool {
        matches!(copies.look(&form(name), now_ns), Found::Copy { .. })
    }

    #[test]
    fn a_change_ends_all_forms_of_a_key_and_no_other() {
        let mut copies = Copies::default();
        full(&mut copies, "get k", 0);
        full(&mut copies, "strlen k", 0);
        assert!(has(&mut copies, "get k", 99) && has(&mut copies, "strlen k", 99));
        assert_eq!(copies.changed(1, b"k", 0), 0);
        assert_eq!(copies.changed(0, b"j", 0), 0);
        assert_eq!(copies.changed(0, b"k", 0), 2);
        assert!(!has(&mut copies, "get k", 1) && !has(&mut copies, "strlen k", 1));
        // The same arguments of a client that is answered otherwise are another form.
        assert!(matches!(copies.look(&Form { resp2: false, ..form("get k") }, 1), Found::Nothing));
    }

    #[test]
    fn a_change_during_a_fetch_calls_it_off() {
        let (mut copies, stamp) = (Copies::default(), Stamps::default().of(0));
        let form = form("get k");
        copies.open(&form, (2, b"k"), (0, ShardId(1)), MOST);
        let place = copies.place(&form);
        let ticket = copies.fetch(place, stamp).expect("empty").ticket;
        assert!(copies.fetch(place, stamp).is_none());
        assert_eq!(copies.changed(0, b"k", 0), 1);
        assert_eq!(copies.fetched(place, ticket), None);
        let second = copies.fetch(place, stamp).expect("empty again").ticket;
        assert!(second != ticket);
        assert_eq!(copies.fetched(place, ticket), None);
    }

    #[test]
    fn what_does_not_pay_waits_longer_each_time() {
        let mut copies = Copies::default();
        full(&mut copies, "get k", 0);
        copies.changed(0, b"k", 0);
        assert!(matches!(copies.look(&form("get k"), FIRST_PAUSE_NS - 1), Found::Nothing));
        assert!(matches!(copies.look(&form("get k"), FIRST_PAUSE_NS), Found::Wanted { .. }));
        full(&mut copies, "get k", FIRST_PAUSE_NS);
        copies.changed(0, b"k", FIRST_PAUSE_NS);
        assert!(matches!(copies.look(&form("get k"), 3 * FIRST_PAUSE_NS - 1), Found::Nothing));
        full(&mut copies, "get k", 0);
        let place = copies.place(&form("get k"));
        (0..PAYS_FROM).for_each(|_| copies.served(place));
        copies.changed(0, b"k", 7);
        assert!(matches!(copies.look(&form("get k"), 7), Found::Wanted { .. }));
    }

    #[test]
    fn bytes_are_bounded_and_come_back() {
        let mut copies = Copies::default();
        full(&mut copies, "get k", 0);
        let one = copies.bytes();
        assert!(!copies.open(&form("get j"), (2, b"j"), (0, ShardId(1)), one));
        full(&mut copies, "strlen k", 0);
        copies.cool(1);
        assert_eq!(copies.len(), 2);
        copies.look(&form("get k"), 0);
        copies.cool(1);
        assert_eq!((copies.len(), copies.bytes()), (1, one));
        assert_eq!((copies.drop_shard(ShardId(2)), copies.needs(ShardId(1))), (0, true));
        assert_eq!((copies.drop_shard(ShardId(1)), copies.bytes(), copies.keys.len()), (1, 0, 0));
    }

    #[test]
    fn a_copy_ends_with_its_time() {
        let mut copies = Copies::default();
        full(&mut copies, "get k", 0);
        assert!(has(&mut copies, "get k", 99) && !has(&mut copies, "get k", 100));
        assert!(matches!(copies.look(&form("get k"), 100), Found::Wanted { .. }));
    }
}
