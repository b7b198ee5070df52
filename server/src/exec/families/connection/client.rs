//! CLIENT: about connections, one's own and others'.

use torc_protocol::command::Command;
use torc_protocol::context::{Ack, ReadLevel};
use torc_protocol::error as text;
use torc_protocol::login::is_name;
use torc_protocol::resp::{Args, parse_i64};

use crate::clients::{Client, Pause, Unblock};
use crate::exec::session::ReplyMode;
use crate::exec::{CommandError, CommandResult, Cx, Flow, parse};

/// Types of clients that CLIENT LIST and KILL know.
const TYPES: [&[u8]; 5] = [b"normal", b"master", b"slave", b"replica", b"pubsub"];

fn quoting(before: &str, bytes: &[u8], after: &str) -> CommandError {
    let mut error = before.as_bytes().to_vec();
    error.extend_from_slice(bytes);
    error.extend_from_slice(after.as_bytes());
    CommandError::Bytes(error.into())
}

fn on_off(arg: &[u8]) -> Result<bool, CommandError> {
    if arg.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if arg.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(CommandError::Syntax)
    }
}

/// `CLIENT ACK none | primary | in-sync | default`
pub fn ack(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    cx.session.ack = if args[2].eq_ignore_ascii_case(b"default") {
        None
    } else {
        Some(Ack::from_bytes(&args[2]).map_err(|error| CommandError::from(error.to_string()))?)
    };
    cx.reply().ok();
    Ok(())
}

/// `CLIENT READ any | strong | default`
pub fn read(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    cx.session.read = if args[2].eq_ignore_ascii_case(b"default") {
        None
    } else {
        Some(ReadLevel::from_bytes(&args[2]).map_err(|error| CommandError::from(error.to_string()))?)
    };
    cx.reply().ok();
    Ok(())
}

/// `CLIENT GETNAME`
pub fn getname(cx: &mut Cx<'_, '_>) -> CommandResult {
    let name = cx.session.name();
    if name.is_empty() {
        cx.reply().null();
    } else {
        cx.reply().bulk(&name);
    }
    Ok(())
}

