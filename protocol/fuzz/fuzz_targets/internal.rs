//! What parts of Torc say to each other: contexts, handshakes, frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torc_protocol::bus::{FrameDecoder, MAX_FRAME_BYTES, encode_frame};
use torc_protocol::context::{Context, Position};
use torc_protocol::handshake::{Hello, HelloReply};

fuzz_target!(|data: &[u8]| {
    if let Ok(context) = Context::decode(data) {
        let mut again = Vec::new();
        context.encode(&mut again);
        assert_eq!(again, data);
    }
    if let Ok(hello) = Hello::decode(data) {
        let mut again = Vec::new();
        hello.encode(&mut again);
        assert_eq!(again, data);
    }
    if let Ok(reply) = HelloReply::decode(data) {
        let mut again = Vec::new();
        reply.encode(&mut again);
        assert_eq!(again, data);
    }
    if let Ok(Some(frame)) = FrameDecoder::new(MAX_FRAME_BYTES).next(data) {
        let mut again = Vec::new();
        encode_frame(&mut again, frame.kind, frame.payload).expect("it was within the bound");
        assert_eq!(again, &data[..frame.len]);
    }
    let _ = Position::from_attribute(data);
    let _ = Position::from_text(data);
});
