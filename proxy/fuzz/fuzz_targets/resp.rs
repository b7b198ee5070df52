//! RESP clients of a proxy: whatever they send, what comes back is made of whole replies, and others are served.
#![no_main]

mod world;

use libfuzzer_sys::fuzz_target;
use torc_protocol::resp::ReplyScanner;

fuzz_target!(|data: &[u8]| {
    let Some(input) = world::Input::of(data) else { return };
    let world = world::get();
    let output = world.talk(world.resp, &input);
    let (mut scanner, mut start) = (ReplyScanner::new(), 0);
    while let Some(frame) = scanner.next(&output[start..]).expect("a reply") {
        start += frame.len;
    }
    world.check(world.resp, b"PING\r\n", b"+PONG\r\n");
});
