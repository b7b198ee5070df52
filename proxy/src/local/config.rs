//! CONFIG GET and CONFIG SET for the proxy's own options, by the names that Redis has for them. Other options are
//! the nodes': they are asked, or told, where the table says.

use torc_protocol::error;
use torc_protocol::glob;
use torc_protocol::resp::parse_i64;

use crate::call::Call;
use crate::config::{MAX_SLOW_LOG, ProxyConfig};
use crate::dispatch;
use crate::downstream::resp::Step;
use crate::join::How;

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

pub(super) fn set(call: &mut Call<'_>) -> Step {
    let request = call.request;
    if !request.args.len().is_multiple_of(2) {
        return call.refuse(&error::wrong_arity("config|set"));
    }
    let pairs: Vec<(String, &[u8])> = (2..request.args.len())
        .step_by(2)
        .map(|at| (String::from_utf8_lossy(request.arg(at)).to_ascii_lowercase(), request.arg(at + 1)))
        .collect();
    let own = pairs.iter().filter(|(name, _)| OWN.contains(&name.as_str())).count();
    if own == 0 {
        return dispatch::by_table(call);
    }
    if own < pairs.len() {
        return call.refuse(
            "ERR CONFIG SET failed: options of the proxy and of the nodes cannot be set in one command",
        );
    }
    let shared = &call.worker.shared;
    let changing = shared.changing.lock();
    let mut settings = ProxyConfig::clone(&shared.settings.load());
    for (name, value) in &pairs {
        if let Err(why) = set_one(&mut settings, name, value) {
            return call
                .refuse(&format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"));
        }
    }
    shared.set_settings(settings);
    drop(changing);
    call.reply(|reply| reply.ok())
}

fn set_one(settings: &mut ProxyConfig, name: &str, value: &[u8]) -> Result<(), &'static str> {
    let number = || parse_i64(value).and_then(|number| u64::try_from(number).ok());
    match name {
        "maxclients" => {
            let most = number().filter(|most| *most > 0).ok_or("argument must be a positive number")?;
            settings.max_clients = usize::try_from(most).unwrap_or(usize::MAX);
        }
        "timeout" => {
            let seconds = number().ok_or(error::CONFIG_NOT_AN_INTEGER)?;
            settings.idle_timeout_ms = seconds.saturating_mul(1000);
        }
        "requirepass" => {
            settings.requirepass =
                String::from_utf8(value.to_vec()).map_err(|_| "the password must be UTF-8")?;
        }
        "proto-max-bulk-len" => {
            let bytes = number().and_then(|bytes| usize::try_from(bytes).ok());
            let bytes = bytes.filter(|bytes| (1024..=settings.max_request_bytes).contains(bytes));
            settings.max_bulk_bytes =
                bytes.ok_or("argument must be between 1024 and the bound on a request")?;
        }
        "proxy-request-timeout-ms" => {
            let timeout_ms =
                number().and_then(|number| u32::try_from(number).ok()).filter(|number| *number >= 10);
            settings.request_timeout_ms = timeout_ms.ok_or("argument must be at least 10 milliseconds")?;
        }
        "proxy-slow-request-ms" => {
            settings.slow_request_ms = number().ok_or(error::CONFIG_NOT_AN_INTEGER)?;
        }
        "proxy-slow-log-len" => {
            let most =
                number().and_then(|most| usize::try_from(most).ok()).filter(|most| *most <= MAX_SLOW_LOG);
            settings.slow_log_len = most.ok_or("argument must be between 0 and 65536")?;
        }
        _ => return Err("can't set immutable config"),
    }
    Ok(())
}
