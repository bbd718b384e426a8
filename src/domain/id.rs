//! The names of things. Each constructor parses, so that a value is valid once it is built and may go
//! into a subject, a column or a log line without another check.
//!
//! They are copied with everything that names them, so a copy shares the text. How they are derived from
//! DingTalk's own names is left to `protocol::subject`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not the id it was given for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must match {pattern}")]
pub struct InvalidId {
    pub what: &'static str,
    pub pattern: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $pattern:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { what: $what, pattern: $pattern })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

text_id!(
    /// A connected DingTalk robot. One token of a subject.
    IntegrationId, "integrationId", "[A-Za-z0-9_-]{1,64}", is_token
);
text_id!(
    /// A Digital Expert of Xpert AI. One token of a subject.
    ExpertId, "xpertId", "[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
    |text| is_token(text) && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
);
text_id!(
    /// The session key: 26 characters of lower-case base32 of a 128-bit hash of (integration,
    /// DingTalk conversation, sender). `protocol::subject` derives it.
    ConversationKey, "conversation key", "[a-z2-7]{26}",
    |text| text.len() == 26 && text.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
);
text_id!(
    /// DingTalk's id of a message, stable across redeliveries. Case-sensitive base64: never part of a subject.
    MsgId, "msgId", "1 to 256 characters without control characters",
    |text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
);

/// The sequence of an entry in the log, or of a record in the journal. Zero is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A conversation of one integration: the unit of order. Two tokens of a subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conversation {
    pub integration: IntegrationId,
    pub key: ConversationKey,
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.integration, self.key)
    }
}

/// `<integration>.<conversation>.<last sequence>`: the idempotency key of a turn towards the runtime
/// and the stem of a card's `outTrackId`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TurnId {
    pub conversation: Conversation,
    pub last: Seq,
}

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.conversation, self.last)
    }
}

impl FromStr for TurnId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid =
            || InvalidId { what: "turnId", pattern: "<integration>.<conversation>.<sequence>" };
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or_else(invalid);
        let integration = IntegrationId::parse(next()?)?;
        let key = ConversationKey::parse(next()?)?;
        let last = next()?.parse().map_err(|_| invalid())?;
        Ok(Self { conversation: Conversation { integration, key }, last: Seq(last) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_cannot_go_into_a_subject() {
        for bad in ["", "a.b", "a*", "a>", "a b", "中", &"x".repeat(65)] {
            assert!(IntegrationId::parse(bad).is_err(), "{bad}");
        }
        assert!(ExpertId::parse("-a").is_err());
        assert!(ExpertId::parse("a-").is_ok());
        assert!(MsgId::parse("msg+/==").is_ok());
        assert!(MsgId::parse("a\r\nb").is_err());
    }

    #[test]
    fn a_turn_id_reads_back_what_it_shows() {
        let text = "robot-1.abcdefghijklmnopqrstuvwx23.42";
        assert_eq!(text.parse::<TurnId>().unwrap().to_string(), text);
        for bad in ["", "robot-1", "robot-1.short.1", "robot-1.abcdefghijklmnopqrstuvwx23.x"] {
            assert!(bad.parse::<TurnId>().is_err(), "{bad}");
        }
    }
}
