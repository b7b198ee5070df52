//! Lua scripts: the bodies that all workers share and the engine that each worker has.

/// Script bodies by SHA1.
#[derive(Debug, Default)]
pub struct ScriptCache {}

/// A worker's Lua.
#[derive(Debug, Default)]
pub struct Engine {}
