//! Clients that mean no good, or are broken: what they send is answered in its place and takes no more than its share.

use proptest::prelude::*;

use super::execute::MAX_VALUES_BYTES;
use super::tests::talk;
use crate::exec::testing::Harness;
use crate::settings::Settings;

#[test]
fn what_follows_a_refused_line_is_data() {
    let mut t = Harness::with_settings(Settings { max_item_bytes: 8, ..Settings::default() });
    talk(
        &mut t,
        &[
            ("set k1 0 0 1\n1\n", "STORED\n"),
            ("ms k 8 z\nget k1\n\nmn\n", "CLIENT_ERROR invalid flag\nMN\n"),
            ("ms k 8 b\nget k1\n\nmn\n", "CLIENT_ERROR error decoding key\nMN\n"),
            ("set k 0 0 9\nget k1\nx\nmn\n", "SERVER_ERROR object too large for cache\nMN\n"),
            ("set k 0 0 24\nget k1\nget k1\nget k1\n\nmn\n", "SERVER_ERROR object too large for cache\nMN\n"),
        ],
    );
}

#[test]
fn one_get_has_a_bound() {
    let value = MAX_VALUES_BYTES / 2 + 1;
    let mut t = Harness::with_settings(Settings { max_item_bytes: value as u64, ..Settings::default() });
    t.memcached([format!("set k 0 0 {value}\r\n").into_bytes(), vec![b'x'; value], b"\r\n".into()].concat());
    let refused = "SERVER_ERROR out of memory writing get response\n";
    talk(
        &mut t,
        &[("get k k\nmn\n", &format!("{refused}MN\n")), ("gat 100 k k\nmn\n", &format!("{refused}MN\n"))],
    );
    // Nothing was touched.
    talk(&mut t, &[("mg k t s\n", &format!("HD t-1 s{value}\n"))]);
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        lines in prop::collection::vec(
            "((get|gets) [a-c]( [a-c])?|(set|append) [a-c] 0 0 [0-9]{1,2}|ms [a-c] [0-9]{1,2}( [zIk])?|mg [a-c] v|md [a-c] q|mn|incr a 1)\r\n([0-9]{0,3}\r\n)?(get a\r\n)?",
            0..20,
        ),
        cuts in prop::collection::vec(1..40_usize, 1..20),
    ) {
        let bytes = lines.concat().into_bytes();
        let settings = Settings { max_item_bytes: 20, ..Settings::default() };
        let whole = Harness::with_settings(settings.clone()).memcached_in_pieces(&[&bytes]);
        let (mut pieces, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.iter().cycle());
        while let (false, Some(cut)) = (rest.is_empty(), cuts.next()) {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(Harness::with_settings(settings).memcached_in_pieces(&pieces), whole);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        Harness::new().memcached(bytes);
    }

    #[test]
    fn random_requests_never_panic(
        lines in prop::collection::vec(
            "(set|add|cas|append|incr|decr|gat|gats|get|touch|delete|flush_all|stats|verbosity|mg|ms|md|ma|me) [ab]? ?(v |T9 |N1 |I |b |k |q |C1 ){0,4} ?[0-9-]{0,3} ?[0-9]{0,2} ?[0-3]? ?[0-9]?( noreply)?\r\n(a{0,3}\r\n)?",
            0..20,
        ),
    ) {
        Harness::new().memcached(lines.concat());
    }
}
