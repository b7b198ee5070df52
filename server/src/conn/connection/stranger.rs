//! Protected mode: a node without a password serves clients of its own machine only.
//!
//! With a cluster secret a stranger may be another part of Torc, so it is let in as far as the handshake: until
//! that is done each of its requests is looked at by itself.

use super::Connection;

/// Redis's words for who may not come in without a password.
pub const DENIED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled and no \
password is set for the default user. In this mode connections are only accepted from the loopback interface. \
If you want to connect from external computers to Redis you may adopt one of the following solutions: \
1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by \
connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible \
from internet if you do so. Use CONFIG REWRITE to make this change permanent. \
2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the \
protected mode option to 'no', and then restarting the server. \
3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. \
4) Set up an authentication password for the default user. NOTE: You only need to do one of the above things in \
order for the server to start accepting connections from the outside.\r\n";

impl Connection {
    /// Whether a stranger says anything but the handshake: then it is told so, and the connection ends.
    pub(super) fn turn_away(&mut self) -> bool {
        if self.session.trusted {
            self.stranger = false;
            return false;
        }
        if self.dialect.is_handshake(&self.input[self.at..]) {
            return false;
        }
        self.output.bytes.extend_from_slice(DENIED);
        self.closing = true;
        true
    }
}
