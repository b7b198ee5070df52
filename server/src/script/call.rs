//! `redis.call` and `redis.pcall`: a command of a script, on the script's own context.

use std::cell::RefCell;
use std::time::Duration;

use mlua::{BorrowedBytes, Lua, MultiValue, Value};
use smallvec::SmallVec;
use torc_protocol::command::{Flags, ResolveError, resolve};
use torc_protocol::error as text;
use torc_protocol::resp::{Args, OwnedArgs};
use torc_protocol::slot::{Slot, key_slot};

use super::engine::Control;
use super::error::{Stop, raise};
use super::{Request, convert, number};
use crate::exec::{CommandError, Cx, Flow, families};
use crate::pubsub::describe_request;
use crate::shard::Role;

/// How long a script that has written nothing waits for the stripe of an undeclared key.
const PATIENCE: Duration = Duration::from_micros(100);

/// How long one that has written waits: it cannot start again.
const PATIENCE_AFTER_WRITES: Duration = Duration::from_millis(20);

/// What the calls of one run may do.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Writes are refused.
    pub read_only: bool,
    /// The store is full: what grows it is refused, until the script has written.
    pub check_memory: bool,
}

/// The calls of one run.
pub struct Calls<'r, 'c, 'n, 'a> {
    caller: Caller,
    cx: RefCell<&'c mut Cx<'n, 'a>>,
    control: &'r Control,
    /// Slots of the declared keys.
    declared: SmallVec<[Slot; 4]>,
}

/// Why a call gives no reply.
enum Failed {
    /// An error reply.
    Reply(Vec<u8>),
    /// The script ends.
    Stop(Stop),
}

impl From<&'static str> for Failed {
    fn from(text: &'static str) -> Self {
        Failed::Reply(text.into())
    }
}

impl Caller {
    /// Joins what the calls may do with what they work on.
    pub fn bind<'r, 'c, 'n, 'a>(
        self,
        request: &Request<'_>,
        cx: &'c mut Cx<'n, 'a>,
        control: &'r Control,
    ) -> Calls<'r, 'c, 'n, 'a> {
        let declared = request.rest.iter().take(request.keys).map(key_slot).collect();
        Calls { caller: self, cx: RefCell::new(cx), control, declared }
    }
}

/// One argument, as bytes.
enum Argument<'a> {
    Text(BorrowedBytes<'a>),
    Number(String),
}

impl AsRef<[u8]> for Argument<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Argument::Text(bytes) => bytes,
            Argument::Number(text) => text.as_bytes(),
        }
    }
}

impl Calls<'_, '_, '_, '_> {
    /// `redis.call`: an error of the command is raised.
    pub fn call(&self, lua: &Lua, args: MultiValue) -> mlua::Result<Value> {
        let reply = match self.invoke(&args) {
            Ok(reply) => reply,
            Err(Failed::Reply(text)) => return Err(raise(text)),
            Err(Failed::Stop(why)) => return Err(self.control.stop(why)),
        };
        match convert::error_text(&reply) {
            Some(text) => Err(raise(text)),
            None => convert::to_lua(lua, &reply),
        }
    }

    /// `redis.pcall`: an error of the command is its value.
    pub fn pcall(&self, lua: &Lua, args: MultiValue) -> mlua::Result<Value> {
        match self.invoke(&args) {
            Ok(reply) => convert::to_lua(lua, &reply),
            Err(Failed::Reply(text)) => {
                let table = lua.create_table_with_capacity(0, 1)?;
                table.raw_set("err", lua.create_string(text)?)?;
                Ok(Value::Table(table))
            }
            Err(Failed::Stop(why)) => Err(self.control.stop(why)),
        }
    }

