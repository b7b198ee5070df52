//! A port as an option gives it: a number, `auto` for a free one, 0 for none.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PortChoice {
    /// Do not listen: written `0`.
    #[default]
    None,
    /// Any free port, told when it is bound: written `auto`.
    Auto,
    /// This one.
    Number(u16),
}

/// A text that is no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a port: give a number up to 65535, 'auto' for a free one, or 0 for none")]
pub struct PortError(String);

impl PortChoice {
    /// The port to bind (0 lets the kernel choose); `None` when there is to be no listener.
    pub fn to_bind(self) -> Option<u16> {
        match self {
            PortChoice::None => None,
            PortChoice::Auto => Some(0),
            PortChoice::Number(port) => Some(port),
        }
    }
}

impl From<u16> for PortChoice {
    fn from(port: u16) -> Self {
        if port == 0 { PortChoice::None } else { PortChoice::Number(port) }
    }
}

impl FromStr for PortChoice {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        if text == "auto" {
            return Ok(PortChoice::Auto);
        }
        text.parse::<u16>().map(PortChoice::from).map_err(|_| PortError(text.to_owned()))
    }
}

impl fmt::Display for PortChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortChoice::None => out.write_str("0"),
            PortChoice::Auto => out.write_str("auto"),
            PortChoice::Number(port) => write!(out, "{port}"),
        }
    }
}

impl Serialize for PortChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PortChoice::None => serializer.serialize_u16(0),
            PortChoice::Auto => serializer.serialize_str("auto"),
            PortChoice::Number(port) => serializer.serialize_u16(*port),
        }
    }
}

impl<'de> Deserialize<'de> for PortChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Port;
        impl Visitor<'_> for Port {
            type Value = PortChoice;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a port number, \"auto\" for a free one, or 0 for none")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortChoice, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortChoice, E> {
                u16::try_from(number)
                    .map(PortChoice::from)
                    .map_err(|_| E::custom(PortError(number.to_string())))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortChoice, E> {
                u16::try_from(number)
                    .map(PortChoice::from)
                    .map_err(|_| E::custom(PortError(number.to_string())))
            }
        }
        deserializer.deserialize_any(Port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words() {
        assert_eq!("6379".parse(), Ok(PortChoice::Number(6379)));
        assert_eq!("auto".parse(), Ok(PortChoice::Auto));
        assert_eq!("0".parse(), Ok(PortChoice::None));
        assert!("70000".parse::<PortChoice>().is_err());
        assert!("any".parse::<PortChoice>().unwrap_err().to_string().starts_with("'any' is not a port"));
        assert_eq!(PortChoice::Auto.to_bind(), Some(0));
        let ports: Vec<PortChoice> = serde_json::from_str("[1, \"auto\", 0, \"7\"]").unwrap();
        assert_eq!(ports, [PortChoice::Number(1), PortChoice::Auto, PortChoice::None, PortChoice::Number(7)]);
        assert_eq!(serde_json::to_string(&ports).unwrap(), "[1,\"auto\",0,7]");
        assert!(serde_json::from_str::<PortChoice>("70000").is_err());
    }
}
