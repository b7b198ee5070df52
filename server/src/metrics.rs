//! What `/metrics` shows.

use prometheus::Registry;
use torc_runtime::http::Routes;

use crate::agent::Agent;
use crate::node::Node;

/// The HTTP pages of a node.
pub fn routes(_node: &std::sync::Arc<Node>, _agent: Option<&std::sync::Arc<Agent>>) -> Routes {
    Routes::new(Registry::new())
}
