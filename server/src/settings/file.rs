//! CONFIG REWRITE: what was set at run time goes into the configuration file, and nothing else in it changes.

use std::path::Path;

use torc_runtime::datadir::{self, DataDirError};

use super::Settings;

/// The table of options with Redis's names.
const TABLE: &str = "[redis]";

/// Mode of the file: it may hold the password.
const FILE_MODE: u32 = 0o600;

/// Writes the options that were set since the start into the file's `[redis]` table.
pub fn rewrite(path: &Path, settings: &Settings) -> Result<(), DataDirError> {
    let old = datadir::read_small(path)?.unwrap_or_default();
    let new = rewritten(&String::from_utf8_lossy(&old), settings);
    datadir::write_atomic(path, new.as_bytes(), FILE_MODE)
}

/// The file's text with these options in its `[redis]` table.
fn rewritten(old: &str, settings: &Settings) -> String {
    let set: Vec<(&str, String)> = settings
        .changed
        .iter()
        .filter_map(|name| {
            let value = settings.option(name)?;
            Some((name.as_str(), format!("\"{name}\" = {}", quoted(&value))))
        })
        .collect();
    let mut lines: Vec<String> = Vec::new();
    let (mut inside, mut end_of_table) = (false, None);
    for line in old.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            inside = trimmed == TABLE;
        }
        let key = trimmed.split('=').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        let replaced = inside && set.iter().any(|(name, _)| name.eq_ignore_ascii_case(key));
        if !replaced {
            lines.push(line.to_owned());
        }
        if inside && !trimmed.is_empty() {
            end_of_table = Some(lines.len());
        }
    }
    let at = match end_of_table {
        Some(at) => at,
        None if set.is_empty() => lines.len(),
        None => {
            if lines.last().is_some_and(|line| !line.trim().is_empty()) {
                lines.push(String::new());
            }
            lines.push(TABLE.to_owned());
            lines.len()
        }
    };
    lines.splice(at..at, set.into_iter().map(|(_, line)| line));
    lines.push(String::new());
    lines.join("\n")
}

/// A TOML basic string.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in options {
            settings.set_option(name, value).expect("known");
        }
        settings
    }

    #[test]
    fn only_the_table_changes() {
        let old = "# mine\nport = 7000\n\n[redis]\n# policy\nmaxmemory-policy = \"noeviction\"\nhz = \"10\"\n\n[other]\nx = 1\n";
        let new = rewritten(old, &settings(&[("maxmemory-policy", "allkeys-lru"), ("timeout", "5")]));
        assert_eq!(
            new,
            "# mine\nport = 7000\n\n[redis]\n# policy\nhz = \"10\"\n\"maxmemory-policy\" = \"allkeys-lru\"\n\
             \"timeout\" = \"5\"\n\n[other]\nx = 1\n"
        );
    }

    #[test]
    fn a_table_is_added_where_there_is_none() {
        let new = rewritten("port = 1", &settings(&[("requirepass", "a\"b\\\n")]));
        assert_eq!(new, "port = 1\n\n[redis]\n\"requirepass\" = \"a\\\"b\\\\\\u000A\"\n");
        assert_eq!(rewritten("port = 1\n", &settings(&[])), "port = 1\n");
    }

    #[test]
    fn the_file_is_replaced_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("torc.toml");
        std::fs::write(&path, "port = 1\n").expect("writable");
        rewrite(&path, &settings(&[("timeout", "9")])).expect("writable");
        assert_eq!(
            std::fs::read_to_string(&path).expect("there"),
            "port = 1\n\n[redis]\n\"timeout\" = \"9\"\n"
        );
    }
}
