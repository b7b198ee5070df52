//! CONFIG GET and SET: the options by Redis's names, with Redis's values and complaints.
//!
//! Three kinds: those that change something here ([`OPTIONS`]), facts of the start that can only be read
//! ([`Settings::fixed`]), and those of Redis that mean nothing here ([`super::kept`]), which are accepted and kept
//! so that tools which set them go on working.

use torc_protocol::error::{CONFIG_IMMUTABLE, CONFIG_NOT_A_SIZE, CONFIG_NOT_AN_INTEGER};
use torc_protocol::glob;
use torc_protocol::memory::parse_memory;

use super::kept::{self, Kept};
use super::{EvictionPolicy, Settings};
use crate::clients::MAX_CLIENTS_BOUND;
use crate::notify::Class;

/// The most that `proto-max-bulk-len` becomes: what longer strings are made of must fit four bytes.
const MAX_BULK_BOUND: u64 = 2 << 30;

/// Why an option cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// There is no such option.
    Unknown,
    /// Its value cannot be.
    Invalid(String),
}

impl From<&str> for SetError {
    fn from(text: &str) -> Self {
        SetError::Invalid(text.to_owned())
    }
}

type Get = fn(&Settings) -> String;
type Set = fn(&mut Settings, &str) -> Result<(), SetError>;

/// An option that means something here.
struct Opt {
    name: &'static str,
    get: Get,
    set: Set,
}

/// Integers that Redis keeps in an `int`.
const INT_MAX: i64 = i32::MAX as i64;

const fn opt(name: &'static str, get: Get, set: Set) -> Opt {
    Opt { name, get, set }
}

