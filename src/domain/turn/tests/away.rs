//! An expert that cannot be asked: what the sender hears of the wait, and when it ends.
//!
//! Rows that are about one step of a wait stand in the tables above; here are its whole stories, over
//! several turns and to the end.

use std::time::Duration;

use super::{EXPIRY, NOW, head, parked, run, session, taken, told};
use crate::domain::id::Seq;
use crate::domain::reason::Reason;
use crate::domain::time::Timestamp;
use crate::domain::turn::{
    Availability, Command, Decision, Event, Head, NewTurn, Notice, Opening, Parked, Phase, TurnKind,
};

#[test]
fn the_sender_hears_of_an_absent_expert_once() {
    let mut state = run(head(Phase::Running), taken(Availability::Away(Parked::Missing)));
    let mut told_count = 0;
    for why in [Parked::Missing, Parked::Busy, Parked::Missing, Parked::Paused, Parked::Missing] {
        let tells = |command: &&Command| matches!(command, Command::Tell(_));
        told_count += state.commands.iter().filter(tells).count();
        state = run(state.head, taken(Availability::Away(why)));
    }
    assert_eq!(told_count, 1);
    let Some(Phase::Parked { until, .. }) = state.head.turn.map(|turn| turn.phase) else {
        panic!("the turn still waits");
    };
    assert_eq!(until, Some(EXPIRY), "the wait ends when it would have ended at first");
}

/// A message of this second, taken up at that second while its expert is away; what comes of it.
fn while_away(state: Head, said_s: i64, opened_s: i64) -> Decision {
    in_session(state, false, said_s, opened_s)
}

fn in_session(state: Head, is_new: bool, said_s: i64, opened_s: i64) -> Decision {
    let position = state.position.0;
    let runtime = Availability::Away(Parked::Missing);
    let said_at = Timestamp(said_s * 1000);
    let session = session(position + 1).touched(said_at);
    let turn = NewTurn {
        first: Seq(position + 1),
        last: Seq(position + 1),
        kind: TurnKind::Messages,
        accepted_at: said_at,
        heard_at: None,
        opening: Opening::Ask { session, is_new, runtime },
    };
    run(state, Event::Opened { turn, at: Timestamp(opened_s * 1000) })
}

fn is_told_away(decision: &Decision) -> bool {
    decision.commands.contains(&Command::Tell(Notice::ExpertAway))
}

#[test]
fn an_absence_is_told_once_until_the_expert_is_reached_again() {
    let missing = taken(Availability::Away(Parked::Missing));
    let first = while_away(Head::default(), 0, 0);
    assert!(is_told_away(&first));
    let late =
        Event::Taken { runtime: Availability::Away(Parked::Missing), at: Timestamp(1_000_000) };
    let given_up = run(first.head, late);
    assert_eq!(told(&given_up), "burying burying: unindex, bury");
    let buried = run(given_up.head, Event::Buried);
    // What was said meanwhile waits for the rest of its own time, without that word.
    let second = while_away(buried.head, 500, 1000);
    assert_eq!(told(&second), "parked parked: index, arm x");
    let stopped = run(second.head, Event::Controlled { by: Seq(3) });
    let third = while_away(stopped.head, 1100, 1100);
    assert_eq!(told(&third), "parked parked: index, arm x", "a stop brings no expert");
    let given_up = run(third.head.clone(), Event::Controlled { by: Seq(4) });
    let much_later = while_away(given_up.head, 2100, 2100);
    assert!(is_told_away(&much_later), "what was told of is over");
    let reached = run(third.head, Event::Taken { runtime: Availability::Ready, at: NOW });
    assert_eq!(told(&reached), "running running: unindex, invoke");
    assert!(is_told_away(&run(reached.head, missing)), "it is away anew");
}

#[test]
fn who_comes_back_after_a_session_hears_of_the_absence_anew() {
    let first = in_session(Head::default(), true, 0, 0);
    assert!(is_told_away(&first));
    let stopped = run(first.head, Event::Controlled { by: Seq(2) });
    // Said while the one before it waited, in a session of its own by now.
    let waited = in_session(stopped.head.clone(), true, 50, 1000);
    assert!(!is_told_away(&waited) && waited.head.is_told_away);
    assert!(!is_told_away(&in_session(stopped.head.clone(), false, 1000, 1000)));
    let anew = in_session(stopped.head, true, 1000, 1000);
    assert!(is_told_away(&anew) && anew.head.is_told_away);
}

#[test]
fn a_turn_whose_time_is_over_before_it_can_wait_is_buried_without_that_word() {
    let opened = while_away(Head::default(), 0, 1000);
    assert_eq!(told(&opened), "burying burying: bury");
    let phase = &opened.head.turn.as_ref().unwrap().phase;
    assert!(matches!(phase, Phase::Burying { reason: Reason::HandoffExpired, .. }), "{phase:?}");
    let at = Timestamp(1_050_000);
    for phase in [Phase::Running, Phase::Retry { at: NOW }, parked(Parked::Busy, None)] {
        let away = Event::Taken { runtime: Availability::Away(Parked::Missing), at };
        let decision = run(head(phase.clone()), away);
        assert!(matches!(decision.head.turn.as_ref().unwrap().phase, Phase::Burying { .. }));
        assert!(!is_told_away(&decision), "{phase:?}");
    }
    assert!(!is_told_away(&while_away(opened.head, 0, 999)), "the open turn comes first");
}

#[test]
fn every_wait_for_an_expert_has_an_end() {
    let (missing, others) = (Timestamp(1_050_000), Timestamp(2_050_000));
    for (why, end, reason) in [
        (Parked::Missing, missing, Reason::HandoffExpired),
        (Parked::Busy, others, Reason::Expired),
        (Parked::Paused, others, Reason::Expired),
    ] {
        let away = Availability::Away(why);
        let waiting = run(head(Phase::Running), taken(away)).head;
        let turn = waiting.turn.as_ref().unwrap();
        assert_eq!(turn.waits_until(), Some(end), "{why:?}");
        let before = Event::Taken { runtime: away, at: Timestamp(end.0 - 1) };
        assert_eq!(run(waiting.clone(), before).record, None, "{why:?}");
        let over = run(waiting, Event::Taken { runtime: away, at: end });
        assert_eq!(told(&over), "burying burying: unindex, bury", "{why:?}");
        let phase = &over.head.turn.as_ref().unwrap().phase;
        assert!(matches!(phase, Phase::Burying { reason: why, .. } if *why == reason), "{phase:?}");
        // What waited behind it comes to its turn too late to wait.
        let late = Event::Taken { runtime: away, at: end };
        assert_eq!(told(&run(head(Phase::Running), late)), "burying burying: bury", "{why:?}");
    }
    assert_eq!(head(Phase::Running).turn.unwrap().waits_until(), None);
}

#[test]
fn a_wait_that_an_earlier_release_gave_no_end_ends_before_the_log_forgets_it() {
    let waiting = head(parked(Parked::Paused, None));
    let end = waiting.turn.as_ref().unwrap().waits_until().unwrap();
    assert_eq!(end, Timestamp(50_000).after(Duration::from_secs(6 * 24 * 3600)));
    let paused = Availability::Away(Parked::Paused);
    let over = run(waiting, Event::Taken { runtime: paused, at: end });
    assert_eq!(told(&over), "burying burying: unindex, bury");
}
