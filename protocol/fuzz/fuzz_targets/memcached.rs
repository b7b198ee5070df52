//! memcached requests: the outcome does not depend on how the bytes arrive, and a request travels in parts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torc_protocol::memcached::{Item, Limits, Request, RequestParser};

fn parse(input: &[u8], step: usize) -> (Vec<String>, usize) {
    let mut parser = RequestParser::new(Limits { max_value_bytes: 64, ..Limits::default() });
    let mut found = Vec::new();
    let mut swallowed = 0;
    let (mut start, mut end) = (0, 0);
    while end < input.len() {
        end = (end + step).min(input.len());
        loop {
            let buf = &input[start..end];
            match parser.next(buf) {
                Ok(Some(frame)) => {
                    assert!(frame.len > 0 && frame.len <= buf.len());
                    start += frame.len;
                    match frame.item {
                        Item::Swallowed => swallowed += frame.len,
                        Item::Request(request) => {
                            let again = Request::from_parts(request.line, request.data);
                            assert_eq!(again.as_ref(), Ok(&request));
                            found.push(format!("{request:?}"));
                        }
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

fuzz_target!(|data: &[u8]| {
    /// Beyond this what has arrived together makes a difference: a long line may end in time or not.
    const MAX_BYTES: usize = 2048;
    let Some((&first, input)) = data.split_first() else { return };
    let input = &input[..input.len().min(MAX_BYTES)];
    assert_eq!(parse(input, usize::from(first) + 1), parse(input, input.len().max(1)));
});
