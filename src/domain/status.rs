//! What `/status` tells a person about their conversation.
//!
//! Made from stored records alone, so any pod says the same. The sentence it becomes is in `words`.

use std::time::Duration;

use super::id::{ExpertId, Seq};
use super::time::Timestamp;
use super::turn::{Head, OpenTurn, Phase};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `None` where nobody is bound.
    pub expert: Option<ExpertId>,
    pub session: Option<Open>,
    pub work: Work,
    /// Messages that no turn has taken yet.
    pub waiting: usize,
}

/// An unexpired session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// `None` where the log no longer has the entry that opened it.
    pub age: Option<Duration>,
    pub ends_after: Duration,
}

/// What the service does with the conversation now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Idle,
    Answering,
    /// For its expert, or for the time of another attempt.
    Waiting,
}

impl Status {
    /// `bound` is the expert that a new session would have; `opened_at` is when the session of `head`
    /// was opened.
    pub fn new(
        head: &Head,
        bound: Option<ExpertId>,
        opened_at: Option<Timestamp>,
        waiting: usize,
        now: Timestamp,
    ) -> Self {
        let session = head.session.as_ref().filter(|session| !session.is_expired(now));
        Self {
            expert: session.map(|session| session.expert.clone()).or(bound),
            session: session.map(|session| Open {
                age: opened_at.map(|at| now.since(at)),
                ends_after: session.expires_at().since(now),
            }),
            work: match head.turn.as_ref().map(|turn| &turn.phase) {
                None => Work::Idle,
                Some(Phase::Running | Phase::Waiting { .. } | Phase::Sending(_)) => Work::Answering,
                Some(Phase::Retry { .. } | Phase::Parked { .. } | Phase::Burying { .. }) => {
                    Work::Waiting
                }
            },
            waiting,
        }
    }
}

/// Whether what is said behind this turn waits long enough to hear of it: for an answer, or for a send
/// that failed or is held. A send itself takes a moment.
pub fn is_waited_for(turn: &OpenTurn, now: Timestamp) -> bool {
    match &turn.phase {
        Phase::Running | Phase::Waiting { .. } | Phase::Retry { .. } => true,
        Phase::Sending(sending) => sending.not_before.is_some_and(|at| at > now),
        Phase::Parked { .. } | Phase::Burying { .. } => false,
    }
}

/// The end of what a turn has taken.
pub fn taken(head: &Head) -> Seq {
    head.turn.as_ref().map_or(head.position, |turn| turn.last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::binding::Language;
    use crate::domain::reason::Reason;
    use crate::domain::session::Session;
    use crate::domain::turn::failed::FailedAttempts;
    use crate::domain::turn::question::Asking;
    use crate::domain::turn::{Parked, Sending, TurnKind};
    use crate::domain::words;

    #[test]
    fn who_writes_behind_an_answer_or_a_send_that_is_put_off_waits() {
        let (now, soon) = (Timestamp(1000), Timestamp(1001));
        let (answer, asks) = (Some(Seq(3)), Asking::Nothing);
        let sending = |not_before| {
            Phase::Sending(Sending { answer, segments: 1, sent: 0, attempt: 2, not_before, asks })
        };
        let burying = Phase::Burying { reason: Reason::Poison, detail: "".into() };
        for (phase, expected) in [
            (Phase::Running, true),
            (Phase::Waiting { until: soon }, true),
            (Phase::Retry { at: soon }, true),
            (sending(Some(soon)), true),
            (sending(Some(now)), false),
            (sending(None), false),
            // Of these the sender hears otherwise, or not at all.
            (Phase::Parked { why: Parked::Missing, until: Some(soon) }, false),
            (burying, false),
        ] {
            let turn = OpenTurn {
                first: Seq(1),
                last: Seq(1),
                kind: TurnKind::Messages,
                asked: None,
                accepted_at: now,
                started_at: now,
                attempt: 1,
                is_repeat: false,
                run: None,
                phase,
                failed: FailedAttempts::default(),
            };
            assert_eq!(is_waited_for(&turn, now), expected, "{:?}", turn.phase);
        }
    }

    #[test]
    fn a_status_tells_expert_age_and_what_waits() {
        let head = Head {
            session: Some(Session {
                epoch: Seq(1),
                expert: ExpertId::parse("support").unwrap(),
                timeout: Duration::from_secs(3600),
                last_activity: Timestamp(600_000),
            }),
            ..Head::default()
        };
        let now = Timestamp(720_000);
        let status = Status::new(&head, None, Some(Timestamp(0)), 2, now);
        assert_eq!(
            words::status(Language::En, &status),
            "Expert: support\nSession: open for 12 min, ends after another 58 min of silence\nWaiting messages: 2"
        );
        let chinese = words::status(Language::ZhHans, &status);
        assert!(chinese.contains("support") && chinese.contains("12 分钟"), "{chinese}");

        let bound = ExpertId::parse("sales").ok();
        let expired = Status::new(&head, bound, None, 0, Timestamp(4_200_001));
        assert_eq!(
            words::status(Language::En, &expired),
            "Expert: sales\nSession: none\nWaiting messages: 0"
        );
        let nobody = Status::new(&Head::default(), None, None, 0, now);
        assert!(words::status(Language::En, &nobody).starts_with("Expert: none"));
    }
}
