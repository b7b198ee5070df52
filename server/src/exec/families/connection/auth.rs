//! Who the client is and what it speaks: AUTH, HELLO, RESET.

use torc_protocol::error as text;
use torc_protocol::login::{Hello, Login, describe};
use torc_protocol::resp::{Args, ReplyWriter};

use crate::exec::{CommandError, CommandResult, Cx};
use crate::shard::Role;

fn is_right(cx: &Cx<'_, '_>, login: &Login<'_>) -> bool {
    login.is_right(&cx.node.settings.load().requirepass)
}

/// `AUTH [username] password`
pub fn auth(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let has_password = !cx.node.settings.load().requirepass.is_empty();
    let login = Login::of_auth(args, has_password)?;
    if !is_right(cx, &login) {
        return Err(text::WRONGPASS.into());
    }
    cx.session.authenticated = true;
    cx.reply().ok();
    Ok(())
}

/// `HELLO [protover [AUTH username password] [SETNAME name]]`
pub fn hello(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let hello = Hello::parse(args).map_err(|error| CommandError::Bytes(error.into()))?;
    if let Some(login) = hello.login {
        if !is_right(cx, &login) {
            return Err(text::WRONGPASS.into());
        }
        cx.session.authenticated = true;
    }
    if !cx.session.authenticated {
        return Err(text::HELLO_NOAUTH.into());
    }
    if let Some(name) = hello.name {
        cx.session.set_name(name);
    }
    if let Some(version) = hello.version {
        cx.session.version = version;
        if let Some(subscriptions) = &cx.session.subscriptions {
            subscriptions.mailbox().set_version(version, cx.out);
        }
        cx.version = version;
    }
    let role = cx.node.shard.role();
    let mode = if role == Role::Plain { "standalone" } else { "cluster" };
    let role = if matches!(role, Role::Plain | Role::Primary) { "master" } else { "replica" };
    describe(&mut ReplyWriter::new(cx.out, cx.version), cx.session.id, mode, role);
    Ok(())
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
