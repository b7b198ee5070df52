//! The members of a big sorted set with their scores, each once, named by a number.
//!
//! ```text
//! page    : 4 KiB of records of one size, without gaps
//! record  : score, eight bytes | length u8 | member | padding to a multiple of eight
//! number  : page << 9 | offset in the page / 8
//! ```
//!
//! A size's records lie close together: where one goes, the last of its size takes its place, and its number. So
//! nothing is ever lost to holes, whatever comes and goes. Members that are too long for a page's record lie by
//! themselves, numbered from [`LONG`] on.

use crate::store::entry::allocated;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Bytes of a size's first page when it is new: a set that has just left the packed form needs no more.
const FIRST_PAGE: usize = 512;

/// Bits of a number that say where in its page a record begins, in units of [`UNIT`].
const PLACE_BITS: u32 = 9;

/// Bytes by which sizes differ.
const UNIT: usize = 8;

/// Bytes before the member.
const HEAD: usize = 9;

/// The largest record in a page.
const MAX_RECORD: usize = 256;

/// Numbers of members that lie by themselves begin here.
const LONG: u32 = 1 << 31;

/// No page.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Page {
    /// Empty: the page is free.
    bytes: Box<[u8]>,
    /// The page before it of the same size.
    before: u32,
}

/// The records of one size.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// The page that is being filled.
    last: u32,
    /// Records in it.
    used: u32,
}

#[derive(Clone, Debug)]
struct Long {
    score: f64,
    member: Box<[u8]>,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pages: Vec<Page>,
    /// Pages that became free; those that are none any more are passed over.
    free: Vec<u32>,
    /// By record size in units.
    sizes: Vec<Size>,
    long: Vec<Long>,
    /// Bytes of pages and of long members.
    bytes: usize,
}

fn units(member: &[u8]) -> usize {
    (HEAD + member.len()).div_ceil(UNIT)
}

const fn number(page: u32, place: usize, units: usize) -> u32 {
    page << PLACE_BITS | (place * units) as u32
}

