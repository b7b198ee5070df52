//! CONFIG GET and CONFIG SET for the proxy's own options, by the names that Redis has for them. Other options are
//! the nodes': one is asked, and all are told.

mod nodes;

use torc_protocol::error;
use torc_protocol::glob;
use torc_protocol::memory::parse_memory;

use crate::call::Call;
use crate::config::{MAX_SLOW_LOG, MAX_TIMEOUT_MS, MIN_TIMEOUT_MS, ProxyConfig};
use crate::dispatch;
use crate::downstream::resp::Step;
use crate::join::How;
use crate::shared::Shared;

/// Options of the proxy.
const OWN: [&str; 9] = [
    "port",
    "maxclients",
    "timeout",
    "requirepass",
    "proto-max-bulk-len",
    "proxy-request-timeout-ms",
    "proxy-slow-request-ms",
    "proxy-slow-log-len",
    "io-threads",
];

/// Options that both have, each for what it reads.
const BOTH: [&str; 2] = ["proto-max-bulk-len", "max-item-bytes"];
/// Options of the proxy that only its start decides.
const FIXED: [&str; 2] = ["port", "io-threads"];
/// The most that Redis takes for `maxclients`.
const MAX_CLIENTS: u64 = u32::MAX as u64;
/// The most seconds of `timeout`.
const MAX_TIMEOUT_S: u64 = i32::MAX as u64;
/// The least that Redis takes for `proto-max-bulk-len`.
const MIN_BULK_BYTES: u64 = 1 << 20;

