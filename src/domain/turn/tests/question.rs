//! The runtime's question by tables: what closes it, when that is shown, and when it leaves the record.
//!
//! Whatever ends its turn, a question that was closed is gone, and one that was not stays open. What the
//! shell makes of it is tested in `tests/it/conversation`.

use std::time::Duration;

use super::{NOW, answered, ask, expert, failed, head, new, run, sending, session, taken, told};
use crate::domain::id::Seq;
use crate::domain::time::Timestamp;
use crate::domain::turn::question::{Abandoned, Asking, Closes, Interrupted};
use crate::domain::turn::{
    Answered, Availability, Command, Ending, Event, Head, Opening, Parked, Phase, Sending, TurnKind,
};

/// The session of epoch 5 waits for a decision about the turn that ended at 10.
fn asking() -> Head {
    let interrupted = Some(Interrupted { turn: Seq(10), run: Some("run".to_owned()) });
    Head { position: Seq(10), session: Some(session(5)), interrupted, ..Head::default() }
}

fn asked(epoch: u64, is_new: bool) -> Opening {
    Opening::Ask { session: session(epoch), is_new, runtime: Availability::Ready }
}

#[test]
fn a_question_is_closed_by_what_is_asked_next_or_ends_it() {
    use Closes::{Nothing, Question, Session};
    use TurnKind::{Action, Control, Messages};
    let say = |closes| Opening::Say { segments: 1, closes };
    let end = |closes| Opening::End { ending: Ending::Delivered, closes };
    let replay = TurnKind::Replay { dead: Seq(7) };
    for (kind, opening, expected, is_open) in [
        (Action, asked(5, false), "started running: close 10 Answered, invoke", true),
        (Messages, asked(5, false), "started running: close 10 Answered, invoke", true),
        (Messages, asked(11, true), "started running: close 10 Expired, invoke", true),
        // Of another session: what it says answers nothing of this one.
        (replay, asked(3, false), "started running: invoke", true),
        // A press that does not count, and what no expert is asked.
        (Action, say(Nothing), "answered sending: send 0", true),
        (Messages, say(Nothing), "answered sending: send 0", true),
        (Control, end(Nothing), "delivered over: ", true),
        // A command is answered first, then the runtime is told.
        (Control, say(Question), "answered sending: close 10 Stopped, send 0, cancel", true),
        (Control, say(Session), "answered sending: close 10 Ended, send 0, cancel", true),
        // An operator's hand.
        (Control, end(Question), "delivered over: close 10 Stopped, cancel", false),
        (Control, end(Session), "delivered over: close 10 Ended, cancel", false),
    ] {
        let opened = run(asking(), new(kind, opening.clone()));
        assert_eq!(told(&opened), expected, "{kind:?} {opening:?}");
        // Whoever takes the turn over has to know of it.
        assert_eq!(opened.head.interrupted.is_some(), is_open, "{kind:?} {opening:?}");
        let idle = Head { interrupted: None, ..asking() };
        let quiet = told(&run(idle, new(kind, opening.clone())));
        assert!(!quiet.contains("close") && !quiet.contains("cancel"), "{quiet}");
    }
}

#[test]
fn what_a_question_waits_for_is_cancelled_in_its_own_thread() {
    let stop = Opening::Say { segments: 1, closes: Closes::Session };
    let stopped = run(asking(), new(TurnKind::Control, stop));
    let abandoned = Abandoned { expert: expert(), epoch: Seq(5), run: Some("run".to_owned()) };
    assert!(stopped.commands.contains(&Command::CancelRun(abandoned)), "{stopped:?}");
    assert_eq!(stopped.head.session, None);
}

#[test]
fn a_run_that_takes_over_closes_again_and_one_that_waited_does_not() {
    let opened = run(asking(), new(TurnKind::Action, asked(5, false)));
    let again = run(opened.head.clone(), taken(Availability::Ready));
    assert_eq!(told(&again), "running running: close 10 Answered, invoke");
    let away = run(opened.head.clone(), taken(Availability::Away(Parked::Busy)));
    assert_eq!(told(&away), "parked parked: close 10 Answered, index");
    assert_eq!(
        told(&run(away.head, taken(Availability::Ready))),
        "running running: unindex, invoke"
    );
    for (closes, how) in [(Closes::Question, "Stopped"), (Closes::Session, "Ended")] {
        let said = run(asking(), new(TurnKind::Control, Opening::Say { segments: 1, closes }));
        let again = run(said.head, taken(Availability::Ready));
        assert_eq!(told(&again), format!("sending sending: close 10 {how}, ambiguous, send 0"));
    }
    // The answer to a press is on its way: the press itself was shown when it was asked.
    let mut answering = opened.head;
    answering.turn.as_mut().unwrap().phase = Phase::Sending(sending(0));
    let again = run(answering, taken(Availability::Ready));
    assert_eq!(told(&again), "sending sending: ambiguous, send 0");
}

