//! `docs/commands.md`, rendered from the table.

use std::fmt::Write;

use super::flags::Flags;
use super::keys::KeySpec;
use super::spec::{CommandSpec, Route};
use super::{Command, all};

/// The whole document.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Commands\n\n\
         Rendered from the command table (`protocol/src/command/families/`); do not edit. To render it again:\n\n\
         ```\n\
         TORC_UPDATE_DOCS=1 cargo test -p torc-protocol --test docs\n\
         ```\n\n\
         *Route* says how the proxy sends a command, *merge* how it makes one reply of several; see the end.\n",
    );
    let mut groups: Vec<&str> = Vec::new();
    for spec in rows() {
        if !groups.contains(&spec.group) {
            groups.push(spec.group);
        }
    }
    for group in groups {
        let _ = write!(
            text,
            "\n## {group}\n\n| command | arity | flags | route | merge | complexity | since | |\n"
        );
        text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
        for spec in rows().filter(|spec| spec.group == group) {
            row(&mut text, spec);
        }
    }
    text.push_str(LEGEND);
    text
}

const LEGEND: &str = "\n## Routes\n\n\
    - *local*: the proxy answers itself, from the state of the client or of its own.\n\
    - *key*: to the shard of the keys, which must share one slot (else CROSSSLOT); without keys to any shard.\n\
    - *split*: keys may be anywhere; each shard gets a request with its own.\n\
    - *all shards*, *any shard*: to every one, to one.\n\
    - *cursor*: shard after shard, as the cursor says.\n\
    - *transaction*: the client keeps to one shard until EXEC or DISCARD.\n\
    - *refused*: not through a proxy.\n\n\
    ## Merges\n\n\
    - *in order*: one element per key, in the order of the request.\n\
    - *sum*: integers are added up.\n\
    - *all ok*: OK when all say so, else the first error.\n\
    - *any ok*: the first success, else the first error.\n\
    - *concat*: arrays are joined.\n\
    - *first*: the first reply stands for all.\n\
    - *all equal*: all replies are the same.\n\
    - *logical and*: element by element, 1 only when all say 1.\n\
    - *custom*: the command has its own way.\n";

/// What users see, each container before its subcommands.
fn rows() -> impl Iterator<Item = &'static CommandSpec> {
    all().map(Command::spec).filter(|spec| !spec.is_internal())
}

fn row(text: &mut String, spec: &CommandSpec) {
    let name = spec.name.replace('|', " ").to_ascii_uppercase();
    let usage = if spec.usage.is_empty() { String::new() } else { format!(" {}", cell(spec.usage)) };
    let flags: Vec<_> = spec.flags.public().names().collect();
    let torc = if spec.flags.contains(Flags::TORC) { " *(Torc)*" } else { "" };
    let _ = writeln!(
        text,
        "| `{name}{usage}`{torc} | {} | {} | {} | {} | {} | {} | {} |",
        spec.arity,
        flags.join(" "),
        route(spec),
        spec.merge.name(),
        cell(spec.complexity),
        spec.since,
        cell(spec.summary),
    );
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn route(spec: &CommandSpec) -> String {
    let route = spec.route.name();
    if let Route::Refuse(why) = spec.route {
        return format!("{route}: {}", cell(why));
    }
    match spec.keys {
        KeySpec::Range { step, .. } if step > 1 && spec.route == Route::SplitKeys => {
            format!("{route} by {step}")
        }
        _ => route.to_string(),
    }
}
