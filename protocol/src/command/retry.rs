//! Which requests may be sent again when it is not known whether the first one was executed.

use super::{Command, Flags, StringCommand};
use crate::resp::Args;

/// Whether sending the request a second time leaves the same state and gives the same reply as sending it once
/// (other clients aside). What may not be sent again needs a request id.
pub fn retry_is_safe(command: Command, args: &Args<'_>) -> bool {
    let flags = command.spec().flags;
    match command {
        // NX, XX and GET make the second reply another one.
        Command::String(StringCommand::Set) => set_is_plain(args),
        _ => flags.contains(Flags::READONLY) || flags.contains(Flags::IDEMPOTENT),
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
}
