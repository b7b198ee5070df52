//! Values that go out and come back, values of Redis, and bytes of nobody.

use proptest::prelude::*;

use super::*;
use crate::store::Limits;
use crate::store::hash::{DEFAULT_SEED, KeyHasher};
use crate::store::value::HashValue;

fn env() -> Env {
    Env { limits: Limits::default(), hasher: KeyHasher::new(DEFAULT_SEED) }
}

fn pairs(value: &Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Value::Hash(hash) = value else { panic!("not a hash") };
    let mut all: Vec<_> = hash.view().iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
    all.sort();
    all
}

#[test]
fn strings_of_all_forms() {
    for (bytes, text) in [
        (&b"\0\xc0\x80"[..], &b"-128"[..]),
        (b"\0\xc1\xff\x7f", b"32767"),
        (b"\0\xc2\0\0\0\x80", b"-2147483648"),
        (b"\0\x02hi", b"hi"),
        (b"\0\x40\x02hi", b"hi"),
        (b"\0\x80\0\0\0\x02hi", b"hi"),
        (b"\0\x81\0\0\0\0\0\0\0\x02hi", b"hi"),
        (b"\0\xc3\x09\x40\x64\x01xx\xe0W\0\x01xx", &[b'x'; 100]),
    ] {
        let value = read_value(bytes, &env()).unwrap();
        assert_eq!(value.view().type_name(), "string");
        let Value::Bytes(found) = value else { panic!() };
        assert_eq!(found, text);
    }
    for damaged in
        [&b""[..], b"\0", b"\0\x03hi", b"\0\x02hi!", b"\0\xc4\0", b"\0\x81\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        assert!(read_value(damaged, &env()).is_err());
    }
}

#[test]
fn hashes_of_all_forms() {
    let expected = vec![(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"xyz".to_vec())];
    let mut listpack = ListpackWriter::new();
    [&b"a"[..], b"1", b"b", b"xyz"].iter().for_each(|item| listpack.push(item));
    let listpack = listpack.finish();
    // As redis-server 7.0 has it.
    assert_eq!(listpack, b"\x14\0\0\0\x04\0\x81a\x02\x01\x01\x81b\x02\x83xyz\x04\xff");
    let ziplist = b"\x18\0\0\0\x12\0\0\0\x04\0\0\x01a\x03\xf2\x02\x01b\x03\x03xyz\xff";
    let zipmap = b"\x02\x01a\x01\x001\x01b\x03\0xyz\xff";
    for (kind, body) in
        [(types::HASH_LISTPACK, &listpack[..]), (types::HASH_ZIPLIST, ziplist), (types::HASH_ZIPMAP, zipmap)]
    {
        let mut bytes = vec![kind];
        put_string(&mut bytes, body);
        assert_eq!(pairs(&read_value(&bytes, &env()).unwrap()), expected, "{kind}");
    }
    assert_eq!(pairs(&read_value(b"\x04\x02\x01a\xc0\x01\x01b\x03xyz", &env()).unwrap()), expected);
    // None, and a field twice.
    assert!(read_value(b"\x04\0", &env()).is_err());
    assert!(read_value(b"\x04\x02\x01a\x01b\x01a\x01b", &env()).is_err());
}

#[test]
fn sorted_sets_of_all_forms() {
    let expected = vec![(b"a".to_vec(), -1.0), (b"12".to_vec(), 1.5)];
    let elements = |value: Value| {
        let Value::SortedSet(set) = value else { panic!("not a sorted set") };
        set.iter().map(|(m, s)| (m.to_vec(), s)).collect::<Vec<_>>()
    };
    let mut listpack = ListpackWriter::new();
    [&b"a"[..], b"-1", b"12", b"1.5"].iter().for_each(|item| listpack.push(item));
    let mut packed = vec![types::SORTED_SET_LISTPACK];
    put_string(&mut packed, &listpack.finish());
    let mut plain = b"\x05\x02\xc0\x0c".to_vec();
    put_double(&mut plain, 1.5);
    plain.extend_from_slice(b"\x01a");
    put_double(&mut plain, -1.0);
    for bytes in [&packed[..], &plain, b"\x03\x02\xc0\x0c\x031.5\x01a\x02-1"] {
        let value = read_value(bytes, &env()).unwrap();
        let mut out = Vec::new();
        write_value(value.view(), &mut out);
        assert_eq!(out, plain);
        assert_eq!(elements(value), expected);
    }
    // None, a member twice, NaN.
    assert!(read_value(b"\x05\0", &env()).is_err());
    assert!(read_value(b"\x03\x02\x01a\x011\x01a\x011", &env()).is_err());
    assert!(read_value(b"\x03\x01\x01a\xfd", &env()).is_err());
}

#[test]
fn doubles() {
    let mut bytes = Vec::new();
    put_double(&mut bytes, -1.5);
    bytes.extend_from_slice(b"\x042.25\xfe\xff");
    let mut source = Source::new(&bytes);
    assert_eq!(source.double(), Ok(-1.5));
    assert_eq!(source.text_double(), Ok(2.25));
    assert_eq!(source.text_double(), Ok(f64::INFINITY));
    assert_eq!(source.text_double(), Ok(f64::NEG_INFINITY));
    assert!(source.is_empty());
    assert!(Source::new(&[253]).text_double().is_err());
    assert!(Source::new(b"\x03nan").text_double().is_err());
    assert!(Source::new(&f64::NAN.to_le_bytes()).double().is_err());
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        prop::collection::vec(0u8..2, 0..300),
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
    ]
}

proptest! {
    #[test]
    fn strings_come_back(text in bytes()) {
        let mut out = Vec::new();
        put_string(&mut out, &text);
        let mut source = Source::new(&out);
        prop_assert_eq!(&*source.string().unwrap(), &text[..]);
        prop_assert!(source.is_empty());
    }

    #[test]
    fn hashes_come_back(fields in prop::collection::btree_map(bytes(), bytes(), 1..200)) {
        let mut hash = HashValue::default();
        for (field, value) in &fields {
            hash.set(field, value, &env().limits.hash, env().hasher);
        }
        let mut out = Vec::new();
        write_value(ValueRef::Hash(hash.view()), &mut out);
        prop_assert_eq!(pairs(&read_value(&out, &env()).unwrap()), fields.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn field_times_come_back(
        fields in prop::collection::btree_map(bytes(), (bytes(), prop::option::of(1u64..1 << 46)), 1..200),
    ) {
        let mut hash = HashValue::default();
        for (field, (value, at)) in &fields {
            hash.set(field, value, &env().limits.hash, env().hasher);
            if let Some(at) = at {
                hash.set_expiry(field, *at, env().hasher);
            }
        }
        let mut out = Vec::new();
        write_value(ValueRef::Hash(hash.view()), &mut out);
        let Value::Hash(read) = read_value(&out, &env()).unwrap() else { panic!("not a hash") };
        let mut all: Vec<_> = read.view().iter_timed().map(|(f, v, at)| (f.to_vec(), (v.to_vec(), at))).collect();
        all.sort();
        prop_assert_eq!(all, fields.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn random_bytes_never_panic(kind in 0u8..26, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_value(&body, &env());
        let _ = read_value(&[&[kind], &body[..]].concat(), &env());
        // As one string, for the packed forms.
        let mut bytes = vec![kind];
        put_string(&mut bytes, &body);
        let _ = read_value(&bytes, &env());
    }
}
