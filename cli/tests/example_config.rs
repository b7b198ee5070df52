//! The example configurations in `deploy/` are made from what documents the options already: names and comments
//! are the documented fields of the configuration structures, defaults are what `--check-config` prints. This test
//! fails when they differ; it writes them anew with
//!
//! ```text
//! TORC_UPDATE_DOCS=1 cargo test -p torc --test example_config
//! ```
//!
//! It also has the binary check the files, as they are and with every commented option taken in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that asks for new files.
const UPDATE: &str = "TORC_UPDATE_DOCS";
/// Widest line of a comment.
const WIDTH: usize = 110;

/// One example file.
struct Example {
    /// Its name in `deploy/`.
    file: &'static str,
    /// The subcommand that reads it.
    command: &'static str,
    /// What the file's head says.
    about: &'static str,
    /// Sources and the structures in them whose fields are the file's keys.
    sources: &'static [(&'static str, &'static str)],
    /// Options that the example sets.
    set: &'static [(&'static str, &'static str)],
    /// Examples for options that have no default; they stand as comments.
    shown: &'static [(&'static str, &'static str)],
    /// Tables, which stand at the end, as comments.
    tables: &'static [(&'static str, &'static str)],
}

/// The file of memcached's users in the examples.
const USERS: &str = "/etc/torc/memcached.users";

const SERVER: Example = Example {
    file: "torc-server.toml",
    command: "server",
    about: "A node of a cluster on several hosts: `torc server --config torc-server.toml`.",
    sources: &[("../server/src/config.rs", "ServerConfig"), ("src/commands/options.rs", "LogArgs")],
    set: &[
        ("memcached_port", "11211"),
        ("http_port", "9180"),
        ("dir", "\"/var/lib/torc\""),
        ("cluster", "\"torc\""),
        ("join", "[\"node-1.example:16379\", \"node-2.example:16379\", \"node-3.example:16379\"]"),
        ("advertise", "\"node-1.example\""),
        ("zone", "\"a\""),
        ("secret_file", "\"/etc/torc/cluster.secret\""),
    ],
    shown: &[
        ("unixsocket", "\"/run/torc/server.sock\""),
        ("memcached_unixsocket", "\"/run/torc/memcached.sock\""),
        ("memcached_auth_file", "\"/etc/torc/memcached.users\""),
        ("node_id", "1"),
        ("bus_port", "16379"),
        ("weight", "100"),
        ("lease_ms", "500"),
        ("backlog_bytes", "67108864"),
        ("backlog_max_bytes", "268435456"),
    ],
    tables: &[("redis", "[redis]\nmaxmemory-policy = \"allkeys-lru\"")],
};

const PROXY: Example = Example {
    file: "torc-proxy.toml",
    command: "proxy",
    about: "A proxy in front of a cluster: `torc proxy --config torc-proxy.toml`.",
    sources: &[
        ("src/commands/proxy.rs", "ListenConfig"),
        ("../proxy/src/config.rs", "ProxyConfig"),
        ("src/commands/options.rs", "LogArgs"),
    ],
    set: &[
        ("join", "[\"node-1.example:16379\", \"node-2.example:16379\", \"node-3.example:16379\"]"),
        ("secret_file", "\"/etc/torc/cluster.secret\""),
        ("memcached_port", "11211"),
        ("http_port", "9180"),
    ],
    shown: &[
        ("unixsocket", "\"/run/torc-proxy/torc.sock\""),
        ("memcached_unixsocket", "\"/run/torc-proxy/memcached.sock\""),
        ("memcached_auth_file", "\"/etc/torc/memcached.users\""),
    ],
    tables: &[("policy", "[[policy]]\nprefix = \"lock:\"\nack = \"in-sync\"\nread = \"strong\"")],
};

#[test]
fn the_server_example_is_up_to_date_and_accepted() {
    check(&SERVER);
}

#[test]
fn the_proxy_example_is_up_to_date_and_accepted() {
    check(&PROXY);
}

#[test]
fn the_sidecar_example_is_accepted() {
    let file = here("../deploy/sidecar/proxy.toml");
    let lines = read(&file).lines().count();
    assert!(lines <= 5, "the sidecar's configuration shall stay within five lines, it has {lines}");
    check_config("proxy", &["--config", &file.display().to_string()]);
}

#[test]
fn a_mistake_in_a_file_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("wrong.toml");
    for command in ["server", "proxy"] {
        std::fs::write(&file, "join = [\"a:1\"]\nmemcached_prot = 11211\n").expect("written");
        let done = torc(command, &["--check-config", "--config", &file.display().to_string()]);
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && words.contains("memcached_prot"), "{command}: {words}");
    }
}

