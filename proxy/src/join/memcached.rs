//! The replies of several nodes to one memcached request.

use torc_protocol::resp::parse_i64;

use crate::downstream::render::{Render, bulk_text};

/// One `VALUE` block at the start of a part: its key, and its bytes.
fn value_block(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let line_end = memchr::memmem::find(text, b"\r\n")?;
    let mut words = text.get(..line_end)?.split(|byte| *byte == b' ');
    if words.next()? != b"VALUE" {
        return None;
    }
    let key = words.next()?;
    let length = words.nth(1)?;
    let length = usize::try_from(parse_i64(length)?).ok()?;
    let end = line_end.checked_add(length)?.checked_add(4)?;
    Some((key, text.get(..end)?))
}

/// Writes the blocks in the order of the client's keys, or the error of a node and nothing else. True when it was an error.
pub(super) fn values(keys: &[(u16, Box<[u8]>)], parts: &[&[u8]], render: Render, out: &mut Vec<u8>) -> bool {
    if let Some(error) = parts.iter().find(|part| bulk_text(part).is_none()) {
        render.write(error, out);
        return true;
    }
    if render == Render::Silent {
        return false;
    }
    let start = out.len();
    let mut rests: Vec<&[u8]> = parts.iter().map(|part| bulk_text(part).unwrap_or_default()).collect();
    for (part, key) in keys {
        let Some(rest) = rests.get_mut(usize::from(*part)) else { continue };
        if let Some((found, block)) = value_block(rest)
            && *found == **key
        {
            out.extend_from_slice(block);
            *rest = rest.get(block.len()..).unwrap_or_default();
        }
    }
    // What is left is an error line of a node, or nothing.
    if let Some(rest) = rests.iter().find(|rest| !rest.is_empty()) {
        out.truncate(start);
        out.extend_from_slice(rest);
        return true;
    }
    out.extend_from_slice(b"END\r\n");
    false
}

/// One list of items behind the other. True when it was an error.
pub(super) fn dump(parts: &[&[u8]], render: Render, out: &mut Vec<u8>) -> bool {
    const ENDS: [&[u8]; 2] = [b"END\r\n", b"EN\r\n"];
    let end_of = |text: &[u8]| ENDS.into_iter().find(|end| text.ends_with(end));
    // What does not end as a list is one line, and the whole answer.
    if let Some(line) = parts.iter().find(|part| bulk_text(part).and_then(end_of).is_none()) {
        render.write(line, out);
        return true;
    }
    let mut end: &[u8] = b"";
    for text in parts.iter().filter_map(|part| bulk_text(part)) {
        end = end_of(text).unwrap_or(end);
        out.extend_from_slice(text.strip_suffix(end).unwrap_or(text));
    }
    out.extend_from_slice(end);
    false
}

/// Whether the numbers of several nodes under this name are no sum.
fn is_no_sum(name: &str) -> bool {
    const NO_SUMS: [&str; 5] =
        ["pointer_size", "chunk_size", "chunks_per_page", "hash_power_level", "evicted_time"];
    let last = name.rsplit(':').next().unwrap_or(name);
    NO_SUMS.contains(&last) || last.starts_with("age")
}

