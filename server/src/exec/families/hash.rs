//! Handlers of the hash family.

use torc_protocol::command::HashCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: HashCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        HashCommand::Hdel => Err("ERR 'hdel' is not served yet".into()),
        HashCommand::Hexists => Err("ERR 'hexists' is not served yet".into()),
        HashCommand::Hget => Err("ERR 'hget' is not served yet".into()),
        HashCommand::Hgetall => Err("ERR 'hgetall' is not served yet".into()),
        HashCommand::Hincrby => Err("ERR 'hincrby' is not served yet".into()),
        HashCommand::Hincrbyfloat => Err("ERR 'hincrbyfloat' is not served yet".into()),
        HashCommand::Hkeys => Err("ERR 'hkeys' is not served yet".into()),
        HashCommand::Hlen => Err("ERR 'hlen' is not served yet".into()),
        HashCommand::Hmget => Err("ERR 'hmget' is not served yet".into()),
        HashCommand::Hmset => Err("ERR 'hmset' is not served yet".into()),
        HashCommand::Hrandfield => Err("ERR 'hrandfield' is not served yet".into()),
        HashCommand::Hscan => Err("ERR 'hscan' is not served yet".into()),
        HashCommand::Hset => Err("ERR 'hset' is not served yet".into()),
        HashCommand::Hsetnx => Err("ERR 'hsetnx' is not served yet".into()),
        HashCommand::Hstrlen => Err("ERR 'hstrlen' is not served yet".into()),
        HashCommand::Hvals => Err("ERR 'hvals' is not served yet".into()),
    }
}
