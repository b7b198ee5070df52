//! Properties of the parsers: how the bytes arrive makes no difference, no bytes do harm, and what `redis-protocol`
//! (an implementation by others) reads is the same.

use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::types::OwnedFrame as Resp2;
use redis_protocol::resp3::types::{OwnedFrame as Resp3, VerbatimStringFormat};
use torc_protocol::memcached;
use torc_protocol::resp::{
    Limits, NullKind, ProtocolError, ReplyScanner, ReplyWriter, RequestParser, Value, Version, downgrade,
    encode_request,
};

type Requests = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>, usize);

/// Every request of `input`, which arrives in pieces that end at `cuts`; the error; the bytes consumed.
fn requests(input: &[u8], cuts: &[usize], limits: Limits) -> Requests {
    let mut parser = RequestParser::new(limits);
    let mut found = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&input.len()]) {
        loop {
            let buf = &input[start..end.max(start)];
            match parser.next(buf) {
                Ok(Some(frame)) => {
                    found.push(frame.view(buf).iter().map(<[u8]>::to_vec).collect());
                    start += frame.len;
                }
                Ok(None) => {
                    // What is said to be missing is missing: a request never ends earlier.
                    assert!(parser.need_hint() <= limits.max_frame_bytes);
                    break;
                }
                Err(error) => return (found, Some(error), start),
            }
        }
    }
    (found, None, start)
}

