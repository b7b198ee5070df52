//! Checks the options of `torc up` that a process or the control plane would refuse only later: by then the cluster's
//! files are written, and a start with better options would find them.

use torc_cluster::map::MAX_NAME_BYTES;

use super::UpArgs;

/// The first mistake, in words.
pub fn check(args: &UpArgs) -> Result<(), String> {
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    let (nodes, proxy) = (torc_server::config::MAX_THREADS, torc_proxy::config::MAX_THREADS);
    if args.node_threads > nodes {
        return Err(format!("--node-threads: {} is above {nodes}", args.node_threads));
    }
    if !(1..=proxy).contains(&args.proxy_threads) {
        return Err(format!("--proxy-threads: {} is not between 1 and {proxy}", args.proxy_threads));
    }
    let ports = [
        ("port", args.port.to_bind()),
        ("memcached-port", args.memcached_port.to_bind()),
        ("http-port", args.http_port.to_bind()),
    ];
    if args.port.to_bind().or(args.memcached_port.to_bind()).is_none() {
        return Err("--port and --memcached-port are both 0: no client could connect".to_owned());
    }
    for (index, (option, port)) in ports.iter().enumerate() {
        // 0 is a free port here: those differ by themselves.
        let same = ports[..index].iter().find(|(_, other)| port.is_some_and(|p| p != 0) && other == port);
        if let (Some((other, _)), Some(port)) = (same, port) {
            return Err(format!("--{option} and --{other} are both {port}"));
        }
    }
    Ok(())
}

/// A name stands as one word in the tools' tables and in their lines for scripts.
fn check_name(name: &str) -> Result<(), String> {
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Err(format!("--name: takes 1 to {MAX_NAME_BYTES} bytes, not {}", name.len()));
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("--name: {name:?} has a space or a control character"));
    }
    Ok(())
}
