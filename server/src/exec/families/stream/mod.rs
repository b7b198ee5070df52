//! Handlers of the stream family.

mod add;
mod claim;
mod group;
mod id;
mod info;
mod pending;
mod range;
mod read;
mod reply;
#[cfg(test)]
mod tests;

use torc_protocol::command::{StreamCommand, help};
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: StreamCommand, args: &Args<'_>) -> CommandResult {
    match command {
        StreamCommand::Xack => group::xack(cx, args),
        StreamCommand::Xadd => add::xadd(cx, args),
        StreamCommand::Xautoclaim => claim::xautoclaim(cx, args),
        StreamCommand::Xclaim => claim::xclaim(cx, args),
        StreamCommand::Xdel => add::xdel(cx, args),
        StreamCommand::Xgroup
        | StreamCommand::XgroupHelp
        | StreamCommand::Xinfo
        | StreamCommand::XinfoHelp => {
            help(command.into(), &mut cx.reply());
            Ok(())
        }
        StreamCommand::XgroupCreate => group::create(cx, args),
        StreamCommand::XgroupCreateconsumer => group::create_consumer(cx, args),
        StreamCommand::XgroupDelconsumer => group::delete_consumer(cx, args),
        StreamCommand::XgroupDestroy => group::destroy(cx, args),
        StreamCommand::XgroupSetid => group::set_id(cx, args),
        StreamCommand::XinfoConsumers => info::consumers(cx, args),
        StreamCommand::XinfoGroups => info::groups(cx, args),
        StreamCommand::XinfoStream => info::stream(cx, args),
        StreamCommand::Xlen => range::xlen(cx, args),
        StreamCommand::Xpending => pending::xpending(cx, args),
        StreamCommand::Xrange => range::xrange(cx, args),
        StreamCommand::Xread => read::xread(cx, args),
        StreamCommand::Xreadgroup => read::xreadgroup(cx, args),
        StreamCommand::Xrevrange => range::xrevrange(cx, args),
        StreamCommand::Xsetid => add::xsetid(cx, args),
        StreamCommand::Xtrim => add::xtrim(cx, args),
    }
}
