//! What a node's reply says about whether it executed a request, and whether the request should be tried again.

use torc_protocol::command::Command;
use torc_protocol::error;

use super::pending::Pending;

/// What a reply settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All: it is for the client.
    Final,
    /// This sending was not executed, and another may be.
    Refused,
    /// This sending was not executed; nothing is known of earlier ones.
    TooOld,
    /// Some sending may have been executed.
    Doubtful,
}

/// Judges the reply of a request.
#[inline]
pub fn judge(pending: &Pending, frame: &[u8]) -> Answer {
    if frame.first() == Some(&b'-') { judge_error(pending, frame) } else { Answer::Final }
}

#[cold]
fn judge_error(pending: &Pending, frame: &[u8]) -> Answer {
    let text = text_of(frame);
    if pending.refused || refuses(pending.command, frame) {
        Answer::Refused
    } else if text == error::REQUEST_ID_TOO_OLD.as_bytes() {
        Answer::TooOld
    } else if is_uncertain(frame) && text != error::UNCERTAIN_REPLY.as_bytes() {
        Answer::Doubtful
    } else if pending.doubtful && pending.write && is_unexecuted(text) {
        // It settles its own sending only.
        Answer::Doubtful
    } else {
        Answer::Final
    }
}

/// Errors that a node gives before it executes a request.
fn is_unexecuted(text: &[u8]) -> bool {
    ["NOREPLICAS ", "OOM ", "BUSY ", "EXECABORT "].iter().any(|code| text.starts_with(code.as_bytes()))
}

fn text_of(frame: &[u8]) -> &[u8] {
    let text = frame.get(1..).unwrap_or_default();
    text.strip_suffix(b"\r\n").unwrap_or(text)
}

/// Whether the reply says "not executed, not here, not now".
#[inline]
pub fn is_refusal(command: Command, frame: &[u8]) -> bool {
    frame.first() == Some(&b'-') && refuses(command, frame)
}

#[cold]
fn refuses(command: Command, frame: &[u8]) -> bool {
    let text = text_of(frame);
    let exact = [
        error::CLUSTERDOWN,
        error::CLUSTERDOWN_SLOT,
        error::CLUSTERDOWN_LEASE,
        error::STALE_EPOCH,
        error::TRYAGAIN,
        error::REPLICATION_BEHIND,
        error::READONLY,
        error::LOADING,
        error::MASTERDOWN,
    ];
    if exact.iter().any(|known| known.as_bytes() == text) {
        return true;
    }
    // What a script or a transaction gives back can have any text, and may have been made after some effects.
    if matches!(command, Command::Scripting(_) | Command::Transactions(_)) {
        return is_moved(text);
    }
    ["CLUSTERDOWN ", "TRYAGAIN ", "MOVED ", "ASK "].iter().any(|code| text.starts_with(code.as_bytes()))
}

/// `MOVED <slot> <host>:<port>` and nothing else.
fn is_moved(text: &[u8]) -> bool {
    let mut words = text.split(|byte| *byte == b' ');
    words.next() == Some(b"MOVED")
        && words.next().is_some_and(|slot| !slot.is_empty() && slot.iter().all(u8::is_ascii_digit))
        && words.next().is_some_and(|address| address.contains(&b':'))
        && words.next().is_none()
}

/// Whether the reply says that the outcome is not known.
fn is_uncertain(frame: &[u8]) -> bool {
    frame.starts_with(b"-UNCERTAIN ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use torc_protocol::command::{ScriptingCommand, StringCommand};

    #[test]
    fn refusals() {
        let (get, eval) = (Command::String(StringCommand::Get), Command::Scripting(ScriptingCommand::Eval));
        for text in [
            "-MOVED 7 10.0.0.1:6379\r\n",
            "-CLUSTERDOWN this node no longer holds the lease of the shard\r\n",
        ] {
            assert!(is_refusal(get, text.as_bytes()) && is_refusal(eval, text.as_bytes()), "{text}");
        }
        assert!(is_refusal(get, b"-CLUSTERDOWN whatever\r\n"));
        assert!(!is_refusal(eval, b"-CLUSTERDOWN whatever\r\n"));
        assert!(!is_refusal(get, b"$12\r\n-CLUSTERDOWN\r\n"));
        assert!(!is_refusal(get, b"-NOREPLICAS Not enough good replicas to write.\r\n"));
        assert!(is_uncertain(b"-UNCERTAIN x\r\n"));
    }
}
