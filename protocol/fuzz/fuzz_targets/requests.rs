//! Requests: the outcome does not depend on how the bytes arrive, and every range lies in its frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torc_protocol::resp::{Limits, ProtocolError, RequestParser};

type Outcome = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>, usize);

fn parse(input: &[u8], step: usize, limits: Limits) -> Outcome {
    let mut parser = RequestParser::new(limits);
    let mut requests = Vec::new();
    let (mut start, mut end) = (0, 0);
    while end < input.len() {
        end = (end + step).min(input.len());
        loop {
            let buf = &input[start..end];
            match parser.next(buf) {
                Ok(Some(frame)) => {
                    assert!(frame.len > 0 && frame.len <= buf.len());
                    let view = frame.view(buf);
                    requests.push((0..view.len()).map(|index| view[index].to_vec()).collect());
                    start += frame.len;
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error), start),
            }
        }
    }
    (requests, None, start)
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, input)) = data.split_first() else { return };
    let limits = if first & 1 == 0 { Limits::default() } else { Limits::unauthenticated() };
    let whole = parse(input, input.len().max(1), limits);
    assert_eq!(parse(input, usize::from(first >> 1) + 1, limits), whole);
});
