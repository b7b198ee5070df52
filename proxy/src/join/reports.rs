//! What nodes report of themselves, made one report: LATENCY, MEMORY.

use std::collections::BTreeMap;

use torc_protocol::resp::{ReplyWriter, Value};

use crate::info::text_of;

/// Measurements of one event that are given, as by one node.
const MAX_SAMPLES: usize = 160;

fn decoded(part: &[u8]) -> Option<Value> {
    Some(Value::decode(part).ok()??.0)
}

/// `LATENCY LATEST`: of each event the latest measurement of all nodes, and the worst one.
pub(super) fn latest(parts: &[&[u8]], reply: &mut ReplyWriter<'_>) -> Option<()> {
    // Name, when (s), how long (ms), the longest (ms).
    let mut events: Vec<(Value, i64, i64, i64)> = Vec::new();
    for part in parts {
        for event in decoded(part)?.into_array()? {
            let [name, at_s, ms, worst_ms] = event.into_array()?.try_into().ok()?;
            let (at_s, ms, worst_ms) = (at_s.as_int()?, ms.as_int()?, worst_ms.as_int()?);
            match events.iter_mut().find(|(known, ..)| known.as_bytes() == name.as_bytes()) {
                None => events.push((name, at_s, ms, worst_ms)),
                Some(known) => {
                    (known.1, known.2) = (known.1, known.2).max((at_s, ms));
                    known.3 = known.3.max(worst_ms);
                }
            }
        }
    }
    reply.array(events.len());
    for (name, at_s, ms, worst_ms) in events {
        reply.array(4);
        name.write(reply);
        [at_s, ms, worst_ms].into_iter().for_each(|number| reply.integer(number));
    }
    Some(())
}

/// `LATENCY HISTORY`: the measurements of all nodes in the order of their time, the latest of them.
pub(super) fn history(parts: &[&[u8]], reply: &mut ReplyWriter<'_>) -> Option<()> {
    let mut samples: Vec<(i64, i64)> = Vec::new();
    for part in parts {
        for sample in decoded(part)?.into_array()? {
            let [at_s, ms] = sample.into_array()?.try_into().ok()?;
            samples.push((at_s.as_int()?, ms.as_int()?));
        }
    }
    samples.sort_by_key(|(at_s, _)| *at_s);
    let samples = samples.get(samples.len().saturating_sub(MAX_SAMPLES)..)?;
    reply.array(samples.len());
    for (at_s, ms) in samples {
        reply.array(2);
        reply.integer(*at_s);
        reply.integer(*ms);
    }
    Some(())
}

/// `LATENCY HISTOGRAM`: calls added up. A node says how many calls took up to so many microseconds.
pub(super) fn histogram(parts: &[&[u8]], reply: &mut ReplyWriter<'_>) -> Option<()> {
    let mut commands: Vec<(Value, i64, BTreeMap<i64, i64>)> = Vec::new();
    for part in parts {
        for (name, fields) in decoded(part)?.into_map()? {
            let at = commands.iter().position(|(known, ..)| known.as_bytes() == name.as_bytes());
            let at = at.unwrap_or_else(|| {
                commands.push((name, 0, BTreeMap::new()));
                commands.len() - 1
            });
            let (_, calls, buckets) = commands.get_mut(at)?;
            for (field, value) in fields.into_map()? {
                match field.as_str()? {
                    "calls" => *calls = calls.checked_add(value.as_int()?)?,
                    _ => {
                        let mut before = 0;
                        for (micros, up_to) in value.into_map()? {
                            let up_to = up_to.as_int()?;
                            let sum = buckets.entry(micros.as_int()?).or_default();
                            *sum = sum.checked_add(up_to.checked_sub(before)?)?;
                            before = up_to;
                        }
                    }
                }
            }
        }
    }
    reply.map(commands.len());
    for (name, calls, buckets) in commands {
        name.write(reply);
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(calls);
        reply.bulk(b"histogram_usec");
        reply.map(buckets.len());
        let mut up_to: i64 = 0;
        for (micros, calls) in buckets {
            up_to = calls.saturating_add(up_to);
            reply.integer(micros);
            reply.integer(up_to);
        }
    }
    Some(())
}

