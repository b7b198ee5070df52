//! Random commands on hashes with fields that expire, against a map of maps and against a replica.

use std::collections::BTreeMap;

use proptest::prelude::*;
use torc_server::effect::{EffectWriter, effects, record};
use torc_server::effect_apply;
use torc_server::exec::testing::{Harness, START_MS};
use torc_server::node::Node;
use torc_server::settings::Settings;
use torc_server::store::{Limits, PackedLimits, STRIPES, ValueRef};

/// Both forms are met.
const LIMITS: PackedLimits = PackedLimits { entries: 5, value_bytes: 20 };

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Set(u8, Vec<u8>),
    Incr(u8, u8),
    Delete(u8, Vec<u8>),
    GetDelete(u8, u8),
    /// HSETEX: what becomes of the expiry, and which fields must (not) exist.
    SetEx {
        key: u8,
        expiry: Expiry,
        when: u8,
        fields: Vec<u8>,
    },
    GetEx {
        key: u8,
        expiry: Expiry,
        fields: Vec<u8>,
    },
    Expire {
        key: u8,
        ms: u64,
        condition: u8,
        fields: Vec<u8>,
    },
    Persist(u8, u8),
    All(u8),
    Times(u8),
    Rename(u8, u8),
    Copy(u8, u8),
    Forget(u8),
}

