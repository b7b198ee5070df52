//! What ACL says: there is one user, `default`, who may do everything, with the password that the configuration names
//! or none. Node and proxy answer alike.

use std::io;

use sha2::{Digest, Sha256};

use super::lookup::{ResolveError, resolve};
use super::{ServerCommand, introspect};
use crate::error as text;
use crate::resp::{Args, ReplyWriter, parse_i64};

/// The only user.
const USER: &str = "default";

/// What the user may do, as ACL LIST writes it.
const RULES: &str = "~* &* +@all";

/// Bits that GENPASS may give at most, and does if nothing else is asked for.
const MAX_BITS: i64 = 4096;
const DEFAULT_BITS: i64 = 256;

/// What the answers go by.
pub struct Door<'a> {
    /// What clients must show (`requirepass`); empty: nothing.
    pub password: &'a str,
    /// Fills bytes that nobody can guess.
    pub random: fn(&mut [u8]) -> io::Result<()>,
}

/// Answers a subcommand of ACL; false: the command is none.
pub fn answer_acl(
    command: ServerCommand,
    args: &Args<'_>,
    door: &Door<'_>,
    reply: &mut ReplyWriter<'_>,
) -> bool {
    match command {
        ServerCommand::AclCat => introspect::categories(&args.tail(2), reply),
        ServerCommand::AclDeluser => {
            if args.tail(2).iter().any(|name| name == USER.as_bytes()) {
                reply.error(text::ACL_KEEP_DEFAULT);
            } else {
                reply.integer(0);
            }
        }
        ServerCommand::AclDryrun => dry_run(args, reply),
        ServerCommand::AclGenpass => generate(args, door, reply),
        ServerCommand::AclGetuser => describe(args, door, reply),
        ServerCommand::AclList => {
            let login = login_rule(door);
            reply.array(1);
            reply.bulk(format!("user {USER} on {login} sanitize-payload {RULES}").as_bytes());
        }
        ServerCommand::AclLoad | ServerCommand::AclSave => reply.error(text::NO_ACL_FILE),
        ServerCommand::AclLog => log(args, reply),
        ServerCommand::AclSetuser => reply.error(text::ONE_USER),
        ServerCommand::AclUsers => {
            reply.array(1);
            reply.bulk(USER.as_bytes());
        }
        ServerCommand::AclWhoami => reply.bulk(USER.as_bytes()),
        _ => return false,
    }
    true
}

/// The SHA-256 of the password, as Redis keeps it.
fn digest(password: &str) -> String {
    hex(&Sha256::digest(password.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn login_rule(door: &Door<'_>) -> String {
    if door.password.is_empty() { "nopass".into() } else { format!("#{}", digest(door.password)) }
}

fn describe(args: &Args<'_>, door: &Door<'_>, reply: &mut ReplyWriter<'_>) {
    if args.get(2) != Some(USER.as_bytes()) {
        return reply.null_array();
    }
    let open = door.password.is_empty();
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(if open { 3 } else { 2 });
    reply.bulk(b"on");
    if open {
        reply.bulk(b"nopass");
    }
    reply.bulk(b"sanitize-payload");
    reply.bulk(b"passwords");
    reply.array(usize::from(!open));
    if !open {
        reply.bulk(digest(door.password).as_bytes());
    }
    for (name, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(name.as_bytes());
        reply.bulk(rule.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
}

/// ACL GENPASS \[bits\]: as many digits in hexadecimal as so many bits need.
fn generate(args: &Args<'_>, door: &Door<'_>, reply: &mut ReplyWriter<'_>) {
    if args.len() > 3 {
        return reply.error(text::ACL_WRONG_ARGUMENTS);
    }
    let Some(bits) = args.get(2).map_or(Some(DEFAULT_BITS), parse_i64) else {
        return reply.error(text::NOT_AN_INTEGER);
    };
    if !(1..=MAX_BITS).contains(&bits) {
        return reply.error(text::ACL_GENPASS_BITS);
    }
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    if (door.random)(&mut bytes).is_err() {
        return reply.error("ERR the system gave no random bytes");
    }
    reply.bulk(&hex(&bytes).as_bytes()[..digits]);
}

/// ACL DRYRUN user command \[argument …\]: whether the user may. Who is there may do everything.
fn dry_run(args: &Args<'_>, reply: &mut ReplyWriter<'_>) {
    let (user, request) = (args.get(2).unwrap_or_default(), args.tail(3));
    if user != USER.as_bytes() {
        return reply.error(format!("ERR User '{}' not found", user.escape_ascii()));
    }
    match resolve(&request) {
        Ok(_) => reply.ok(),
        Err(ResolveError::Arity(command)) => reply.error(text::wrong_arity(command.spec().name)),
        Err(_) => {
            let name = request.get(0).unwrap_or_default().escape_ascii();
            reply.error(format!("ERR Command '{name}' not found"));
        }
    }
}

/// ACL LOG \[count | RESET\]: nobody was ever refused by a rule.
fn log(args: &Args<'_>, reply: &mut ReplyWriter<'_>) {
    match args.get(2) {
        _ if args.len() > 3 => reply.error(text::ACL_WRONG_ARGUMENTS),
        Some(word) if word.eq_ignore_ascii_case(b"reset") => reply.ok(),
        Some(count) if parse_i64(count).is_none() => reply.error(text::NOT_AN_INTEGER),
        _ => reply.array(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, resolve};
    use crate::resp::{OwnedArgs, Version};

    fn ask(password: &str, request: &str) -> String {
        let args = OwnedArgs::new(request.split(' '));
        let Ok(Command::Server(command)) = resolve(&args.view()) else { panic!("{request}") };
        let mut out = Vec::new();
        let door = Door {
            password,
            random: |bytes| {
                bytes.fill(0xa7);
                Ok(())
            },
        };
        assert!(answer_acl(command, &args.view(), &door, &mut ReplyWriter::new(&mut out, Version::Resp2)));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_only_user() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(ask("", "acl list").contains("user default on nopass sanitize-payload ~* &* +@all"));
        assert!(ask("abc", "acl list").contains(&format!("user default on #{abc} sanitize-payload")));
        assert!(ask("abc", "acl getuser default").contains(abc));
        assert!(ask("", "acl getuser default").contains("nopass"));
        assert_eq!(ask("", "acl getuser somebody"), "*-1\r\n");
        assert_eq!(ask("", "acl deluser a b"), ":0\r\n");
        assert!(ask("", "acl deluser a default").starts_with("-ERR The 'default' user"));
        assert!(ask("", "acl setuser a on").starts_with("-ERR"));
    }

    #[test]
    fn passwords_have_as_many_bits_as_were_asked_for() {
        assert_eq!(ask("", "acl genpass 5"), "$2\r\na7\r\n");
        assert_eq!(ask("", "acl genpass 9"), "$3\r\na7a\r\n");
        assert!(ask("", "acl genpass").starts_with("$64\r\n"));
        for wrong in ["0", "4097", "-1", "x"] {
            assert!(ask("", &format!("acl genpass {wrong}")).starts_with("-ERR"), "{wrong}");
        }
    }

    #[test]
    fn dry_runs() {
        assert_eq!(ask("", "acl dryrun default get k"), "+OK\r\n");
        assert_eq!(ask("", "acl dryrun nobody get k"), "-ERR User 'nobody' not found\r\n");
        assert_eq!(ask("", "acl dryrun default nosuch"), "-ERR Command 'nosuch' not found\r\n");
        assert_eq!(ask("", "acl dryrun default get"), "-ERR wrong number of arguments for 'get' command\r\n");
    }
}
