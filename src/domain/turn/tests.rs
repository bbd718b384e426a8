//! The hand-off machine by tables: one row is a phase, an event, and what must come of it.
//!
//! Whatever changes in the machine shows here as another word in one row; what holds for every history
//! is tried in `random`.

mod activity;
mod away;
mod failing;
mod random;
mod question;
mod steering;
mod stopping;

use std::time::Duration;

use super::decide::decide;
use super::failed::{Failed, FailedAttempts, Tries};
use super::question::{Asking, Closes};
use super::{
    Answered, Asked, Availability, Command, Decision, Ending, Event, Head, NewTurn, OpenTurn,
    Opening, Parked, Phase, Policy, Purpose, Sending, Step, TurnKind,
};
use crate::domain::id::{Conversation, ExpertId, Seq, TurnId};
use crate::domain::reason::Reason;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;

const POLICY: Policy = Policy {
    handoff_age_max: Duration::from_secs(1000),
    entry_age_max: Duration::from_secs(2000),
    runtime_timeout: Duration::from_secs(600),
};
const NOW: Timestamp = Timestamp(100_000);
const LATER: Timestamp = Timestamp(200_000);
const EXPIRY: Timestamp = Timestamp(1_050_000);

fn conversation() -> Conversation {
    "r.abcdefghijklmnopqrstuvwx23.1".parse::<TurnId>().unwrap().conversation
}

fn expert() -> ExpertId {
    ExpertId::parse("expert").unwrap()
}

fn session(epoch: u64) -> Session {
    let timeout = Duration::from_secs(3600);
    Session { epoch: Seq(epoch), expert: expert(), timeout, last_activity: Timestamp(50_000) }
}

fn open(phase: Phase) -> OpenTurn {
    OpenTurn {
        first: Seq(11),
        last: Seq(12),
        kind: TurnKind::Messages,
        asked: Some(Asked { expert: expert(), epoch: Seq(5), is_new: false, expires_at: LATER }),
        accepted_at: Timestamp(50_000),
        started_at: Timestamp(60_000),
        attempt: 2,
        is_repeat: false,
        run: None,
        phase,
        failed: FailedAttempts::default(),
    }
}

fn head(phase: Phase) -> Head {
    let (position, session) = (Seq(10), Some(session(5)));
    Head { position, session, turn: Some(open(phase)), ..Head::default() }
}

fn sending(sent: u32) -> Sending {
    let answer = Some(Seq(3));
    Sending { answer, segments: 2, sent, attempt: 1, not_before: None, asks: Asking::Nothing }
}

fn failed(retry: Option<Duration>) -> Failed {
    Failed { reason: Reason::RuntimePermanent, detail: "why".into(), retry }
}

fn answered(segments: u32, is_late: bool) -> Answered {
    Answered { segments, has_interrupt: false, is_late, at: NOW }
}

fn parked(why: Parked, until: Option<Timestamp>) -> Phase {
    Phase::Parked { why, until }
}

fn burying() -> Phase {
    Phase::Burying { reason: Reason::RuntimePermanent, detail: "why".into() }
}

fn run(head: Head, event: Event) -> Decision {
    decide(head, &conversation(), event, POLICY)
}

/// What a decision comes to, in one line: record, phase after it, commands.
fn told(decision: &Decision) -> String {
    let phase = match decision.head.turn.as_ref().map(|turn| &turn.phase) {
        None => "over",
        Some(Phase::Running) => "running",
        Some(Phase::Waiting { .. }) => "waiting",
        Some(Phase::Retry { .. }) => "retry",
        Some(Phase::Parked { .. }) => "parked",
        Some(Phase::Sending(_)) => "sending",
        Some(Phase::Burying { .. }) => "burying",
    };
    let commands: Vec<_> = decision
        .commands
        .iter()
        .map(|command| match command {
            Command::Invoke => "invoke".to_owned(),
            Command::Close { question, how } => format!("close {question} {how:?}"),
            Command::CancelRun(_) => "cancel".to_owned(),
            Command::Send { segment } => format!("send {segment}"),
            Command::CountAmbiguous => "ambiguous".to_owned(),
            Command::Arm { purpose: Purpose::Retry { attempt }, .. } => format!("arm r{attempt}"),
            Command::Arm { purpose: Purpose::SendRetry { sent, attempt }, .. } => {
                format!("arm s{sent}r{attempt}")
            }
            Command::Arm { purpose: Purpose::Expiry, .. } => "arm x".to_owned(),
            Command::Index => "index".to_owned(),
            Command::Unindex { .. } => "unindex".to_owned(),
            Command::Bury => "bury".to_owned(),
            Command::SettleDead { .. } => "settle".to_owned(),
            Command::Tell(notice) => format!("tell {notice:?}"),
        })
        .collect();
    let record = decision.record.map_or("-", Step::as_str);
    format!("{record} {phase}: {}", commands.join(", "))
}