static OPTIONS: &[Opt] = &[
    opt("requirepass", |s| s.requirepass.clone(), set_password),
    opt("maxmemory", |s| s.maxmemory.to_string(), |s, v| put(&mut s.maxmemory, memory(v)?)),
    opt("maxmemory-policy", |s| s.maxmemory_policy.name().to_owned(), set_policy),
    opt(
        "maxmemory-samples",
        |s| s.maxmemory_samples.to_string(),
        |s, v| put(&mut s.maxmemory_samples, integer(v, 1, INT_MAX)? as u32),
    ),
    opt(
        "hash-max-listpack-entries",
        |s| s.limits.hash.entries.to_string(),
        |s, v| size(&mut s.limits.hash.entries, v),
    ),
    opt(
        "hash-max-listpack-value",
        |s| s.limits.hash.value_bytes.to_string(),
        |s, v| size(&mut s.limits.hash.value_bytes, v),
    ),
    opt(
        "hash-max-ziplist-entries",
        |s| s.limits.hash.entries.to_string(),
        |s, v| size(&mut s.limits.hash.entries, v),
    ),
    opt(
        "hash-max-ziplist-value",
        |s| s.limits.hash.value_bytes.to_string(),
        |s, v| size(&mut s.limits.hash.value_bytes, v),
    ),
    opt(
        "set-max-listpack-entries",
        |s| s.limits.set.entries.to_string(),
        |s, v| size(&mut s.limits.set.entries, v),
    ),
    opt(
        "set-max-listpack-value",
        |s| s.limits.set.value_bytes.to_string(),
        |s, v| size(&mut s.limits.set.value_bytes, v),
    ),
    opt(
        "zset-max-listpack-entries",
        |s| s.limits.sorted_set.entries.to_string(),
        |s, v| size(&mut s.limits.sorted_set.entries, v),
    ),
    opt(
        "zset-max-listpack-value",
        |s| s.limits.sorted_set.value_bytes.to_string(),
        |s, v| size(&mut s.limits.sorted_set.value_bytes, v),
    ),
    opt(
        "zset-max-ziplist-entries",
        |s| s.limits.sorted_set.entries.to_string(),
        |s, v| size(&mut s.limits.sorted_set.entries, v),
    ),
    opt(
        "zset-max-ziplist-value",
        |s| s.limits.sorted_set.value_bytes.to_string(),
        |s, v| size(&mut s.limits.sorted_set.value_bytes, v),
    ),
    opt(
        "set-max-intset-entries",
        |s| s.limits.set_intset_entries.to_string(),
        |s, v| size(&mut s.limits.set_intset_entries, v),
    ),
    opt(
        "hll-sparse-max-bytes",
        |s| s.limits.hll_sparse_bytes.to_string(),
        |s, v| size(&mut s.limits.hll_sparse_bytes, v),
    ),
    opt(
        "stream-node-max-bytes",
        |s| s.limits.stream_node_bytes.to_string(),
        |s, v| size(&mut s.limits.stream_node_bytes, v),
    ),
    opt(
        "stream-node-max-entries",
        |s| s.limits.stream_node_entries.to_string(),
        |s, v| size(&mut s.limits.stream_node_entries, v),
    ),
    opt(
        "list-max-listpack-size",
        |s| s.limits.list_node_size.to_string(),
        |s, v| put(&mut s.limits.list_node_size, integer(v, -INT_MAX - 1, INT_MAX)?),
    ),
    opt(
        "list-max-ziplist-size",
        |s| s.limits.list_node_size.to_string(),
        |s, v| put(&mut s.limits.list_node_size, integer(v, -INT_MAX - 1, INT_MAX)?),
    ),
    opt(
        "list-compress-depth",
        |s| s.limits.list_compress_depth.to_string(),
        |s, v| put(&mut s.limits.list_compress_depth, integer(v, 0, INT_MAX)?),
    ),
    opt(
        "proto-max-bulk-len",
        |s| s.proto_max_bulk_bytes.to_string(),
        |s, v| put(&mut s.proto_max_bulk_bytes, memory_between(v, 1 << 20)?.min(MAX_BULK_BOUND)),
    ),
    opt("timeout", |s| s.timeout_s.to_string(), |s, v| put(&mut s.timeout_s, integer(v, 0, INT_MAX)? as u64)),
    opt(
        "tcp-keepalive",
        |s| s.tcp_keepalive_s.to_string(),
        |s, v| put(&mut s.tcp_keepalive_s, integer(v, 0, INT_MAX)? as u64),
    ),
    opt(
        "maxclients",
        |s| s.max_clients.to_string(),
        |s, v| put(&mut s.max_clients, integer(v, 1, i64::from(u32::MAX))?.min(MAX_CLIENTS_BOUND) as usize),
    ),
    opt(
        "slowlog-log-slower-than",
        |s| s.slowlog_slower_than_us.to_string(),
        |s, v| put(&mut s.slowlog_slower_than_us, integer(v, -1, i64::MAX)?),
    ),
    opt(
        "slowlog-max-len",
        |s| s.slowlog_max_len.to_string(),
        |s, v| put(&mut s.slowlog_max_len, integer(v, 0, i64::MAX)? as usize),
    ),
    opt(
        "latency-monitor-threshold",
        |s| s.latency_threshold_ms.to_string(),
        |s, v| put(&mut s.latency_threshold_ms, integer(v, 0, i64::MAX)? as u64),
    ),
    opt("busy-reply-threshold", |s| s.busy_reply_ms.to_string(), set_busy),
    opt("lua-time-limit", |s| s.busy_reply_ms.to_string(), set_busy),
    opt("protected-mode", |s| word(s.protected_mode), |s, v| put(&mut s.protected_mode, yes_no(v)?)),
    opt("client-output-buffer-limit", get_output_limits, set_output_limits),
    opt("save", |_| String::new(), |_, v| refuse_unless(v.is_empty(), MEMORY_ONLY)),
    opt("appendonly", |_| word(false), |_, v| refuse_unless(!yes_no(v)?, MEMORY_ONLY)),
    opt(
        "notify-keyspace-events",
        |s| s.notify.letters(),
        |s, v| {
            let classes = Class::parse(v);
            put(&mut s.notify, classes.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?)
        },
    ),
    // Torc's own.
    opt(
        "default-ack",
        |s| s.default_ack.as_str().to_owned(),
        |s, v| {
            let ack = torc_protocol::context::Ack::from_bytes(v.as_bytes());
            put(&mut s.default_ack, ack.map_err(|_| "argument must be none, primary or in-sync")?)
        },
    ),
    opt(
        "ack-timeout-ms",
        |s| s.ack_timeout_ms.to_string(),
        |s, v| put(&mut s.ack_timeout_ms, integer(v, 1, INT_MAX)? as u32),
    ),
    opt(
        "max-item-bytes",
        |s| s.max_item_bytes.to_string(),
        |s, v| put(&mut s.max_item_bytes, memory_between(v, 1024)?),
    ),
    opt(
        "memcached-shutdown",
        |s| word(s.memcached_shutdown),
        |s, v| put(&mut s.memcached_shutdown, yes_no(v)?),
    ),
    opt(
        "client-unread-bound",
        |s| s.client_unread_bound.to_string(),
        |s, v| put(&mut s.client_unread_bound, memory_between(v, 64 << 10)? as usize),
    ),
];

/// Why persistence cannot be switched on.
const MEMORY_ONLY: &str = "data is kept in memory only";

