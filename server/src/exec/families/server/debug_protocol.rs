//! DEBUG PROTOCOL: a reply of each type, for those who write clients.

use torc_protocol::resp::Args;

use super::debug::check_allowed;
use crate::exec::{CommandResult, Cx};

/// `DEBUG PROTOCOL type`
#[expect(clippy::approx_constant, reason = "Redis answers with this number")]
pub fn protocol(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    check_allowed(cx)?;
    let mut reply = cx.reply();
    match args[2].to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12_345),
        b"double" => reply.double(3.141),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.integer(n);
                reply.boolean(n == 1);
            }
        }
        b"attrib" => {
            if reply.attribute(1) {
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
        }
        b"verbatim" => reply.verbatim(b"txt", b"This is a verbatim\nstring"),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        _ => {
            return Err("ERR Wrong protocol type name. Please use one of the following: \
                string|integer|double|null|array|set|map|attrib|push|verbatim|bignum|true|false"
                .into());
        }
    }
    Ok(())
}