fn taken(runtime: Availability) -> Event {
    Event::Taken { runtime, at: NOW }
}

#[test]
fn whoever_takes_an_open_turn_goes_on_where_the_journal_says() {
    use Availability::{Away, Ready, Unknown};
    use Parked::{Busy, Missing, Paused};
    let due = |at| Phase::Sending(Sending { not_before: Some(at), ..sending(1) });
    for (phase, runtime, expected) in [
        (Phase::Running, Ready, "running running: invoke"),
        (Phase::Running, Away(Busy), "parked parked: index"),
        (Phase::Running, Away(Missing), "parked parked: index, arm x, tell ExpertAway"),
        (Phase::Running, Unknown, "- running: arm r2"),
        (Phase::Retry { at: LATER }, Ready, "- retry: arm r2"),
        (Phase::Retry { at: NOW }, Ready, "running running: invoke"),
        (Phase::Retry { at: NOW }, Away(Paused), "parked parked: index"),
        (Phase::Waiting { until: LATER }, Ready, "- waiting: arm r2"),
        (Phase::Waiting { until: NOW }, Ready, "retry retry: arm r3"),
        (parked(Missing, Some(EXPIRY)), Ready, "running running: unindex, invoke"),
        (parked(Missing, Some(EXPIRY)), Away(Missing), "- parked: index, arm x"),
        (parked(Missing, Some(EXPIRY)), Away(Busy), "parked parked: index"),
        (parked(Missing, Some(EXPIRY)), Unknown, "- parked: arm r2"),
        (parked(Missing, Some(NOW)), Ready, "burying burying: unindex, bury"),
        (parked(Busy, None), Away(Busy), "- parked: index"),
        (parked(Paused, None), Away(Paused), "- parked: index"),
        // After a crash nobody knows whether the segment was sent.
        (Phase::Sending(sending(1)), Ready, "sending sending: ambiguous, send 1"),
        (due(LATER), Ready, "- sending: arm s1r1"),
        (due(NOW), Ready, "sending sending: send 1"),
        (Phase::Sending(sending(2)), Ready, "delivered over: "),
        (burying(), Ready, "- burying: bury"),
    ] {
        let is_told_away = matches!(phase, Phase::Parked { why: Missing, .. });
        let before = Head { is_told_away, ..head(phase.clone()) };
        let decision = run(before, taken(runtime));
        assert_eq!(told(&decision), expected, "{phase:?} {runtime:?}");
    }
}

#[test]
fn what_a_runtime_says_counts_for_the_attempt_it_was_asked_in() {
    let second = Some(Duration::from_secs(1));
    let said = |attempt| {
        [
            (Event::Answered { attempt, answered: answered(2, false) }, "answered sending: send 0"),
            (Event::Answered { attempt, answered: answered(2, true) }, "answered sending: "),
            (Event::Answered { attempt, answered: answered(0, false) }, "delivered over: "),
            (Event::Accepted { attempt, at: NOW }, "waiting waiting: arm r2"),
            (Event::RunNamed { attempt, run: "x".to_owned() }, "running running: "),
            (Event::Failed { attempt, failure: failed(second), at: NOW }, "retry retry: arm r3"),
            (Event::Failed { attempt, failure: failed(None), at: NOW }, "burying burying: bury"),
        ]
    };
    for (event, expected) in said(2) {
        assert_eq!(told(&run(head(Phase::Running), event.clone())), expected, "{event:?}");
    }
    for stale in [1, 3] {
        for (event, _) in said(stale) {
            let before = head(Phase::Running);
            let decision = run(before.clone(), event);
            assert_eq!((decision.head, decision.record), (before, None));
            assert_eq!(decision.commands, []);
        }
    }
}

#[test]
fn a_late_answer_counts_only_while_the_turn_waits_for_it() {
    let late = || Event::Answered { attempt: 2, answered: answered(1, true) };
    let waiting = head(Phase::Waiting { until: LATER });
    let decision = run(waiting, late());
    assert_eq!(told(&decision), "answered sending: ");
    let sent = run(decision.head, taken(Availability::Ready));
    assert_eq!(told(&sent), "sending sending: send 0", "its first send is not ambiguous");
    for phase in [
        Phase::Retry { at: NOW },
        Phase::Sending(sending(0)),
        parked(Parked::Missing, Some(EXPIRY)),
        burying(),
    ] {
        assert_eq!(run(head(phase.clone()), late()).record, None, "{phase:?}");
    }
    let idle = Head { position: Seq(12), ..Head::default() };
    assert_eq!(run(idle.clone(), late()).head, idle);
}

