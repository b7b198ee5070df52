//! SUBSCRIBE, UNSUBSCRIBE and their relatives for patterns and shard channels.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx, Depth};
use crate::pubsub::{Kind, Subscriptions, TooMany};

/// What the commands about one kind of subscription are called.
pub struct Words {
    kind: Kind,
    subscribe: &'static str,
    unsubscribe: &'static str,
}

/// SUBSCRIBE and UNSUBSCRIBE.
pub const CHANNELS: Words = Words { kind: Kind::Channel, subscribe: "subscribe", unsubscribe: "unsubscribe" };
/// PSUBSCRIBE and PUNSUBSCRIBE.
pub const PATTERNS: Words =
    Words { kind: Kind::Pattern, subscribe: "psubscribe", unsubscribe: "punsubscribe" };
/// SSUBSCRIBE and SUNSUBSCRIBE.
pub const SHARD_CHANNELS: Words =
    Words { kind: Kind::Shard, subscribe: "ssubscribe", unsubscribe: "sunsubscribe" };

/// `[P | S]SUBSCRIBE name [name …]`: a message about each.
pub fn subscribe(cx: &mut Cx<'_, '_>, args: &Args<'_>, words: &Words) -> CommandResult {
    let kept = words.kind == Kind::Shard && cx.depth != Depth::Command;
    let Some(client) = cx.session.client.clone().filter(|_| !kept && !cx.proxied) else {
        // Redis's words for who expects exactly one reply to each command.
        let name = words.subscribe.to_ascii_uppercase();
        return Err(format!("ERR {name} isn't allowed for a DENY BLOCKING client").into());
    };
    cx.session.pushed = true;
    let version = cx.version;
    let registry = &cx.node.pubsub;
    let mut subscriptions = match cx.session.subscriptions.take() {
        Some(subscriptions) => subscriptions,
        None => Box::new(Subscriptions::new(registry.clone(), client, version)),
    };
    for name in args.iter().skip(1) {
        if let Err(which) = subscriptions.add(words.kind, name) {
            cx.reply().error(match which {
                TooMany::OfConnection => text::TOO_MANY_SUBSCRIPTIONS,
                TooMany::OfNode => text::TOO_MANY_SUBSCRIPTIONS_HERE,
            });
            break;
        }
        let count = subscriptions.shown_count(words.kind);
        confirm(cx, words.subscribe, Some(name), count);
    }
    cx.session.subscriptions = Some(subscriptions);
    Ok(())
}

/// `[P | S]UNSUBSCRIBE [name …]`: a message about each; without names about all that there were, or one about none.
pub fn unsubscribe(cx: &mut Cx<'_, '_>, args: &Args<'_>, words: &Words) -> CommandResult {
    cx.session.pushed = true;
    let mut subscriptions = cx.session.subscriptions.take();
    let mut remove = |cx: &mut Cx<'_, '_>, name: &[u8]| {
        let mut count = 0;
        if let Some(subscriptions) = &mut subscriptions {
            subscriptions.remove(words.kind, name);
            count = subscriptions.shown_count(words.kind);
        }
        confirm(cx, words.unsubscribe, Some(name), count);
    };
    if args.len() > 1 {
        args.iter().skip(1).for_each(|name| remove(cx, name));
    } else {
        let names = subscriptions.as_ref().map(|s| s.names(words.kind)).unwrap_or_default();
        match &mut subscriptions {
            Some(subscriptions) if !names.is_empty() => {
                for name in names {
                    subscriptions.remove(words.kind, &name);
                    confirm(cx, words.unsubscribe, Some(&name), subscriptions.shown_count(words.kind));
                }
            }
            others => {
                let count = others.as_ref().map_or(0, |s| s.shown_count(words.kind));
                confirm(cx, words.unsubscribe, None, count);
            }
        }
    }
    cx.session.subscriptions = subscriptions;
    Ok(())
}

fn confirm(cx: &mut Cx<'_, '_>, word: &str, name: Option<&[u8]>, count: usize) {
    let mut reply = cx.reply();
    reply.push(3);
    reply.bulk(word.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count as i64);
}
