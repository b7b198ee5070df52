//! The value of a list: one packed node while it is small, a row of them when it grows.
//!
//! ```text
//! Packed : node                          "listpack"
//! Nodes  : node │ node │ … │ node        "quicklist"; each holds what `list-max-listpack-size` allows, or one element
//! ```
//!
//! A node is Redis's listpack without its frame, in one allocation that may have room at either end: pushes and pops
//! move nothing. When a list becomes a row, and when a row of one node becomes packed again (half below the limit), is
//! as in Redis 7.2.

mod change;
mod node;
mod pack;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::{Collection, Env, Kind, variant};
use crate::effect::DecodeError;
use crate::rdb::Element;
use crate::store::entry::allocated;
pub use change::ListChange;
use node::FRAME;
pub use node::Node;
use pack::Entry;

/// The longest node when the limit counts elements.
const SAFE_BYTES: usize = 8192;

/// Larger allocations share no record of the allocator, whatever their size.
const SHARED_MAX: usize = 16 * 1024;

/// A new node at an end has room for so large a part of what the list takes already: the longer a list, the fewer steps
/// its nodes grow in.
const ROOM_PART: usize = 32;

/// One of the two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Left, the first element.
    Front,
    /// Right, the last element.
    Back,
}

/// What a node may hold: `list-max-listpack-size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill(pub i64);

impl Fill {
    /// Bytes and elements.
    fn limits(self) -> (usize, usize) {
        match self.0 {
            0 => (usize::MAX, 1),
            1.. => (usize::MAX, self.0 as usize),
            negative => (4096 << (negative.unsigned_abs().min(5) - 1), usize::MAX),
        }
    }

    /// Bytes of entries that a node is filled with by pushes. Where bytes count that is a little less than is allowed: of
    /// allocations of four, eight or sixteen KiB each has a record of 128 bytes in the allocator, of those an eighth
    /// smaller several share one.
    #[inline]
    fn filled(self) -> usize {
        match self.limits() {
            (usize::MAX, _) => SAFE_BYTES - FRAME,
            (most @ ..=SHARED_MAX, _) => most - most / 8,
            (most, _) => most - FRAME,
        }
    }

    /// Whether a node of so many bytes (as a listpack) and elements is allowed.
    #[inline]
    fn allows(self, bytes: usize, count: usize) -> bool {
        match self.limits() {
            (usize::MAX, most) => bytes <= SAFE_BYTES && count <= most,
            (most, _) => bytes <= most,
        }
    }
}

/// A row of nodes, none of them empty.
#[derive(Clone, Debug, Default)]
pub struct Row {
    nodes: VecDeque<Node>,
    len: usize,
    /// Bytes of the nodes' allocations.
    bytes: usize,
}

/// A list value; see the module's text.
#[derive(Clone, Debug)]
pub enum ListValue {
    /// One node.
    Packed(Node),
    /// Several, or one that is or was too large.
    Nodes(Box<Row>),
}

impl Default for ListValue {
    fn default() -> Self {
        ListValue::Packed(Node::default())
    }
}

/// An element that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    text: &'a [u8],
    number: Option<i64>,
}

impl<'a> Sought<'a> {
    /// Looks for this one.
    pub fn new(text: &'a [u8]) -> Sought<'a> {
        Sought { text, number: torc_protocol::resp::parse_i64(text) }
    }

    /// Whether it is this one. Elements that are integers are kept as such.
    #[inline]
    pub fn is(&self, element: Element<'_>) -> bool {
        match element {
            Element::Integer(n) => self.number == Some(n),
            Element::String(bytes) => bytes == self.text,
        }
    }
}

impl Row {
    /// Changes a node and keeps the account of its bytes.
    #[inline]
    fn at<R>(&mut self, index: usize, change: impl FnOnce(&mut Node) -> R) -> Option<R> {
        let node = self.nodes.get_mut(index)?;
        let (bytes, count) = (allocated(node.capacity()), node.count());
        let result = change(node);
        self.bytes = self.bytes + allocated(node.capacity()) - bytes;
        self.len = self.len + node.count() - count;
        Some(result)
    }

