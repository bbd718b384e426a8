//! A request that comes once more: known by its message id, however much later.
//!
//! The log itself recognises an id within its dedupe window. A request that was signed so long ago, or so
//! far ahead of our clock, that it may have been taken before that is looked for among its conversation's
//! entries: also after the window, for as long as the log keeps them, it has no second effect. One that
//! was signed just now is not looked for.

use std::time::Duration;

use tokio::time::Instant;

use super::Edge;
use crate::domain::id::{Conversation, Seq};
use crate::domain::time::Timestamp;
use crate::io::log;
use crate::protocol::callback::signed;

/// When something came, and when its sender signed it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub at: Instant,
    /// `None` where it came by a connection of ours, or by a link, which acts once by itself.
    pub signed_at: Option<Timestamp>,
}

impl Arrival {
    pub fn unsigned(at: Instant) -> Self {
        Self { at, signed_at: None }
    }
}

impl Edge {
    /// Where the log has it from an earlier time, as far as that is not the log's to recognise.
    pub(super) async fn known(
        &self,
        conversation: &Conversation,
        message_id: &str,
        arrival: Arrival,
    ) -> Result<Option<Seq>, log::Error> {
        let now = self.context.clock.now();
        let since = arrival.signed_at.and_then(|at| known_since(at, now, self.dedupe_window));
        match since {
            Some(since) => Box::pin(self.log.find(conversation, message_id, since)).await,
            None => Ok(None),
        }
    }
}

/// Since when what was signed at `signed_at` may be in the log; `None` where the log recognises it. Two
/// requests within half a window of their signature are within a window of each other.
fn known_since(signed_at: Timestamp, now: Timestamp, window: Duration) -> Option<Timestamp> {
    let apart = now.since(signed_at).max(signed_at.since(now));
    let tolerance = i64::try_from(signed::WINDOW.as_millis()).unwrap_or(i64::MAX);
    (apart > window / 2).then(|| Timestamp(signed_at.0.saturating_sub(tolerance).max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_long_ago_or_far_ahead_is_looked_for_since_it_may_have_come() {
        const HOUR: i64 = 3_600_000;
        let (now, window) = (Timestamp(1_700_000_000_000), Duration::from_mins(10));
        for (ahead_ms, expected) in [
            (0, None),
            (-300_000, None),
            (300_000, None),
            (-300_001, Some(now.0 - 300_001 - HOUR)),
            (300_001, Some(now.0 + 300_001 - HOUR)),
            (-1_699_999_000_000, Some(0)),
            (i64::MIN, Some(0)),
        ] {
            let signed_at = Timestamp(now.0.saturating_add(ahead_ms));
            let since = known_since(signed_at, now, window);
            assert_eq!(since, expected.map(Timestamp), "{ahead_ms} ms ahead");
        }
    }
}
