//! What several shards gave of several streams, in the order in which the client named them.

use torc_protocol::resp::ReplyScanner;

/// Appends one reply: of RESP2 an array of pairs, else a map. `None`: the parts are not that.
pub fn streams(names: &[Box<[u8]>], parts: &[&[u8]], resp2: bool, out: &mut Vec<u8>) -> Option<()> {
    let mut found: Vec<(usize, &[u8])> = Vec::new();
    for part in parts {
        let (_, start) = header(part)?;
        let mut rest = part.get(start..)?;
        while !rest.is_empty() {
            let mut length = frame_len(rest)?;
            let name_at = if resp2 { header(rest)?.1 } else { 0 };
            if !resp2 {
                length += frame_len(rest.get(length..)?)?;
            }
            let (element, after) = rest.split_at_checked(length)?;
            let name = crate::downstream::render::bulk_text(
                element.get(name_at..)?.get(..frame_len(&element[name_at..])?)?,
            )?;
            // A stream that is named twice is given twice.
            let taken = |place: usize| found.iter().any(|(known, _)| *known == place);
            let place = names.iter().enumerate().position(|(at, known)| **known == *name && !taken(at))?;
            found.push((place, element));
            rest = after;
        }
    }
    found.sort_by_key(|(place, _)| *place);
    out.push(if resp2 { b'*' } else { b'%' });
    out.extend_from_slice(itoa::Buffer::new().format(found.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    found.iter().for_each(|(_, element)| out.extend_from_slice(element));
    Some(())
}

fn frame_len(bytes: &[u8]) -> Option<usize> {
    ReplyScanner::new().next(bytes).ok()?.map(|frame| frame.len)
}

/// First byte of an aggregate, and where its elements begin.
fn header(frame: &[u8]) -> Option<(u8, usize)> {
    let kind = *frame.first().filter(|kind| matches!(kind, b'*' | b'%'))?;
    Some((kind, memchr::memchr(b'\n', frame)? + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_stand_as_they_were_named() {
        let names: Vec<Box<[u8]>> = [&b"a"[..], b"b", b"c", b"a"].into_iter().map(Box::from).collect();
        let join = |parts: [&str; 2], resp2| {
            let mut out = Vec::new();
            streams(&names, &parts.map(str::as_bytes), resp2, &mut out).expect("replies");
            String::from_utf8(out).expect("text")
        };
        let pair = |name: &str| format!("*2\r\n$1\r\n{name}\r\n*0\r\n");
        assert_eq!(
            join([&format!("*2\r\n{}{}", pair("c"), pair("a")), &format!("*1\r\n{}", pair("b"))], true),
            format!("*3\r\n{}{}{}", pair("a"), pair("b"), pair("c"))
        );
        let entry = |name: &str| format!("$1\r\n{name}\r\n*1\r\n+x\r\n");
        assert_eq!(
            join([&format!("%1\r\n{}", entry("b")), &format!("%2\r\n{}{}", entry("a"), entry("a"))], false),
            format!("%3\r\n{}{}{}", entry("a"), entry("b"), entry("a"))
        );
        assert!(streams(&names, &[b"+x\r\n"], true, &mut Vec::new()).is_none());
    }
}
