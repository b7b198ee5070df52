//! Flags and ACL categories of commands: two small sets of bits.

/// Makes a set of named bits with Redis's names for them.
macro_rules! bit_set {
    ($(#[$doc:meta])* $set:ident: $bits:ty { $($(#[$bit_doc:meta])* $name:ident = $index:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
        pub struct $set($bits);

        impl $set {
            pub const NONE: $set = $set(0);
            /// Every one of them.
            pub const ALL: $set = $set(0 $(| 1 << $index)*);
            $($(#[$bit_doc])* pub const $name: $set = $set(1 << $index);)*
            const NAMES: &'static [($set, &'static str)] = &[$(($set::$name, $text),)*];

            /// Both sets together.
            pub const fn or(self, other: $set) -> $set {
                $set(self.0 | other.0)
            }

            /// Whether all of `other` are set.
            pub const fn contains(self, other: $set) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any of `other` is set.
            pub const fn intersects(self, other: $set) -> bool {
                self.0 & other.0 != 0
            }

            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The names of what is set, in their order in the table.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, name)| *name)
            }

            /// The bit of that name, in any case.
            pub fn from_name(name: &str) -> Option<$set> {
                Self::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(bit, _)| *bit)
            }
        }

        impl std::fmt::Debug for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_set().entries(self.names()).finish()
            }
        }
    };
}

bit_set! {
    /// What is special about a command. The names up to `allow_busy` are those that `COMMAND` shows.
    Flags: u32 {
        /// May change keys.
        WRITE = 0, "write";
        /// Reads keys, changes none.
        READONLY = 1, "readonly";
        /// May need more memory: refused when there is none.
        DENYOOM = 2, "denyoom";
        /// For administrators.
        ADMIN = 3, "admin";
        /// Has to do with channels.
        PUBSUB = 4, "pubsub";
        /// Not from scripts.
        NOSCRIPT = 5, "noscript";
        /// May wait for something to happen.
        BLOCKING = 6, "blocking";
        /// Also while data are still being loaded.
        LOADING = 7, "loading";
        /// Also on a replica that has lost its primary.
        STALE = 8, "stale";
        /// Not shown to MONITOR.
        SKIP_MONITOR = 9, "skip_monitor";
        /// Not noted in the slow log.
        SKIP_SLOWLOG = 10, "skip_slowlog";
        /// Implies ASKING.
        ASKING = 11, "asking";
        /// Constant or logarithmic time.
        FAST = 12, "fast";
        /// Also before authentication.
        NO_AUTH = 13, "no_auth";
        /// May have no key at all, whatever the key specification says.
        NO_MANDATORY_KEYS = 14, "no_mandatory_keys";
        /// Not while data are loaded in the background.
        NO_ASYNC_LOADING = 15, "no_async_loading";
        /// Not inside MULTI.
        NO_MULTI = 16, "no_multi";
        /// Keys are not at fixed places.
        MOVABLEKEYS = 17, "movablekeys";
        /// Also while a script keeps the server busy.
        ALLOW_BUSY = 18, "allow_busy";
        /// Its effects reach replicas although it is no write by itself: scripts. Redis does not show this one.
        MAY_REPLICATE = 23, "may_replicate";
        /// Only between parts of Torc, after the handshake; for everybody else unknown, and hidden from `COMMAND`.
        INTERNAL = 24, "internal";
        /// Sent twice it does what it does sent once: safe to retry when a reply is lost.
        IDEMPOTENT = 25, "idempotent";
        /// A Torc command that Redis does not have.
        TORC = 26, "torc";
        /// Has subcommands; most do nothing by themselves.
        CONTAINER = 27, "container";
        /// One of a container's; set by its name.
        SUBCOMMAND = 28, "subcommand";
    }
}

impl Flags {
    /// The flags that `COMMAND` of Redis knows.
    pub const PUBLIC: Flags = Flags((1 << 19) - 1);

    /// The flags of `self` that `COMMAND` shows.
    pub const fn public(self) -> Flags {
        Flags(self.0 & Self::PUBLIC.0)
    }
}

bit_set! {
    /// ACL categories, with Redis's names (without the `@`).
    Acl: u32 {
        KEYSPACE = 0, "keyspace";
        READ = 1, "read";
        WRITE = 2, "write";
        SET = 3, "set";
        SORTEDSET = 4, "sortedset";
        LIST = 5, "list";
        HASH = 6, "hash";
        STRING = 7, "string";
        BITMAP = 8, "bitmap";
        HYPERLOGLOG = 9, "hyperloglog";
        GEO = 10, "geo";
        STREAM = 11, "stream";
        PUBSUB = 12, "pubsub";
        ADMIN = 13, "admin";
        FAST = 14, "fast";
        SLOW = 15, "slow";
        BLOCKING = 16, "blocking";
        DANGEROUS = 17, "dangerous";
        CONNECTION = 18, "connection";
        TRANSACTION = 19, "transaction";
        SCRIPTING = 20, "scripting";
        /// Locks and fences.
        LOCK = 21, "lock";
    }
}
