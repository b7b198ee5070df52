//! Random commands on streams and their groups, at a primary and at replicas that apply its records.

use proptest::prelude::*;
use torc_server::effect::{EffectWriter, effects, record};
use torc_server::effect_apply;
use torc_server::exec::testing::Harness;
use torc_server::node::Node;
use torc_server::settings::Settings;
use torc_server::store::{Limits, STRIPES};

/// Keys that the commands use.
const KEYS: [&str; 3] = ["s", "t", "{s}u"];

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

fn id() -> impl Strategy<Value = String> {
    (1u8..30, 0u8..4).prop_map(|(ms, seq)| format!("{ms}-{seq}"))
}

/// A command, or milliseconds that pass.
fn step() -> impl Strategy<Value = Result<String, u64>> {
    let key = || prop::sample::select(&KEYS[..]);
    let group = || one_of(&["g", "h"]);
    let who = || one_of(&["a", "b", "c"]);
    let trim = one_of(&["", "MAXLEN 3 ", "MAXLEN = 8 ", "MAXLEN ~ 4 ", "MINID 12 ", "MINID ~ 20-1 "]);
    let claim = one_of(&["", " FORCE", " JUSTID", " RETRYCOUNT 5", " IDLE 700", " LASTID 25-1 FORCE"]);
    let command = prop_oneof![
        12 => (key(), trim, 1u8..30, any::<u16>())
            .prop_map(|(k, trim, ms, v)| format!("XADD {k} {trim}{ms}-* f {v} g x{v}")),
        4 => (key(), any::<u16>()).prop_map(|(k, v)| format!("XADD {k} NOMKSTREAM * other {v}")),
        2 => (key(), one_of(&["MAXLEN 2", "MAXLEN ~ 3", "MINID 15-2"])).prop_map(|(k, t)| format!("XTRIM {k} {t}")),
        4 => (key(), id(), id()).prop_map(|(k, a, b)| format!("XDEL {k} {a} {b}")),
        1 => (key(), id()).prop_map(|(k, id)| format!("XSETID {k} {id} ENTRIESADDED 90")),
        3 => (key(), group(), one_of(&["0", "$", "12-1"])).prop_map(|(k, g, id)| format!("XGROUP CREATE {k} {g} {id} MKSTREAM")),
        1 => (key(), group(), id()).prop_map(|(k, g, id)| format!("XGROUP SETID {k} {g} {id} ENTRIESREAD 3")),
        1 => (key(), group()).prop_map(|(k, g)| format!("XGROUP DESTROY {k} {g}")),
        1 => (key(), group(), who()).prop_map(|(k, g, c)| format!("XGROUP CREATECONSUMER {k} {g} {c}")),
        1 => (key(), group(), who()).prop_map(|(k, g, c)| format!("XGROUP DELCONSUMER {k} {g} {c}")),
        8 => (key(), group(), who(), one_of(&["", "NOACK "]), 1u8..6, one_of(&[">", ">", "0", "14"]))
            .prop_map(|(k, g, c, ack, n, id)| format!("XREADGROUP GROUP {g} {c} {ack}COUNT {n} STREAMS {k} {id}")),
        4 => (key(), group(), id(), id()).prop_map(|(k, g, a, b)| format!("XACK {k} {g} {a} {b}")),
        4 => (key(), group(), who(), one_of(&["0", "500"]), id(), id(), claim)
            .prop_map(|(k, g, c, idle, a, b, rest)| format!("XCLAIM {k} {g} {c} {idle} {a} {b}{rest}")),
        3 => (key(), group(), who(), one_of(&["0", "500"]), id(), one_of(&["", " JUSTID"]))
            .prop_map(|(k, g, c, idle, id, rest)| format!("XAUTOCLAIM {k} {g} {c} {idle} {id} COUNT 3{rest}")),
        1 => (key(), key()).prop_map(|(a, b)| format!("COPY {a} {b} REPLACE")),
        1 => (key(), key()).prop_map(|(a, b)| format!("RENAME {a} {b}")),
        1 => key().prop_map(|k| format!("DEL {k}")),
    ];
    prop_oneof![9 => command.prop_map(Ok), 1 => (1u64..900).prop_map(Err)]
}

fn apply(node: &Node, mut bytes: &[u8]) {
    while let Some((found, len)) = record(bytes).expect("a record") {
        for effect in effects(found.body) {
            effect_apply::apply(node, &effect.expect("an effect"), 0);
        }
        bytes = &bytes[len..];
    }
}

fn copy_all(from: &Node, to: &Node) {
    for index in 0..STRIPES as u16 {
        let mut writer = EffectWriter::new(true);
        effect_apply::snapshot_stripe(from, &from.store.stripe(index), index, &mut writer, 0);
        for effect in effects(&writer.take_bytes()).flatten() {
            effect_apply::apply(to, &effect, 0);
        }
    }
}

/// All that can be asked of the streams, but how their entries are packed.
fn shown(t: &mut Harness) -> Vec<String> {
    let mut all = Vec::new();
    for key in KEYS {
        let mut lines = t.run(&format!("XINFO STREAM {key} FULL COUNT 0"));
        lines.push_str(&t.run(&format!("XREVRANGE {key} + -")));
        let mut lines = lines.split("\r\n").map(str::to_owned);
        while let Some(line) = lines.next() {
            if line.starts_with("radix-tree-") {
                lines.next();
            } else {
                all.push(line);
            }
        }
    }
    all
}

fn settings() -> Settings {
    let limits = Limits { stream_node_entries: 4, stream_node_bytes: 120, ..Limits::default() };
    Settings { limits, ..Settings::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn replicas_have_the_same_streams(steps in prop::collection::vec(step(), 1..250), copied_at in 0usize..250) {
        let mut primary = Harness::primary();
        let old = primary.node.settings.load_full();
        assert!(primary.node.replace_settings(&old, settings()));
        primary.through_proxy();
        let (mut follower, mut late) = (Harness::with_settings(settings()), Harness::with_settings(settings()));
        for (n, step) in steps.iter().enumerate() {
            if n == copied_at {
                copy_all(&primary.node, &late.node);
            }
            match step {
                Ok(line) => {
                    let reply = primary.run(line);
                    prop_assert!(!reply.contains("ERR syntax") && !reply.contains("unknown"), "{}: {}", line, reply);
                }
                Err(ms) => primary.advance(*ms),
            }
            let records = primary.records();
            apply(&follower.node, &records);
            if n >= copied_at {
                apply(&late.node, &records);
            }
            for index in 0..STRIPES as u16 {
                let stripe = primary.node.store.stripe(index);
                assert_eq!((stripe.used_bytes(), stripe.expiring()), stripe.recount());
            }
        }
        let right = shown(&mut primary);
        prop_assert_eq!(&right, &shown(&mut follower));
        if copied_at < steps.len() {
            prop_assert_eq!(&right, &shown(&mut late));
        }
    }
}
