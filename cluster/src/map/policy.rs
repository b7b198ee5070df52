//! Choices by key prefix, and the users, as the map keeps them.

use serde::{Deserialize, Serialize};
pub use torc_protocol::context::{Ack, ReadLevel};

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
}