    fn add(&mut self, index: usize, node: Node) {
        self.bytes += allocated(node.capacity());
        self.len += node.count();
        self.nodes.insert(index, node);
    }

    fn take(&mut self, index: usize) {
        if let Some(node) = self.nodes.remove(index) {
            self.bytes -= allocated(node.capacity());
            self.len -= node.count();
        }
    }

    #[inline]
    fn end(&self, end: End) -> usize {
        match end {
            End::Front => 0,
            End::Back => self.nodes.len().saturating_sub(1),
        }
    }

    #[inline]
    fn push(&mut self, end: End, entry: &Entry<'_>, fill: Fill) {
        let index = self.end(end);
        if let Some(node) = self.nodes.get_mut(index)
            && node.bytes().len() + entry.len() <= fill.filled()
            && node.count() < fill.limits().1
        {
            let before = node.capacity();
            node.push(end, entry);
            self.len += 1;
            if node.capacity() != before {
                self.bytes = self.bytes + allocated(node.capacity()) - allocated(before);
            }
            return;
        }
        self.push_node(index, end, entry, fill);
    }

    /// Adds an element in a node of its own at an end, whose node, that of `index`, is full.
    #[inline(never)]
    fn push_node(&mut self, index: usize, end: End, entry: &Entry<'_>, fill: Fill) {
        // Nothing is added to it at this end any more.
        self.at(index, Node::fit);
        let room = (self.bytes / ROOM_PART).min(fill.filled());
        let mut node = Node::with_room(end, room.max(entry.len()));
        node.push(end, entry);
        let index = if end == End::Front { 0 } else { self.nodes.len() };
        self.add(index, node);
    }

    /// Which node holds an index, and where; counts from the nearer end.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut left = index;
            for (at, node) in self.nodes.iter().enumerate() {
                if left < node.count() {
                    return Some((at, left));
                }
                left -= node.count();
            }
            return None;
        }
        let mut left = self.len - index;
        for (at, node) in self.nodes.iter().enumerate().rev() {
            if left <= node.count() {
                return Some((at, node.count() - left));
            }
            left -= node.count();
        }
        None
    }

    /// Joins a node with the one behind it when both are small.
    fn join(&mut self, index: usize, fill: Fill) {
        let (Some(node), Some(next)) = (self.nodes.get(index), self.nodes.get(index + 1)) else { return };
        let (bytes, count) = (node.listpack_len() + next.listpack_len(), node.count() + next.count());
        // With some room left, or the next element that is put here would split them again.
        if fill.allows(bytes * 2, count * 2) {
            let next = next.clone();
            self.take(index + 1);
            self.at(index, |node| {
                node.append(&next);
                node.fit();
            });
        }
    }

    fn insert(&mut self, index: usize, entry: &Entry<'_>, fill: Fill) {
        let Some((at, within)) = self.locate(index) else { return self.push(End::Back, entry, fill) };
        let fits = |node: &Node| fill.allows(node.listpack_len() + entry.len(), node.count() + 1);
        if self.nodes.get(at).is_some_and(fits) {
            self.at(at, |node| node.insert(within, entry));
            return;
        }
        if within == 0 {
            if at > 0 && self.nodes.get(at - 1).is_some_and(fits) {
                self.at(at - 1, |node| node.push(End::Back, entry));
                return;
            }
            let mut node = Node::default();
            node.push(End::Back, entry);
            return self.add(at, node);
        }
        if let Some(tail) = self.at(at, |node| node.split_off(within)) {
            self.add(at + 1, tail);
        }
        if self.nodes.get(at).is_some_and(fits) {
            self.at(at, |node| node.push(End::Back, entry));
        } else if self.nodes.get(at + 1).is_some_and(fits) {
            self.at(at + 1, |node| node.push(End::Front, entry));
        } else {
            let mut node = Node::default();
            node.push(End::Back, entry);
            self.add(at + 1, node);
        }
    }

    fn remove(&mut self, start: usize, mut count: usize, fill: Fill) {
        let Some((mut at, mut within)) = self.locate(start) else { return };
        while count > 0 {
            let Some(held) = self.nodes.get(at).map(Node::count) else { return };
            let here = count.min(held - within);
            if here == held {
                self.take(at);
            } else {
                self.at(at, |node| node.remove(within, here));
                at += 1;
            }
            count -= here;
            within = 0;
        }
        if at > 0 {
            self.join(at - 1, fill);
        }
    }

    /// Removes elements of a value; see [`ListChange::Remove`].
    fn remove_value(&mut self, sought: &Sought<'_>, count: i64, fill: Fill) -> usize {
        let most =
            if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
        let mut removed = 0;
        let mut at = if count < 0 { self.nodes.len() } else { 0 };
        while removed < most {
            if count < 0 {
                let Some(before) = at.checked_sub(1) else { break };
                at = before;
            }
            let Some(node) = self.nodes.get(at) else { break };
            let doomed = found(node, sought, count < 0, most - removed);
            removed += doomed.len();
            if doomed.len() == node.count() {
                self.take(at);
                continue;
            }
            if !doomed.is_empty() {
                self.at(at, |node| node.remove_all(&doomed));
                if at > 0 {
                    let nodes = self.nodes.len();
                    self.join(at - 1, fill);
                    if self.nodes.len() < nodes && count >= 0 {
                        at -= 1;
                    }
                }
            }
            if count >= 0 {
                at += 1;
            }
        }
        removed
    }
}

