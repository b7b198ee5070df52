//! CONFIG: options as they are, and changing them.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::settings::options::SetError;
use crate::settings::{Settings, file};

/// `CONFIG GET parameter [parameter …]`
pub fn get(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let found = cx.node.settings.load().matching(args.tail(2).iter());
    let mut reply = cx.reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

/// `CONFIG SET parameter value [parameter value …]`: all or none.
pub fn set(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let settings = &cx.node.settings;
    // Another worker may set something at the same time: then what it did is taken as the start.
    loop {
        let old = settings.load_full();
        let new = changed(&old, args)?;
        if cx.node.replace_settings(&old, new) {
            break;
        }
    }
    cx.reply().ok();
    Ok(())
}

/// The settings with what `args` ask for.
fn changed(old: &Settings, args: &Args<'_>) -> Result<Settings, CommandError> {
    let mut new = Settings::clone(old);
    let mut seen: Vec<String> = Vec::with_capacity(args.len() / 2);
    for at in (2..args.len()).step_by(2) {
        let (name, value) = (&args[at], &args[at + 1]);
        let shown = String::from_utf8_lossy(name).into_owned();
        let lower = shown.to_ascii_lowercase();
        let result = match std::str::from_utf8(value) {
            _ if seen.contains(&lower) => Err(SetError::from("duplicate parameter")),
            Ok(value) => new.set_option(&lower, value),
            Err(_) => Err(SetError::from("argument is not UTF-8")),
        };
        result.map_err(|error| match error {
            SetError::Unknown => CommandError::from(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{shown}'"
            )),
            SetError::Invalid(why) => CommandError::from(format!(
                "ERR CONFIG SET failed (possibly related to argument '{shown}') - {why}"
            )),
        })?;
        seen.push(lower);
    }
    Ok(new)
}

/// `CONFIG RESETSTAT`
pub fn resetstat(cx: &mut Cx<'_, '_>) -> CommandResult {
    cx.node.stats.iter().for_each(|stats| stats.reset());
    cx.node.rates.peak_bytes.store(0, std::sync::atomic::Ordering::Relaxed);
    cx.node.freeing().freed.store(0, std::sync::atomic::Ordering::Relaxed);
    cx.reply().ok();
    Ok(())
}

/// `CONFIG REWRITE`
pub fn rewrite(cx: &mut Cx<'_, '_>) -> CommandResult {
    let settings = cx.node.settings.load_full();
    let Some(path) = &settings.config_file else {
        return Err(text::NO_CONFIG_FILE.into());
    };
    file::rewrite(path, &settings).map_err(|error| {
        tracing::warn!(%error, "CONFIG REWRITE failed");
        CommandError::from(format!("ERR Rewriting config file: {error}"))
    })?;
    cx.reply().ok();
    Ok(())
}
