//! How a script ends other than by its reply, and how that travels through Lua.

use std::fmt;

/// The outcome of a script without a reply of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptError {
    /// The error's text with its code.
    Failed(Vec<u8>),
    /// It turned to a key that it had not declared, and has changed nothing: it can run again with every stripe
    /// locked.
    WantsWholeStore,
}

/// Why a script is made to end at once; no `pcall` of its own stops that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SCRIPT KILL, or the end of the process.
    Killed,
    /// See [`ScriptError::WantsWholeStore`].
    WantsWholeStore,
}

/// An error that a function of the library raises in Lua: bytes, as Lua's strings are.
#[derive(Clone, Debug)]
pub struct Raised {
    /// What a script that catches it sees.
    pub text: Vec<u8>,
    /// The text begins with an error code.
    pub coded: bool,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for Raised {}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script is made to end")
    }
}

impl std::error::Error for Stop {}

/// Raises `message`, which begins with an error code, as it is.
pub fn raise(message: impl Into<Vec<u8>>) -> mlua::Error {
    mlua::Error::external(Raised { text: message.into(), coded: true })
}

/// Raises `message` with the place of the Lua code that called the running function in front, as Lua's own
/// libraries do.
pub fn raise_here(lua: &mlua::Lua, message: impl AsRef<[u8]>) -> mlua::Error {
    let mut text = lua
        .inspect_stack(1, |frame| {
            let line = frame.current_line()?;
            Some(format!("{}:{line}: ", frame.source().short_src?))
        })
        .flatten()
        .unwrap_or_default()
        .into_bytes();
    text.extend_from_slice(message.as_ref());
    mlua::Error::external(Raised { text, coded: false })
}

/// What is inside an error that came out of Lua.
pub enum Caught<'a> {
    /// The script must end.
    Stop,
    /// Raised by the library.
    Raised(&'a Raised),
    /// Of the interpreter's: out of memory, a callback's arguments.
    Other,
}

/// Looks through the layers that errors get on their way.
pub fn caught(error: &mlua::Error) -> Caught<'_> {
    for layer in error.chain() {
        if layer.is::<Stop>() {
            return Caught::Stop;
        }
        if let Some(raised) = layer.downcast_ref::<Raised>() {
            return Caught::Raised(raised);
        }
    }
    Caught::Other
}