pub(super) fn get(call: &mut Call<'_>) -> Step {
    let request = call.request;
    let patterns: Vec<&[u8]> = request.args.tail(2).iter().collect();
    let names: Vec<&str> = OWN
        .into_iter()
        .filter(|name| patterns.iter().any(|pattern| glob::matches_ignoring_case(pattern, name.as_bytes())))
        .collect();
    let shared = &call.worker.shared;
    let settings = shared.settings.load();
    let own: Vec<(&'static str, String)> = names
        .into_iter()
        .map(|name| {
            let value = match name {
                "port" => shared.port().to_string(),
                "maxclients" => shared.limit.limit().to_string(),
                "timeout" => (settings.idle_timeout_ms / 1000).to_string(),
                "requirepass" => settings.requirepass.clone(),
                "proto-max-bulk-len" => settings.max_bulk_bytes.to_string(),
                "proxy-request-timeout-ms" => settings.request_timeout_ms.to_string(),
                "proxy-slow-request-ms" => settings.slow_request_ms.to_string(),
                "proxy-slow-log-len" => settings.slow_log_len.to_string(),
                _ => shared.config.threads.to_string(),
            };
            (name, value)
        })
        .collect();
    // What a node has beside these only a node knows.
    let all_own =
        patterns.iter().all(|pattern| OWN.iter().any(|name| pattern.eq_ignore_ascii_case(name.as_bytes())));
    if !all_own && call.routes.shards() > 0 {
        return dispatch::any_joined(call, How::Overlay(own));
    }
    call.reply(|reply| {
        reply.map(own.len());
        for (name, value) in own {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
    })
}

/// One option as CONFIG SET names it.
#[derive(Debug)]
struct Change {
    /// As the client wrote it.
    given: String,
    /// In small letters.
    name: String,
    value: Vec<u8>,
}

impl Change {
    /// Whether the proxy has the option.
    fn is_own(&self) -> bool {
        OWN.contains(&self.name.as_str()) || BOTH.contains(&self.name.as_str())
    }

    /// Whether the nodes have it, if there is such an option.
    fn is_of_nodes(&self) -> bool {
        !OWN.contains(&self.name.as_str()) || BOTH.contains(&self.name.as_str())
    }
}

/// `CONFIG SET parameter value [parameter value …]`: all or none.
pub(super) fn set(call: &mut Call<'_>) -> Step {
    let request = call.request;
    if !request.args.len().is_multiple_of(2) {
        return call.refuse(error::SYNTAX);
    }
    let changes: Vec<Change> = (2..request.args.len())
        .step_by(2)
        .map(|at| {
            let given = String::from_utf8_lossy(request.arg(at)).into_owned();
            Change { name: given.to_ascii_lowercase(), given, value: request.arg(at + 1).to_vec() }
        })
        .collect();
    if changes.iter().any(Change::is_of_nodes) {
        return nodes::set(call, changes);
    }
    let shared = &call.worker.shared;
    let named = wrong_name(&changes).map_or(Ok(()), |(_, text)| Err(text));
    match named.and_then(|()| set_own(shared, &changes)) {
        Ok(()) => call.reply(|reply| reply.ok()),
        Err(text) => call.refuse(&text),
    }
}

/// The first change of an option of the proxy whose name alone is wrong: its place, and the error's text. Names are looked at
/// before any value.
fn wrong_name(changes: &[Change]) -> Option<(usize, String)> {
    changes.iter().enumerate().find_map(|(at, change)| {
        let fixed = FIXED.contains(&change.name.as_str());
        let again = change.is_own() && changes.iter().take(at).any(|before| before.name == change.name);
        let why = match (fixed, again) {
            (true, _) => error::CONFIG_IMMUTABLE,
            (_, true) => error::CONFIG_DUPLICATE,
            _ => return None,
        };
        Some((at, error::config_set_failed(&change.given, why)))
    })
}

/// The settings with what the changes ask of the proxy.
fn changed(settings: &ProxyConfig, changes: &[Change]) -> Result<ProxyConfig, String> {
    let mut settings = settings.clone();
    for change in changes.iter().filter(|change| change.is_own()) {
        set_one(&mut settings, &change.name, &change.value)
            .map_err(|why| error::config_set_failed(&change.name, &why))?;
    }
    Ok(settings)
}

/// Takes what the changes ask of the proxy.
fn set_own(shared: &Shared, changes: &[Change]) -> Result<(), String> {
    let _changing = shared.changing.lock();
    let settings = changed(&shared.settings.load(), changes)?;
    shared.set_settings(settings);
    Ok(())
}

/// A number within bounds, as Redis reads it.
fn integer(value: &[u8], least: u64, most: u64) -> Result<u64, String> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    let number = number.ok_or(error::CONFIG_NOT_AN_INTEGER)?;
    let within = u64::try_from(number).ok().filter(|number| (least..=most).contains(number));
    within.ok_or_else(|| format!("argument must be between {least} and {most} inclusive"))
}

/// A size, as Redis reads it.
fn memory(value: &[u8], least: u64) -> Result<usize, String> {
    let bytes = std::str::from_utf8(value).ok().and_then(parse_memory);
    let bytes = bytes.ok_or(error::CONFIG_NOT_A_SIZE)?;
    let within = usize::try_from(bytes).ok().filter(|_| (least..=i64::MAX as u64).contains(&bytes));
    within.ok_or_else(|| format!("argument must be between {least} and {} inclusive", i64::MAX))
}

fn set_one(settings: &mut ProxyConfig, name: &str, value: &[u8]) -> Result<(), String> {
    match name {
        "maxclients" => settings.max_clients = integer(value, 1, MAX_CLIENTS)? as usize,
        "timeout" => settings.idle_timeout_ms = integer(value, 0, MAX_TIMEOUT_S)? * 1000,
        "requirepass" => {
            settings.requirepass =
                String::from_utf8(value.to_vec()).map_err(|_| "the password must be UTF-8")?;
        }
        "proto-max-bulk-len" => {
            settings.max_bulk_bytes = memory(value, MIN_BULK_BYTES)?.min(settings.max_request_bytes);
        }
        "max-item-bytes" => settings.memcached_item_bytes = memory(value, 1)?,
        "proxy-request-timeout-ms" => {
            settings.request_timeout_ms = integer(value, MIN_TIMEOUT_MS, u64::from(MAX_TIMEOUT_MS))? as u32;
        }
        "proxy-slow-request-ms" => settings.slow_request_ms = integer(value, 0, i64::MAX as u64)?,
        "proxy-slow-log-len" => settings.slow_log_len = integer(value, 0, MAX_SLOW_LOG as u64)? as usize,
        _ => return Err(error::CONFIG_IMMUTABLE.to_owned()),
    }
    Ok(())
}