/// Adds up what are plain counters; what only one node says, or says as text, is the first node's.
pub(super) fn statistics(
    own: &[(String, String)],
    parts: &[&[u8]],
    render: Render,
    out: &mut Vec<u8>,
) -> bool {
    if let Some(error) = parts.iter().find(|part| bulk_text(part).is_none()) {
        render.write(error, out);
        return true;
    }
    // One line that is no statistic (`ERROR`, `OK`, `CLIENT_ERROR …`) is the whole answer.
    let plain = |text: &&[u8]| !text.starts_with(b"STAT ") && *text != b"END\r\n";
    if let Some(line) = parts.iter().filter_map(|part| bulk_text(part)).find(plain) {
        out.extend_from_slice(line);
        return !line.starts_with(b"OK");
    }
    let mut merged: Vec<(String, String)> = own.to_vec();
    let fixed = merged.len();
    for part in parts {
        let text = String::from_utf8_lossy(bulk_text(part).unwrap_or_default()).into_owned();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some("STAT"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            match merged.iter().position(|(known, _)| known == name) {
                None => merged.push((name.to_owned(), value.to_owned())),
                Some(at) if at < fixed => {}
                Some(at) => {
                    let Some((_, sum)) = merged.get_mut(at) else { continue };
                    if is_no_sum(name) {
                        continue;
                    }
                    if let (Ok(left), Ok(right)) = (sum.parse::<u64>(), value.parse::<u64>()) {
                        *sum = left.saturating_add(right).to_string();
                    }
                }
            }
        }
    }
    for (name, value) in merged {
        out.extend_from_slice(format!("STAT {name} {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"END\r\n");
    false
}

#[cfg(test)]
mod tests {
    use crate::downstream::render::Render;
    use crate::join::{How, Join};

    #[test]
    fn dumps_have_one_end() {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len()).into_bytes();
        let joined = |parts: [&str; 2]| {
            let mut join = Join::new(How::Dump, 2);
            assert!(!join.feed(0, &bulk(parts[0])) && join.feed(1, &bulk(parts[1])));
            let mut out = Vec::new();
            let (failed, _) = join.finish(Render::Memcached, &mut out);
            (String::from_utf8_lossy(&out).into_owned(), failed)
        };
        assert_eq!(joined(["key=a\nEND\r\n", "key=b\nEND\r\n"]), ("key=a\nkey=b\nEND\r\n".to_owned(), false));
        assert_eq!(joined(["EN\r\n", "mg b\r\nEN\r\n"]), ("mg b\r\nEN\r\n".to_owned(), false));
        assert_eq!(joined(["END\r\n", "BADCLASS x\r\n"]), ("BADCLASS x\r\n".to_owned(), true));
    }

    #[test]
    fn memcached_statistics_are_added_up() {
        let answer = |texts: [&str; 2]| {
            let own = vec![("pid".to_owned(), "7".to_owned())];
            let mut join = Join::new(How::Statistics(own), 2);
            for (index, text) in texts.iter().enumerate() {
                join.feed(index as u32, format!("${}\r\n{text}\r\n", text.len()).as_bytes());
            }
            let mut out = Vec::new();
            join.finish(Render::Memcached, &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            answer([
                "STAT pid 1\r\nSTAT n 2\r\nSTAT hash_power_level 16\r\nEND\r\n",
                "STAT pid 2\r\nSTAT n 3\r\nSTAT hash_power_level 17\r\nEND\r\n"
            ]),
            "STAT pid 7\r\nSTAT n 5\r\nSTAT hash_power_level 16\r\nEND\r\n"
        );
        assert_eq!(answer(["END\r\n", "END\r\n"]), "STAT pid 7\r\nEND\r\n");
        assert_eq!(answer(["ERROR\r\n", "ERROR\r\n"]), "ERROR\r\n");
    }

    #[test]
    fn memcached_values_come_in_the_order_of_the_keys() {
        let keys: Box<[(u16, Box<[u8]>)]> = [
            (0, b"a".as_slice().into()),
            (1, b"b".as_slice().into()),
            (0, b"gone".as_slice().into()),
            (0, b"c".as_slice().into()),
        ]
        .into();
        let answer = |parts: [&str; 2]| {
            let mut join = Join::new(How::Values(keys.clone()), 2);
            for (part, text) in (0..).zip(parts) {
                join.feed(part, format!("${}\r\n{text}\r\n", text.len()).as_bytes());
            }
            let mut out = b"MN\r\n".to_vec();
            join.finish(Render::Memcached, &mut out);
            String::from_utf8(out).expect("text")
        };
        let (several, one) = ("VALUE a 0 1\r\nA\r\nVALUE c 0 2\r\n\r\n\r\n", "VALUE b 0 3\r\nBBB\r\n");
        let wanted = "MN\r\nVALUE a 0 1\r\nA\r\nVALUE b 0 3\r\nBBB\r\nVALUE c 0 2\r\n\r\n\r\nEND\r\n";
        assert_eq!(answer([several, one]), wanted);
        // One key that is no item makes the whole answer an error, as it does on one node.
        assert_eq!(answer([several, "SERVER_ERROR x\r\n"]), "MN\r\nSERVER_ERROR x\r\n");
    }
}
