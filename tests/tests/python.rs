//! Real clients in Python against one server.

use torc_tests::python::{self, Addresses};
use torc_tests::torc::Server;

fn against_server(script: &str, module: &str, protocols: &[&str]) {
    let server = Server::start();
    let addresses = Addresses { resp: server.resp(), memcached: server.memcached() };
    for protocol in protocols {
        python::run(script, &["redis", module], addresses, &[("TORC_PROTOCOL", protocol)]);
    }
}

#[test]
fn redis_py_basics() {
    against_server("redis_basics", "redis", &["2", "3"]);
}

#[test]
fn redis_py_pipelines() {
    against_server("redis_pipelines", "redis", &["2", "3"]);
}

#[test]
fn redis_py_lock() {
    against_server("redis_lock", "redis", &["2", "3"]);
}

#[test]
fn pymemcache_basics() {
    against_server("memcached_basics", "pymemcache", &["2"]);
}
