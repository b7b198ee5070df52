//! Choices by key prefix, and the users, as the map keeps them.

use serde::{Deserialize, Serialize};
pub use torc_protocol::context::{Ack, ReadFrom, ReadLevel};

/// `[[policy]]`: what holds for keys with a prefix. `None` leaves the choice to the connection. The levels are
/// written as in `CLIENT ACK` and `CLIENT READ`. A misspelt field is refused: without it the policy would promise less
/// than its author believes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub prefix: String,
    #[serde(default, with = "as_text", skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    #[serde(default, with = "as_text", skip_serializing_if = "Option::is_none")]
    pub read: Option<ReadLevel>,
    /// Which members of a shard proxies read from.
    #[serde(default, with = "as_text", skip_serializing_if = "Option::is_none")]
    pub read_from: Option<ReadFrom>,
    /// How old (ms) what a replica shows may be; `None`: [`DEFAULT_MAX_STALENESS_MS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_staleness_ms: Option<u32>,
    /// Never evicted (locks are not anyway).
    #[serde(default)]
    pub no_evict: bool,
    /// Whether proxies may answer reads of hot keys with copies of their own; `None`: as each is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<bool>,
    /// Whether identical reads may share one request of a proxy; `None`: as each is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coalesce: Option<bool>,
}

/// How old what a replica shows may be where nobody says otherwise (ms).
pub const DEFAULT_MAX_STALENESS_MS: u32 = 1_000;

/// The smallest and the largest bound on staleness (ms). A replica learns every 50 ms how fresh it is: below 10 ms it
/// could answer next to nothing.
pub const STALENESS_MS: std::ops::RangeInclusive<u32> = 10..=86_400_000;

impl Policy {
    /// Whether what it asks for goes together; the error says what does not.
    pub fn check(&self) -> Result<(), String> {
        let replicas = self.read_from.filter(|from| *from != ReadFrom::Primary);
        if let (Some(from), Some(ReadLevel::Strong)) = (replicas, self.read) {
            return Err(format!(
                "read = \"strong\" and read_from = \"{from}\" exclude each other: only the primary can confirm a read"
            ));
        }
        match self.max_staleness_ms {
            Some(_) if replicas.is_none() => {
                Err("max_staleness_ms needs a read_from other than \"primary\"".into())
            }
            Some(ms) if !STALENESS_MS.contains(&ms) => {
                let (least, most) = (STALENESS_MS.start(), STALENESS_MS.end());
                Err(format!("max_staleness_ms = {ms} is not between {least} and {most}"))
            }
            _ => Ok(()),
        }
    }
}

/// A user. The rules are ACL rule words in Redis's spelling; proxy and server judge them by the same table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub enabled: bool,
    /// Any password will do.
    pub no_password: bool,
    /// SHA-256 of each password, in hex.
    pub password_sha256: Vec<String>,
    pub rules: Vec<String>,
}

/// A word where it travels, an enum in memory.
mod as_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(T::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        Option::<String>::deserialize(from)?.map(|word| word.parse().map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_written_as_words() {
        let policy = Policy { prefix: "lock:".into(), ack: Some(Ack::InSync), ..Policy::default() };
        let text = serde_json::to_string(&policy).expect("serializes");
        assert_eq!(text, r#"{"prefix":"lock:","ack":"in-sync","no_evict":false}"#);
        assert_eq!(serde_json::from_str::<Policy>(&text).expect("parses"), policy);
        assert!(serde_json::from_str::<Policy>(r#"{"prefix":"","ack":"maybe"}"#).is_err());
        assert!(serde_json::from_str::<Policy>(r#"{"prefix":"","akc":"in-sync"}"#).is_err());
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let check = |json: &str| serde_json::from_str::<Policy>(json).expect("parses").check();
        for fine in [
            r#"{"prefix":"","read":"strong"}"#,
            r#"{"prefix":"","read":"strong","read_from":"primary"}"#,
            r#"{"prefix":"","read_from":"nearest"}"#,
            r#"{"prefix":"","read":"any","read_from":"ANY","max_staleness_ms":500,"ack":"in-sync"}"#,
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for (wrong, names) in [
            (r#"{"prefix":"","read":"strong","read_from":"any"}"#, "exclude"),
            (r#"{"prefix":"","max_staleness_ms":500}"#, "read_from"),
            (r#"{"prefix":"","read_from":"primary","max_staleness_ms":500}"#, "read_from"),
            (r#"{"prefix":"","read_from":"replica","max_staleness_ms":0}"#, "between"),
        ] {
            assert!(check(wrong).is_err_and(|text| text.contains(names)), "{wrong}");
        }
        assert!(serde_json::from_str::<Policy>(r#"{"prefix":"","read_from":"far"}"#).is_err());
    }
}