fn put<T>(field: &mut T, value: T) -> Result<(), SetError> {
    *field = value;
    Ok(())
}

fn refuse_unless(fine: bool, why: &str) -> Result<(), SetError> {
    if fine { Ok(()) } else { Err(why.into()) }
}

fn word(value: bool) -> String {
    if value { "yes".into() } else { "no".into() }
}

fn yes_no(value: &str) -> Result<bool, SetError> {
    match value {
        yes if yes.eq_ignore_ascii_case("yes") => Ok(true),
        no if no.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

fn integer(value: &str, least: i64, most: i64) -> Result<i64, SetError> {
    let number: i64 = value.parse().map_err(|_| SetError::from(CONFIG_NOT_AN_INTEGER))?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(SetError::Invalid(format!("argument must be between {least} and {most} inclusive")))
    }
}

fn memory(value: &str) -> Result<u64, SetError> {
    parse_memory(value).ok_or(CONFIG_NOT_A_SIZE.into())
}

fn memory_between(value: &str, least: u64) -> Result<u64, SetError> {
    let bytes = memory(value)?;
    if (least..=i64::MAX as u64).contains(&bytes) {
        return Ok(bytes);
    }
    Err(SetError::Invalid(format!("argument must be between {least} and {} inclusive", i64::MAX)))
}

fn set_password(settings: &mut Settings, value: &str) -> Result<(), SetError> {
    put(&mut settings.requirepass, value.to_owned())
}

fn set_policy(settings: &mut Settings, value: &str) -> Result<(), SetError> {
    let policy = EvictionPolicy::from_name(value).ok_or(
        "argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, \
         allkeys-lru, allkeys-lfu, allkeys-random, allkeys-s3fifo, noeviction",
    )?;
    put(&mut settings.maxmemory_policy, policy)
}

fn size(field: &mut usize, value: &str) -> Result<(), SetError> {
    put(field, integer(value, 0, i64::MAX)? as usize)
}

fn set_busy(settings: &mut Settings, value: &str) -> Result<(), SetError> {
    put(&mut settings.busy_reply_ms, integer(value, 0, i64::MAX)? as u64)
}

fn get_output_limits(s: &Settings) -> String {
    format!(
        "normal {} {} {} slave 268435456 67108864 60 pubsub {} {} {}",
        s.output_hard_bytes,
        s.output_soft_bytes,
        s.output_soft_s,
        s.pubsub_hard_bytes,
        s.pubsub_soft_bytes,
        s.pubsub_soft_s
    )
}

/// `class hard soft seconds`, one or more times; replication is not a client here.
fn set_output_limits(settings: &mut Settings, value: &str) -> Result<(), SetError> {
    let words: Vec<&str> = value.split_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for class in words.chunks_exact(4) {
        if !["normal", "slave", "replica", "pubsub"].iter().any(|c| c.eq_ignore_ascii_case(class[0])) {
            return Err("Invalid client class specified in buffer limit configuration.".into());
        }
        let wrong = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
        let (Some(hard), Some(soft), Ok(seconds)) =
            (parse_memory(class[1]), parse_memory(class[2]), class[3].parse::<u64>())
        else {
            return Err(wrong.into());
        };
        if class[0].eq_ignore_ascii_case("normal") {
            (settings.output_hard_bytes, settings.output_soft_bytes) = (hard, soft);
            settings.output_soft_s = seconds;
        } else if class[0].eq_ignore_ascii_case("pubsub") {
            (settings.pubsub_hard_bytes, settings.pubsub_soft_bytes) = (hard, soft);
            settings.pubsub_soft_s = seconds;
        }
    }
    Ok(())
}

impl Settings {
    /// Whether there is such an option (in small letters), and it may be changed.
    pub fn can_be_set(&self, name: &str) -> Result<(), SetError> {
        if OPTIONS.iter().any(|option| option.name == name) {
            return Ok(());
        }
        let fixed = self.fixed.contains_key(name);
        match kept::find(name) {
            _ if fixed => Err(CONFIG_IMMUTABLE.into()),
            Some(Kept { immutable: true, .. }) => Err(CONFIG_IMMUTABLE.into()),
            Some(_) => Ok(()),
            None => Err(SetError::Unknown),
        }
    }

    /// Sets one option; nothing is changed when that fails.
    pub fn set_option(&mut self, name: &str, value: &str) -> Result<(), SetError> {
        let name = name.to_ascii_lowercase();
        self.can_be_set(&name)?;
        if let Some(option) = OPTIONS.iter().find(|option| option.name == name) {
            (option.set)(self, value)?;
        } else {
            self.kept.insert(name.clone(), value.to_owned());
        }
        self.changed.insert(name);
        Ok(())
    }

    /// The value of one option.
    pub fn option(&self, name: &str) -> Option<String> {
        if let Some(option) = OPTIONS.iter().find(|option| option.name.eq_ignore_ascii_case(name)) {
            return Some((option.get)(self));
        }
        let name = name.to_ascii_lowercase();
        if let Some(value) = self.fixed.get(name.as_str()) {
            return Some(value.clone());
        }
        let kept = kept::find(&name)?;
        Some(self.kept.get(&name).map_or(kept.value, String::as_str).to_owned())
    }

    /// The options whose names fit one of the patterns, each once, in the order of their names.
    pub fn matching<'p>(&self, patterns: impl Iterator<Item = &'p [u8]> + Clone) -> Vec<(String, String)> {
        let names = OPTIONS.iter().map(|option| option.name);
        let mut names: Vec<&str> =
            names.chain(self.fixed.keys().copied()).chain(kept::all().map(|kept| kept.name)).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| {
            patterns.clone().any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
        });
        // A name that was asked for as it is comes back in the letters of the request.
        let shown = |name: &str| {
            let asked = patterns.clone().find(|pattern| pattern.eq_ignore_ascii_case(name.as_bytes()));
            asked.map_or_else(|| name.to_owned(), |asked| String::from_utf8_lossy(asked).into_owned())
        };
        names.into_iter().filter_map(|name| Some((shown(name), self.option(name)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<Settings, SetError> {
        let mut settings = Settings::default();
        settings.set_option(name, value).map(|()| settings)
    }

    fn complaint(name: &str, value: &str) -> String {
        match set(name, value) {
            Err(SetError::Invalid(text)) => text,
            other => format!("{:?}", other.map(|_| ())),
        }
    }

    #[test]
    fn every_option_takes_back_what_it_shows() {
        let shown = Settings::default().matching([&b"*"[..]].into_iter());
        assert!(shown.len() > 150, "{}", shown.len());
        for (name, value) in shown {
            let mut settings = Settings::default();
            match settings.set_option(&name, &value) {
                Ok(()) => assert_eq!(settings.option(&name).as_ref(), Some(&value), "{name}"),
                Err(error) => assert_eq!(error, SetError::from("can't set immutable config"), "{name}"),
            }
        }
    }

    #[test]
    fn values_are_read_as_redis_reads_them() {
        assert_eq!(set("MaxMemory", "100mb").map(|s| s.maxmemory), Ok(100 << 20));
        assert_eq!(set("maxmemory", "1k").map(|s| s.maxmemory), Ok(1000));
        assert_eq!(
            set("client-output-buffer-limit", "normal 1mb 2mb 60 pubsub 0 0 0")
                .map(|s| s.option("client-output-buffer-limit")),
            Ok(Some("normal 1048576 2097152 60 slave 268435456 67108864 60 pubsub 0 0 0".into()))
        );
        assert_eq!(
            set("list-max-listpack-size", "5").map(|s| s.option("list-max-listpack-size")),
            Ok(Some("5".into()))
        );
    }

    #[test]
    fn complaints_are_those_of_redis() {
        assert_eq!(set("nosuch", "1").map(|_| ()), Err(SetError::Unknown));
        assert_eq!(complaint("maxmemory", "1.5gb"), "argument must be a memory value");
        assert_eq!(complaint("timeout", "x"), "argument couldn't be parsed into an integer");
        assert_eq!(
            complaint("maxmemory-samples", "0"),
            "argument must be between 1 and 2147483647 inclusive"
        );
        assert_eq!(complaint("protected-mode", "maybe"), "argument must be 'yes' or 'no'");
        assert_eq!(complaint("cluster-enabled", "yes"), "can't set immutable config");
        assert_eq!(
            complaint("client-output-buffer-limit", "normal 1 2"),
            "Wrong number of arguments in buffer limit configuration."
        );
        assert_eq!(complaint("appendonly", "yes"), MEMORY_ONLY);
        assert_eq!(complaint("save", "900 1"), MEMORY_ONLY);
    }

    #[test]
    fn patterns_choose() {
        let settings = Settings::default();
        let names = |patterns: &[&'static [u8]]| -> Vec<String> {
            settings.matching(patterns.iter().copied()).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&[b"maxmemory", b"MAXMEMORY-P*"]), ["maxmemory", "maxmemory-policy"]);
        assert_eq!(names(&[b"nosuch"]), Vec::<String>::new());
        assert_eq!(names(&[b"save", b"sav?"]), ["save"]);
    }
}
