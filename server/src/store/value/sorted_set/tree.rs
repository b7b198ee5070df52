//! The order of a big sorted set: a B+-tree of (score, number of a member) whose inner nodes count their elements, so
//! that the rank of an element and the element of a rank are found on one way from the root.

use smallvec::SmallVec;

use super::node::{Edge, Inner, Leaf, Node, Nodes};
use crate::store::entry::allocated;

/// Inner nodes above one leaf that an iterator keeps without allocating.
const DEPTH: usize = 6;

/// See the module's text. `before` and `after` are asked about elements by score and number.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Node,
    len: u32,
    nodes: Nodes,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { root: Node::Leaf(Leaf::new()), len: 0, nodes: Nodes { leaves: 1, inners: 0 } }
    }
}

impl Tree {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.nodes.leaves * allocated(size_of::<Leaf>()) + self.nodes.inners * allocated(size_of::<Inner>())
    }

    /// Puts an element in front of the first one that is after it.
    pub fn insert(&mut self, element: (f64, u32), after: impl Fn(f64, u32) -> bool) {
        let split = self.root.insert(element, &after, Edge { first: true, last: true }, &mut self.nodes);
        self.len += 1;
        if let Some(split) = split {
            self.nodes.inners += 1;
            let root = std::mem::replace(&mut self.root, Node::Leaf(Leaf::new()));
            self.root = Node::Inner(Inner::above(root, self.len - split.count, split));
        }
    }

    /// Takes out the last element that is not after.
    pub fn remove(&mut self, after: impl Fn(f64, u32) -> bool) {
        if !self.root.remove(&after, &mut self.nodes) {
            return;
        }
        self.len -= 1;
        while let Some(child) = self.root.only_child() {
            self.nodes.inners -= 1;
            self.root = child;
        }
        if self.len == 0 {
            *self = Tree::default();
        }
    }

    /// Gives the last element that is not after another number.
    pub fn renumber(&mut self, after: impl Fn(f64, u32) -> bool, from: u32, to: u32) {
        self.root.renumber(&after, from, to);
    }

    /// See [`Node::rescore`].
    pub fn rescore(
        &mut self,
        after: impl Fn(f64, u32) -> bool,
        score: f64,
        fits: impl Fn((f64, u32), (f64, u32)) -> bool,
    ) -> bool {
        self.root.rescore(&after, score, &fits)
    }

    /// How many elements are before: they are the first ones.
    pub fn partition(&self, before: impl Fn(f64, u32) -> bool) -> usize {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::Leaf(leaf) => return rank + leaf.partition(before),
                Node::Inner(inner) => {
                    let at = inner.child_of(&before);
                    rank += inner.counts()[..at].iter().map(|&n| n as usize).sum::<usize>();
                    match inner.child(at) {
                        Some(child) => node = child,
                        None => return rank,
                    }
                }
            }
        }
    }

    /// `count` elements from rank `start` on; when `reverse` ranks count from the end, and it goes downwards.
    pub fn range(&self, start: usize, count: usize, reverse: bool) -> TreeIter<'_> {
        let count = count.min(self.len().saturating_sub(start));
        let mut iter = TreeIter { stack: SmallVec::new(), leaf: None, at: 0, left: count, reverse };
        if count > 0 {
            iter.descend(&self.root, if reverse { self.len() - 1 - start } else { start });
        }
        iter
    }

    #[cfg(test)]
    pub fn check(&self) {
        let mut seen = Nodes::default();
        if self.len > 0 {
            assert_eq!(self.root.check(&mut seen), self.len);
            assert_eq!(seen, self.nodes);
        }
    }
}

/// See [`Tree::range`].
#[derive(Clone, Debug)]
pub struct TreeIter<'a> {
    /// The inner nodes above the leaf, each with the child that leads to it.
    stack: SmallVec<[(&'a Inner, usize); DEPTH]>,
    leaf: Option<&'a Leaf>,
    at: usize,
    left: usize,
    reverse: bool,
}

impl<'a> TreeIter<'a> {
    /// Goes down to the element of this rank below `node`.
    fn descend(&mut self, mut node: &'a Node, mut rank: usize) {
        loop {
            match node {
                Node::Leaf(leaf) => {
                    self.leaf = Some(leaf);
                    self.at = rank;
                    return;
                }
                Node::Inner(inner) => {
                    let mut index = 0;
                    for &count in inner.counts() {
                        let Some(rest) = rank.checked_sub(count as usize) else { break };
                        rank = rest;
                        index += 1;
                    }
                    let Some(child) = inner.child(index) else { return };
                    self.stack.push((inner, index));
                    node = child;
                }
            }
        }
    }

    /// Goes to the leaf beside the present one, in the direction of the walk.
    fn turn(&mut self) {
        while let Some((inner, index)) = self.stack.pop() {
            let next = if self.reverse { index.checked_sub(1) } else { Some(index + 1) };
            let Some((index, child)) = next.and_then(|i| Some((i, inner.child(i)?))) else { continue };
            self.stack.push((inner, index));
            let rank = if self.reverse { inner.counts()[index] as usize - 1 } else { 0 };
            return self.descend(child, rank);
        }
        self.leaf = None;
    }
}

impl Iterator for TreeIter<'_> {
    type Item = (f64, u32);

    #[inline]
    fn next(&mut self) -> Option<(f64, u32)> {
        self.left = self.left.checked_sub(1)?;
        let leaf = self.leaf?;
        let element = leaf.at(self.at);
        if self.left > 0 {
            if self.reverse {
                match self.at.checked_sub(1) {
                    Some(at) => self.at = at,
                    None => self.turn(),
                }
            } else if self.at + 1 < leaf.len() {
                self.at += 1;
            } else {
                self.turn();
            }
        }
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for TreeIter<'_> {}
