//! One request of a RESP client, on its way through the proxy.

use torc_protocol::command::{Command, CommandSpec, ScriptingCommand};
use torc_protocol::resp::{Args, Frame, request_arg};
use torc_protocol::shebang;

/// A request with its row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What it is.
    pub command: Command,
    /// Its row.
    pub spec: &'static CommandSpec,
    /// Its arguments, the name included.
    pub args: Args<'a>,
    /// Its arguments as bulk strings, when the client sent them so.
    raw: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// A request that fills `frame`; `bytes` starts where the frame does.
    #[inline]
    pub fn new(command: Command, frame: &'a Frame, bytes: &'a [u8]) -> Self {
        let raw = match (bytes.first(), &frame.unescaped) {
            (Some(b'*'), None) => {
                bytes.get(..frame.len).and_then(|frame| frame.get(memchr::memchr(b'\n', frame)? + 1..))
            }
            _ => None,
        };
        Request { command, spec: command.spec(), args: frame.view(bytes), raw }
    }

    /// A request that stands inside another one.
    pub fn of(command: Command, args: Args<'a>) -> Self {
        Request { command, spec: command.spec(), args, raw: None }
    }

    /// Whether it may change keys (and so has a position).
    #[inline]
    pub fn is_write(&self) -> bool {
        self.spec.is_write() || (matches!(self.command, Command::Scripting(_)) && !self.spec.is_readonly())
    }

    /// Whether others may notice it, so that CLIENT PAUSE WRITE holds it. A script whose text declares that it only reads is not
    /// held; of one that is called by its digest the proxy does not know that.
    pub fn is_noticed(&self) -> bool {
        let only_reads = || shebang::split(self.arg(1)).is_ok_and(|(declared, _)| declared.no_writes);
        let eval = Command::Scripting(ScriptingCommand::Eval);
        self.command.is_noticed() && !(self.command == eval && only_reads())
    }

    /// The arguments as bulk strings: as they came, or written into `scratch`.
    #[inline]
    pub fn encoded<'b>(&self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        match self.raw {
            Some(raw) => raw,
            None => {
                scratch.clear();
                self.args.iter().for_each(|arg| request_arg(scratch, arg));
                scratch
            }
        }
    }

    /// Argument `index`, or nothing.
    #[inline]
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index).unwrap_or_default()
    }

    /// Whether argument `index` is this word, in any case.
    pub fn is_word(&self, index: usize, word: &str) -> bool {
        self.arg(index).eq_ignore_ascii_case(word.as_bytes())
    }
}