/// The indexes, rising, at which a node holds the value: at most so many, from its beginning or from its end.
fn found(node: &Node, sought: &Sought<'_>, from_end: bool, most: usize) -> Vec<usize> {
    let mut indexes = Vec::new();
    let mut rest = node.bytes();
    let mut index = 0;
    while let Some((element, len)) = pack::first(rest) {
        if sought.is(element) {
            indexes.push(index);
            if !from_end && indexes.len() == most {
                break;
            }
        }
        rest = &rest[len..];
        index += 1;
    }
    if indexes.len() > most {
        indexes.drain(..indexes.len() - most);
    }
    indexes
}

/// Elements one after another.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    list: &'a ListValue,
    /// Of the node under way.
    rest: &'a [u8],
    next_node: usize,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        self.left = self.left.checked_sub(1)?;
        if self.rest.is_empty() {
            self.rest = self.list.node(self.next_node)?.bytes();
            self.next_node += 1;
        }
        let (element, len) = pack::first(self.rest)?;
        self.rest = &self.rest[len..];
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Elements from the last to the first.
#[derive(Clone, Debug)]
pub struct Backward<'a> {
    list: &'a ListValue,
    rest: &'a [u8],
    nodes: usize,
}

impl<'a> Iterator for Backward<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        if self.rest.is_empty() {
            self.nodes = self.nodes.checked_sub(1)?;
            self.rest = self.list.node(self.nodes)?.bytes();
        }
        let at = self.rest.len().checked_sub(pack::last_len(self.rest)?)?;
        let (element, _) = pack::first(&self.rest[at..])?;
        self.rest = &self.rest[..at];
        Some(element)
    }
}

impl ListValue {
    fn node(&self, index: usize) -> Option<&Node> {
        match self {
            ListValue::Packed(node) => (index == 0).then_some(node),
            ListValue::Nodes(row) => row.nodes.get(index),
        }
    }

