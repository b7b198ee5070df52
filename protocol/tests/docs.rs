//! `docs/commands.md` is what the command table says.

use std::path::Path;

/// Set to render the file again instead of comparing it.
const UPDATE: &str = "TORC_UPDATE_DOCS";

#[test]
fn commands_md_is_rendered_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    let expected = torc_protocol::command::docs::markdown();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make docs/");
        std::fs::write(&path, expected).expect("write docs/commands.md");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/commands.md is not what the command table says; render it again with\n\
         {UPDATE}=1 cargo test -p torc-protocol --test docs"
    );
}
