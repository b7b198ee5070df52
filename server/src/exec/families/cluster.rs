//! Handlers of the cluster family.

use torc_protocol::command::ClusterCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ClusterCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        ClusterCommand::Asking => Err("ERR 'asking' is not served yet".into()),
        ClusterCommand::Cluster => Err("ERR 'cluster' is not served yet".into()),
        ClusterCommand::ClusterCountkeysinslot => {
            Err("ERR 'cluster|countkeysinslot' is not served yet".into())
        }
        ClusterCommand::ClusterGetkeysinslot => Err("ERR 'cluster|getkeysinslot' is not served yet".into()),
        ClusterCommand::ClusterHelp => Err("ERR 'cluster|help' is not served yet".into()),
        ClusterCommand::ClusterInfo => Err("ERR 'cluster|info' is not served yet".into()),
        ClusterCommand::ClusterKeyslot => Err("ERR 'cluster|keyslot' is not served yet".into()),
        ClusterCommand::ClusterLinks => Err("ERR 'cluster|links' is not served yet".into()),
        ClusterCommand::ClusterMyid => Err("ERR 'cluster|myid' is not served yet".into()),
        ClusterCommand::ClusterNodes => Err("ERR 'cluster|nodes' is not served yet".into()),
        ClusterCommand::ClusterShards => Err("ERR 'cluster|shards' is not served yet".into()),
        ClusterCommand::ClusterSlots => Err("ERR 'cluster|slots' is not served yet".into()),
        ClusterCommand::Readonly => Err("ERR 'readonly' is not served yet".into()),
        ClusterCommand::Readwrite => Err("ERR 'readwrite' is not served yet".into()),
    }
}
