//! Keys of any type, one by one: DEL, UNLINK, EXISTS, TOUCH, TYPE.

use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};
use crate::notify::Class;

fn count(cx: &mut Cx<'_, '_>, args: &Args<'_>, mut hit: impl FnMut(&mut Cx<'_, '_>, &[u8]) -> bool) {
    let n = args.iter().skip(1).filter(|name| hit(cx, name)).count();
    cx.reply().integer(n as i64);
}

/// DEL key \[key …\], UNLINK: big values are freed off the request path either way.
pub fn del(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    count(cx, args, |cx, name| {
        let key = cx.key(name);
        let deleted = cx.delete(&key);
        if deleted {
            cx.notify(Class::GENERIC, "del", key.bytes);
        }
        deleted
    });
    Ok(())
}

/// EXISTS key \[key …\]
pub fn exists(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    count(cx, args, |cx, name| {
        let key = cx.key(name);
        cx.glance(&key).is_some()
    });
    Ok(())
}

/// TOUCH key \[key …\]
pub fn touch(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    count(cx, args, |cx, name| {
        let key = cx.key(name);
        cx.read(&key).is_some()
    });
    Ok(())
}

/// TYPE key
pub fn kind(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let name = cx.glance(&key).map_or("none", |e| e.value().type_name());
    cx.reply().simple(name);
    Ok(())
}
