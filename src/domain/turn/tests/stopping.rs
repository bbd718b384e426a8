//! Control entries by tables: they end a turn whatever it does, and what may go on without it.
//!
//! What a runtime has begun may outlive the attempt that asked for it, named or not, or wait for a decision:
//! it is cancelled there. What was said to its end is settled, and what is being buried is buried.

use super::{EXPIRY, LATER, NOW, burying, expert, failed, head, parked, run, sending, told};
use crate::domain::id::Seq;
use crate::domain::turn::failed::Tries;
use crate::domain::turn::question::Interrupted;
use crate::domain::turn::question::{Abandoned, Asking};
use crate::domain::turn::{Command, Event, Parked, Phase, Sending, TurnKind};

fn control() -> Event {
    Event::Controlled { by: Seq(13) }
}

#[test]
fn a_control_entry_ends_a_turn_whatever_it_does() {
    for (phase, expected) in [
        (Phase::Running, "stopped over: cancel"),
        (Phase::Waiting { until: LATER }, "stopped over: cancel"),
        (Phase::Retry { at: LATER }, "stopped over: "),
        (parked(Parked::Busy, None), "stopped over: unindex"),
        (Phase::Sending(sending(1)), "stopped over: "),
        // Its letter may be stored: it is carried to its end.
        (burying(), "- burying: bury"),
    ] {
        assert_eq!(told(&run(head(phase.clone()), control())), expected, "{phase:?}");
        let own = run(head(phase), Event::Controlled { by: Seq(12) });
        assert_eq!((own.record, own.commands), (None, vec![]), "its own entry ends nothing");
    }
}

#[test]
fn what_may_go_on_at_the_runtime_is_cancelled_there() {
    let asks = Sending { asks: Asking::InPrivate, ..sending(1) };
    for (phase, expected) in [
        (Phase::Running, "stopped over: cancel"),
        (Phase::Waiting { until: LATER }, "stopped over: cancel"),
        (Phase::Retry { at: LATER }, "stopped over: cancel"),
        (parked(Parked::Busy, None), "stopped over: unindex, cancel"),
        (Phase::Sending(asks), "stopped over: cancel"),
        // The run has ended with its answer.
        (Phase::Sending(sending(1)), "stopped over: "),
        (burying(), "- burying: bury"),
    ] {
        let mut named = head(phase.clone());
        named.turn.as_mut().unwrap().run = Some("run-1".to_owned());
        assert_eq!(told(&run(named, control())), expected, "{phase:?} with a run");
    }
    // What an attempt asked for may be there without a name.
    for (phase, expected) in [
        (Phase::Retry { at: LATER }, "stopped over: cancel"),
        (parked(Parked::Busy, None), "stopped over: unindex, cancel"),
    ] {
        let mut repeated = head(phase.clone());
        repeated.turn.as_mut().unwrap().is_repeat = true;
        assert_eq!(told(&run(repeated, control())), expected, "{phase:?} after an attempt");
    }
    let vanished = run(head(parked(Parked::Missing, Some(EXPIRY))), Event::Vanished);
    assert_eq!(told(&vanished), "lost over: unindex");
}

#[test]
fn a_press_that_is_stopped_takes_the_run_along_that_asked() {
    let paused = Interrupted { turn: Seq(8), run: Some("paused".to_owned()) };
    for (phase, kind, own, expected) in [
        (Phase::Running, TurnKind::Action, None, Some("paused")),
        (parked(Parked::Missing, None), TurnKind::Action, None, Some("paused")),
        (Phase::Running, TurnKind::Action, Some("paused#7-0"), Some("paused#7-0")),
        // What a message means to the run that waits is the runtime's affair.
        (Phase::Running, TurnKind::Messages, None, None),
    ] {
        let mut head = head(phase);
        head.interrupted = Some(paused.clone());
        let turn = head.turn.as_mut().unwrap();
        (turn.kind, turn.run) = (kind, own.map(ToOwned::to_owned));
        let expected = expected.map(ToOwned::to_owned);
        let cancel = Abandoned { expert: expert(), epoch: Seq(5), run: expected };
        let stopped = run(head, control());
        assert!(stopped.commands.contains(&Command::CancelRun(cancel)), "{stopped:?}");
    }
}

#[test]
fn a_turn_that_is_given_up_leaves_no_named_run_at_work() {
    let asks = |asks| Phase::Sending(Sending { asks, ..sending(0) });
    let refused = || Event::Failed { attempt: 2, failure: failed(None), at: NOW };
    let tries = Tries::Schedule;
    let unsaid = || Event::SendFailed { failure: failed(None), tries, at: NOW };
    for (phase, event, name, expected) in [
        (Phase::Running, refused(), None, "burying burying: bury"),
        (Phase::Running, refused(), Some("run-1"), "burying burying: cancel, bury"),
        (asks(Asking::Nothing), unsaid(), Some("run-1"), "burying burying: bury"),
        // It waits for the answer to a question that nobody can be asked.
        (asks(Asking::Openly), unsaid(), Some("run-1"), "burying burying: cancel, bury"),
    ] {
        let mut head = head(phase.clone());
        head.turn.as_mut().unwrap().run = name.map(ToOwned::to_owned);
        assert_eq!(told(&run(head, event)), expected, "{phase:?} {name:?}");
    }
}
