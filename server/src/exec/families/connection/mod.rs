//! Handlers of the connection family.

mod auth;
mod client;

pub use client::timeout_ms;

use torc_protocol::command::ConnectionCommand;
use torc_protocol::command::help;
use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx, Flow};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ConnectionCommand, args: &Args<'_>) -> CommandResult {
    match command {
        ConnectionCommand::Auth => auth::auth(cx, args),
        ConnectionCommand::Hello => auth::hello(cx, args),
        ConnectionCommand::Reset => auth::reset(cx),
        ConnectionCommand::Echo => {
            cx.reply().bulk(&args[1]);
            Ok(())
        }
        ConnectionCommand::Ping => ping(cx, args),
        ConnectionCommand::Quit => {
            cx.reply().ok();
            cx.flow = Flow::Close;
            Ok(())
        }
        ConnectionCommand::Select => select(cx, args),
        ConnectionCommand::ClientAck => client::ack(cx, args),
        ConnectionCommand::ClientCaching => Err(text::NO_TRACKING.into()),
        ConnectionCommand::ClientGetredir => {
            cx.reply().integer(-1);
            Ok(())
        }
        ConnectionCommand::ClientTracking => client::tracking(cx, args),
        ConnectionCommand::ClientTrackinginfo => {
            client::trackinginfo(cx);
            Ok(())
        }
        ConnectionCommand::ClientGetname => client::getname(cx),
        ConnectionCommand::Client | ConnectionCommand::ClientHelp => {
            help(command.into(), &mut cx.reply());
            Ok(())
        }
        ConnectionCommand::ClientId => {
            let id = cx.session.id;
            cx.reply().integer(id as i64);
            Ok(())
        }
        ConnectionCommand::ClientInfo => client::info(cx, command.into()),
        ConnectionCommand::ClientKill => client::kill(cx, args),
        ConnectionCommand::ClientList => client::list(cx, command.into(), args),
        ConnectionCommand::ClientNoEvict => client::no_evict(cx, args),
        ConnectionCommand::ClientNoTouch => client::no_touch(cx, args),
        ConnectionCommand::ClientPause => client::pause(cx, args),
        ConnectionCommand::ClientRead => client::read(cx, args),
        ConnectionCommand::ClientReply => client::reply(cx, args),
        ConnectionCommand::ClientSetinfo => client::setinfo(cx, args),
        ConnectionCommand::ClientSetname => client::setname(cx, args),
        ConnectionCommand::ClientUnblock => client::unblock(cx, args),
        ConnectionCommand::ClientUnpause => {
            cx.node.clients.unpause();
            cx.reply().ok();
            Ok(())
        }
    }
}

fn ping(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len() <= 2 && cx.session.only_listens() {
        let mut reply = cx.reply();
        reply.array(2);
        reply.bulk(b"pong");
        reply.bulk(args.get(1).unwrap_or_default());
        return Ok(());
    }
    match (args.len(), args.get(1)) {
        (1, _) => cx.reply().simple("PONG"),
        (2, Some(message)) => cx.reply().bulk(message),
        _ => return Err(text::wrong_arity("ping").into()),
    }
    Ok(())
}

fn select(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    cx.session.db = crate::exec::parse::database(&args[1])?;
    cx.reply().ok();
    Ok(())
}

#[cfg(test)]
mod tests;
