//! Choices by key prefix, and the users, as the map keeps them.

use serde::{Deserialize, Serialize};

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckLevel {
    /// Not waited for.
    None,
    /// The primary has executed it.
    Primary,
    /// Every member of the in-sync set has it.
    InSync,
}

/// What a read may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadLevel {
    Any,
    /// Held until all it saw is in the in-sync set.
    Strong,
}

/// `[[policy]]`: what holds for keys with a prefix. `None` leaves the choice to the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub prefix: String,
    #[serde(default)]
    pub ack: Option<AckLevel>,
    #[serde(default)]
    pub read: Option<ReadLevel>,
    /// Never evicted (locks are not anyway).
    #[serde(default)]
    pub no_evict: bool,
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