/// What HSETEX and HGETEX say of the expiry.
#[derive(Clone, Copy, Debug)]
enum Expiry {
    Unsaid,
    /// KEEPTTL, PERSIST.
    Word,
    After(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u8..3;
    let fields = || prop::collection::vec(0u8..12, 1..6);
    let expiry =
        || prop_oneof![Just(Expiry::Unsaid), Just(Expiry::Word), (0u64..100).prop_map(Expiry::After)];
    prop_oneof![
        3 => (0u64..40).prop_map(Step::Advance),
        4 => (key(), fields()).prop_map(|(k, f)| Step::Set(k, f)),
        1 => (key(), 0u8..12).prop_map(|(k, f)| Step::Incr(k, f)),
        1 => (key(), fields()).prop_map(|(k, f)| Step::Delete(k, f)),
        1 => (key(), 0u8..12).prop_map(|(k, f)| Step::GetDelete(k, f)),
        5 => (key(), 0u64..100, 0u8..5, fields())
            .prop_map(|(key, ms, condition, fields)| Step::Expire { key, ms, condition, fields }),
        2 => (key(), expiry(), 0u8..4, fields())
            .prop_map(|(key, expiry, when, fields)| Step::SetEx { key, expiry, when, fields }),
        2 => (key(), expiry(), fields()).prop_map(|(key, expiry, fields)| Step::GetEx { key, expiry, fields }),
        1 => (key(), 0u8..12).prop_map(|(k, f)| Step::Persist(k, f)),
        2 => key().prop_map(Step::All),
        2 => key().prop_map(Step::Times),
        1 => (key(), key()).prop_map(|(a, b)| Step::Rename(a, b)),
        1 => (key(), key()).prop_map(|(a, b)| Step::Copy(a, b)),
        1 => key().prop_map(Step::Forget),
    ]
}

impl Expiry {
    fn words(self, word: &str) -> String {
        match self {
            Expiry::Unsaid => String::new(),
            Expiry::Word => format!("{word} "),
            Expiry::After(ms) => format!("PX {ms} "),
        }
    }
}

type Hash = BTreeMap<u8, (i64, Option<u64>)>;

#[derive(Default)]
struct Model {
    now_ms: u64,
    keys: BTreeMap<u8, Hash>,
}

fn list(numbers: impl ExactSizeIterator<Item = i64>) -> String {
    format!("*{}\r\n", numbers.len()) + &numbers.map(|n| format!(":{n}\r\n")).collect::<String>()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

impl Model {
    fn tidy(&mut self) {
        let now_ms = self.now_ms;
        self.keys.values_mut().for_each(|hash| hash.retain(|_, (_, at)| at.is_none_or(|at| at > now_ms)));
        self.keys.retain(|_, hash| !hash.is_empty());
    }

    /// The request of a step and the reply to it.
    fn run(&mut self, step: &Step) -> (String, String) {
        self.tidy();
        let now_ms = self.now_ms;
        let names = |fields: &[u8]| fields.iter().map(|f| format!(" f{f}")).collect::<String>();
        let answer = match step {
            Step::Advance(ms) => {
                self.now_ms += ms;
                (String::new(), String::new())
            }
            Step::Set(key, fields) => {
                let hash = self.keys.entry(*key).or_default();
                let added = fields.iter().filter(|f| hash.insert(**f, (1, None)).is_none()).count();
                let pairs: String = fields.iter().map(|f| format!(" f{f} 1")).collect();
                (format!("HSET {{t}}{key}{pairs}"), format!(":{added}\r\n"))
            }
            Step::Incr(key, field) => {
                let (value, _) = self.keys.entry(*key).or_default().entry(*field).or_insert((0, None));
                *value += 1;
                (format!("HINCRBY {{t}}{key} f{field} 1"), format!(":{value}\r\n"))
            }
            Step::Delete(key, fields) => {
                let mut hash = self.keys.get_mut(key);
                let removed = fields.iter().filter(|f| hash.as_mut().is_some_and(|h| h.remove(f).is_some()));
                let removed = removed.count();
                (format!("HDEL {{t}}{key}{}", names(fields)), format!(":{removed}\r\n"))
            }
            Step::GetDelete(key, field) => {
                let old = self.keys.get_mut(key).and_then(|hash| hash.remove(field));
                let shown = old.map_or("$-1\r\n".to_owned(), |(value, _)| bulk(&value.to_string()));
                (format!("HGETDEL {{t}}{key} FIELDS 1 f{field}"), format!("*1\r\n{shown}"))
            }
            Step::Expire { key, ms, condition, fields } => {
                let at = now_ms + ms;
                let word = ["", "NX ", "XX ", "GT ", "LT "][usize::from(*condition)];
                let mut empty = Hash::new();
                let hash = self.keys.get_mut(key).unwrap_or(&mut empty);
                let answers: Vec<i64> = fields
                    .iter()
                    .map(|field| {
                        let Some((_, old)) = hash.get_mut(field) else { return -2 };
                        let allowed = match condition {
                            1 => old.is_none(),
                            2 => old.is_some(),
                            3 => old.is_some_and(|old| at > old),
                            4 => old.is_none_or(|old| at < old),
                            _ => true,
                        };
                        if !allowed {
                            return 0;
                        }
                        *old = Some(at);
                        if *ms == 0 {
                            hash.remove(field);
                            return 2;
                        }
                        1
                    })
                    .collect();
                let request =
                    format!("HPEXPIRE {{t}}{key} {ms} {word}FIELDS {}{}", fields.len(), names(fields));
                (request, list(answers.into_iter()))
            }
            Step::SetEx { key, expiry, when, fields } => {
                let hash = self.keys.entry(*key).or_default();
                let allowed = match when {
                    0 => fields.iter().all(|f| !hash.contains_key(f)),
                    1 => fields.iter().all(|f| hash.contains_key(f)),
                    _ => true,
                };
                for field in fields.iter().filter(|_| allowed) {
                    let old = hash.get(field).and_then(|(_, at)| *at);
                    let at = match expiry {
                        Expiry::Unsaid => None,
                        Expiry::Word => old,
                        Expiry::After(ms) => Some(now_ms + ms),
                    };
                    hash.insert(*field, (1, at));
                }
                hash.retain(|_, (_, at)| at.is_none_or(|at| at > now_ms));
                let pairs: String = fields.iter().map(|f| format!(" f{f} 1")).collect();
                let when = ["FNX ", "FXX "].get(usize::from(*when)).copied().unwrap_or_default();
                let expiry = expiry.words("KEEPTTL");
                let request = format!("HSETEX {{t}}{key} {when}{expiry}FIELDS {}{pairs}", fields.len());
                (request, format!(":{}\r\n", u8::from(allowed)))
            }
            Step::GetEx { key, expiry, fields } => {
                let mut empty = Hash::new();
                let hash = self.keys.get_mut(key).unwrap_or(&mut empty);
                let mut reply = format!("*{}\r\n", fields.len());
                for field in fields {
                    let found = hash.get_mut(field);
                    reply +=
                        &found.as_ref().map_or("$-1\r\n".to_owned(), |(value, _)| bulk(&value.to_string()));
                    match (found, expiry) {
                        (Some((_, at)), Expiry::Word) => *at = None,
                        (Some((_, at)), Expiry::After(ms)) => *at = Some(now_ms + ms),
                        _ => {}
                    }
                }
                hash.retain(|_, (_, at)| at.is_none_or(|at| at > now_ms));
                let expiry = expiry.words("PERSIST");
                let request = format!("HGETEX {{t}}{key} {expiry}FIELDS {}{}", fields.len(), names(fields));
                (request, reply)
            }
            Step::Persist(key, field) => {
                let found = self.keys.get_mut(key).and_then(|hash| hash.get_mut(field));
                let answer = found.map_or(-2, |(_, at)| if at.take().is_some() { 1 } else { -1 });
                (format!("HPERSIST {{t}}{key} FIELDS 1 f{field}"), list([answer].into_iter()))
            }
            Step::All(key) => {
                let hash = self.keys.get(key).cloned().unwrap_or_default();
                (format!("HLEN {{t}}{key}"), format!(":{}\r\n", hash.len()))
            }
            Step::Times(key) => {
                let hash = self.keys.get(key).cloned().unwrap_or_default();
                let time = |f: u8| match hash.get(&f) {
                    None => -2,
                    Some((_, None)) => -1,
                    Some((_, Some(at))) => (at - now_ms) as i64,
                };
                let all: Vec<u8> = (0..12).collect();
                (
                    format!("HPTTL {{t}}{key} FIELDS 12{}", names(&all)),
                    list((0..12u8).map(time).collect::<Vec<_>>().into_iter()),
                )
            }
            Step::Rename(from, to) => {
                let reply = match self.keys.remove(from) {
                    Some(hash) => {
                        self.keys.insert(*to, hash);
                        "+OK\r\n"
                    }
                    None => "-ERR no such key\r\n",
                };
                (format!("RENAME {{t}}{from} {{t}}{to}"), reply.to_owned())
            }
            Step::Copy(from, to) if from == to => (String::new(), String::new()),
            Step::Copy(from, to) => {
                let found = self.keys.get(from).cloned();
                let reply = format!(":{}\r\n", u8::from(found.is_some()));
                if let Some(hash) = found {
                    self.keys.insert(*to, hash);
                }
                (format!("COPY {{t}}{from} {{t}}{to} REPLACE"), reply)
            }
            Step::Forget(key) => {
                let there = self.keys.remove(key).is_some();
                (format!("DEL {{t}}{key}"), format!(":{}\r\n", u8::from(there)))
            }
        };
        self.keys.retain(|_, hash| !hash.is_empty());
        answer
    }
}

type Rows = BTreeMap<Vec<u8>, (u32, BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>)>;

fn dump(node: &Node) -> Rows {
    let mut rows = Rows::new();
    for index in 0..STRIPES as u16 {
        let stripe = node.store.stripe(index);
        assert_eq!((stripe.used_bytes(), stripe.expiring()), stripe.recount(), "stripe {index}");
        for entry in stripe.iter(0) {
            let ValueRef::Hash(hash) = entry.value() else { panic!("not a hash") };
            let fields = hash.iter_timed().map(|(f, v, at)| (f.to_vec(), (v.to_vec(), at))).collect();
            rows.insert(entry.key().to_vec(), (entry.version(), fields));
        }
    }
    rows
}

fn apply(node: &Node, bytes: &[u8]) {
    for effect in effects(bytes) {
        match effect {
            Ok(effect) => effect_apply::apply(node, &effect, 0),
            Err(error) => panic!("an effect does not decode: {error}"),
        }
    }
}

fn apply_records(node: &Node, mut bytes: &[u8]) {
    while let Ok(Some((found, len))) = record(bytes) {
        apply(node, found.body);
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty(), "half a record");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn hashes_are_maps_and_replicas_follow(steps in prop::collection::vec(step(), 1..200)) {
        let limits = Limits { hash: LIMITS, ..Limits::default() };
        let settings = || Settings { limits, ..Settings::default() };
        let mut t = Harness::primary();
        let old = t.node.settings.load_full();
        prop_assert!(t.node.replace_settings(&old, settings()));
        t.through_proxy();
        let (follower, late) = (Harness::with_settings(settings()), Harness::with_settings(settings()));
        let mut model = Model { now_ms: START_MS, ..Model::default() };
        for step in &steps {
            let (request, reply) = model.run(step);
            if let Step::Advance(ms) = step {
                t.advance(*ms);
            } else if !request.is_empty() {
                prop_assert_eq!(t.run(&request), reply, "{}", request);
                apply_records(&follower.node, &t.records());
            }
        }
        prop_assert_eq!(&dump(&t.node), &dump(&follower.node));
        // As a full sync does.
        for index in 0..STRIPES as u16 {
            let mut writer = EffectWriter::new(true);
            effect_apply::snapshot_stripe(&t.node, &t.node.store.stripe(index), index, &mut writer, 0);
            apply(&late.node, &writer.take_bytes());
        }
        prop_assert_eq!(&dump(&t.node), &dump(&late.node));
        for key in 0..3 {
            t.run(&format!("HLEN {{t}}{key}"));
        }
        model.tidy();
        let keys: BTreeMap<Vec<u8>, _> = model.keys.iter().map(|(key, hash)| {
            let fields = hash.iter().map(|(f, (v, at))| {
                (format!("f{f}").into_bytes(), (v.to_string().into_bytes(), *at))
            });
            (format!("{{t}}{key}").into_bytes(), fields.collect::<BTreeMap<_, _>>())
        }).collect();
        let live: BTreeMap<_, _> = dump(&t.node).into_iter().map(|(key, (_, fields))| (key, fields)).collect();
        prop_assert_eq!(live, keys);
    }
}
