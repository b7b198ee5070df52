//! Patterns of BY and GET: keys, or fields of hashes at keys, whose names hold an element.

use torc_protocol::slot::{Slot, key_slot};

use crate::exec::Cx;
use crate::store::ValueRef;

/// The element itself.
const ELEMENT: &[u8] = b"#";

/// Whether a pattern (or what might be one) makes names of keys.
pub fn names_keys(pattern: &[u8]) -> bool {
    pattern.contains(&b'*')
}

/// The slot of all keys that a pattern makes, where its hash tag says so.
pub fn slot(pattern: &[u8]) -> Option<Slot> {
    if !names_keys(pattern) {
        return Some(key_slot(pattern));
    }
    let open = pattern.iter().position(|&b| b == b'{')?;
    let tag = pattern.get(open + 1..)?;
    let tag = tag.get(..tag.iter().position(|&b| b == b'}')?)?;
    let fixed = !tag.is_empty() && !names_keys(tag) && !names_keys(&pattern[..open]);
    fixed.then(|| key_slot(tag))
}

/// Whether a pattern of GET is `#`.
pub fn is_element(pattern: &[u8]) -> bool {
    pattern == ELEMENT
}

/// What a pattern gives for an element: a string, or a field of a hash. All stripes that it may reach are locked.
pub fn look_up<'c>(cx: &'c Cx<'_, '_>, pattern: &[u8], element: &'c [u8]) -> Option<&'c [u8]> {
    if is_element(pattern) {
        return Some(element);
    }
    let star = pattern.iter().position(|&b| b == b'*')?;
    let (prefix, rest) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = rest.windows(2).position(|w| w == b"->").filter(|at| at + 2 < rest.len());
    let (suffix, field) = match arrow {
        Some(at) => (&rest[..at], Some(&rest[at + 2..])),
        None => (rest, None),
    };
    let name = [prefix, element, suffix].concat();
    let key = cx.node.store.key(&name);
    let entry = cx.access.get(key.slot)?.get(cx.db, &key, cx.now_ms)?;
    match (entry.value(), field) {
        (ValueRef::String(bytes), None) => Some(bytes),
        (ValueRef::Hash(hash), Some(field)) => hash.get_at(field, cx.now_ms),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_patterns() {
        assert_eq!(slot(b"{t}*"), Some(key_slot(b"t")));
        assert_eq!(slot(b"w:{t}:*->f"), Some(key_slot(b"t")));
        for pattern in [&b"*"[..], b"w*", b"*{t}", b"{t*}", b"{}*", b"{t*"] {
            assert_eq!(slot(pattern), None);
        }
    }
}
