//! The vectors of `vectors/`, each run whole and in pieces.

mod support;

use support::{Vector, quote, read};
use torc_protocol::memcached;
use torc_protocol::resp::{
    Limits, NullKind, ProtocolError, ReplyKind, ReplyScanner, RequestParser, Value, downgrade,
};

/// A parser that is given more and more of some bytes.
trait Reader {
    /// Takes what it can from `buf`: how many bytes, and the events. `None` to be asked again with more.
    fn step(&mut self, buf: &[u8], events: &mut Vec<String>) -> Option<usize>;
}

/// Gives `input` in pieces that end at `cuts` and notes what comes out.
fn run(mut reader: impl Reader, input: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut events = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&input.len()]) {
        while let Some(len) = reader.step(&input[start..end], &mut events) {
            start += len;
            if events.last().is_some_and(|event| event.starts_with("error")) {
                return events;
            }
        }
    }
    if start < input.len() {
        events.push("partial".to_string());
    }
    events
}

fn check<R: Reader>(file: &str, make: impl Fn(&Vector) -> R) {
    /// Longer inputs are not tried in all the ways.
    const MAX_SPLIT_BYTES: usize = 4096;
    let vectors = read(file);
    assert!(vectors.len() > 10, "the file holds vectors");
    for vector in &vectors {
        let mut ways: Vec<Vec<usize>> = vec![vec![]];
        if !vector.has("whole") {
            ways.push(vec![vector.input.len() / 2]);
            if vector.input.len() <= MAX_SPLIT_BYTES {
                ways.push((1..vector.input.len()).collect());
                ways.extend((1..vector.input.len()).map(|cut| vec![cut]));
            }
        }
        for cuts in ways {
            let mut found = run(make(vector), &vector.input, &cuts);
            join_swallowed(&mut found);
            assert_eq!(found, vector.expected, "{}, cut at {cuts:?}", vector.name);
        }
    }
}

/// How a refused block is cut up is of no interest.
fn join_swallowed(events: &mut Vec<String>) {
    let mut joined: Vec<String> = Vec::new();
    let mut swallowed = 0;
    for event in events.drain(..) {
        if let Some(count) = event.strip_prefix("swallowed ") {
            swallowed += count.parse::<usize>().expect("a count");
            continue;
        }
        if swallowed > 0 {
            joined.push(format!("swallowed {swallowed}"));
            swallowed = 0;
        }
        joined.push(event);
    }
    *events = joined;
}

fn error(error: ProtocolError) -> String {
    format!("error {}", error.to_string().replace('\r', "\\r"))
}

impl Reader for RequestParser {
    fn step(&mut self, buf: &[u8], events: &mut Vec<String>) -> Option<usize> {
        match self.next(buf) {
            Ok(frame) => {
                let frame = frame?;
                let args: Vec<_> = frame.view(buf).iter().map(quote).collect();
                events.push(["request".to_string()].into_iter().chain(args).collect::<Vec<_>>().join(" "));
                Some(frame.len)
            }
            Err(found) => {
                events.push(error(found));
                Some(0)
            }
        }
    }
}

#[test]
fn requests() {
    check(include_str!("../vectors/requests.txt"), |vector| {
        let limits =
            if vector.has("unauthenticated") { Limits::unauthenticated() } else { Limits::default() };
        RequestParser::new(limits)
    });
}

impl Reader for ReplyScanner {
    fn step(&mut self, buf: &[u8], events: &mut Vec<String>) -> Option<usize> {
        match self.next(buf) {
            Ok(frame) => {
                let frame = frame?;
                if let Some(attribute) = frame.attribute {
                    events.push(format!("attribute {}", quote(&buf[attribute])));
                }
                let body = &buf[frame.body];
                let kind = if frame.kind == ReplyKind::Push { "push" } else { "reply" };
                events.push(format!("{kind} {}", quote(body)));
                let mut resp2 = Vec::new();
                downgrade(body, &mut resp2, NullKind::Bulk).expect("a whole reply");
                events.push(format!("resp2 {}", quote(&resp2)));
                let (_, len) = Value::decode(body).expect("the scanner let it pass").expect("whole");
                assert_eq!(len, body.len());
                Some(frame.len)
            }
            Err(found) => {
                events.push(error(found));
                Some(0)
            }
        }
    }
}

#[test]
fn replies() {
    check(include_str!("../vectors/replies.txt"), |_| ReplyScanner::new());
}

fn memcached_request(request: &memcached::Request<'_>) -> String {
    let mut words = vec![request.verb.as_str().to_string()];
    words.extend(request.keys().map(quote));
    for (name, value) in [
        ("flags", i128::from(request.flags)),
        ("exptime", request.exptime.into()),
        ("delta", request.delta.into()),
    ] {
        if value != 0 {
            words.push(format!("{name}={value}"));
        }
    }
    if request.cas != 0 {
        words.push(format!("cas={}", request.cas));
    }
    if request.verb.has_data() {
        words.push(format!("data={}", quote(request.data)));
    }
    if request.verb == memcached::Verb::Stats && request.args().next().is_some() {
        words.push("args".to_string());
        words.extend(request.args().map(quote));
    }
    let meta = &request.meta;
    words.extend(meta.words().map(|word| format!("flag={}", quote(word))));
    for (name, value) in [
        ("vivify", i128::from(meta.vivify)),
        ("recache", meta.recache_s.into()),
        ("new_cas", meta.new_cas.into()),
        ("initial", meta.initial.into()),
    ] {
        if value != 0 {
            words.push(format!("{name}={value}"));
        }
    }
    if request.noreply {
        words.push("noreply".to_string());
    }
    words.join(" ")
}

impl Reader for memcached::RequestParser {
    fn step(&mut self, buf: &[u8], events: &mut Vec<String>) -> Option<usize> {
        match self.next(buf) {
            Ok(frame) => {
                let frame = frame?;
                events.push(match frame.item {
                    memcached::Item::Request(request) => {
                        let again = memcached::Request::from_parts(request.line, request.data);
                        assert_eq!(again.as_ref(), Ok(&request), "travels in parts");
                        memcached_request(&request)
                    }
                    memcached::Item::Rejected(rejection) => {
                        let unlink = rejection.unlink.map(|gone| format!(" unlink={}", quote(&gone.line())));
                        let noreply = if rejection.noreply { " noreply" } else { "" };
                        format!("refused {}{}{noreply}", rejection.error, unlink.unwrap_or_default())
                    }
                    memcached::Item::Swallowed => format!("swallowed {}", frame.len),
                });
                Some(frame.len)
            }
            Err(error) => {
                events.push(format!("error {error}"));
                Some(0)
            }
        }
    }
}

#[test]
fn memcached_requests() {
    check(include_str!("../vectors/memcached.txt"), |_| {
        memcached::RequestParser::new(memcached::Limits::default())
    });
}
