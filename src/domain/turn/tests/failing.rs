//! What attempts met goes with the turn from decision to decision, until its dead letter.
//!
//! A crash or a wait is no attempt and leaves nothing; a result that comes late is nothing to the turn.

use std::time::Duration;

use super::{LATER, NOW, answered, failed, head, run, sending};
use crate::domain::turn::failed::{FailedAttempts, Tried};
use crate::domain::turn::{Availability, Event, Head, Phase};

fn met(head: &Head) -> Vec<(Tried, u32)> {
    let failed = head.turn.as_ref().map(|turn| turn.failed.clone()).unwrap_or_default();
    failed.as_slice().iter().map(|met| (met.tried, met.attempt)).collect()
}

#[test]
fn every_failed_attempt_to_ask_and_to_send_is_kept_until_the_turn_is_buried() {
    let (again, at) = (failed(Some(Duration::ZERO)), NOW);
    let mut head = head(Phase::Running);
    for event in [
        Event::Failed { attempt: 2, failure: again.clone(), at },
        // Late, and nothing to the turn.
        Event::Failed { attempt: 2, failure: again.clone(), at },
        Event::Taken { runtime: Availability::Ready, at: LATER },
        Event::Answered { attempt: 3, answered: answered(2, false) },
        Event::SendFailed { failure: again, at },
        Event::SendHeld { until: LATER },
        Event::Taken { runtime: Availability::Ready, at: LATER },
        Event::Sent { webhook_free_at: None, at },
        Event::SendFailed { failure: failed(None), at },
    ] {
        head = run(head, event).head;
    }
    let (first, second) = (Tried::Send { segment: 1 }, Tried::Send { segment: 2 });
    assert_eq!(met(&head), [(Tried::Ask, 2), (first, 1), (second, 1)]);
    assert!(matches!(head.turn.unwrap().phase, Phase::Burying { .. }));
}

#[test]
fn an_answer_that_does_not_come_in_time_is_a_failed_attempt_and_a_crash_is_none() {
    let taken = || Event::Taken { runtime: Availability::Ready, at: NOW };
    for (phase, expected) in [
        (Phase::Waiting { until: NOW }, vec![(Tried::Ask, 2)]),
        (Phase::Running, vec![]),
        (Phase::Sending(sending(1)), vec![]),
    ] {
        assert_eq!(met(&run(head(phase.clone()), taken()).head), expected, "{phase:?}");
    }
    let poisoned = run(head(Phase::Running), Event::Poisoned { deliveries: 21 });
    assert_eq!(poisoned.head.turn.unwrap().failed, FailedAttempts::default());
}
