//! The documents that are made from the code are up to date.

use std::fmt::Write;
use std::path::Path;

/// Set to rewrite the documents.
const UPDATE: &str = "TORC_UPDATE_DOCS";

#[test]
fn metrics() {
    let mut text = String::from(
        "# Metrics of a node\n\n\
         `GET /metrics` on the HTTP port of `torc server`. Made from the code: \
         `TORC_UPDATE_DOCS=1 cargo test -p torc-server --test docs`.\n\n\
         `/healthz` answers 200 while every worker makes progress, `/readyz` while the node should be asked \
         anything: a plain store, a primary with its lease, a replica. `/status` shows a member of a cluster its \
         own state as JSON.\n\n\
         | name | meaning |\n| --- | --- |\n",
    );
    for (name, help) in torc_server::metrics::families() {
        let _ = writeln!(text, "| `{name}` | {help} |");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/server-metrics.md");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &text).expect("docs/ is writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, text, "docs/server-metrics.md is stale: run with {UPDATE}=1");
}
