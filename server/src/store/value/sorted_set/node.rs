//! The nodes of the index: leaves of (score, number of a member), inner nodes with the first element and the number of
//! elements of each child.
//!
//! What "before" means the caller says: a node only knows that whatever is before something stands in front of it.

/// Elements of a leaf: it fills one of the allocator's size classes (768 bytes).
pub const LEAF: usize = 63;

/// Children of an inner node (2,048 bytes).
pub const INNER: usize = 63;

/// A node with fewer elements than this after a removal is filled up from a neighbour, or joins it.
const FEW: usize = 16;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Leaf {
    len: u16,
    scores: [f64; LEAF],
    ids: [u32; LEAF],
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Inner {
    len: u16,
    /// The first element of each child.
    scores: [f64; INNER],
    ids: [u32; INNER],
    /// The elements of each child.
    counts: [u32; INNER],
    children: [Option<Node>; INNER],
}

/// A node of any kind.
#[derive(Clone, Debug)]
pub enum Node {
    /// At the bottom.
    Leaf(Box<Leaf>),
    /// Above others, all of one kind.
    Inner(Box<Inner>),
}

/// Whether a node is the first or the last of its level.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    pub first: bool,
    pub last: bool,
}

/// A node that split off, to stand behind the one that it was part of.
pub struct Split {
    pub node: Node,
    pub count: u32,
}

/// How many nodes there are: what the index costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    pub leaves: usize,
    pub inners: usize,
}

