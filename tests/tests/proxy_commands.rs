//! Every row of the command table through the proxy: it works, or its row refuses it with a reason and an advice.

use torc_protocol::command::{self, CommandSpec, Flags, KeySpec, Route};
use torc_tests::client::Connection;
use torc_tests::cluster::Cluster;
use torc_tests::frame::{self, Node};

/// The smallest request that a row allows.
fn smallest(spec: &CommandSpec) -> Vec<String> {
    let mut args: Vec<String> = spec.name.split('|').map(str::to_owned).collect();
    while args.len() < spec.arity.unsigned_abs() as usize {
        args.push(format!("arg{}", args.len()));
    }
    if let KeySpec::NumKeys { at, .. } = spec.keys
        && let Some(count) = args.get_mut(at)
    {
        *count = "1".into();
    }
    args
}

fn answer(connection: &mut Connection, args: &[String]) -> Node {
    let bytes = connection.call_raw(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    frame::decode(&bytes).expect("a frame").expect("a whole one").0
}

/// Texts of which none may be an answer: they say that the proxy does not know what to do, or did it wrong.
const FORBIDDEN: [&str; 6] = [
    "the proxy cannot answer this command",
    "the node's reply could not be understood",
    "ERR unknown command",
    "ERR unknown subcommand",
    "wrong number of arguments",
    "the shards gave different replies",
];

#[test]
fn every_row_is_answered() {
    let mut cluster = Cluster::start_with(&["--shards", "2", "--replicas", "0"]);
    let proxy = cluster.proxy();
    let (mut worked, mut failed, mut refused) = (0, Vec::new(), 0);
    for command in command::all() {
        let spec = command.spec();
        // A container by itself is nothing.
        if spec.is_internal() || spec.flags.contains(Flags::CONTAINER) && spec.name != "command" {
            continue;
        }
        // Each on a connection of its own: some change what a connection may do.
        let mut connection = proxy.connect();
        let mut args = smallest(spec);
        if spec.name == "proxy|explain" {
            // Its argument is a command.
            args[2] = "ping".to_owned();
        }
        let reply = answer(&mut connection, &args);
        let text = reply.text().unwrap_or_default();
        if let Route::Refuse(why) = spec.route {
            refused += 1;
            assert!(reply.is_error() && text.contains(why), "{args:?}: {text}");
            // What to do is named: another command, or where to connect to.
            assert!(["torc", "connect"].iter().any(|advice| why.contains(advice)), "{}: {why}", spec.name);
            continue;
        }
        if FORBIDDEN.iter().any(|forbidden| text.contains(forbidden)) {
            failed.push(format!("{args:?}: {text}"));
        }
        worked += 1;
        // The connection is still good, or was to be closed.
        if spec.name != "quit" && spec.name != "client|reply" {
            connection.send_command(&["PING", "still here"]).expect("sent");
            loop {
                let bytes = connection.read_frame().unwrap_or_else(|error| panic!("{args:?}: {error}"));
                if bytes.windows(10).any(|part| part == b"still here") || bytes.starts_with(b"+QUEUED") {
                    break;
                }
            }
        }
    }
    println!("{worked} rows are answered, {refused} are refused by their rows");
    assert!(failed.is_empty(), "{} rows:\n{}", failed.len(), failed.join("\n"));
    cluster.stop(rustix::process::Signal::INT);
}
