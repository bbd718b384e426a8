//! A session: the stretch of a conversation that shares one expert and one thread of the runtime.
//!
//! It ends by itself after its timeout without a word from either side, in the broker's time. Opening
//! and closing one is the turn's decision; naming the thread is left to `protocol::subject`.

use std::time::Duration;

use super::binding::Trigger;
use super::id::{ExpertId, Seq};
use super::time::Timestamp;

/// An existing, unexpired session is the conversation's binding: it wins over the trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The sequence of the entry that opened it, so that a repeated run opens the same one.
    pub epoch: Seq,
    pub expert: ExpertId,
    /// Copied from the trigger when the session opened and when its expert is published again.
    pub timeout: Duration,
    /// The last message in or answer out, in broker time.
    pub last_activity: Timestamp,
}

impl Session {
    /// It lasts as long as the trigger of its own expert says now; without one, as long as it did.
    pub fn under(mut self, published: Option<&Trigger>) -> Self {
        if let Some(trigger) = published.filter(|trigger| trigger.expert == self.expert) {
            self.timeout = trigger.session_timeout;
        }
        self
    }

    pub fn is_expired(&self, at: Timestamp) -> bool {
        at.since(self.last_activity) > self.timeout
    }

    pub fn expires_at(&self) -> Timestamp {
        self.last_activity.after(self.timeout)
    }

    /// What is heard in time keeps it, until `at` if that is later; what comes too late brings nothing back.
    pub fn kept(self, heard: Timestamp, at: Timestamp) -> Self {
        if self.is_expired(heard) { self } else { self.touched(heard.max(at)) }
    }

    /// Activity never moves back: a late result of an old turn does not shorten a session.
    pub fn touched(mut self, at: Timestamp) -> Self {
        self.last_activity = self.last_activity.max(at);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_expires_only_after_its_timeout_without_activity() {
        let session = Session {
            epoch: Seq(1),
            expert: ExpertId::parse("e").unwrap(),
            timeout: Duration::from_secs(60),
            last_activity: Timestamp(1_000),
        };
        assert!(!session.is_expired(Timestamp(61_000)));
        assert!(session.is_expired(Timestamp(61_001)));
        assert!(!session.is_expired(Timestamp(0)), "a clock that went back expires nothing");
        let kept = |heard, at| session.clone().kept(Timestamp(heard), Timestamp(at)).last_activity;
        assert_eq!(kept(61_000, 0), Timestamp(61_000));
        assert_eq!(kept(61_000, 90_000), Timestamp(90_000), "its answer took long");
        assert_eq!(kept(61_001, 90_000), Timestamp(1_000), "it had expired");
        let touched = session.touched(Timestamp(500));
        assert_eq!(touched.last_activity, Timestamp(1_000));
    }
}