/// The first index below `len` for which `before` does not hold.
#[inline]
fn partition(len: usize, mut before: impl FnMut(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = (low + high) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Makes room for an element at `at`; the last of the array falls out.
fn open<T: Copy>(array: &mut [T], len: usize, at: usize, item: T) {
    array.copy_within(at..len, at + 1);
    array[at] = item;
}

impl Leaf {
    /// A leaf with nothing in it.
    pub fn new() -> Box<Leaf> {
        Box::new(Leaf { len: 0, scores: [0.0; LEAF], ids: [0; LEAF] })
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// The element at an index below the length.
    #[inline]
    pub fn at(&self, index: usize) -> (f64, u32) {
        (self.scores[index], self.ids[index])
    }

    /// How many elements are before.
    #[inline]
    pub fn partition(&self, before: impl Fn(f64, u32) -> bool) -> usize {
        partition(self.len(), |i| before(self.scores[i], self.ids[i]))
    }

    fn insert(&mut self, at: usize, (score, id): (f64, u32)) {
        let len = self.len();
        open(&mut self.scores, len, at, score);
        open(&mut self.ids, len, at, id);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        let len = self.len();
        self.scores.copy_within(at + 1..len, at);
        self.ids.copy_within(at + 1..len, at);
        self.len -= 1;
    }

    /// Moves the elements from `from` on into `to`, in front of what is there.
    fn shift_right(&mut self, from: usize, to: &mut Leaf) {
        let (len, count, other) = (self.len(), self.len() - from, to.len());
        to.scores.copy_within(0..other, count);
        to.ids.copy_within(0..other, count);
        to.scores[..count].copy_from_slice(&self.scores[from..len]);
        to.ids[..count].copy_from_slice(&self.ids[from..len]);
        to.len += count as u16;
        self.len = from as u16;
    }

    /// Moves the first `count` elements of `from` behind what is here.
    fn shift_left(&mut self, from: &mut Leaf, count: usize) {
        let (len, other) = (self.len(), from.len());
        self.scores[len..len + count].copy_from_slice(&from.scores[..count]);
        self.ids[len..len + count].copy_from_slice(&from.ids[..count]);
        from.scores.copy_within(count..other, 0);
        from.ids.copy_within(count..other, 0);
        self.len += count as u16;
        from.len -= count as u16;
    }
}

impl Inner {
    fn new() -> Box<Inner> {
        Box::new(Inner {
            len: 0,
            scores: [0.0; INNER],
            ids: [0; INNER],
            counts: [0; INNER],
            children: [const { None }; INNER],
        })
    }

    /// An inner node above two.
    pub fn above(first: Node, count: u32, split: Split) -> Box<Inner> {
        let mut inner = Inner::new();
        inner.insert(0, first, count);
        inner.insert(1, split.node, split.count);
        inner
    }

    /// Number of children.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// A child.
    #[inline]
    pub fn child(&self, index: usize) -> Option<&Node> {
        self.children.get(index)?.as_ref()
    }

    /// How many elements each child has.
    #[inline]
    pub fn counts(&self) -> &[u32] {
        &self.counts[..self.len()]
    }

    /// The child in which the first element stands that is not before, if it is not the first of the next one.
    #[inline]
    pub fn child_of(&self, before: impl Fn(f64, u32) -> bool) -> usize {
        partition(self.len(), |i| before(self.scores[i], self.ids[i])).saturating_sub(1)
    }

    /// The child in which an element stands, or belongs: `after` says whether something is behind it.
    #[inline]
    fn home(&self, after: impl Fn(f64, u32) -> bool) -> usize {
        partition(self.len(), |i| !after(self.scores[i], self.ids[i])).saturating_sub(1)
    }

    fn insert(&mut self, at: usize, node: Node, count: u32) {
        let len = self.len();
        let (score, id) = node.first();
        open(&mut self.scores, len, at, score);
        open(&mut self.ids, len, at, id);
        open(&mut self.counts, len, at, count);
        self.children[at..=len].rotate_right(1);
        self.children[at] = Some(node);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) -> Option<Node> {
        let len = self.len();
        self.scores.copy_within(at + 1..len, at);
        self.ids.copy_within(at + 1..len, at);
        self.counts.copy_within(at + 1..len, at);
        let node = self.children[at].take();
        self.children[at..len].rotate_left(1);
        self.len -= 1;
        node
    }

    /// Notes anew which element is the first of a child.
    fn note_first(&mut self, index: usize) {
        if let Some(child) = &self.children[index] {
            (self.scores[index], self.ids[index]) = child.first();
        }
    }

    fn total(&self, from: usize) -> u32 {
        self.counts[from..self.len()].iter().sum()
    }

    /// Moves the children from `from` on to the front of `to`.
    fn shift_right(&mut self, from: usize, to: &mut Inner) {
        while self.len() > from {
            let last = self.len() - 1;
            let count = self.counts[last];
            if let Some(node) = self.remove(last) {
                to.insert(0, node, count);
            }
        }
    }

    /// Moves the first `count` children of `from` behind those here.
    fn shift_left(&mut self, from: &mut Inner, count: usize) {
        for _ in 0..count {
            let elements = from.counts[0];
            if let Some(node) = from.remove(0) {
                let len = self.len();
                self.insert(len, node, elements);
            }
        }
    }

    /// Gives child `at`, which has few elements, some of a neighbour's, or all.
    fn fill(&mut self, at: usize, nodes: &mut Nodes) {
        if self.len() < 2 {
            return;
        }
        let left = at.saturating_sub(1);
        let (head, tail) = self.children.split_at_mut(left + 1);
        let (Some(Some(a)), Some(Some(b))) = (head.last_mut(), tail.first_mut()) else { return };
        let moved_right = match (a, b) {
            (Node::Leaf(a), Node::Leaf(b)) => {
                let (la, lb) = (a.len(), b.len());
                if la + lb <= LEAF {
                    a.shift_left(b, lb);
                    None
                } else if la > lb {
                    a.shift_right(la.midpoint(lb), b);
                    Some(true)
                } else {
                    a.shift_left(b, lb - la.midpoint(lb));
                    Some(false)
                }
            }
            (Node::Inner(a), Node::Inner(b)) => {
                let (la, lb) = (a.len(), b.len());
                if la + lb <= INNER {
                    a.shift_left(b, lb);
                    None
                } else if la > lb {
                    a.shift_right(la.midpoint(lb), b);
                    Some(true)
                } else {
                    a.shift_left(b, lb - la.midpoint(lb));
                    Some(false)
                }
            }
            _ => return,
        };
        let both = self.counts[left] + self.counts[left + 1];
        if moved_right.is_none() {
            self.counts[left] = both;
            if let Some(node) = self.remove(left + 1) {
                nodes.gone(&node);
            }
        } else {
            let count = self.children[left].as_ref().map_or(0, Node::count);
            self.counts[left] = count;
            self.counts[left + 1] = both - count;
            self.note_first(left + 1);
        }
        self.note_first(left);
    }
}

impl Nodes {
    fn gone(&mut self, node: &Node) {
        match node {
            Node::Leaf(_) => self.leaves -= 1,
            Node::Inner(_) => self.inners -= 1,
        }
    }
}

impl Node {
    /// The first element (of a node that has any).
    #[inline]
    pub fn first(&self) -> (f64, u32) {
        match self {
            Node::Leaf(leaf) => leaf.at(0),
            Node::Inner(inner) => (inner.scores[0], inner.ids[0]),
        }
    }

    /// Number of elements, added up over the children.
    pub fn count(&self) -> u32 {
        match self {
            Node::Leaf(leaf) => u32::from(leaf.len),
            Node::Inner(inner) => inner.total(0),
        }
    }

    fn is_few(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.len() < FEW,
            Node::Inner(inner) => inner.len() < FEW,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.len == 0,
            Node::Inner(inner) => inner.len == 0,
        }
    }

    /// Puts an element in front of the first one that `after` says is behind it. A full node that stands at an edge of
    /// the tree is left full, so that elements that come in order take no more room than they need.
    pub fn insert(
        &mut self,
        element: (f64, u32),
        after: &impl Fn(f64, u32) -> bool,
        edge: Edge,
        nodes: &mut Nodes,
    ) -> Option<Split> {
        match self {
            Node::Leaf(leaf) => {
                let at = leaf.partition(|s, i| !after(s, i));
                if leaf.len() < LEAF {
                    leaf.insert(at, element);
                    return None;
                }
                nodes.leaves += 1;
                let mut right = Leaf::new();
                let middle = match at {
                    LEAF if edge.last => LEAF,
                    0 if edge.first => 0,
                    _ => LEAF.div_ceil(2),
                };
                leaf.shift_right(middle, &mut right);
                if at <= middle && middle < LEAF {
                    leaf.insert(at, element);
                } else {
                    right.insert(at - middle, element);
                }
                let count = u32::from(right.len);
                Some(Split { node: Node::Leaf(right), count })
            }
            Node::Inner(inner) => {
                let at = inner.home(after);
                let edge = Edge { first: edge.first && at == 0, last: edge.last && at + 1 == inner.len() };
                let split = inner.children[at].as_mut()?.insert(element, after, edge, nodes);
                inner.note_first(at);
                inner.counts[at] += 1;
                let Split { node, count } = split?;
                inner.counts[at] -= count;
                if inner.len() < INNER {
                    inner.insert(at + 1, node, count);
                    return None;
                }
                nodes.inners += 1;
                let mut right = Inner::new();
                let middle = match edge {
                    Edge { last: true, .. } => INNER,
                    Edge { first: true, .. } => 1,
                    _ => INNER.div_ceil(2),
                };
                inner.shift_right(middle, &mut right);
                if at < middle && middle < INNER {
                    inner.insert(at + 1, node, count);
                } else {
                    right.insert(at + 1 - middle, node, count);
                }
                let count = right.total(0);
                Some(Split { node: Node::Inner(right), count })
            }
        }
    }

    /// Takes out the element that `after` says is the last that is not behind it.
    pub fn remove(&mut self, after: &impl Fn(f64, u32) -> bool, nodes: &mut Nodes) -> bool {
        match self {
            Node::Leaf(leaf) => {
                let Some(at) = leaf.partition(|s, i| !after(s, i)).checked_sub(1) else { return false };
                leaf.remove(at);
                true
            }
            Node::Inner(inner) => {
                let at = inner.home(after);
                let Some(child) = &mut inner.children[at] else { return false };
                if !child.remove(after, nodes) {
                    return false;
                }
                let (empty, few) = (child.is_empty(), child.is_few());
                inner.counts[at] -= 1;
                if empty {
                    if let Some(node) = inner.remove(at) {
                        nodes.gone(&node);
                    }
                } else {
                    inner.note_first(at);
                    if few {
                        inner.fill(at, nodes);
                    }
                }
                true
            }
        }
    }

    /// Gives the element for which `after` says the same as in [`Node::remove`] another number, wherever it is noted.
    pub fn renumber(&mut self, after: &impl Fn(f64, u32) -> bool, from: u32, to: u32) {
        match self {
            Node::Leaf(leaf) => {
                if let Some(at) = leaf.partition(|s, i| !after(s, i)).checked_sub(1)
                    && leaf.ids[at] == from
                {
                    leaf.ids[at] = to;
                }
            }
            Node::Inner(inner) => {
                let at = inner.home(after);
                if let Some(child) = &mut inner.children[at] {
                    child.renumber(after, from, to);
                }
                if inner.ids[at] == from {
                    inner.ids[at] = to;
                }
            }
        }
    }

    /// Gives the element that [`Node::remove`] would take another score, if it keeps its place between its neighbours in
    /// a leaf: `fits` is asked with the one before and the one behind. False when it does not.
    pub fn rescore(
        &mut self,
        after: &impl Fn(f64, u32) -> bool,
        score: f64,
        fits: &impl Fn((f64, u32), (f64, u32)) -> bool,
    ) -> bool {
        match self {
            Node::Leaf(leaf) => {
                let Some(at) = leaf.partition(|s, i| !after(s, i)).checked_sub(1) else { return false };
                let stays = at > 0 && at + 1 < leaf.len() && fits(leaf.at(at - 1), leaf.at(at + 1));
                if stays {
                    leaf.scores[at] = score;
                }
                stays
            }
            Node::Inner(inner) => {
                let at = inner.home(after);
                inner.children[at].as_mut().is_some_and(|child| child.rescore(after, score, fits))
            }
        }
    }

    /// A node with one child is none: the child takes its place.
    pub fn only_child(&mut self) -> Option<Node> {
        match self {
            Node::Inner(inner) if inner.len() == 1 => inner.remove(0),
            _ => None,
        }
    }

    /// Asserts what holds between operations; tests call it.
    #[cfg(test)]
    pub fn check(&self, seen: &mut Nodes) -> u32 {
        match self {
            Node::Leaf(leaf) => {
                seen.leaves += 1;
                assert!(leaf.len > 0);
                u32::from(leaf.len)
            }
            Node::Inner(inner) => {
                seen.inners += 1;
                assert!(inner.len > 0);
                for at in 0..inner.len() {
                    let Some(child) = &inner.children[at] else { panic!("a child is missing") };
                    assert_eq!(child.first(), (inner.scores[at], inner.ids[at]));
                    assert_eq!(child.check(seen), inner.counts[at]);
                }
                inner.total(0)
            }
        }
    }
}
