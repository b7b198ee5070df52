//! torc: one binary for the whole cluster.
fn main() {}
