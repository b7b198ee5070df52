//! Keyspace events: what happened to a key, for those who subscribe to it (`notify-keyspace-events`).

/// Classes of events, as the letters of `notify-keyspace-events` name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class(u16);

impl Class {
    /// `K`: events are published on `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: Class = Class(1);
    /// `E`: events are published on `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: Class = Class(1 << 1);
    /// `g`: commands of any type, like DEL and EXPIRE.
    pub const GENERIC: Class = Class(1 << 2);
    /// `$`: strings.
    pub const STRING: Class = Class(1 << 3);
    /// `l`: lists.
    pub const LIST: Class = Class(1 << 4);
    /// `s`: sets.
    pub const SET: Class = Class(1 << 5);
    /// `h`: hashes.
    pub const HASH: Class = Class(1 << 6);
    /// `z`: sorted sets.
    pub const SORTED_SET: Class = Class(1 << 7);
    /// `x`: keys that expired.
    pub const EXPIRED: Class = Class(1 << 8);
    /// `e`: keys that were evicted.
    pub const EVICTED: Class = Class(1 << 9);
    /// `t`: streams.
    pub const STREAM: Class = Class(1 << 10);
    /// `m`: keys that were looked for and are not there; not part of `A`.
    pub const MISS: Class = Class(1 << 11);
    /// `n`: keys that were created; not part of `A`.
    pub const NEW: Class = Class(1 << 12);
    /// `d`: types of modules. There are none; the letter is known.
    pub const MODULE: Class = Class(1 << 13);

    /// In the order in which they are shown.
    const LETTERS: [(char, Class); 14] = [
        ('g', Class::GENERIC),
        ('$', Class::STRING),
        ('l', Class::LIST),
        ('s', Class::SET),
        ('h', Class::HASH),
        ('z', Class::SORTED_SET),
        ('x', Class::EXPIRED),
        ('e', Class::EVICTED),
        ('t', Class::STREAM),
        ('d', Class::MODULE),
        ('n', Class::NEW),
        ('K', Class::KEYSPACE),
        ('E', Class::KEYEVENT),
        ('m', Class::MISS),
    ];

    /// `A`: all classes of events but misses and new keys.
    const ALL: Class = Class(0b111_1111_1100).or(Class::MODULE);

    /// Reads the value of `notify-keyspace-events`; `None` when a letter is unknown.
    pub fn parse(text: &str) -> Option<Class> {
        text.chars().try_fold(Class::default(), |classes, letter| {
            if letter == 'A' {
                return Some(classes.or(Class::ALL));
            }
            Class::LETTERS.iter().find(|(l, _)| *l == letter).map(|(_, class)| classes.or(*class))
        })
    }

    /// The classes as CONFIG GET shows them.
    pub fn letters(self) -> String {
        let all = self.contains(Class::ALL);
        let mut text = if all { "A".to_owned() } else { String::new() };
        // Redis does not show new keys beside all others.
        let hidden = |class: Class| all && Class::ALL.or(Class::NEW).contains(class);
        let rest = Class::LETTERS.iter().filter(|(_, class)| !hidden(*class));
        text.extend(rest.filter(|(_, class)| self.contains(*class)).map(|(letter, _)| *letter));
        text
    }

    /// Both.
    #[must_use]
    pub const fn or(self, other: Class) -> Class {
        Class(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Class) -> bool {
        self.0 & other.0 == other.0
    }

    /// The classes as a number, for an atomic.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The classes of a number.
    pub const fn from_number(number: u16) -> Class {
        Class(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_as_redis_shows_them() {
        for (set, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("Kl", "lK"),
            ("g$lshzxetKE", "g$lshzxetKE"),
            ("g$lshzxetdKE", "AKE"),
            ("Emn", "nEm"),
        ] {
            assert_eq!(Class::parse(set).map(Class::letters).as_deref(), Some(shown));
        }
        assert_eq!(Class::parse("q"), None);
    }
}
