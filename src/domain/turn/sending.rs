//! The transitions of a turn whose answer is being sent, one function each.
//!
//! Segments go out one after the other, each with attempts of its own; how often one is tried again depends
//! on what DingTalk said.

use super::failed::{Failed, Tried, Tries};
use super::machine::Machine;
use super::{Command, Decision, Phase, Purpose, Sending, Step};
use crate::domain::reason::Reason;
use crate::domain::retry;
use crate::domain::time::Timestamp;

impl Machine {
    /// What is still to be said; a word about segments that are not there changes nothing.
    pub(super) fn unsent(&self) -> Option<Sending> {
        match &self.turn.phase {
            Phase::Sending(sending) if sending.sent < sending.segments => Some(sending.clone()),
            Phase::Sending(_)
            | Phase::Running
            | Phase::Waiting { .. }
            | Phase::Retry { .. }
            | Phase::Parked { .. }
            | Phase::Burying { .. } => None,
        }
    }

    pub(super) fn sent(mut self, webhook_free_at: Option<Timestamp>, at: Timestamp) -> Decision {
        let Some(sending) = self.unsent() else { return self.unchanged() };
        self.head.webhook_free_at = webhook_free_at.or(self.head.webhook_free_at);
        let sent = sending.sent + 1;
        self.turn.phase = Phase::Sending(Sending { sent, attempt: 1, not_before: None, ..sending });
        if sent >= sending.segments {
            return self.all_sent(at);
        }
        self.goes_on(Step::Sending, vec![Command::Send { segment: sent }])
    }

    pub(super) fn send_failed(mut self, failure: Failed, tries: Tries, at: Timestamp) -> Decision {
        let Some(sending) = self.unsent() else { return self.unchanged() };
        let tried = Tried::Send { segment: sending.sent + 1 };
        self.note(tried, sending.attempt, &failure, at);
        let Some(after) = failure.retry else { return self.bury(failure.reason, failure.detail) };
        let is_spent = match tries {
            Tries::Schedule => false,
            Tries::Few => sending.attempt >= retry::UNKNOWN_ATTEMPTS_MAX,
            // Attempts are not counted: what is missing comes with a new month, or by an operator.
            Tries::UntilHandoffAge
                if self.turn.accepted_at.after(self.policy.handoff_age_max) > at =>
            {
                return self.send_held(at.after(after));
            }
            Tries::UntilHandoffAge => true,
        };
        let wait = retry::backoff(&self.id, sending.attempt, Some(after)).filter(|_| !is_spent);
        let Some(wait) = wait else {
            return self.bury(Reason::ReplyExhausted, failure.detail);
        };
        let (sent, attempt) = (sending.sent, sending.attempt + 1);
        let due = at.after(wait);
        self.turn.phase = Phase::Sending(Sending { attempt, not_before: Some(due), ..sending });
        let purpose = Purpose::SendRetry { sent, attempt };
        self.goes_on(Step::Retry, vec![Command::Arm { at: due, purpose }])
    }

    pub(super) fn send_held(mut self, until: Timestamp) -> Decision {
        let Some(sending) = self.unsent() else { return self.unchanged() };
        let purpose = Purpose::SendRetry { sent: sending.sent, attempt: sending.attempt };
        self.turn.phase = Phase::Sending(Sending { not_before: Some(until), ..sending });
        self.goes_on(Step::Retry, vec![Command::Arm { at: until, purpose }])
    }
}
