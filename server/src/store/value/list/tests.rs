use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::View;
use super::*;

fn text(element: Element<'_>) -> Vec<u8> {
    element.into_cow().into_owned()
}

fn item(n: u8) -> Vec<u8> {
    match n {
        0..100 => i64::from(n).wrapping_pow(9).to_string().into_bytes(),
        100..160 => vec![n; usize::from(n % 7)],
        160..200 => vec![n; usize::from(n)],
        _ => vec![b'l'; usize::from(n) * 60],
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(bool, Vec<u8>),
    Pop(bool, usize),
    Set(usize, u8),
    Insert(usize, u8),
    Remove(i64, u8),
    Trim(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (any::<bool>(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(end, items)| Op::Push(end, items)),
        3 => (any::<bool>(), 1usize..12).prop_map(|(end, count)| Op::Pop(end, count)),
        3 => (0usize..200, any::<u8>()).prop_map(|(index, n)| Op::Set(index, n)),
        3 => (0usize..200, any::<u8>()).prop_map(|(index, n)| Op::Insert(index, n)),
        2 => (-4i64..5, any::<u8>()).prop_map(|(count, n)| Op::Remove(count, n)),
        1 => (0usize..30, 0usize..30).prop_map(|(front, back)| Op::Trim(front, back)),
    ]
}

fn end(front: bool) -> End {
    if front { End::Front } else { End::Back }
}

/// Heap bytes counted anew.
fn recount(list: &ListValue) -> usize {
    let nodes: usize = list.nodes().map(|node| allocated(node.capacity())).sum();
    match list {
        ListValue::Packed(_) => nodes,
        ListValue::Nodes(row) => {
            nodes + allocated(size_of::<Row>()) + allocated(row.nodes.capacity() * size_of::<Node>())
        }
    }
}

fn apply(model: &mut VecDeque<Vec<u8>>, op: &Op) {
    match op {
        Op::Push(front, items) => {
            for n in items {
                if *front { model.push_front(item(*n)) } else { model.push_back(item(*n)) }
            }
        }
        Op::Pop(front, count) => {
            for _ in 0..*count {
                if *front {
                    model.pop_front()
                } else {
                    model.pop_back()
                };
            }
        }
        Op::Set(index, n) => {
            if let Some(place) = model.get_mut(*index) {
                *place = item(*n);
            }
        }
        Op::Insert(index, n) => model.insert((*index).min(model.len()), item(*n)),
        Op::Remove(count, n) => {
            let mut left = if *count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
            let mut keep = |x: &Vec<u8>| {
                let hit = *x == item(*n) && left > 0;
                left -= usize::from(hit);
                !hit
            };
            if *count < 0 {
                let kept: Vec<_> = std::mem::take(model).into_iter().rev().filter(|x| keep(x)).collect();
                model.extend(kept.into_iter().rev());
            } else {
                model.retain(keep);
            }
        }
        Op::Trim(front, back) => {
            let front = (*front).min(model.len());
            model.drain(..front);
            model.truncate(model.len() - (*back).min(model.len()));
        }
    }
}

/// The change as a primary records it, or nothing where it does nothing.
fn record(list: &ListValue, op: &Op) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let value;
    match op {
        Op::Push(front, items) => {
            let items: Vec<Vec<u8>> = items.iter().map(|n| item(*n)).collect();
            ListChange::put_push(&mut out, end(*front), items.iter().map(|i| &i[..]));
            return Some(out);
        }
        Op::Pop(front, count) => ListChange::Pop(end(*front), *count as u64),
        Op::Set(index, _) if *index >= list.len() => return None,
        Op::Set(index, n) => {
            value = item(*n);
            ListChange::Set(*index as u64, &value)
        }
        Op::Insert(index, n) => {
            value = item(*n);
            ListChange::Insert(*index as u64, &value)
        }
        Op::Remove(count, n) => {
            value = item(*n);
            ListChange::Remove(*count, &value)
        }
        Op::Trim(front, back) => ListChange::Trim(*front as u64, *back as u64),
    }
    .put(&mut out);
    Some(out)
}

proptest! {
    #[test]
    fn behaves_as_a_deque(fill in prop::sample::select(vec![-5i64, -2, -1, 1, 3, 16, 128]), ops in prop::collection::vec(op(), 0..120)) {
        let limits = crate::store::Limits { list_node_size: fill, ..Default::default() };
        let env = Env { limits, hasher: crate::store::KeyHasher::new(crate::store::hash::DEFAULT_SEED) };
        let mut model = VecDeque::new();
        let mut list = ListValue::default();
        for op in ops {
            apply(&mut model, &op);
            if let Some(change) = record(&list, &op) {
                list.replay(&change, &env).expect("sound");
            }
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(list.iter().map(text).collect::<Vec<_>>(), model.iter().cloned().collect::<Vec<_>>());
            prop_assert_eq!(list.heap_bytes(), recount(&list));
            prop_assert!(list.nodes().all(|node| node.count() > 0 || list.is_empty()));
            if let ListValue::Packed(node) = &list {
                prop_assert!(node.count() == 0 || Fill(fill).allows(node.listpack_len(), node.count()));
            }
        }
        prop_assert_eq!(list.backward().map(text).collect::<Vec<_>>(), model.iter().rev().cloned().collect::<Vec<_>>());
        for index in 0..=model.len() {
            prop_assert_eq!(list.get(index).map(text), model.get(index).cloned());
            prop_assert_eq!(list.range(index, 3).map(text).collect::<Vec<_>>(), model.iter().skip(index).take(3).cloned().collect::<Vec<_>>());
        }
        let mut bytes = Vec::new();
        crate::rdb::write_value(crate::store::ValueRef::List(&list), &mut bytes);
        if !list.is_empty() {
            let read = crate::rdb::read_value(&bytes, &env).expect("sound");
            let read = <&ListValue>::of(read.view()).expect("a list");
            prop_assert_eq!(read.iter().map(text).collect::<Vec<_>>(), model.iter().cloned().collect::<Vec<_>>());
            prop_assert_eq!(read.heap_bytes(), recount(read));
        }
    }
}

#[test]
fn a_million_elements_take_little() {
    let mut list = ListValue::default();
    let items: Vec<Vec<u8>> =
        (0..1_000_000).map(|n| format!("element:{:06}", n % 1_000_000).into_bytes()).collect();
    for item in &items {
        list.push_all(End::Back, [&item[..]].into_iter(), Fill(-2));
    }
    let each = list.heap_bytes() as f64 / items.len() as f64;
    assert!(each < 16.2, "{each} bytes for each element of 14");
    assert_eq!(list.get(777_777).map(text), Some(items[777_777].clone()));
}

#[test]
fn nodes_are_filled_to_what_the_allocator_shares() {
    for (end, fill, most) in
        [(End::Back, -2, 7168), (End::Front, -2, 7168), (End::Back, -1, 3584), (End::Front, -5, 65_529)]
    {
        let mut list = ListValue::default();
        for n in 0..20_000 {
            list.push_all(end, [format!("element:{n:08}").as_bytes()].into_iter(), Fill(fill));
        }
        let lens: Vec<usize> = list.nodes().map(|node| node.bytes().len()).collect();
        // The first was the whole list until it was too large for that.
        let first = if end == End::Back { 0 } else { lens.len() - 1 };
        let open = lens.len() - 1 - first;
        for (at, len) in lens.iter().enumerate().filter(|(at, _)| ![first, open].contains(at)) {
            assert_eq!(*len, most / 18 * 18, "node {at} of {}", lens.len());
        }
        assert!(list.nodes().all(|node| Fill(fill).allows(node.listpack_len(), node.count())));
    }
}

#[test]
fn a_new_node_of_a_long_list_has_room_for_a_part_of_it() {
    let mut list = ListValue::default();
    let mut push = |count: usize| {
        let before = list.nodes().len();
        for _ in 0..count {
            list.push_all(End::Front, [&b"element:00000000"[..]].into_iter(), Fill(-2));
        }
        let (first, nodes) = (list.nodes().next().map(Node::capacity), list.nodes().len());
        (first.unwrap_or(0), nodes > before, list.heap_bytes())
    };
    let mut seen = Vec::new();
    for _ in 0..20_000 {
        let (capacity, new, bytes) = push(1);
        if new {
            assert!(capacity <= allocated(bytes / ROOM_PART).max(32), "{capacity} of {bytes}");
            seen.push(capacity);
        }
    }
    assert!(seen.first() < seen.last() && seen.last() == Some(&7168), "{seen:?}");
    assert_eq!(size_of::<ListValue>(), 32);
}