#[test]
fn segments_go_out_one_after_the_other_and_retries_keep_their_place() {
    let sent = |at| Event::Sent { webhook_free_at: None, at };
    assert_eq!(told(&run(head(Phase::Sending(sending(0))), sent(NOW))), "sending sending: send 1");
    let last = run(head(Phase::Sending(sending(1))), sent(NOW));
    assert_eq!(told(&last), "delivered over: ");
    assert_eq!(last.head.position, Seq(12));
    assert_eq!(last.head.session.unwrap().last_activity, NOW, "the answer counts as activity");
    let tries = Tries::Schedule;
    let failure = |retry| Event::SendFailed { failure: failed(retry), tries, at: NOW };
    let held = Event::SendHeld { until: LATER };
    let spent = Phase::Sending(Sending { attempt: 8, ..sending(1) });
    for (phase, event, expected) in [
        (Phase::Sending(sending(1)), failure(Some(Duration::ZERO)), "retry sending: arm s1r2"),
        (Phase::Sending(sending(1)), failure(None), "burying burying: bury"),
        (spent, failure(Some(Duration::ZERO)), "burying burying: bury"),
        (Phase::Sending(sending(1)), held, "retry sending: arm s1r1"),
    ] {
        assert_eq!(told(&run(head(phase), event.clone())), expected, "{event:?}");
    }
}

#[test]
fn attempts_end_and_the_last_reason_names_a_silent_runtime() {
    let mut last = head(Phase::Running);
    last.turn.as_mut().unwrap().attempt = 8;
    let failure = Failed { reason: Reason::RuntimeTimeout, ..failed(Some(Duration::ZERO)) };
    for (failure, expected) in [
        (failure, Reason::RuntimeTimeout),
        (failed(Some(Duration::ZERO)), Reason::RuntimeExhausted),
    ] {
        let decision = run(last.clone(), Event::Failed { attempt: 8, failure, at: NOW });
        let phase = decision.head.turn.unwrap().phase;
        assert_eq!(phase, Phase::Burying { reason: expected, detail: "why".into() });
    }
}

#[test]
fn what_no_record_can_hold_is_buried_at_once() {
    let decision = run(head(Phase::Running), Event::Unrecordable { why: "why".to_owned() });
    let phase = decision.head.turn.unwrap().phase;
    assert_eq!(phase, Phase::Burying { reason: Reason::Limit, detail: "why".into() });
}

#[test]
fn a_newer_message_widens_only_a_turn_of_messages_that_is_under_way() {
    let widened = |last| Event::Widened { last: Seq(last), accepted_at: NOW, at: LATER };
    for (phase, expected) in [
        (Phase::Running, "merged running: cancel, invoke"),
        (Phase::Waiting { until: LATER }, "merged running: cancel, invoke"),
        (Phase::Retry { at: LATER }, "- retry: "),
        (parked(Parked::Busy, None), "- parked: "),
        (Phase::Sending(sending(1)), "- sending: "),
        (burying(), "- burying: "),
    ] {
        assert_eq!(told(&run(head(phase.clone()), widened(14))), expected, "{phase:?}");
    }
    let decision = run(head(Phase::Running), widened(14));
    let turn = decision.head.turn.unwrap();
    assert_eq!((turn.first, turn.last, turn.attempt), (Seq(11), Seq(14), 1));
    assert_eq!(decision.head.position, Seq(10), "what was given up is asked again with it");
    assert_eq!(told(&run(head(Phase::Running), widened(12))), "- running: ");
}

