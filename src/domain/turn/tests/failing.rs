//! What attempts met goes with the turn from decision to decision, until its dead letter.
//!
//! A crash or a wait is no attempt and leaves nothing; a result that comes late is nothing to the turn.

use std::time::Duration;

use super::{EXPIRY, LATER, NOW, answered, failed, head, run, sending, told};
use crate::domain::reason::Reason;
use crate::domain::time::Timestamp;
use crate::domain::turn::failed::{Failed, FailedAttempts, Tried, Tries};
use crate::domain::turn::{Availability, Command, Event, Head, Notice, Phase, Sending};

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
        Event::SendFailed { failure: again, tries: Tries::Schedule, at },
        Event::SendHeld { until: LATER },
        Event::Taken { runtime: Availability::Ready, at: LATER },
        Event::Sent { webhook_free_at: None, at },
        Event::SendFailed { failure: failed(None), tries: Tries::Schedule, at },
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

#[test]
fn an_unknown_answer_is_tried_three_times_and_a_used_up_quota_every_hour_until_the_age_limit() {
    let hour = Duration::from_secs(3600);
    let last = Timestamp(EXPIRY.0 - 1);
    for (attempt, tries, at, expected) in [
        (1, Tries::Few, NOW, "retry sending: arm s0r2"),
        (2, Tries::Few, NOW, "retry sending: arm s0r3"),
        (3, Tries::Few, NOW, "burying burying: bury"),
        (3, Tries::Schedule, NOW, "retry sending: arm s0r4"),
        (1, Tries::UntilHandoffAge, NOW, "retry sending: arm s0r1"),
        (8, Tries::UntilHandoffAge, last, "retry sending: arm s0r8"),
        (1, Tries::UntilHandoffAge, EXPIRY, "burying burying: bury"),
    ] {
        let phase = Phase::Sending(Sending { attempt, ..sending(0) });
        let decision =
            run(head(phase), Event::SendFailed { failure: failed(Some(hour)), tries, at });
        assert_eq!(told(&decision), expected, "{attempt} {tries:?} {at:?}");
        if let Some(Phase::Sending(sending)) = decision.head.turn.map(|turn| turn.phase)
            && tries == Tries::UntilHandoffAge
        {
            assert_eq!(sending.not_before, Some(at.after(hour)));
        }
    }
}

#[test]
fn the_sender_hears_of_an_answer_that_dingtalk_refuses_for_its_text_alone() {
    for (reason, expected) in [
        (Reason::ReplyContent, vec![Command::Tell(Notice::Failed)]),
        (Reason::ReplyPermanent, vec![]),
        (Reason::ReplyExhausted, vec![]),
    ] {
        let failure = Failed { reason, ..failed(None) };
        let refused = Event::SendFailed { failure, tries: Tries::Schedule, at: NOW };
        let burying = run(head(Phase::Sending(sending(0))), refused).head;
        assert_eq!(run(burying, Event::Buried).commands, expected, "{reason:?}");
    }
}
