//! The command table: the one source of truth about commands.
//!
//! One enum per family, one row per variant (`families/`), and [`Command`], the enum of the families.
//! Dispatch, arity errors, `COMMAND`, ACLs, key extraction, the proxy's routing and `docs/commands.md` all read
//! it. A command with subcommands is a *container*; a subcommand is a variant of its own in the same family,
//! named `container|sub`.
//!
//! ```
//! use torc_protocol::command::{self, Command, StringCommand};
//! use torc_protocol::resp::OwnedArgs;
//!
//! let args = OwnedArgs::new(["mset", "a", "1", "b", "2"]);
//! let command = command::resolve(&args.view()).expect("known, with enough arguments");
//! assert_eq!(command, Command::String(StringCommand::Mset));
//! assert_eq!(command.spec().find_keys(&args.view()).expect("keys").as_slice(), [1, 3]);
//! ```

mod acl;
pub mod docs;
mod families;
mod flags;
mod introspect;
mod keys;
mod lookup;
mod retry;
mod spec;

pub use acl::{Door, answer_acl};
pub use families::*;
pub use flags::{Acl, Flags};
pub use introspect::{answer_command, help};
pub use keys::{KeyError, KeyIndexes, KeySpec};
pub use lookup::{ResolveError, lookup, lookup_full, lookup_sub, resolve, resolve_internal};
pub use retry::{has_a_home, reply_may_be_repeated, retry_is_safe};
pub use spec::{CommandSpec, FOREVER, Merge, Route, Span, Wait};

macro_rules! commands {
    ($($(#[$doc:meta])* $family:ident($commands:ident),)*) => {
        /// Every command: the enum of the families.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Command {
            $($(#[$doc])* $family($commands),)*
        }

        impl Command {
            /// How many commands there are, subcommands included.
            pub const COUNT: usize = 0 $(+ $commands::ALL.len())*;

            /// Every command in the order of the table.
            pub const ALL: [Command; Self::COUNT] = {
                let mut all = [Command::Connection(ConnectionCommand::Ping); Self::COUNT];
                let mut count = 0;
                $(
                    let mut index = 0;
                    while index < $commands::ALL.len() {
                        all[count] = Command::$family($commands::ALL[index]);
                        count += 1;
                        index += 1;
                    }
                )*
                assert!(count == Self::COUNT);
                all
            };

            /// The command's row.
            #[inline]
            pub const fn spec(self) -> &'static CommandSpec {
                match self {
                    $(Command::$family(command) => command.spec(),)*
                }
            }

            /// A number below [`Command::COUNT`], its place in [`Command::ALL`]: for tables per command.
            #[inline]
            pub const fn index(self) -> usize {
                let mut base = 0;
                $(
                    if let Command::$family(command) = self {
                        return base + command as usize;
                    }
                    base += $commands::ALL.len();
                )*
                base
            }
        }

        $(
            impl From<$commands> for Command {
                fn from(command: $commands) -> Command {
                    Command::$family(command)
                }
            }
        )*
    };
}

commands! {
    /// About the connection itself.
    Connection(ConnectionCommand),
    /// Keys of any type.
    Generic(GenericCommand),
    /// Sorting of lists, sets and sorted sets.
    Sort(SortCommand),
    /// Strings.
    String(StringCommand),
    /// Strings as rows of bits.
    Bitmap(BitmapCommand),
    /// Estimates of how many different elements there were.
    Hyperloglog(HyperloglogCommand),
    /// Hashes.
    Hash(HashCommand),
    /// Lists.
    List(ListCommand),
    /// Sets.
    Set(SetCommand),
    /// Sorted sets.
    SortedSet(SortedSetCommand),
    /// Places.
    Geo(GeoCommand),
    /// Streams.
    Stream(StreamCommand),
    /// Messages to whoever listens.
    Pubsub(PubsubCommand),
    /// Transactions.
    Transactions(TransactionCommand),
    /// Scripts.
    Scripting(ScriptingCommand),
    /// Server and administration.
    Server(ServerCommand),
    /// What cluster-aware clients ask.
    Cluster(ClusterCommand),
    /// Locks and fences.
    Lock(LockCommand),
    /// Leases of cached values.
    Lease(LeaseCommand),
    /// Between parts of Torc.
    Internal(InternalCommand),
}

impl Command {
    /// Whether the command acts at once although a MULTI is open; the others are queued.
    #[inline]
    pub const fn runs_inside_multi(self) -> bool {
        use TransactionCommand::{Discard, Exec, Multi, Watch};
        matches!(
            self,
            Command::Transactions(Exec | Discard | Multi | Watch)
                | Command::Connection(ConnectionCommand::Quit | ConnectionCommand::Reset)
        )
    }

    /// What a client of RESP2 may ask for while it listens to channels.
    #[inline]
    pub const fn is_for_listeners(self) -> bool {
        use ConnectionCommand::{Ping, Quit, Reset};
        use PubsubCommand::{Psubscribe, Punsubscribe, Ssubscribe, Subscribe, Sunsubscribe, Unsubscribe};
        matches!(
            self,
            Command::Connection(Ping | Quit | Reset)
                | Command::Pubsub(
                    Subscribe | Psubscribe | Ssubscribe | Unsubscribe | Punsubscribe | Sunsubscribe
                )
        )
    }

    /// Whether others may notice the command: writes, scripts, messages. PFCOUNT is among them, as in Redis, where it may
    /// write down what it has worked out.
    pub fn is_noticed(self) -> bool {
        self.spec().flags.intersects(Flags::WRITE.or(Flags::MAY_REPLICATE))
            || matches!(
                self,
                Command::Pubsub(PubsubCommand::Publish | PubsubCommand::Spublish)
                    | Command::Hyperloglog(HyperloglogCommand::Pfcount)
            )
    }

    /// Whether it reads several keys as a whole, and only what they hold: it can run on values that were gathered from
    /// several shards.
    pub const fn reads_gathered(self) -> bool {
        use SetCommand::{Sdiff, Sinter, Sintercard, Sunion};
        use SortedSetCommand::{Zdiff, Zinter, Zintercard, Zunion};
        matches!(
            self,
            Command::Set(Sunion | Sinter | Sdiff | Sintercard)
                | Command::SortedSet(Zunion | Zinter | Zdiff | Zintercard)
                | Command::Hyperloglog(HyperloglogCommand::Pfcount)
                | Command::String(StringCommand::Lcs)
        )
    }
}

/// Every command in the order of the table, subcommands and internal ones included.
pub fn all() -> impl Iterator<Item = Command> {
    Command::ALL.iter().copied()
}

/// The subcommands of a container, in the order of the table.
pub fn subcommands(container: Command) -> impl Iterator<Item = Command> {
    all().filter(move |command| command.spec().container() == Some(container.spec().name))
}

#[cfg(test)]
mod tests;
