//! memcached clients of a proxy: whatever they send, what comes back ends with a line, and others are served.
#![no_main]

mod world;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(input) = world::Input::of(data) else { return };
    let world = world::get();
    let output = world.talk(world.memcached, &input);
    assert!(output.is_empty() || output.ends_with(b"\n"), "{}", output.escape_ascii());
    world.check(world.memcached, b"mn\r\n", b"MN\r\n");
});
