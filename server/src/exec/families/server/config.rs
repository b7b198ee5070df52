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
    let mut names: Vec<String> = Vec::with_capacity(args.len() / 2);
    // All names are looked at before any value.
    for at in (2..args.len()).step_by(2) {
        let given = String::from_utf8_lossy(&args[at]);
        let name = given.to_ascii_lowercase();
        let fine = match names.contains(&name) {
            true => Err(text::CONFIG_DUPLICATE.into()),
            false => old.can_be_set(&name),
        };
        fine.map_err(|error| refusal(error, &given))?;
        names.push(name);
    }
    for (at, name) in names.iter().enumerate() {
        let set = match std::str::from_utf8(&args[at * 2 + 3]) {
            Ok(value) => new.set_option(name, value),
            Err(_) => Err("argument is not UTF-8".into()),
        };
        set.map_err(|error| refusal(error, name))?;
    }
    Ok(new)
}

/// The error of an option. Of its name it speaks as that was given, of its value with its own name.
fn refusal(error: SetError, name: &str) -> CommandError {
    match error {
        SetError::Unknown => text::unknown_option(name),
        SetError::Invalid(why) => text::config_set_failed(name, &why),
    }
    .into()
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
