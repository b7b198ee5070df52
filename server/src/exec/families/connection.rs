//! Handlers of the connection family.

use torc_protocol::command::ConnectionCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ConnectionCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        ConnectionCommand::Auth => Err("ERR 'auth' is not served yet".into()),
        ConnectionCommand::Client => Err("ERR 'client' is not served yet".into()),
        ConnectionCommand::ClientAck => Err("ERR 'client|ack' is not served yet".into()),
        ConnectionCommand::ClientGetname => Err("ERR 'client|getname' is not served yet".into()),
        ConnectionCommand::ClientHelp => Err("ERR 'client|help' is not served yet".into()),
        ConnectionCommand::ClientId => Err("ERR 'client|id' is not served yet".into()),
        ConnectionCommand::ClientInfo => Err("ERR 'client|info' is not served yet".into()),
        ConnectionCommand::ClientKill => Err("ERR 'client|kill' is not served yet".into()),
        ConnectionCommand::ClientList => Err("ERR 'client|list' is not served yet".into()),
        ConnectionCommand::ClientNoEvict => Err("ERR 'client|no-evict' is not served yet".into()),
        ConnectionCommand::ClientNoTouch => Err("ERR 'client|no-touch' is not served yet".into()),
        ConnectionCommand::ClientPause => Err("ERR 'client|pause' is not served yet".into()),
        ConnectionCommand::ClientRead => Err("ERR 'client|read' is not served yet".into()),
        ConnectionCommand::ClientReply => Err("ERR 'client|reply' is not served yet".into()),
        ConnectionCommand::ClientSetinfo => Err("ERR 'client|setinfo' is not served yet".into()),
        ConnectionCommand::ClientSetname => Err("ERR 'client|setname' is not served yet".into()),
        ConnectionCommand::ClientUnblock => Err("ERR 'client|unblock' is not served yet".into()),
        ConnectionCommand::ClientUnpause => Err("ERR 'client|unpause' is not served yet".into()),
        ConnectionCommand::Echo => Err("ERR 'echo' is not served yet".into()),
        ConnectionCommand::Hello => Err("ERR 'hello' is not served yet".into()),
        ConnectionCommand::Ping => Err("ERR 'ping' is not served yet".into()),
        ConnectionCommand::Quit => Err("ERR 'quit' is not served yet".into()),
        ConnectionCommand::Reset => Err("ERR 'reset' is not served yet".into()),
        ConnectionCommand::Select => Err("ERR 'select' is not served yet".into()),
    }
}