    fn invoke(&self, values: &MultiValue) -> Result<Vec<u8>, Failed> {
        if self.control.stopped().is_some() {
            return Err(Failed::Stop(Stop::Killed));
        }
        if values.is_empty() {
            return Err("ERR Please specify at least one argument for this redis lib call".into());
        }
        let mut arguments: SmallVec<[Argument<'_>; 8]> = SmallVec::new();
        for value in values {
            arguments.push(match value {
                Value::String(text) => Argument::Text(text.as_bytes()),
                Value::Integer(n) => Argument::Number(n.to_string()),
                Value::Number(n) => Argument::Number(number::argument(*n)),
                _ => return Err("ERR Lua redis lib command arguments must be strings or integers".into()),
            });
        }
        let args = OwnedArgs::new(arguments);
        let Ok(mut cx) = self.cx.try_borrow_mut() else {
            return Err("ERR a command of a script cannot call another".into());
        };
        self.run(&mut cx, &args.view())
    }

    fn run(&self, cx: &mut Cx<'_, '_>, args: &Args<'_>) -> Result<Vec<u8>, Failed> {
        let command = resolve(args).map_err(|error| match error {
            ResolveError::Arity(_) => {
                Failed::from("ERR Wrong number of args calling Redis command from script")
            }
            _ => Failed::from("ERR Unknown Redis command called from script"),
        })?;
        let spec = command.spec();
        if spec.flags.contains(Flags::NOSCRIPT) {
            return Err("ERR This Redis command is not allowed from script".into());
        }
        if self.caller.read_only && command.is_noticed() {
            return Err(text::SCRIPT_WRITE_IN_RO.into());
        }
        if spec.is_write() {
            self.admit_write(cx, spec.flags)?;
        }
        let keys = spec.find_keys(args).map_err(|error| Failed::Reply(error.to_string().into()))?;
        for slot in keys.iter().filter_map(|&index| args.get(index)).map(key_slot) {
            self.admit_slot(cx, slot)?;
        }
        if spec.is_write() && !self.control.begin_write() {
            return Err(Failed::Stop(Stop::Killed));
        }
        let mut reply = Vec::new();
        let stats = cx.stats.command(command);
        cx.version = self.control.version.get();
        std::mem::swap(cx.out, &mut reply);
        let db = cx.db;
        let result = families::dispatch_inside(cx, command, args);
        if cx.node.pubsub.has_monitors() && !spec.flags.contains(Flags::ADMIN) {
            cx.node.pubsub.show(&describe_request(cx.now_ms, db, "lua", command, args));
        }
        if result.is_ok() && cx.out.is_empty() {
            // What would wait is answered as if its time were over.
            cx.reply().null();
        }
        std::mem::swap(cx.out, &mut reply);
        // SELECT in a script counts for the rest of it.
        cx.db = cx.session.db;
        if matches!(cx.flow, Flow::Park(_)) {
            cx.flow = Flow::Continue;
        }
        match result {
            Ok(()) => {
                stats.calls.add(1);
                Ok(reply)
            }
            Err(CommandError::Undeclared) if cx.dirty == 0 => Err(Failed::Stop(Stop::WantsWholeStore)),
            Err(error) => {
                stats.failed.add(1);
                Err(Failed::Reply(error.text().into_owned()))
            }
        }
    }

    fn admit_write(&self, cx: &Cx<'_, '_>, flags: Flags) -> Result<(), Failed> {
        if !cx.node.may_expire() {
            return Err(text::READONLY.into());
        }
        if self.caller.check_memory && flags.contains(Flags::DENYOOM) && cx.dirty == 0 {
            return Err(text::OOM.into());
        }
        Ok(())
    }

    /// Whether the script may turn to a key of this slot. In a plain store an undeclared one's stripe is locked as
    /// well, if it can be had soon; if not, and nothing has been written, the script starts again.
    fn admit_slot(&self, cx: &mut Cx<'_, '_>, slot: Slot) -> Result<(), Failed> {
        if cx.node.shard.role() != Role::Plain {
            return if self.declared.contains(&slot) {
                Ok(())
            } else {
                Err("ERR Script attempted to access a non local key in a cluster node".into())
            };
        }
        let patience = if cx.dirty == 0 { PATIENCE } else { PATIENCE_AFTER_WRITES };
        if cx.access.covers(slot) || cx.access.extend(&cx.node.store, slot, patience) {
            Ok(())
        } else if cx.dirty == 0 {
            Err(Failed::Stop(Stop::WantsWholeStore))
        } else {
            self.control.note_contention();
            Err(Failed::Reply(CommandError::Undeclared.text().into_owned()))
        }
    }
}
