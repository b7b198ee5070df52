//! Handlers of the generic family.

mod copy;
mod dump;
mod expiry;
mod keys;
mod object;
mod walk;

pub use object::encoding_of;

use torc_protocol::command::{GenericCommand, help};
use torc_protocol::resp::Args;

use crate::exec::parse::TimeUnit;
use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: GenericCommand, args: &Args<'_>) -> CommandResult {
    match command {
        GenericCommand::Copy => copy::copy(cx, args),
        GenericCommand::Del => keys::del(cx, args),
        GenericCommand::Dump => dump::dump(cx, args),
        GenericCommand::Exists => keys::exists(cx, args),
        GenericCommand::Expire => expiry::expire(cx, args, TimeUnit::EX, "expire"),
        GenericCommand::Expireat => expiry::expire(cx, args, TimeUnit::EXAT, "expireat"),
        GenericCommand::Expiretime => expiry::expiretime(cx, args, true),
        GenericCommand::Keys => walk::keys(cx, args),
        GenericCommand::Migrate => dump::migrate(),
        GenericCommand::Move => copy::move_key(cx, args),
        GenericCommand::Object => object::container(args),
        GenericCommand::ObjectEncoding => object::encoding(cx, args),
        GenericCommand::ObjectFreq => object::freq(cx, args),
        GenericCommand::ObjectHelp => {
            help(command.into(), &mut cx.reply());
            Ok(())
        }
        GenericCommand::ObjectIdletime => object::idletime(cx, args),
        GenericCommand::ObjectRefcount => object::refcount(cx, args),
        GenericCommand::Persist => expiry::persist(cx, args),
        GenericCommand::Pexpire => expiry::expire(cx, args, TimeUnit::PX, "pexpire"),
        GenericCommand::Pexpireat => expiry::expire(cx, args, TimeUnit::PXAT, "pexpireat"),
        GenericCommand::Pexpiretime => expiry::expiretime(cx, args, false),
        GenericCommand::Pttl => expiry::ttl(cx, args, false),
        GenericCommand::Randomkey => walk::randomkey(cx),
        GenericCommand::Rename => copy::rename(cx, args),
        GenericCommand::Renamenx => copy::renamenx(cx, args),
        GenericCommand::Restore => dump::restore(cx, args),
        GenericCommand::Scan => walk::scan(cx, args),
        GenericCommand::Touch => keys::touch(cx, args),
        GenericCommand::Ttl => expiry::ttl(cx, args, true),
        GenericCommand::Type => keys::kind(cx, args),
        GenericCommand::Unlink => keys::del(cx, args),
    }
}

#[cfg(test)]
mod tests;
