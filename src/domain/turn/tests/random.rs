//! Random events: no state fails to answer one, and none breaks what must always hold.
//!
//! The position never goes back, a turn's range is fixed until it ends, nothing is sent without an
//! answer on record, and after the end only last words follow.

use std::time::Duration;

use proptest::prelude::*;

use super::{NOW, answered, ask, failed, run};
use crate::domain::id::Seq;
use crate::domain::reason::Reason;
use crate::domain::time::Timestamp;
use crate::domain::turn::failed::Tries;
use crate::domain::turn::question::Closes;
use crate::domain::turn::{
    Answered, Availability, Command, Ending, Event, Head, NewTurn, Opening, Parked, Phase, Step,
    TurnKind,
};

fn any_event() -> impl Strategy<Value = Event> {
    let at = || (0_i64..2_000_000).prop_map(Timestamp);
    let runtime = prop_oneof![
        Just(Availability::Ready),
        Just(Availability::Unknown),
        Just(Availability::Away(Parked::Missing)),
        Just(Availability::Away(Parked::Busy)),
        Just(Availability::Away(Parked::Paused)),
    ];
    let failure = || any::<bool>().prop_map(|again| failed(again.then_some(Duration::ZERO)));
    let tries =
        || prop_oneof![Just(Tries::Schedule), Just(Tries::Few), Just(Tries::UntilHandoffAge)];
    let answers = (0_u32..4, any::<bool>(), any::<bool>()).prop_map(|(segments, late, asks)| {
        Answered { has_interrupt: asks && segments > 0, ..answered(segments, late) }
    });
    let kind = prop_oneof![
        Just(TurnKind::Messages),
        Just(TurnKind::Control),
        Just(TurnKind::Replay { dead: Seq(7) }),
    ];
    let opening = prop_oneof![
        runtime.clone().prop_map(|runtime| ask(11, runtime)),
        Just(Opening::Say { segments: 1, closes: Closes::Session }),
        Just(Opening::End { ending: Ending::Stopped, closes: Closes::Nothing }),
        Just(Opening::Bury { reason: Reason::Decode, detail: "".into() }),
    ];
    let opened = (kind, opening, 1_u64..5, 0_u64..3)
        .prop_map(|(kind, opening, step, more)| (NewTurnAt { step, more }, kind, opening));
    prop_oneof![
        4 => (opened, at()).prop_map(|((place, kind, opening), at)| Event::Opened {
            turn: NewTurn {
                first: Seq(place.step),
                last: Seq(place.step + place.more),
                kind,
                accepted_at: NOW,
                heard_at: Some(NOW),
                opening,
            },
            at,
        }),
        4 => (runtime, at()).prop_map(|(runtime, at)| Event::Taken { runtime, at }),
        1 => Just(Event::Poisoned { deliveries: 21 }),
        1 => Just(Event::Unreadable { why: "newer".to_owned() }),
        1 => Just(Event::Unrecordable { why: "too large".to_owned() }),
        1 => (1_u32..3).prop_map(|attempt| Event::RunNamed { attempt, run: "x".to_owned() }),
        3 => (1_u32..3, answers)
            .prop_map(|(attempt, answered)| Event::Answered { attempt, answered }),
        1 => (1_u32..3, at()).prop_map(|(attempt, at)| Event::Accepted { attempt, at }),
        3 => (1_u32..3, failure(), at())
            .prop_map(|(attempt, failure, at)| Event::Failed { attempt, failure, at }),
        3 => at().prop_map(|at| Event::Sent { webhook_free_at: None, at }),
        1 => (failure(), tries(), at())
            .prop_map(|(failure, tries, at)| Event::SendFailed { failure, tries, at }),
        1 => at().prop_map(|until| Event::SendHeld { until }),
        1 => Just(Event::AskedInPrivate),
        1 => at().prop_map(|at| Event::DeadSettled { at }),
        1 => Just(Event::Buried),
        1 => at().prop_map(|at| Event::Idle { at }),
        1 => (0_u64..40).prop_map(|by| Event::Controlled { by: Seq(by) }),
        1 => Just(Event::Vanished),
    ]
}

/// Where a random new turn lies behind the position.
#[derive(Debug, Clone, Copy)]
struct NewTurnAt {
    step: u64,
    more: u64,
}

proptest! {
    #[test]
    fn no_event_moves_back_or_acts_on_what_is_not_on_record(
        events in prop::collection::vec(any_event(), 1..60),
    ) {
        let mut state = Head::default();
        for mut event in events {
            if let Event::Opened { turn, .. } = &mut event {
                // Plans begin behind the position.
                turn.first = Seq(turn.first.0 + state.position.0);
                turn.last = Seq(turn.last.0 + state.position.0);
            }
            let before = state.clone();
            let decision = run(state, event.clone());
            let after = decision.head;
            prop_assert!(after.position >= before.position, "{:?}", event);
            prop_assert!(decision.record.is_some() || after == before, "{:?}", event);
            if let (Some(was), Some(is)) = (&before.turn, &after.turn) {
                prop_assert_eq!((was.first, was.last), (is.first, is.last), "fixed until it ends");
                prop_assert!(is.attempt >= was.attempt);
            }
            if let (Some(Step::Delivered), Some(turn)) = (decision.record, &before.turn)
                && let Phase::Sending(sending) = &turn.phase
            {
                let is_last = matches!(event, Event::Sent { .. });
                prop_assert!(sending.sent + u32::from(is_last) >= sending.segments, "{:?}", event);
            }
            if let Some(turn) = &after.turn {
                prop_assert!(turn.first > after.position);
                if let Phase::Sending(sending) = &turn.phase {
                    prop_assert!(sending.sent <= sending.segments);
                }
            }
            let is_over = after.turn.is_none();
            for command in &decision.commands {
                let is_last_word = matches!(
                    command,
                    Command::Tell(_)
                        | Command::Unindex { .. }
                        | Command::CancelRun(_)
                        | Command::Close { .. }
                );
                prop_assert!(!is_over || is_last_word, "{:?} after the end", command);
                if let (Command::Send { segment }, Some(turn)) = (command, &after.turn) {
                    let Phase::Sending(sending) = &turn.phase else {
                        return Err(TestCaseError::fail("a send without an answer on record"));
                    };
                    prop_assert_eq!(*segment, sending.sent);
                    prop_assert!(*segment < sending.segments);
                }
            }
            state = after;
        }
    }
}