    /// The nodes.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        let count = match self {
            ListValue::Packed(_) => 1,
            ListValue::Nodes(row) => row.nodes.len(),
        };
        (0..count).map(|index| match self {
            ListValue::Packed(node) => node,
            ListValue::Nodes(row) => &row.nodes[index],
        })
    }

    /// All elements.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0, self.len())
    }

    /// `count` elements from an index on.
    pub fn range(&self, start: usize, count: usize) -> Iter<'_> {
        let left = count.min(self.len().saturating_sub(start));
        let place = match self {
            ListValue::Packed(_) => Some((0, start)),
            ListValue::Nodes(row) => row.locate(start),
        };
        let (Some((at, within)), true) = (place, left > 0) else {
            return Iter { list: self, rest: &[], next_node: 0, left: 0 };
        };
        let rest = self.node(at).map_or(&[][..], |node| &node.bytes()[node.offset(within)..]);
        Iter { list: self, rest, next_node: at + 1, left }
    }

    /// All elements from the last to the first.
    pub fn backward(&self) -> Backward<'_> {
        Backward { list: self, rest: &[], nodes: self.nodes().len() }
    }

    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        match self {
            ListValue::Packed(node) if index < node.count() => node.get(index),
            ListValue::Packed(_) => None,
            ListValue::Nodes(row) => {
                let (at, within) = row.locate(index)?;
                row.nodes.get(at)?.get(within)
            }
        }
    }

    /// The element at an end.
    pub fn peek(&self, end: End) -> Option<Element<'_>> {
        match self {
            ListValue::Packed(node) => Some(node.peek(end)?.0),
            ListValue::Nodes(row) => Some(row.nodes.get(row.end(end))?.peek(end)?.0),
        }
    }

    fn row(&mut self) -> &mut Row {
        if let ListValue::Packed(node) = self {
            let mut row = Row::default();
            if node.count() > 0 {
                row.add(0, std::mem::take(node));
            }
            *self = ListValue::Nodes(Box::new(row));
        }
        match self {
            ListValue::Nodes(row) => row,
            ListValue::Packed(_) => unreachable!("it was made a row"),
        }
    }

    /// Elements of so many bytes and such a number are about to be added: becomes a row where they would be too much
    /// for one node.
    #[inline]
    fn expect(&mut self, bytes: usize, count: usize, fill: Fill) {
        if let ListValue::Packed(node) = self
            && !fill.allows(node.listpack_len() + bytes, node.count() + count)
        {
            self.row();
        }
    }

    /// Becomes packed where one node is left that is at most half of what it may be.
    pub fn settle(&mut self, fill: Fill) {
        self.settle_below(fill, 2);
    }

    /// Becomes packed where one node is left that fits.
    pub fn settle_loaded(&mut self, fill: Fill) {
        self.settle_below(fill, 1);
    }

    fn settle_below(&mut self, fill: Fill, part: usize) {
        let ListValue::Nodes(row) = self else { return };
        if row.nodes.len() > 1 {
            return;
        }
        let (bytes, count) = fill.limits();
        let fits = row.nodes.front().is_none_or(|node| {
            let plain = bytes == usize::MAX && node.listpack_len() > SAFE_BYTES;
            node.listpack_len() <= bytes / part && node.count() <= count / part && !plain
        });
        if fits {
            *self = ListValue::Packed(row.nodes.pop_front().unwrap_or_default());
        }
    }

    /// Adds elements one after another at an end.
    #[inline]
    pub fn push_all<'i>(&mut self, end: End, items: impl Iterator<Item = &'i [u8]> + Clone, fill: Fill) {
        if matches!(self, ListValue::Packed(_)) {
            let (bytes, count) =
                items.clone().fold((0, 0), |(bytes, count), item| (bytes + item.len(), count + 1));
            self.expect(bytes, count, fill);
        }
        for item in items {
            self.push_entry(end, &Entry::of(item), fill);
        }
    }

    #[inline]
    fn push_entry(&mut self, end: End, entry: &Entry<'_>, fill: Fill) {
        match self {
            ListValue::Packed(node) => node.push(end, entry),
            ListValue::Nodes(row) => row.push(end, entry, fill),
        }
    }

    /// Adds an element at the end, as it comes out of a dump; [`ListValue::settle_loaded`] is the last step.
    pub fn load(&mut self, item: &[u8], fill: Fill) {
        self.row().push(End::Back, &Entry::of(item), fill);
    }

    /// Takes up to `count` elements from an end, showing each to `show`; answers how many.
    #[inline]
    pub fn pop(&mut self, end: End, count: usize, fill: Fill, mut show: impl FnMut(Element<'_>)) -> usize {
        let mut taken = 0;
        while taken < count {
            let popped = match self {
                ListValue::Packed(node) => pop_one(node, end, &mut show),
                ListValue::Nodes(row) => {
                    let index = row.end(end);
                    let popped = row.at(index, |node| pop_one(node, end, &mut show)).unwrap_or(false);
                    if row.nodes.get(index).is_some_and(|node| node.count() == 0) {
                        row.take(index);
                    }
                    popped
                }
            };
            if !popped {
                break;
            }
            taken += 1;
        }
        self.settle(fill);
        taken
    }

    /// Gives the element at an index another value; false when there is none.
    pub fn set(&mut self, index: usize, item: &[u8], fill: Fill) -> bool {
        if index >= self.len() {
            return false;
        }
        self.expect(item.len(), 1, fill);
        let entry = Entry::of(item);
        match self {
            ListValue::Packed(node) => node.replace(index, &entry),
            ListValue::Nodes(row) => {
                let Some((at, within)) = row.locate(index) else { return false };
                let fits = row.nodes.get(at).is_some_and(|node| {
                    let old = node.offset(within + 1) - node.offset(within);
                    node.count() == 1 || fill.allows(node.listpack_len() + entry.len() - old, node.count())
                });
                if fits {
                    row.at(at, |node| node.replace(within, &entry));
                } else {
                    row.insert(index, &entry, fill);
                    row.remove(index + 1, 1, fill);
                }
            }
        }
        self.settle(fill);
        true
    }

    /// Puts an element in front of that at an index.
    pub fn insert(&mut self, index: usize, item: &[u8], fill: Fill) {
        self.expect(item.len(), 1, fill);
        let (entry, index) = (Entry::of(item), index.min(self.len()));
        match self {
            ListValue::Packed(node) => node.insert(index, &entry),
            ListValue::Nodes(row) => row.insert(index, &entry, fill),
        }
    }

    /// Removes elements of a value: so many from the beginning (negative: from the end; 0: all). Answers how many.
    pub fn remove_value(&mut self, item: &[u8], count: i64, fill: Fill) -> usize {
        let sought = Sought::new(item);
        let removed = match self {
            ListValue::Packed(node) => {
                let most = if count == 0 { u64::MAX } else { count.unsigned_abs() };
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                let doomed = found(node, &sought, count < 0, most);
                if !doomed.is_empty() {
                    node.remove_all(&doomed);
                }
                doomed.len()
            }
            ListValue::Nodes(row) => row.remove_value(&sought, count, fill),
        };
        self.settle(fill);
        removed
    }

    /// Drops so many elements at the beginning and at the end.
    pub fn trim(&mut self, front: usize, back: usize, fill: Fill) {
        let len = self.len();
        let front = front.min(len);
        let back = back.min(len - front);
        match self {
            ListValue::Packed(node) => {
                node.remove(len - back, back);
                node.remove(0, front);
            }
            ListValue::Nodes(row) => {
                row.remove(len - back, back, fill);
                row.remove(0, front, fill);
            }
        }
        self.settle(fill);
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            ListValue::Packed(_) => "listpack",
            ListValue::Nodes(_) => "quicklist",
        }
    }
}

