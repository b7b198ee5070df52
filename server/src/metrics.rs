//! What `/metrics` shows.

use prometheus::Registry;
use torc_runtime::http::Routes;

use crate::node::Node;

/// The HTTP pages of a node.
pub fn routes(_node: &std::sync::Arc<Node>) -> Routes {
    Routes::new(Registry::new())
}
