//! Arguments that no log may show.

use torc_protocol::command::{Command, ConnectionCommand, ServerCommand};
use torc_protocol::resp::Args;

/// What is shown instead.
pub const SHOWN: &[u8] = b"(redacted)";

/// Options whose values are secrets.
const SECRET_OPTIONS: [&str; 4] = ["requirepass", "masterauth", "masteruser", "tls-key-file-pass"];

/// Whether argument `index` of the request is a secret.
pub fn is_secret(command: Command, args: &Args<'_>, index: usize) -> bool {
    match command {
        Command::Connection(ConnectionCommand::Auth) => index > 0,
        Command::Connection(ConnectionCommand::Hello) => {
            let is_auth = |at: usize| args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"auth"));
            (index >= 3 && is_auth(index - 1)) || (index >= 4 && is_auth(index - 2))
        }
        Command::Server(ServerCommand::ConfigSet) => {
            let secret = |name: &[u8]| SECRET_OPTIONS.iter().any(|o| name.eq_ignore_ascii_case(o.as_bytes()));
            index >= 3 && index % 2 == 1 && args.get(index - 1).is_some_and(secret)
        }
        Command::Server(ServerCommand::AclSetuser) => index > 2,
        _ => false,
    }
}