#[inline]
fn pop_one(node: &mut Node, end: End, show: &mut impl FnMut(Element<'_>)) -> bool {
    let Some((element, len)) = node.peek(end) else { return false };
    show(element);
    node.drop_end(end, len);
    true
}

impl Collection for ListValue {
    const KIND: Kind = Kind::List;

    variant!(List);

    #[inline]
    fn len(&self) -> usize {
        match self {
            ListValue::Packed(node) => node.count(),
            ListValue::Nodes(row) => row.len,
        }
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        match self {
            ListValue::Packed(node) => allocated(node.capacity()),
            ListValue::Nodes(row) => {
                let table = row.nodes.capacity() * size_of::<Node>();
                allocated(size_of::<Row>()) + allocated(table) + row.bytes
            }
        }
    }

    fn replay(&mut self, body: &[u8], env: &Env) -> Result<(), DecodeError> {
        let fill = Fill(env.limits.list_node_size);
        let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match ListChange::decode(body)? {
            ListChange::Push(end, items) => self.push_all(end, items, fill),
            ListChange::Pop(end, count) => {
                self.pop(end, index(count), fill, |_| {});
            }
            ListChange::Set(at, item) => {
                self.set(index(at), item, fill);
            }
            ListChange::Insert(at, item) => self.insert(index(at), item, fill),
            ListChange::Remove(count, item) => {
                self.remove_value(item, count, fill);
            }
            ListChange::Trim(front, back) => self.trim(index(front), index(back), fill),
        }
        Ok(())
    }
}
