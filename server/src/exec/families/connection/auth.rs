//! Who the client is and what it speaks: AUTH, HELLO, RESET.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter, Version, parse_i64};

use super::client::check_name;
use crate::exec::families::server::REDIS_VERSION;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::shard::Role;

/// The only user there is so far.
const DEFAULT_USER: &[u8] = b"default";

/// Compares without telling by its duration how much was right.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    // The loop runs over what the stranger gave: its length is no secret to them.
    let mut differs = given.len() ^ wanted.len();
    for (index, byte) in given.iter().enumerate() {
        differs |= usize::from(byte ^ wanted.get(index).copied().unwrap_or(0));
    }
    differs == 0
}

/// Whether user and password are right.
fn accepts(cx: &Cx<'_, '_>, user: &[u8], password: &[u8]) -> bool {
    let settings = cx.node.settings.load();
    let wanted = settings.requirepass.as_bytes();
    // Without a password the default user may come in with any.
    user == DEFAULT_USER && (wanted.is_empty() || same(password, wanted))
}

/// `AUTH [username] password`
pub fn auth(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (user, password) = match (args.len(), args.get(1), args.get(2)) {
        (2, Some(password), _) => {
            if cx.node.settings.load().requirepass.is_empty() {
                return Err(text::NO_PASSWORD_SET.into());
            }
            (DEFAULT_USER, password)
        }
        (3, Some(user), Some(password)) => (user, password),
        _ => return Err(CommandError::Syntax),
    };
    if !accepts(cx, user, password) {
        return Err(text::WRONGPASS.into());
    }
    cx.session.authenticated = true;
    cx.reply().ok();
    Ok(())
}

/// `HELLO [protover [AUTH username password] [SETNAME name]]`
pub fn hello(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let mut version = None;
    if let Some(number) = args.get(1) {
        version = match parse_i64(number) {
            None => return Err(text::HELLO_VERSION.into()),
            Some(2) => Some(Version::Resp2),
            Some(3) => Some(Version::Resp3),
            Some(_) => return Err(text::NOPROTO.into()),
        };
    }
    let (mut name, mut login) = (None, None);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        match (args.get(at + 1), args.get(at + 2)) {
            (Some(user), Some(password)) if option.eq_ignore_ascii_case(b"auth") => {
                login = Some((user, password));
                at += 3;
            }
            (Some(given), _) if option.eq_ignore_ascii_case(b"setname") => {
                check_name(given)?;
                name = Some(given);
                at += 2;
            }
            _ => {
                let mut error = b"ERR Syntax error in HELLO option '".to_vec();
                error.extend_from_slice(option);
                error.push(b'\'');
                return Err(CommandError::Bytes(error.into()));
            }
        }
    }
    if let Some((user, password)) = login {
        if !accepts(cx, user, password) {
            return Err(text::WRONGPASS.into());
        }
        cx.session.authenticated = true;
    }
    if !cx.session.authenticated {
        return Err(text::HELLO_NOAUTH.into());
    }
    if let Some(name) = name {
        cx.session.set_name(name);
    }
    if let Some(version) = version {
        cx.session.version = version;
        cx.version = version;
    }
    describe(cx);
    Ok(())
}

fn describe(cx: &mut Cx<'_, '_>) {
    let role = cx.node.shard.role();
    let id = cx.session.id;
    let mut reply = ReplyWriter::new(cx.out, cx.version);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(cx.version.number());
    reply.bulk(b"id");
    reply.integer(id as i64);
    reply.bulk(b"mode");
    reply.bulk(if role == Role::Plain { b"standalone" } else { b"cluster" });
    reply.bulk(b"role");
    reply.bulk(if matches!(role, Role::Plain | Role::Primary) { b"master" } else { b"replica" });
    reply.bulk(b"modules");
    reply.array(0);
}

/// `RESET`
pub fn reset(cx: &mut Cx<'_, '_>) -> CommandResult {
    let authenticated = cx.node.settings.load().requirepass.is_empty();
    cx.session.reset(authenticated);
    cx.session.set_name(b"");
    cx.version = cx.session.version;
    cx.reply().simple("RESET");
    Ok(())
}