fn check(example: &Example) {
    let text = render(example);
    let file = here("../deploy").join(example.file);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &text).expect("the example can be written");
    }
    assert!(
        read(&file) == text,
        "deploy/{} is not what the options say: {UPDATE}=1 cargo test -p torc --test example_config",
        example.file
    );
    check_config(example.command, &["--config", &file.display().to_string()]);

    // Comments that are options begin with `#` and no space.
    let all: String = text.lines().map(|line| uncomment(line).to_owned() + "\n").collect();
    let dir = tempfile::tempdir().expect("a folder");
    let every = dir.path().join("every.toml");
    // The one file that is read although nothing is started.
    let users = dir.path().join("memcached.users");
    std::fs::write(&users, "user:password\n").expect("written");
    let all = all.replace(USERS, &users.display().to_string());
    std::fs::write(&every, all).expect("written");
    check_config(example.command, &["--config", &every.display().to_string()]);
}

fn uncomment(line: &str) -> &str {
    match line.strip_prefix('#') {
        Some(option) if !option.is_empty() && !option.starts_with(' ') => option,
        _ => line,
    }
}

fn render(example: &Example) -> String {
    let defaults = check_config(example.command, &["--join", "none:1"]);
    let mut text = String::new();
    comment(&mut text, example.about);
    comment(
        &mut text,
        "Each option can be given on the command line too (`--memcached-port`) or in the environment \
         (`TORC_MEMCACHED_PORT`), where `--help` names it; those win over this file. What stands as a comment is the \
         default, or an example where there is none. `--check-config` checks the file and prints what it comes to.",
    );
    let (mut fields, mut tables) = (Vec::new(), Vec::new());
    for (source, structure) in example.sources {
        fields.extend(documented_fields(&read(&here(source)), structure));
    }
    assert!(fields.len() > 10, "the structures of {} were not found in their sources", example.file);
    for (name, about) in fields {
        text.push('\n');
        if let Some((_, table)) = example.tables.iter().find(|(table, _)| *table == name) {
            tables.push((about, *table));
            text.pop();
            continue;
        }
        comment(&mut text, &about);
        if let Some((_, value)) = example.set.iter().find(|(set, _)| *set == name) {
            let _ = writeln!(text, "{name} = {value}");
        } else if let Some((_, value)) = example.shown.iter().find(|(shown, _)| *shown == name) {
            let _ = writeln!(text, "#{name} = {value}");
        } else {
            let value = defaults.get(&name).unwrap_or_else(|| {
                panic!("the option {name} has no default: say in this test what to show instead")
            });
            let _ = writeln!(text, "#{name} = {value}");
        }
    }
    for (about, table) in tables {
        text.push('\n');
        comment(&mut text, &about);
        for line in table.lines() {
            let _ = writeln!(text, "#{line}");
        }
    }
    text
}

/// Writes a comment, wrapped.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// Names and doc comments of the fields of `structure`.
fn documented_fields(source: &str, structure: &str) -> Vec<(String, String)> {
    let head = format!("struct {structure} {{");
    let body = source.lines().skip_while(|line| !line.ends_with(&head)).skip(1);
    let (mut fields, mut about, mut hidden) = (Vec::new(), String::new(), false);
    for line in body.take_while(|line| *line != "}").map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            about.push_str(words);
        } else if line.starts_with('#') {
            hidden |= line == "#[serde(skip)]";
        } else if let Some((name, _)) = line.split_once(": ") {
            if std::mem::take(&mut hidden) {
                about.clear();
                continue;
            }
            let name = name.trim_start_matches("pub ").to_owned();
            assert!(!about.is_empty(), "the option {name} is not documented");
            // Arguments repeat their default for `--help`; here it stands below.
            let words = about.split(" [default").next().unwrap_or_default();
            fields.push((name, words.replace("; none:", "; without:")));
            about.clear();
        }
    }
    fields
}

/// Has the binary check its options; answers what it printed.
fn check_config(command: &str, args: &[&str]) -> toml::Table {
    let done = torc(command, &[&["--check-config"], args].concat());
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "torc {command} {args:?}: {err}");
    toml::from_str(&out).unwrap_or_else(|error| panic!("--check-config printed no TOML: {error}\n{out}"))
}

fn torc(command: &str, args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_torc"))
        .arg(command)
        .args(args)
        .env_clear()
        .output()
        .expect("the binary can be started")
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
