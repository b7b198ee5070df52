//! Commands that take from the first of several keys that has something (BLPOP, BZMPOP, LMPOP …), or read several
//! streams (XREAD, XREADGROUP), when their keys are on several shards.
//!
//! ```text
//! tries: the command itself, never waiting, for the keys of one shard after the other (streams: for all at once)
//!   ├─ something: that is the answer
//!   └─ nothing anywhere, and it may wait:
//!        at each shard on a connection of its own: TORC.AWAIT (takes nothing) or, for XREAD, the command itself
//!          ├─ a shard has something: the tries again; if others were quicker, that shard is awaited again
//!          └─ the time is over: nothing
//! ```
//! Only a try takes, one at a time, and it is an ordinary write with a request id: sent again it happens once, and an
//! outcome that is not known is UNCERTAIN. So one element is taken at most, and none is taken for a client that has gone
//! before the try was sent; who goes while its try is on its way loses what it took, as with Redis.
//!
//! Who waits at one shard alone stands in the node's own queue and is served before those who have to come back for it;
//! among these whoever's try comes first. [`plan`] makes the requests, [`quest`] does the steps.

pub mod gather;
mod merge;
mod plan;
mod quest;

pub use plan::{Begun, begin, is_asked_everywhere};
pub use quest::Quest;
