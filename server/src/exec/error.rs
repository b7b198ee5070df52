//! Why a command failed, and the words of it on the wire.

use std::borrow::Cow;

use torc_protocol::command::ResolveError;
use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter};

use crate::store::{Busy, Undeclared};

/// A handler's failure; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The key holds another type.
    WrongType,
    /// The arguments do not fit the command's syntax.
    Syntax,
    /// An argument or value is no 64-bit integer.
    NotInteger,
    /// An argument or value is no float.
    NotFloat,
    /// A stripe is held by a running script.
    Busy,
    /// A script used a key that it had not declared.
    Undeclared,
    /// Any other text, with its code in front ("ERR …").
    Text(Cow<'static, str>),
    /// A text that repeats bytes of the request.
    Bytes(Box<[u8]>),
}

impl CommandError {
    /// The request names nothing that could be run.
    pub fn resolve(error: ResolveError, args: Args<'_>) -> CommandError {
        CommandError::Bytes(error.text(args).into())
    }

    /// The reply's text, with its code.
    pub fn text(&self) -> Cow<'_, [u8]> {
        let text: Cow<'_, str> = match self {
            CommandError::WrongType => text::WRONGTYPE.into(),
            CommandError::Syntax => text::SYNTAX.into(),
            CommandError::NotInteger => text::NOT_AN_INTEGER.into(),
            CommandError::NotFloat => text::NOT_A_FLOAT.into(),
            CommandError::Busy => Busy.to_string().into(),
            CommandError::Undeclared => Undeclared.to_string().into(),
            CommandError::Text(text) => text.as_ref().into(),
            CommandError::Bytes(bytes) => return bytes.as_ref().into(),
        };
        match text {
            Cow::Borrowed(text) => text.as_bytes().into(),
            Cow::Owned(text) => text.into_bytes().into(),
        }
    }

    /// The text for people.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.text()).into_owned()
    }

    /// Answers with the error.
    pub fn write(&self, reply: &mut ReplyWriter<'_>) {
        reply.error_bytes(&self.text());
    }
}

impl From<&'static str> for CommandError {
    fn from(text: &'static str) -> Self {
        CommandError::Text(text.into())
    }
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        CommandError::Text(text.into())
    }
}

impl From<Busy> for CommandError {
    fn from(_: Busy) -> Self {
        CommandError::Busy
    }
}

impl From<Undeclared> for CommandError {
    fn from(_: Undeclared) -> Self {
        CommandError::Undeclared
    }
}
