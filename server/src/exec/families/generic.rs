//! Handlers of the generic family.

use torc_protocol::command::GenericCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: GenericCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        GenericCommand::Copy => Err("ERR 'copy' is not served yet".into()),
        GenericCommand::Del => Err("ERR 'del' is not served yet".into()),
        GenericCommand::Exists => Err("ERR 'exists' is not served yet".into()),
        GenericCommand::Expire => Err("ERR 'expire' is not served yet".into()),
        GenericCommand::Expireat => Err("ERR 'expireat' is not served yet".into()),
        GenericCommand::Expiretime => Err("ERR 'expiretime' is not served yet".into()),
        GenericCommand::Keys => Err("ERR 'keys' is not served yet".into()),
        GenericCommand::Move => Err("ERR 'move' is not served yet".into()),
        GenericCommand::Object => Err("ERR 'object' is not served yet".into()),
        GenericCommand::ObjectEncoding => Err("ERR 'object|encoding' is not served yet".into()),
        GenericCommand::ObjectFreq => Err("ERR 'object|freq' is not served yet".into()),
        GenericCommand::ObjectHelp => Err("ERR 'object|help' is not served yet".into()),
        GenericCommand::ObjectIdletime => Err("ERR 'object|idletime' is not served yet".into()),
        GenericCommand::ObjectRefcount => Err("ERR 'object|refcount' is not served yet".into()),
        GenericCommand::Persist => Err("ERR 'persist' is not served yet".into()),
        GenericCommand::Pexpire => Err("ERR 'pexpire' is not served yet".into()),
        GenericCommand::Pexpireat => Err("ERR 'pexpireat' is not served yet".into()),
        GenericCommand::Pexpiretime => Err("ERR 'pexpiretime' is not served yet".into()),
        GenericCommand::Pttl => Err("ERR 'pttl' is not served yet".into()),
        GenericCommand::Randomkey => Err("ERR 'randomkey' is not served yet".into()),
        GenericCommand::Rename => Err("ERR 'rename' is not served yet".into()),
        GenericCommand::Renamenx => Err("ERR 'renamenx' is not served yet".into()),
        GenericCommand::Scan => Err("ERR 'scan' is not served yet".into()),
        GenericCommand::Touch => Err("ERR 'touch' is not served yet".into()),
        GenericCommand::Ttl => Err("ERR 'ttl' is not served yet".into()),
        GenericCommand::Type => Err("ERR 'type' is not served yet".into()),
        GenericCommand::Unlink => Err("ERR 'unlink' is not served yet".into()),
    }
}
