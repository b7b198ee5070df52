//! Which requests may be sent again when it is not known whether the first one was executed.

use super::{Command, Flags, InternalCommand, LockCommand, StringCommand, TransactionCommand};
use crate::memcached::Request;
use crate::resp::Args;

/// Whether sending the request a second time leaves the same state and gives the same reply as sending it once
/// (other clients aside). What may not be sent again needs a request id.
pub fn retry_is_safe(command: Command, args: &Args<'_>) -> bool {
    let flags = command.spec().flags;
    match command {
        // NX, XX and GET make the second reply another one.
        Command::String(StringCommand::Set) => set_is_plain(args),
        Command::Internal(InternalCommand::Mc) => memcached_is_repeatable(args),
        _ => flags.contains(Flags::READONLY) || flags.contains(Flags::IDEMPOTENT),
    }
}

/// Whether a second sending may get the reply of the first one: not where the reply tells how much time is left,
/// which has gone on since.
pub fn reply_may_be_repeated(command: Command) -> bool {
    !matches!(command, Command::Lock(LockCommand::LockAcquire | LockCommand::LockExtend))
}

/// Whether a node that is given the request with an id remembers its reply, so that it may be sent again: it has a
/// key, in whose stripe the reply is kept. (EXEC has the keys of its transaction.)
pub fn has_a_home(command: Command, args: &Args<'_>) -> bool {
    match command {
        Command::Internal(InternalCommand::Mc) => {
            let request =
                Request::from_parts(args.get(1).unwrap_or_default(), args.get(2).unwrap_or_default());
            request.is_ok_and(|request| request.key_count() > 0)
        }
        Command::Transactions(TransactionCommand::Exec) => false,
        _ => {
            reply_may_be_repeated(command)
                && command.spec().find_keys(args).is_ok_and(|keys| !keys.is_empty())
        }
    }
}

fn set_is_plain(args: &Args<'_>) -> bool {
    let mut options = args.iter().skip(3);
    while let Some(option) = options.next() {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("EX") || is("PX") || is("EXAT") || is("PXAT") {
            options.next();
        } else if !is("KEEPTTL") {
            return false;
        }
    }
    true
}

/// `MC line [data]`: retrieval, and what leaves the same item behind each time.
fn memcached_is_repeatable(args: &Args<'_>) -> bool {
    let line = args.get(1).unwrap_or_default();
    Request::from_parts(line, args.get(2).unwrap_or_default()).is_ok_and(|request| request.is_repeatable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::resolve;
    use crate::resp::OwnedArgs;

    #[test]
    fn what_may_be_sent_again() {
        let safe = |line: &str| {
            let args = OwnedArgs::new(line.split(' '));
            retry_is_safe(resolve(&args.view()).expect("known"), &args.view())
        };
        assert!(safe("get k"));
        assert!(safe("set k v"));
        assert!(safe("set k v EX 10"));
        assert!(safe("mset a 1 b 2"));
        assert!(!safe("set k v NX"));
        assert!(!safe("set k v px 10 get"));
        assert!(!safe("incr k"));
        assert!(!safe("del k"));
    }

    #[test]
    fn what_is_remembered() {
        let home = |line: &str| {
            let args = OwnedArgs::new(line.split(' '));
            has_a_home(resolve(&args.view()).expect("known"), &args.view())
        };
        assert!(home("incr k") && home("eval x 1 k") && home("fence k 7 incr k"));
        assert!(!home("flushall") && !home("eval x 0") && !home("lock.acquire l ttl 5") && !home("exec"));
        let args = OwnedArgs::new(["MC", "incr a 1"]);
        assert!(has_a_home(Command::Internal(InternalCommand::Mc), &args.view()));
        let args = OwnedArgs::new(["MC", "flush_all"]);
        assert!(!has_a_home(Command::Internal(InternalCommand::Mc), &args.view()));
    }

    #[test]
    fn memcached() {
        let safe = |line: &str, data: &str| {
            let args = OwnedArgs::new(["MC", line, data]);
            retry_is_safe(Command::Internal(InternalCommand::Mc), &args.view())
        };
        assert!(safe("get a b", ""));
        assert!(safe("set a 0 0 2", "xy"));
        assert!(safe("gat 10 a", ""));
        assert!(!safe("add a 0 0 2", "xy"));
        assert!(safe("mg a v T30", "") && safe("ms a 2 T5", "xy"));
        assert!(!safe("mg a v N30", "") && !safe("ms a 2 ME", "xy") && !safe("md a", ""));
        assert!(!safe("incr a 1", ""));
        assert!(!safe("nonsense", ""));
    }
}