#[test]
fn a_closed_question_is_gone_when_its_turn_has_ended_however_that_was() {
    let press = || run(asking(), new(TurnKind::Action, asked(5, false))).head;
    let stopped = run(press(), Event::Controlled { by: Seq(13) });
    assert_eq!(stopped.head.interrupted, None);
    let failure = failed(None);
    let buried = run(press(), Event::Failed { attempt: 1, failure, at: NOW });
    assert_eq!(run(buried.head, Event::Buried).head.interrupted, None);
    let answer = run(press(), Event::Answered { attempt: 1, answered: answered(0, false) });
    assert_eq!(told(&answer), "delivered over: ");
    assert_eq!(answer.head.interrupted, None);

    // The next question takes its place.
    let mut again = press();
    let turn = again.turn.as_mut().unwrap();
    turn.phase = Phase::Sending(Sending { asks: Asking::Openly, ..sending(1) });
    let asked_again = run(again, Event::Sent { webhook_free_at: None, at: NOW });
    assert_eq!(asked_again.head.interrupted, Some(Interrupted { turn: Seq(12), run: None }));

    // What does not close it ends without touching it.
    let say = Opening::Say { segments: 1, closes: Closes::Nothing };
    let said = run(asking(), new(TurnKind::Action, say));
    let over = run(said.head, Event::Sent { webhook_free_at: None, at: NOW });
    assert_eq!(
        (told(&over).as_str(), over.head.interrupted),
        ("delivered over: ", asking().interrupted)
    );
    let control = Opening::Say { segments: 1, closes: Closes::Question };
    let said = run(asking(), new(TurnKind::Control, control));
    let over = run(said.head, Event::Sent { webhook_free_at: None, at: NOW });
    assert_eq!(over.head.interrupted, None);
}

#[test]
fn a_replay_asks_in_its_own_session_and_in_vain_once_that_is_over() {
    let replay = TurnKind::Replay { dead: Seq(7) };
    for (current, expected, asks) in [
        (Some(5), "answered sending: send 0", Asking::Openly),
        (Some(11), "answered sending: send 0, cancel", Asking::Nothing),
        (None, "answered sending: send 0, cancel", Asking::Nothing),
    ] {
        let head = Head { session: current.map(session), ..Head::default() };
        let opened = run(head, new(replay, asked(5, false)));
        let named = Event::RunNamed { attempt: 1, run: "run".to_owned() };
        let answered = Answered { has_interrupt: true, ..answered(1, false) };
        let told_now = run(run(opened.head, named).head, Event::Answered { attempt: 1, answered });
        assert_eq!(told(&told_now), expected, "{current:?}");
        let cancel = Abandoned { expert: expert(), epoch: Seq(5), run: Some("run".to_owned()) };
        let is_cancelled = told_now.commands.contains(&Command::CancelRun(cancel));
        assert_eq!(is_cancelled, asks == Asking::Nothing, "{current:?}");
        let phase = told_now.head.turn.map(|turn| turn.phase);
        let sending = Sending { answer: None, segments: 1, asks, ..sending(0) };
        assert_eq!(phase, Some(Phase::Sending(sending)), "{current:?}");
    }
}

#[test]
fn what_is_asked_in_private_is_told_to_the_group_by_the_same_segment() {
    let asking = |sent, asks| Sending { asks, attempt: 4, ..sending(sent) };
    let told_now = run(head(Phase::Sending(asking(1, Asking::Openly))), Event::AskedInPrivate);
    assert_eq!(told(&told_now), "sending sending: send 1");
    let phase = told_now.head.turn.as_ref().map(|turn| turn.phase.clone());
    assert_eq!(phase, Some(Phase::Sending(Sending { asks: Asking::InPrivate, ..sending(1) })));
    // Whoever takes it over goes on with the group: the links are sent.
    let again = run(told_now.head, taken(Availability::Ready));
    assert_eq!(told(&again), "sending sending: ambiguous, send 1");
    assert_eq!(again.head.turn.as_ref().map(|turn| turn.phase.clone()), phase);
    let over = run(again.head, Event::Sent { webhook_free_at: None, at: NOW });
    assert_eq!(told(&over), "delivered over: ");
    assert_eq!(over.head.interrupted, Some(Interrupted { turn: Seq(12), run: None }));
    for phase in [
        Phase::Running,
        Phase::Sending(asking(0, Asking::Openly)),
        Phase::Sending(asking(1, Asking::InPrivate)),
        Phase::Sending(asking(1, Asking::Nothing)),
        Phase::Sending(asking(2, Asking::Openly)),
    ] {
        let decision = run(head(phase.clone()), Event::AskedInPrivate);
        assert_eq!((decision.record, decision.commands), (None, vec![]), "{phase:?}");
    }
}

#[test]
fn a_question_is_closed_when_its_session_runs_out_and_nothing_follows() {
    let ends_at = session(5).expires_at();
    assert_eq!(run(asking(), Event::Idle { at: ends_at }).record, None);
    let at = ends_at.after(Duration::from_millis(1));
    let over = run(asking(), Event::Idle { at });
    assert_eq!(told(&over), "noted over: close 10 Expired");
    assert_eq!(over.head.interrupted, None);
    assert_eq!(run(over.head, Event::Idle { at }).record, None, "it is closed once");
    let working = run(asking(), new(TurnKind::Messages, ask(11, Availability::Ready))).head;
    assert_eq!(run(working, Event::Idle { at: Timestamp(i64::MAX) }).record, None);
}