/// `MEMORY STATS`: bytes and counts added up; what is a share of something is worked out anew.
pub(super) fn memory(parts: &[&[u8]], reply: &mut ReplyWriter<'_>) -> Option<()> {
    let mut names: Vec<String> = Vec::new();
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    let mut databases: BTreeMap<String, Vec<(Value, Value)>> = BTreeMap::new();
    let mut resident = 0.0;
    for part in parts {
        let fields = decoded(part)?.into_map()?;
        let of = |wanted: &str| fields.iter().find(|(name, _)| name.as_str() == Some(wanted));
        let own = of("total.allocated").and_then(|(_, value)| value.as_int()).unwrap_or(0) as f64;
        resident += of("fragmentation").and_then(|(_, value)| number(value)).unwrap_or(0.0) * own;
        for (name, value) in fields {
            let name = name.as_str()?.to_owned();
            if let Some(sum) = value.as_int().filter(|_| !name.starts_with("db.")) {
                let all = sums.entry(name.clone()).or_default();
                *all = all.checked_add(sum)?;
            } else if name.starts_with("db.") {
                databases.entry(name.clone()).or_insert(value.into_map()?);
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let sum = |name: &str| sums.get(name).copied().unwrap_or(0) as f64;
    let share = |of: f64, all: f64| if all == 0.0 { 0.0 } else { of / all };
    reply.map(names.len());
    for name in &names {
        reply.bulk(name.as_bytes());
        match name.as_str() {
            "keys.bytes-per-key" => reply.integer(share(sum("dataset.bytes"), sum("keys.count")) as i64),
            "dataset.percentage" => {
                reply.double(share(sum("dataset.bytes"), sum("allocator.allocated")) * 100.0)
            }
            "peak.percentage" => reply.double(share(sum("total.allocated"), sum("peak.allocated")) * 100.0),
            "allocator-fragmentation.ratio" => {
                reply.double(share(sum("allocator.active"), sum("allocator.allocated")));
            }
            "fragmentation" => reply.double(share(resident, sum("total.allocated"))),
            name => match databases.get(name) {
                Some(fields) => {
                    reply.map(fields.len());
                    for (name, value) in fields {
                        name.write(reply);
                        value.write(reply);
                    }
                }
                None => reply.integer(sums.get(name).copied().unwrap_or(0)),
            },
        }
    }
    Some(())
}

/// A number as RESP3 or RESP2 has it.
fn number(value: &Value) -> Option<f64> {
    value.as_double().or_else(|| value.as_str()?.parse().ok())
}

/// Texts that speak of one node each, under the numbers of their shards; those with nothing to say (errors) are left out.
pub(super) fn texts(shards: &[u16], parts: &[&[u8]], reply: &mut ReplyWriter<'_>) -> Option<()> {
    if let [only] = parts {
        reply.raw(only);
        return Some(());
    }
    let mut text = Vec::new();
    for (shard, part) in shards.iter().zip(parts) {
        let Some(said) = text_of(part) else { continue };
        text.extend_from_slice(format!("Primary of shard {shard}:\n").as_bytes());
        text.extend_from_slice(said);
        if !said.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
    reply.verbatim(b"txt", &text);
    Some(())
}

#[cfg(test)]
mod tests {
    use torc_protocol::resp::{ReplyWriter, Version};

    use crate::downstream::render::Render;
    use crate::join::{How, Join};

    fn written(write: impl FnOnce(&mut ReplyWriter<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut ReplyWriter::new(&mut bytes, Version::Resp3));
        bytes
    }

    fn joined(how: How, parts: &[Vec<u8>]) -> String {
        let mut join = Join::new(how, parts.len());
        parts.iter().enumerate().for_each(|(at, part)| {
            join.feed(at as u32, part);
        });
        let mut out = Vec::new();
        join.finish(Render::Resp3, &mut out);
        String::from_utf8(out).expect("text")
    }

    fn event(name: &str, at_s: i64, ms: i64, worst_ms: i64) -> Vec<u8> {
        written(|reply| {
            reply.array(1);
            reply.array(4);
            reply.bulk(name.as_bytes());
            [at_s, ms, worst_ms].into_iter().for_each(|number| reply.integer(number));
        })
    }

    fn samples(all: &[(i64, i64)]) -> Vec<u8> {
        written(|reply| {
            reply.array(all.len());
            for (at_s, ms) in all {
                reply.array(2);
                reply.integer(*at_s);
                reply.integer(*ms);
            }
        })
    }

    #[test]
    fn events_of_all_nodes() {
        let parts = [event("command", 20, 7, 7), event("command", 30, 5, 6), event("fork", 1, 2, 3)];
        let wanted = "*2\r\n*4\r\n$7\r\ncommand\r\n:30\r\n:5\r\n:7\r\n*4\r\n$4\r\nfork\r\n:1\r\n:2\r\n:3\r\n";
        assert_eq!(joined(How::Latest, &parts), wanted);
        let parts = [samples(&[(1, 5), (4, 6)]), samples(&[(2, 7)]), samples(&[])];
        let wanted = "*3\r\n*2\r\n:1\r\n:5\r\n*2\r\n:2\r\n:7\r\n*2\r\n:4\r\n:6\r\n";
        assert_eq!(joined(How::History, &parts), wanted);
        let many: Vec<(i64, i64)> = (0..160).map(|at_s| (at_s, 1)).collect();
        let joined = joined(How::History, &[samples(&many), samples(&[(500, 2)])]);
        assert!(joined.starts_with("*160\r\n*2\r\n:1\r\n") && joined.ends_with(":500\r\n:2\r\n"), "{joined}");
    }

    fn of_get(resp3: bool, calls: i64, buckets: &[(i64, i64)]) -> Vec<u8> {
        written(|reply| {
            let map = |reply: &mut ReplyWriter<'_>, len: usize| {
                if resp3 { reply.map(len) } else { reply.array(len * 2) }
            };
            map(reply, 1);
            reply.bulk(b"get");
            map(reply, 2);
            reply.bulk(b"calls");
            reply.integer(calls);
            reply.bulk(b"histogram_usec");
            map(reply, buckets.len());
            for (micros, up_to) in buckets {
                reply.integer(*micros);
                reply.integer(*up_to);
            }
        })
    }

    #[test]
    fn histograms_are_added_up() {
        let parts = [of_get(true, 5, &[(1, 2), (4, 5)]), of_get(false, 3, &[(2, 1), (4, 3)])];
        let wanted = of_get(true, 8, &[(1, 2), (2, 3), (4, 8)]);
        assert_eq!(joined(How::Histogram, &parts).as_bytes(), wanted);
    }

    #[test]
    fn shares_of_memory_are_worked_out_anew() {
        let part = |keys: i64, bytes: i64, fragmentation: f64| {
            written(|reply| {
                reply.map(5);
                for (name, value) in
                    [("total.allocated", bytes), ("keys.count", keys), ("keys.bytes-per-key", 1)]
                {
                    reply.bulk(name.as_bytes());
                    reply.integer(value);
                }
                reply.bulk(b"dataset.bytes");
                reply.integer(bytes);
                reply.bulk(b"fragmentation");
                reply.double(fragmentation);
            })
        };
        let wanted = written(|reply| {
            reply.map(5);
            for (name, value) in [("total.allocated", 400), ("keys.count", 4), ("keys.bytes-per-key", 100)] {
                reply.bulk(name.as_bytes());
                reply.integer(value);
            }
            reply.bulk(b"dataset.bytes");
            reply.integer(400);
            reply.bulk(b"fragmentation");
            reply.double(1.75);
        });
        assert_eq!(joined(How::MemoryStats, &[part(1, 100, 1.0), part(3, 300, 2.0)]).as_bytes(), wanted);
    }

    #[test]
    fn texts_say_whose_they_are() {
        let text = |text: &str| written(|reply| reply.verbatim(b"txt", text.as_bytes()));
        let shards: Box<[u16]> = [3, 7].into();
        let both = joined(How::Texts(shards.clone()), &[text("good\n"), text("bad")]);
        assert!(both.ends_with("Primary of shard 3:\ngood\nPrimary of shard 7:\nbad\n\r\n"), "{both}");
        let error = b"-ERR no samples\r\n".to_vec();
        let one = joined(How::Texts(shards.clone()), &[error.clone(), text("bad")]);
        assert!(one.ends_with("txt:Primary of shard 7:\nbad\n\r\n"), "{one}");
        assert_eq!(joined(How::Texts(shards), &[error.clone(), error]), "-ERR no samples\r\n");
        assert_eq!(joined(How::Texts([0].into()), &[text("good\n")]), "=9\r\ntxt:good\n\r\n");
    }
}
