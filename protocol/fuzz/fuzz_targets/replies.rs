//! Replies: scanner, tree and translation agree, however the bytes arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torc_protocol::resp::{NullKind, ProtocolError, ReplyScanner, ReplyWriter, Value, Version, downgrade};

fn scan(input: &[u8], step: usize) -> (Vec<(usize, usize)>, Option<ProtocolError>) {
    let mut scanner = ReplyScanner::new();
    let mut replies = Vec::new();
    let (mut start, mut end) = (0, 0);
    while end < input.len() {
        end = (end + step).min(input.len());
        loop {
            match scanner.next(&input[start..end]) {
                Ok(Some(frame)) => {
                    assert!(frame.len > 0 && frame.body.end == frame.len);
                    replies.push((frame.body.start, frame.len));
                    start += frame.len;
                }
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, input)) = data.split_first() else { return };
    let (replies, error) = scan(input, input.len().max(1));
    assert_eq!(scan(input, usize::from(first) + 1), (replies.clone(), error));
    let mut start = 0;
    for (body, len) in replies {
        let reply = &input[start + body..start + len];
        // Only a verbatim string without its kind is let pass by the scanner and not by the tree.
        if let Ok(decoded) = Value::decode(reply) {
            let (value, decoded) = decoded.expect("the scanner found it whole");
            assert_eq!(decoded, reply.len());
            let mut resp2 = Vec::new();
            value.write(&mut ReplyWriter::new(&mut resp2, Version::Resp2));
            let (again, _) = Value::decode(&resp2).expect("what is written is valid").expect("and whole");
            let mut out = Vec::new();
            again.write(&mut ReplyWriter::new(&mut out, Version::Resp2));
            assert_eq!(out, resp2);
        }
        let mut resp2 = Vec::new();
        downgrade(reply, &mut resp2, NullKind::Bulk).expect("the scanner let it pass");
        let (ends, error) = scan(&resp2, resp2.len().max(1));
        assert_eq!((ends.len(), error), (1, None), "one reply stays one reply");
        start += len;
    }
});
