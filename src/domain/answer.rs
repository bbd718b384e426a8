//! What a runtime gives back for a turn.
//!
//! Text, or a question back, or a failure that says whether trying again can help. When to try again is
//! decided in `turn`.

use std::time::Duration;

use super::reason::Reason;
use super::said::Said;

/// The whole answer of a turn. Stored with the journal record `Answered`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub text: String,
    pub interrupt: Option<Interrupt>,
}

/// The runtime waits for a decision of the person before it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupt {
    pub title: String,
    pub text: String,
}

/// Why no answer came, and what that means for the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub class: FailureClass,
    pub reason: Reason,
    /// For operators: status and an excerpt of the response, without secrets or message text.
    pub detail: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The same again would fail again: bury at once.
    Permanent,
    /// Worth another attempt, not before `after` where the other side said so.
    Retryable { after: Option<Duration> },
}
