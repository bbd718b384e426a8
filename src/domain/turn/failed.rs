//! What attempts met instead of an answer or a delivery; it stays with the turn until that ends, for
//! whoever reads its dead letter.
//!
//! Bounded, because it stands in every record of the turn: of many attempts the first ones, which show how
//! it began, and the last ones, which show how it ended. Nothing is decided by it.

use std::time::Duration;

use crate::domain::reason::Reason;
use crate::domain::said::Said;
use crate::domain::time::Timestamp;

/// Kept from the beginning, and in all.
const FIRST: usize = 2;
const KEPT_MAX: usize = 10;

/// Of each detail so much is kept: a response's status and excerpt, and what is said around them.
const DETAIL_CHARS: usize = 400;

/// A failure as the machine needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub reason: Reason,
    pub detail: Said,
    /// `None`: permanent. Else worth another attempt, not before this long.
    pub retry: Option<Duration>,
}

/// How often a send that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    /// By the schedule of [`crate::domain::retry`].
    Schedule,
    /// By the schedule, but only [`crate::domain::retry::UNKNOWN_ATTEMPTS_MAX`] times.
    Few,
    /// After the wait that the failure asks for, until the turn is older than a hand-off may be.
    UntilHandoffAge,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    pub tried: Tried,
    /// From 1.
    pub attempt: u32,
    pub at: Timestamp,
    pub reason: Reason,
    /// For operators: what the other side said, or why it said nothing.
    pub detail: Said,
}

/// What an attempt was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// To ask the expert.
    Ask,
    /// To send this segment of the answer, from 1.
    Send { segment: u32 },
}

/// The oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailedAttempts(Vec<FailedAttempt>);

impl FailedAttempts {
    pub fn note(&mut self, mut met: FailedAttempt) {
        met.detail.shorten(DETAIL_CHARS);
        if self.0.len() == KEPT_MAX {
            self.0.remove(FIRST);
        }
        self.0.push(met);
    }

    pub fn as_slice(&self) -> &[FailedAttempt] {
        &self.0
    }
}

impl FromIterator<FailedAttempt> for FailedAttempts {
    fn from_iter<I: IntoIterator<Item = FailedAttempt>>(attempts: I) -> Self {
        let mut kept = Self::default();
        attempts.into_iter().for_each(|met| kept.note(met));
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(attempt: u32, detail: &str) -> FailedAttempt {
        let (at, reason) = (Timestamp(i64::from(attempt)), Reason::RuntimeExhausted);
        FailedAttempt { tried: Tried::Ask, attempt, at, reason, detail: detail.into() }
    }

    #[test]
    fn of_many_attempts_the_first_and_the_last_are_kept() {
        for (tried, expected) in [
            (0, vec![]),
            (3, vec![1, 2, 3]),
            (10, (1..=10).collect()),
            (11, vec![1, 2, 4, 5, 6, 7, 8, 9, 10, 11]),
            (300, vec![1, 2, 293, 294, 295, 296, 297, 298, 299, 300]),
        ] {
            let kept: FailedAttempts = (1..=tried).map(|attempt| met(attempt, "")).collect();
            let attempts: Vec<_> = kept.as_slice().iter().map(|met| met.attempt).collect();
            assert_eq!(attempts, expected, "{tried} attempts");
            let again: FailedAttempts = kept.as_slice().iter().cloned().collect();
            assert_eq!(again, kept, "what is read from a record is what was written");
        }
    }

    #[test]
    fn a_detail_is_cut_between_characters() {
        for (given, expected) in [("", 0), ("short", 5), (&"长".repeat(5000), DETAIL_CHARS)] {
            let kept: FailedAttempts = [met(1, given)].into_iter().collect();
            assert_eq!(kept.as_slice()[0].detail.expose().chars().count(), expected);
        }
    }
}