/// `CLIENT SETNAME name`
pub fn setname(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if !is_name(&args[2]) {
        return Err(text::CLIENT_NAME.into());
    }
    cx.session.set_name(&args[2]);
    cx.reply().ok();
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME name | LIB-VER version`
pub fn setinfo(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (option, value) = (&args[2], &args[3]);
    let names_library = option.eq_ignore_ascii_case(b"lib-name");
    if !names_library && !option.eq_ignore_ascii_case(b"lib-ver") {
        return Err(quoting("ERR Unrecognized option '", option, "'"));
    }
    if !is_name(value) {
        return Err(quoting("ERR ", option, " cannot contain spaces, newlines or special characters."));
    }
    if let Some(client) = &cx.session.client {
        client.set_names(|names| {
            let field = if names_library { &mut names.lib_name } else { &mut names.lib_version };
            *field = value.into();
        });
    }
    cx.reply().ok();
    Ok(())
}

/// `CLIENT INFO`
pub fn info(cx: &mut Cx<'_, '_>, command: Command) -> CommandResult {
    cx.session.publish(cx.now_ms, Some(command));
    let mut line = Vec::new();
    if let Some(client) = &cx.session.client {
        client.describe(cx.now_ms, &mut line);
    }
    line.push(b'\n');
    cx.reply().verbatim(b"txt", &line);
    Ok(())
}

fn check_type(kind: &[u8]) -> CommandResult {
    if TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        Ok(())
    } else {
        Err(quoting("ERR Unknown client type '", kind, "'"))
    }
}

/// Replication has its own port: every connection is a normal one, or one that listens to channels.
fn has_type(client: &Client, kind: &[u8]) -> bool {
    let name: &[u8] = if client.is_subscriber() { b"pubsub" } else { b"normal" };
    kind.eq_ignore_ascii_case(name)
}

/// `CLIENT LIST [TYPE type] [ID id …]`
pub fn list(cx: &mut Cx<'_, '_>, command: Command, args: &Args<'_>) -> CommandResult {
    let (mut chosen, mut of_type) = (None, None);
    match (args.get(2), args.get(3)) {
        (None, _) => {}
        (Some(option), Some(kind)) if option.eq_ignore_ascii_case(b"type") && args.len() == 4 => {
            check_type(kind)?;
            of_type = Some(kind);
        }
        (Some(option), Some(_)) if option.eq_ignore_ascii_case(b"id") => {
            let ids: Option<Vec<i64>> = args.iter().skip(3).map(parse_i64).collect();
            chosen = Some(ids.ok_or(CommandError::from(text::INVALID_CLIENT_ID))?);
        }
        _ => return Err(CommandError::Syntax),
    }
    cx.session.publish(cx.now_ms, Some(command));
    let clients = match chosen {
        Some(ids) => {
            let numbers = ids.into_iter().filter_map(|id| u64::try_from(id).ok());
            numbers.filter_map(|id| cx.node.clients.get(id)).collect::<Vec<_>>()
        }
        None => cx.node.clients.all(),
    };
    let clients = clients.into_iter().filter(|client| of_type.is_none_or(|kind| has_type(client, kind)));
    let mut lines = Vec::new();
    for client in clients {
        client.describe(cx.now_ms, &mut lines);
        lines.push(b'\n');
    }
    cx.reply().verbatim(b"txt", &lines);
    Ok(())
}

/// What CLIENT KILL looks for.
#[derive(Default)]
struct Victims<'a> {
    id: Option<u64>,
    kind: Option<&'a [u8]>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    skip_me: bool,
}

impl<'a> Victims<'a> {
    fn parse(args: &Args<'a>) -> Result<Victims<'a>, CommandError> {
        let mut victims = Victims { skip_me: true, ..Victims::default() };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let Some(value) = args.get(at + 1) else { return Err(CommandError::Syntax) };
            if option.eq_ignore_ascii_case(b"id") {
                let id = parse_i64(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                victims.id = Some(id.ok_or(CommandError::from(text::CLIENT_ID_ABOVE_0))?);
            } else if option.eq_ignore_ascii_case(b"type") {
                check_type(value)?;
                victims.kind = Some(value);
            } else if option.eq_ignore_ascii_case(b"addr") {
                victims.addr = Some(value);
            } else if option.eq_ignore_ascii_case(b"laddr") {
                victims.laddr = Some(value);
            } else if option.eq_ignore_ascii_case(b"user") {
                if value != b"default" {
                    return Err(quoting("ERR No such user '", value, "'"));
                }
            } else if option.eq_ignore_ascii_case(b"skipme") {
                victims.skip_me = match value {
                    yes if yes.eq_ignore_ascii_case(b"yes") => true,
                    no if no.eq_ignore_ascii_case(b"no") => false,
                    _ => return Err(CommandError::Syntax),
                };
            } else {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        Ok(victims)
    }

    fn has(&self, client: &Client, me: u64) -> bool {
        self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| has_type(client, kind))
            && self.addr.is_none_or(|addr| addr == client.addr.as_bytes())
            && self.laddr.is_none_or(|laddr| laddr == client.laddr.as_bytes())
            && !(self.skip_me && client.id == me)
    }
}

/// `CLIENT KILL ip:port | [ID id] [TYPE type] [USER name] [ADDR addr] [LADDR addr] [SKIPME yes | no]`
pub fn kill(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let old_form = args.len() == 3;
    let victims =
        if old_form { Victims { addr: Some(&args[2]), ..Victims::default() } } else { Victims::parse(args)? };
    let me = cx.session.id;
    let mut killed = 0;
    for client in cx.node.clients.all().iter().filter(|client| victims.has(client, me)) {
        killed += 1;
        if client.id == me {
            // The reply is still sent.
            cx.flow = Flow::Close;
        } else {
            client.close();
        }
    }
    match (old_form, killed) {
        (true, 0) => return Err(text::NO_SUCH_CLIENT.into()),
        (true, _) => cx.reply().ok(),
        (false, killed) => cx.reply().integer(killed),
    }
    Ok(())
}

/// `CLIENT NO-EVICT ON | OFF`
pub fn no_evict(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    cx.session.no_evict = on_off(&args[2])?;
    cx.reply().ok();
    Ok(())
}

/// `CLIENT NO-TOUCH ON | OFF`
pub fn no_touch(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    cx.session.no_touch = on_off(&args[2])?;
    cx.reply().ok();
    Ok(())
}

/// `CLIENT REPLY ON | OFF | SKIP`: only ON is answered, the connection sees to that.
pub fn reply(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args[2].eq_ignore_ascii_case(b"skip") {
        if cx.session.reply_mode != ReplyMode::Off {
            cx.session.reply_mode = ReplyMode::SkipNext;
        }
        return Ok(());
    }
    if !on_off(&args[2])? {
        cx.session.reply_mode = ReplyMode::Off;
        return Ok(());
    }
    cx.session.reply_mode = ReplyMode::On;
    cx.reply().ok();
    Ok(())
}

/// `CLIENT PAUSE milliseconds [WRITE | ALL]`
pub fn pause(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let what = match args.get(3) {
        None => Pause::All,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => Pause::All,
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => Pause::Writes,
        Some(_) => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
    };
    if args.len() > 4 {
        return Err(CommandError::Syntax);
    }
    let ms = timeout_ms(&args[2])?;
    cx.node.clients.pause(what, cx.now_ms.saturating_add(ms), cx.now_ms);
    cx.reply().ok();
    Ok(())
}

/// A time-out in milliseconds.
pub fn timeout_ms(arg: &[u8]) -> Result<u64, CommandError> {
    let ms = parse_i64(arg).ok_or(text::TIMEOUT_NOT_AN_INTEGER)?;
    u64::try_from(ms).map_err(|_| text::TIMEOUT_NEGATIVE.into())
}

/// `CLIENT UNBLOCK id [TIMEOUT | ERROR]`
pub fn unblock(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len() > 4 {
        return Err(CommandError::Bytes(text::subcommand_syntax(&args[0], &args[1]).into()));
    }
    let how = match args.get(3) {
        None => Unblock::Timeout,
        Some(how) if how.eq_ignore_ascii_case(b"timeout") => Unblock::Timeout,
        Some(how) if how.eq_ignore_ascii_case(b"error") => Unblock::Error,
        Some(_) => return Err(text::UNBLOCK_REASON.into()),
    };
    let id = parse::integer(&args[2])?;
    let client = u64::try_from(id).ok().and_then(|id| cx.node.clients.get(id));
    let woken = client.is_some_and(|client| client.unblock(how));
    cx.reply().integer(i64::from(woken));
    Ok(())
}

/// `CLIENT TRACKING ON | OFF …`: it can only be off.
pub fn tracking(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if on_off(&args[2])? {
        return Err(text::NO_TRACKING.into());
    }
    cx.reply().ok();
    Ok(())
}

/// `CLIENT TRACKINGINFO`
pub fn trackinginfo(cx: &mut Cx<'_, '_>) {
    let mut reply = cx.reply();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.integer(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
}
