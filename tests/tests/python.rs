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
fn redis_py_pubsub() {
    against_server("redis_pubsub", "redis", &["2", "3"]);
}

#[test]
fn redis_py_lock() {
    against_server("redis_lock", "redis", &["2", "3"]);
}

#[test]
fn pymemcache_basics() {
    against_server("memcached_basics", "pymemcache", &["2"]);
}

#[test]
fn memcached_meta_commands() {
    against_server("memcached_meta", "pymemcache", &["2"]);
}

/// The libraries' own algorithm: a majority of servers that know nothing of each other, with one dead as well.
#[test]
fn redlock_over_independent_servers() {
    let mut servers: Vec<Server> = (0..3).map(|_| Server::start()).collect();
    let addresses = Addresses { resp: servers[0].resp(), memcached: servers[0].memcached() };
    let ports: Vec<_> = servers.iter().map(|server| server.resp().port().to_string()).collect();
    let run = |environment: &[(&str, &str)]| {
        python::run("redis_redlock", &["redis", "redlock", "pottery"], addresses, environment);
    };
    run(&[("TORC_ENDPOINTS", &ports.join(","))]);
    drop(servers.pop());
    run(&[("TORC_ENDPOINTS", &ports[..2].join(",")), ("TORC_DEAD", &ports[2])]);
}
