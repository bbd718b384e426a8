//! What a run at work has read joins its turn.
//!
//! The attempt, the run and its beginning stay; only the range grows, and only while the run is under
//! way.

use super::{LATER, NOW, burying, head, run, sending, told};
use crate::domain::id::Seq;
use crate::domain::turn::{Event, Phase};

#[test]
fn what_the_run_has_read_joins_its_turn_under_the_same_attempt() {
    let steered = |last| Event::Steered { last: Seq(last), accepted_at: NOW };
    for (phase, expected) in [
        (Phase::Running, "steered running: "),
        (Phase::Waiting { until: LATER }, "- waiting: "),
        (Phase::Retry { at: LATER }, "- retry: "),
        (Phase::Sending(sending(1)), "- sending: "),
        (burying(), "- burying: "),
    ] {
        assert_eq!(told(&run(head(phase.clone()), steered(14))), expected, "{phase:?}");
    }
    assert_eq!(told(&run(head(Phase::Running), steered(12))), "- running: ");
    let before = head(Phase::Running);
    let decision = run(before.clone(), steered(14));
    let (was, is) = (before.turn.unwrap(), decision.head.turn.unwrap());
    assert_eq!((is.first, is.last, is.accepted_at), (was.first, Seq(14), NOW));
    assert_eq!((is.attempt, is.run, is.started_at), (was.attempt, was.run, was.started_at));
    assert_eq!(decision.head.session.unwrap().last_activity, NOW);
    assert_eq!(decision.head.position, Seq(10));
}
