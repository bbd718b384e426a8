//! A dead letter: a buried turn with everything that is needed to ask it again.
//!
//! Guarantees nothing by itself: that it is stored before its turn ends is the machine's, how it is
//! written `protocol::dead`'s.

use super::entry::Logged;
use super::id::TurnId;
use super::reason::Reason;
use super::turn::Asked;
use super::turn::failed::FailedAttempts;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub turn: TurnId,
    pub reason: Reason,
    /// For operators: what the other side said last.
    pub detail: String,
    pub attempts: u32,
    /// What they met.
    pub failed: FailedAttempts,
    pub asked: Option<Asked>,
    /// The turn's range of the log.
    pub entries: Vec<Logged>,
}