impl Records {
    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
            + allocated(self.pages.capacity() * size_of::<Page>())
            + allocated(self.free.capacity() * size_of::<u32>())
            + allocated(self.sizes.capacity() * size_of::<Size>())
            + allocated(self.long.capacity() * size_of::<Long>())
    }

    /// [`Records::heap_bytes`] counted anew: tests compare.
    pub fn recount_bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(|page| allocated(page.bytes.len())).sum();
        let long: usize = self.long.iter().map(|long| allocated(long.member.len())).sum();
        self.heap_bytes() - self.bytes + pages + long
    }

    #[inline]
    fn bytes_of(&self, id: u32) -> &[u8] {
        let place = (id as usize & ((1 << PLACE_BITS) - 1)) * UNIT;
        &self.pages[(id >> PLACE_BITS) as usize].bytes[place..]
    }

    /// The member with this number.
    #[inline]
    pub fn member(&self, id: u32) -> &[u8] {
        if id >= LONG {
            return &self.long[(id - LONG) as usize].member;
        }
        let bytes = self.bytes_of(id);
        &bytes[HEAD..HEAD + bytes[HEAD - 1] as usize]
    }

    /// The score of the member with this number.
    #[inline]
    pub fn score(&self, id: u32) -> f64 {
        if id >= LONG {
            return self.long[(id - LONG) as usize].score;
        }
        let mut score = [0; 8];
        score.copy_from_slice(&self.bytes_of(id)[..8]);
        f64::from_le_bytes(score)
    }

    /// Sets the score of the member with this number.
    pub fn set_score(&mut self, id: u32, score: f64) {
        if id >= LONG {
            self.long[(id - LONG) as usize].score = score;
            return;
        }
        let place = (id as usize & ((1 << PLACE_BITS) - 1)) * UNIT;
        let page = &mut self.pages[(id >> PLACE_BITS) as usize].bytes;
        page[place..place + 8].copy_from_slice(&score.to_le_bytes());
    }

    /// Adds a member; answers its number.
    pub fn push(&mut self, member: &[u8], score: f64) -> u32 {
        let units = units(member);
        if units * UNIT > MAX_RECORD || self.pages.len() >= (LONG >> PLACE_BITS) as usize {
            self.bytes += allocated(member.len());
            self.long.push(Long { score, member: member.into() });
            return LONG + (self.long.len() - 1) as u32;
        }
        if self.sizes.len() <= units {
            self.sizes.reserve_exact(units + 1 - self.sizes.len());
            self.sizes.resize(units + 1, Size { last: NONE, used: 0 });
        }
        let size = self.sizes[units];
        let (last, place) = if size.last == NONE {
            (self.page(FIRST_PAGE, NONE), 0)
        } else {
            let used = size.used as usize;
            let room = self.pages[size.last as usize].bytes.len();
            if (used + 1) * units * UNIT <= room {
                (size.last, used)
            } else if room < PAGE {
                self.grow(size.last);
                (size.last, used)
            } else {
                (self.page(PAGE, size.last), 0)
            }
        };
        self.sizes[units] = Size { last, used: place as u32 + 1 };
        let start = place * units * UNIT;
        let record = &mut self.pages[last as usize].bytes[start..start + HEAD + member.len()];
        record[..8].copy_from_slice(&score.to_le_bytes());
        record[8] = member.len() as u8;
        record[HEAD..].copy_from_slice(member);
        number(last, place, units)
    }

    /// The number of the record that will take the place of this one when it goes (itself, when it is the last of its
    /// size).
    pub fn successor(&self, id: u32) -> u32 {
        if id >= LONG {
            return LONG + (self.long.len() - 1) as u32;
        }
        let units = units(self.member(id));
        let size = self.sizes[units];
        number(size.last, size.used as usize - 1, units)
    }

    /// Writes the successor's record over this one; both numbers name it until [`Records::pop`].
    pub fn overwrite(&mut self, id: u32, successor: u32) {
        if id >= LONG {
            // Exchanged, so that both are whole until the other one goes.
            self.long.swap((id - LONG) as usize, (successor - LONG) as usize);
            return;
        }
        let len = units(self.member(id)) * UNIT;
        let mut record = [0; MAX_RECORD];
        record[..len].copy_from_slice(&self.bytes_of(successor)[..len]);
        let place = (id as usize & ((1 << PLACE_BITS) - 1)) * UNIT;
        self.pages[(id >> PLACE_BITS) as usize].bytes[place..place + len].copy_from_slice(&record[..len]);
    }

    /// Drops a record that is the last of its size.
    pub fn pop(&mut self, id: u32) {
        if id >= LONG {
            if let Some(long) = self.long.pop() {
                self.bytes -= allocated(long.member.len());
            }
            if self.long.len() < self.long.capacity() / 4 {
                self.long.shrink_to(self.long.len() * 2);
            }
            return;
        }
        let units = units(self.member(id));
        let Size { last, used } = self.sizes[units];
        if used > 1 {
            self.sizes[units].used = used - 1;
            return;
        }
        let page = &mut self.pages[last as usize];
        self.bytes -= allocated(page.bytes.len());
        page.bytes = Box::default();
        let before = page.before;
        // A page that has one after it is full.
        self.sizes[units] =
            Size { last: before, used: if before == NONE { 0 } else { (PAGE / (units * UNIT)) as u32 } };
        self.free.push(last);
        while self.pages.last().is_some_and(|page| page.bytes.is_empty()) {
            self.pages.pop();
        }
        if self.pages.len() < self.pages.capacity() / 4 {
            self.pages.shrink_to(self.pages.len() * 2);
            let pages = &self.pages;
            self.free.retain(|&n| pages.get(n as usize).is_some_and(|page| page.bytes.is_empty()));
            self.free.shrink_to(self.free.len() * 2);
        }
    }

    fn page(&mut self, bytes: usize, before: u32) -> u32 {
        self.bytes += allocated(bytes);
        let page = Page { bytes: vec![0; bytes].into_boxed_slice(), before };
        while let Some(n) = self.free.pop() {
            if let Some(free) = self.pages.get_mut(n as usize)
                && free.bytes.is_empty()
            {
                *free = page;
                return n;
            }
        }
        if self.pages.len() == self.pages.capacity() {
            self.pages.reserve_exact(self.pages.len() / 2 + 1);
        }
        self.pages.push(page);
        self.pages.len() as u32 - 1
    }

    fn grow(&mut self, page: u32) {
        let old = &mut self.pages[page as usize].bytes;
        let mut new = vec![0; old.len() * 2].into_boxed_slice();
        new[..old.len()].copy_from_slice(old);
        self.bytes += allocated(new.len());
        self.bytes -= allocated(old.len());
        *old = new;
    }
}
