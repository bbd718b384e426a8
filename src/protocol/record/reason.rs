//! The wire form of a reason: its word, so that the taxonomy may grow in any order.
//!
//! An unknown word is an error of deserializing, as an unknown variant is: a newer release wrote it.

use serde::{Deserialize, Serialize};

use crate::domain::id::InvalidId;
use crate::domain::reason as domain;

#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::protocol) struct Reason(domain::Reason);

impl From<domain::Reason> for Reason {
    fn from(reason: domain::Reason) -> Self {
        Self(reason)
    }
}

impl From<Reason> for domain::Reason {
    fn from(wire: Reason) -> Self {
        wire.0
    }
}

impl From<Reason> for String {
    fn from(wire: Reason) -> Self {
        wire.0.as_str().to_owned()
    }
}

impl TryFrom<String> for Reason {
    type Error = InvalidId;

    fn try_from(word: String) -> Result<Self, InvalidId> {
        let unknown = InvalidId { what: "reason", pattern: "a reason of this release" };
        let found = domain::Reason::ALL.into_iter().find(|reason| reason.as_str() == word);
        found.map(Self).ok_or(unknown)
    }
}