#[test]
fn a_replay_settles_its_letter_before_it_is_delivered() {
    let mut state = head(Phase::Sending(sending(1)));
    state.turn.as_mut().unwrap().kind = TurnKind::Replay { dead: Seq(7) };
    let sent = run(state, Event::Sent { webhook_free_at: None, at: NOW });
    assert_eq!(told(&sent), "sending sending: settle");
    assert_eq!(
        told(&run(sent.head.clone(), taken(Availability::Ready))),
        "sending sending: settle"
    );
    let control = run(sent.head.clone(), Event::Controlled { by: Seq(13) });
    assert_eq!(told(&control), "- sending: settle", "what was said is settled, not stopped");
    let doubled = run(sent.head.clone(), Event::Sent { webhook_free_at: None, at: NOW });
    assert_eq!(doubled.record, None, "there is nothing more to send");
    let mut early = head(Phase::Sending(sending(1)));
    early.turn.as_mut().unwrap().kind = TurnKind::Replay { dead: Seq(7) };
    assert_eq!(run(early, Event::DeadSettled { at: NOW }).record, None, "a segment is missing");
    assert_eq!(told(&run(sent.head, Event::DeadSettled { at: NOW })), "delivered over: ");
}

fn new(kind: TurnKind, opening: Opening) -> Event {
    let (first, last, accepted_at, heard_at) = (Seq(11), Seq(12), Timestamp(50_000), None);
    let turn = NewTurn { first, last, kind, accepted_at, heard_at, opening };
    Event::Opened { turn, at: NOW }
}

fn ask(epoch: u64, runtime: Availability) -> Opening {
    Opening::Ask { session: session(epoch), is_new: true, runtime }
}

#[test]
fn a_turn_begins_by_asking_saying_ending_or_burying() {
    use Availability::{Away, Ready, Unknown};
    let end = |ending| Opening::End { ending, closes: Closes::Nothing };
    let idle = || Head { position: Seq(10), session: Some(session(5)), ..Head::default() };
    let bury = Opening::Bury { reason: Reason::Unbound, detail: "".into() };
    for (opening, expected) in [
        (ask(11, Ready), "started running: invoke"),
        (ask(11, Away(Parked::Missing)), "parked parked: index, arm x, tell ExpertAway"),
        (ask(11, Away(Parked::Busy)), "parked parked: index"),
        (ask(11, Unknown), "retry retry: arm r1"),
        (Opening::Say { segments: 1, closes: Closes::Session }, "answered sending: send 0"),
        (end(Ending::Delivered), "delivered over: "),
        (end(Ending::Stopped), "stopped over: "),
        (end(Ending::Lost), "lost over: "),
        (bury, "burying burying: bury"),
    ] {
        let decision = run(idle(), new(TurnKind::Messages, opening.clone()));
        assert_eq!(told(&decision), expected, "{opening:?}");
        let again = run(head(Phase::Running), new(TurnKind::Messages, opening));
        assert_eq!(again.record, None, "the open turn comes first");
    }
    let closed =
        run(idle(), new(TurnKind::Control, Opening::Say { segments: 1, closes: Closes::Session }));
    assert_eq!(closed.head.session, None);
}

#[test]
fn a_replay_leaves_the_current_session_alone() {
    let replay = TurnKind::Replay { dead: Seq(7) };
    let idle = Head { session: Some(session(9)), ..Head::default() };
    let opened = run(idle, new(replay, ask(5, Availability::Ready)));
    assert_eq!(opened.head.session, Some(session(9)));
    let answered = run(opened.head, Event::Answered { attempt: 1, answered: answered(0, false) });
    let settled = run(answered.head, Event::DeadSettled { at: NOW });
    assert_eq!(told(&settled), "delivered over: ");
    assert_eq!(settled.head.session, Some(session(9)), "not touched by another session's answer");
}

#[test]
fn that_nothing_is_bound_is_said_once_an_hour() {
    let unbound = |at: i64, told_unbound_at| {
        let bury = Opening::Bury { reason: Reason::Unbound, detail: "".into() };
        let Event::Opened { turn, .. } = new(TurnKind::Messages, bury) else { unreachable!() };
        let state = Head { told_unbound_at, ..Head::default() };
        let opened = run(state, Event::Opened { turn, at: Timestamp(at * 1000) });
        let buried = run(opened.head, Event::Buried);
        (buried.commands.len(), buried.head.told_unbound_at)
    };
    let (first, told_at) = unbound(10, None);
    assert_eq!((first, told_at), (1, Some(Timestamp(10_000))));
    assert_eq!(unbound(3609, told_at), (0, told_at));
    assert_eq!(unbound(3610, told_at), (1, Some(Timestamp(3_610_000))));
}

#[test]
fn poison_is_buried_and_the_sender_hears_of_a_failure() {
    let poisoned = run(head(Phase::Running), Event::Poisoned { deliveries: 21 });
    assert_eq!(told(&poisoned), "burying burying: bury");
    let buried = run(poisoned.head, Event::Buried);
    assert_eq!(told(&buried), "dead over: tell Failed");
    assert_eq!(buried.head.position, Seq(12));
}