/// Every reply of `input`: where it ended, and the error.
fn replies(input: &[u8], cuts: &[usize]) -> (Vec<(usize, usize)>, Option<ProtocolError>) {
    let mut scanner = ReplyScanner::new();
    let mut found = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&input.len()]) {
        loop {
            match scanner.next(&input[start..end.max(start)]) {
                Ok(Some(frame)) => {
                    found.push((frame.body.start, frame.len));
                    start += frame.len;
                }
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// Every request of memcached, as text; blocks that are passed over only by their sum.
fn memcached_requests(input: &[u8], cuts: &[usize]) -> (Vec<String>, usize) {
    let limits = memcached::Limits { max_value_bytes: 40, ..memcached::Limits::default() };
    let mut parser = memcached::RequestParser::new(limits);
    let mut found = Vec::new();
    let mut swallowed = 0;
    let mut start = 0;
    for &end in cuts.iter().chain([&input.len()]) {
        loop {
            match parser.next(&input[start..end.max(start)]) {
                Ok(Some(frame)) => {
                    assert!(frame.len > 0);
                    start += frame.len;
                    match frame.item {
                        memcached::Item::Swallowed => swallowed += frame.len,
                        item => found.push(format!("{item:?}")),
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    found.push(error.to_string());
                    return (found, swallowed);
                }
            }
        }
    }
    (found, swallowed)
}

/// Pieces of what parsers look for, so that chance comes deeper than the first byte.
fn soup(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..6),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn request_soup() -> impl Strategy<Value = Vec<u8>> {
    soup(&[
        "*1\r\n",
        "*2\r\n",
        "*3\r\n",
        "*0\r\n",
        "*-1\r\n",
        "$0\r\n",
        "$1\r\n",
        "$3\r\n",
        "$10\r\n",
        "\r\n",
        "\r",
        "\n",
        "a",
        "GET",
        "\"",
        "'",
        "\\",
        " ",
        "PING\r\n",
        "$3\r\nGET\r\n",
        "$-1\r\n",
        "*",
        "$",
        "*100\r\n",
    ])
}

fn reply_soup() -> impl Strategy<Value = Vec<u8>> {
    soup(&[
        "+OK\r\n",
        "-ERR\r\n",
        ":1\r\n",
        "$1\r\na\r\n",
        "$-1\r\n",
        "*2\r\n",
        "*0\r\n",
        "*-1\r\n",
        "%1\r\n",
        "~1\r\n",
        ">1\r\n",
        "|1\r\n",
        "|0\r\n",
        "_\r\n",
        "#t\r\n",
        ",1.5\r\n",
        "(1\r\n",
        "=5\r\ntxt:a\r\n",
        "!1\r\ne\r\n",
        "\r\n",
        "\r",
        "\n",
        "*",
        "$3\r\n",
        "abc",
    ])
}

fn memcached_soup() -> impl Strategy<Value = Vec<u8>> {
    soup(&[
        "get ",
        "gets ",
        "gat 0 ",
        "set ",
        "cas ",
        "k ",
        "k\r\n",
        "0 ",
        "1 ",
        "5 ",
        "50\r\n",
        "3\r\n",
        "1\r\n",
        "0\r\n",
        "noreply",
        "\r\n",
        "\n",
        "\r",
        "abc\r\n",
        "delete ",
        "incr ",
        "touch ",
        "flush_all",
        "version\r\n",
        " ",
        "\0",
        "set k 0 0 3\r\nabc\r\n",
        "set k 0 0 50\r\n",
        "-1",
        "mg ",
        "ms ",
        "md ",
        "ma k ",
        "mn\r\n",
        "Zm9v ",
        "b ",
        "v ",
        "T30 ",
        "N9 ",
        "q ",
        "O1 ",
        "C<cas> ",
        "MA ",
        "ms k 3 T0 c\r\nabc\r\n",
        "ms k 50 z\r\n",
    ])
}

fn cuts() -> impl Strategy<Value = Vec<proptest::sample::Index>> {
    vec(any::<proptest::sample::Index>(), 0..6)
}

fn at(cuts: &[proptest::sample::Index], input: &[u8]) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.sort_unstable();
    cuts
}

fn scalar(resp3: bool) -> BoxedStrategy<Value> {
    let line = "[ -~]{0,12}".prop_map(String::into_bytes);
    let both = prop_oneof![
        line.clone().prop_map(Value::Simple),
        line.prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        vec(any::<u8>(), 0..20).prop_map(Value::Bulk),
        Just(Value::Null),
    ];
    if !resp3 {
        return prop_oneof![5 => both, 1 => Just(Value::NullArray)].boxed();
    }
    prop_oneof![
        3 => both,
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => any::<f64>().prop_filter("equal to itself", |value| !value.is_nan()).prop_map(Value::Double),
        1 => "[ -~]{0,12}".prop_map(|text| Value::Verbatim(*b"txt", text.into_bytes())),
        1 => "-?[1-9][0-9]{0,30}".prop_map(Value::BigNumber),
    ]
    .boxed()
}

fn tree(resp3: bool) -> impl Strategy<Value = Value> {
    tree_with(resp3, resp3)
}

fn tree_with(resp3: bool, maps: bool) -> impl Strategy<Value = Value> {
    scalar(resp3).prop_recursive(4, 24, 5, move |inner| {
        let array = vec(inner.clone(), 0..5).prop_map(Value::Array);
        if !maps {
            return array.boxed();
        }
        prop_oneof![
            array,
            vec((inner.clone(), inner.clone()), 0..3).prop_map(Value::Map),
            vec(inner, 0..5).prop_map(Value::Set),
        ]
        .boxed()
    })
}

fn write(value: &Value, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut ReplyWriter::new(&mut out, version));
    out
}

fn from_resp2(frame: Resp2) -> Value {
    match frame {
        Resp2::SimpleString(text) => Value::Simple(text),
        Resp2::Error(text) => Value::Error(text.into_bytes()),
        Resp2::Integer(value) => Value::Integer(value),
        Resp2::BulkString(bytes) => Value::Bulk(bytes),
        Resp2::Array(items) => Value::Array(items.into_iter().map(from_resp2).collect()),
        Resp2::Null => Value::Null,
    }
}

/// `None` for what that crate keeps in no order.
fn from_resp3(frame: Resp3) -> Option<Value> {
    Some(match frame {
        Resp3::SimpleString { data, .. } => Value::Simple(data),
        Resp3::SimpleError { data, .. } => Value::Error(data.into_bytes()),
        Resp3::BlobString { data, .. } => Value::Bulk(data),
        Resp3::BlobError { data, .. } => Value::Error(data),
        Resp3::Boolean { data, .. } => Value::Boolean(data),
        Resp3::Null => Value::Null,
        Resp3::Number { data, .. } => Value::Integer(data),
        Resp3::Double { data, .. } => Value::Double(data),
        Resp3::BigNumber { data, .. } => Value::BigNumber(String::from_utf8(data).ok()?),
        Resp3::VerbatimString { data, format: VerbatimStringFormat::Text, .. } => {
            Value::Verbatim(*b"txt", data)
        }
        Resp3::Array { data, .. } => Value::Array(data.into_iter().map(from_resp3).collect::<Option<_>>()?),
        _ => return None,
    })
}

/// That crate has one null where RESP2 has two.
fn one_null(value: Value) -> Value {
    match value {
        Value::NullArray => Value::Null,
        Value::Array(items) => Value::Array(items.into_iter().map(one_null).collect()),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_come_out_as_they_went_in(
        sent in vec(vec(vec(any::<u8>(), 0..300), 1..12), 1..6),
        cuts in cuts(),
    ) {
        let mut bytes = Vec::new();
        for args in &sent {
            encode_request(&mut bytes, args);
        }
        let cuts = at(&cuts, &bytes);
        let len = bytes.len();
        prop_assert_eq!(requests(&bytes, &cuts, Limits::default()), (sent, None, len));
    }

    #[test]
    fn how_requests_arrive_makes_no_difference(bytes in request_soup(), cuts in cuts()) {
        for limits in [Limits::default(), Limits::unauthenticated()] {
            let whole = requests(&bytes, &[], limits);
            prop_assert_eq!(requests(&bytes, &at(&cuts, &bytes), limits), whole);
        }
    }

    #[test]
    fn how_replies_arrive_makes_no_difference(bytes in reply_soup(), cuts in cuts()) {
        let (ends, error) = replies(&bytes, &[]);
        prop_assert_eq!(replies(&bytes, &at(&cuts, &bytes)), (ends.clone(), error));
        // The tree and the scanner agree about where each one ends.
        let mut start = 0;
        for (_, len) in ends {
            if let Ok(decoded) = Value::decode(&bytes[start..]) {
                let (_, decoded) = decoded.expect("whole");
                prop_assert_eq!(decoded, len);
            }
            start += len;
        }
    }

    #[test]
    fn how_memcached_requests_arrive_makes_no_difference(bytes in memcached_soup(), cuts in cuts()) {
        let whole = memcached_requests(&bytes, &[]);
        prop_assert_eq!(memcached_requests(&bytes, &at(&cuts, &bytes)), whole);
    }

    #[test]
    fn trees_round_trip(value in tree(true)) {
        let bytes = write(&value, Version::Resp3);
        let len = bytes.len();
        prop_assert_eq!(Value::decode(&bytes), Ok(Some((value.clone(), len))));
        prop_assert_eq!(replies(&bytes, &[]), (vec![(0, len)], None));
        // A RESP2 client of the same server would have got the same.
        let mut resp2 = Vec::new();
        prop_assert_eq!(downgrade(&bytes, &mut resp2, NullKind::Bulk), Ok(()));
        prop_assert_eq!(resp2, write(&value, Version::Resp2));
    }

    #[test]
    fn resp2_is_read_as_by_others(value in tree(false)) {
        let bytes = write(&value, Version::Resp2);
        let (theirs, len) = redis_protocol::resp2::decode::decode(&bytes).expect("valid").expect("whole");
        prop_assert_eq!(len, bytes.len());
        let (ours, _) = Value::decode(&bytes).expect("valid").expect("whole");
        prop_assert_eq!(one_null(ours), from_resp2(theirs));
    }

    #[test]
    fn resp3_is_read_as_by_others(value in tree_with(true, false)) {
        let bytes = write(&value, Version::Resp3);
        let (theirs, len) = redis_protocol::resp3::decode::complete::decode(&bytes).expect("valid").expect("whole");
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!(Some(value), from_resp3(theirs));
    }

    #[test]
    fn broken_replies_are_read_as_by_others(mut bytes in tree(false).prop_map(|value| write(&value, Version::Resp2)),
        place: proptest::sample::Index, byte: u8)
    {
        let place = place.index(bytes.len());
        bytes[place] = byte;
        // Where both find a whole reply it is the same one. (That crate lets pass what is refused here: lengths with
        // signs and leading zeros, for instance.)
        if let (Ok(Some((ours, our_len))), Ok(Some((theirs, len)))) =
            (Value::decode(&bytes), redis_protocol::resp2::decode::decode(&bytes))
        {
            prop_assert_eq!(our_len, len);
            prop_assert_eq!(one_null(ours), from_resp2(theirs));
        }
    }

    #[test]
    fn requests_are_read_as_by_others(args in vec(vec(any::<u8>(), 0..40), 1..12)) {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, &args);
        let (theirs, len) = redis_protocol::resp2::decode::decode(&bytes).expect("valid").expect("whole");
        let ours = requests(&bytes, &[], Limits::default());
        prop_assert_eq!(ours, (vec![args], None, len));
        let Resp2::Array(items) = theirs else { return Err(TestCaseError::fail("not an array")) };
        let theirs: Vec<_> = items.into_iter().map(from_resp2).collect();
        let (ours, _) = Value::decode(&bytes).expect("valid").expect("whole");
        prop_assert_eq!(ours, Value::Array(theirs));
    }
}
