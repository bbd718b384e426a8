//! How a turn begins: it asks an expert, says something itself, or ends at once.
//!
//! The session, the expert and the attempt are fixed here, before anybody is asked. What happens to the
//! turn afterwards is `machine`'s.

use std::time::Duration;

use super::failed::FailedAttempts;
use super::question::{Asking, Closes};
use super::{
    Asked, Availability, Command, Decision, Ending, Head, NewTurn, OpenTurn, Opening, Phase,
    Policy, Purpose, Sending, Step, TurnKind, parking, question,
};
use crate::domain::reason::Reason;
use crate::domain::said::Said;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;

/// What was said so lately was not said before the last word of the service; the longest window is less.
const FRESH: Duration = Duration::from_mins(15);

pub(super) fn open(mut head: Head, new: NewTurn, at: Timestamp, policy: Policy) -> Decision {
    let mut turn = OpenTurn {
        first: new.first,
        last: new.last,
        kind: new.kind,
        asked: None,
        accepted_at: new.accepted_at,
        started_at: at,
        attempt: 1,
        is_repeat: false,
        run: None,
        phase: Phase::Running,
        failed: FailedAttempts::default(),
    };
    // What was said by then has been given up since, if nobody was there to be asked.
    let quiet_since = head.session.as_ref().map(|session| session.last_activity);
    if let Some(heard) = new.heard_at {
        head.session = head.session.map(|session| session.kept(heard, heard));
    }
    let (record, commands) = match new.opening {
        Opening::Ask { session, is_new, runtime } => {
            turn.asked = Some(asked(&session, is_new));
            // Who comes back hears anew that the expert is away; not who waited meanwhile.
            let is_back = is_new && at.since(new.accepted_at) <= FRESH;
            let is_over = quiet_since
                .is_some_and(|since| new.accepted_at.since(since) >= policy.handoff_age_max);
            if is_back || is_over {
                head.is_told_away = false;
            }
            // A replay belongs to the session of its own time and does not bring that one back.
            let is_current = head.session.as_ref().is_some_and(|now| now.epoch == session.epoch);
            if is_current || !matches!(new.kind, TurnKind::Replay { .. }) {
                head.session = Some(session);
            }
            let (record, mut commands) = ask(&mut head, &mut turn, runtime, at, policy);
            // First of all: the person sees at once that the press counts.
            commands.splice(..0, question::close(&head, &turn));
            (record, commands)
        }
        Opening::Say { segments, closes } => {
            let abandoned = question::abandon(&head, closes);
            if closes == Closes::Session {
                head.session = None;
            }
            turn.phase = Phase::Sending(Sending {
                answer: None,
                segments,
                sent: 0,
                attempt: 1,
                not_before: None,
                asks: Asking::Nothing,
            });
            let close = question::close(&head, &turn);
            let say = [Command::Send { segment: 0 }];
            (Step::Answered, close.into_iter().chain(say).chain(abandoned).collect())
        }
        Opening::End { ending, closes } => {
            let commands = question::end(&mut head, closes);
            head.position = new.last;
            let record = match ending {
                Ending::Delivered => Step::Delivered,
                Ending::Stopped => Step::Stopped,
                Ending::Lost => Step::Lost,
            };
            return Decision { head, record: Some(record), commands };
        }
        Opening::Bury { reason, detail } => bury(&mut turn, reason, detail),
    };
    head.turn = Some(turn);
    Decision { head, record: Some(record), commands }
}

fn asked(session: &Session, is_new: bool) -> Asked {
    Asked {
        expert: session.expert.clone(),
        epoch: session.epoch,
        is_new,
        expires_at: session.expires_at(),
    }
}

fn ask(
    head: &mut Head,
    turn: &mut OpenTurn,
    runtime: Availability,
    at: Timestamp,
    policy: Policy,
) -> (Step, Vec<Command>) {
    match runtime {
        Availability::Ready => {
            head.is_told_away = false;
            (Step::Started, vec![Command::Invoke])
        }
        Availability::Away(why) => parking::park(head, turn, why, at, policy),
        Availability::Unknown => {
            let retry_at = at.after(super::UNKNOWN_WAIT);
            turn.phase = Phase::Retry { at: retry_at };
            let purpose = Purpose::Retry { attempt: turn.attempt };
            (Step::Retry, vec![Command::Arm { at: retry_at, purpose }])
        }
    }
}

pub(super) fn bury(turn: &mut OpenTurn, reason: Reason, detail: Said) -> (Step, Vec<Command>) {
    let was_parked = matches!(turn.phase, Phase::Parked { .. });
    turn.phase = Phase::Burying { reason, detail };
    let unindex = was_parked.then_some(Command::Unindex { has_expiry: true });
    (Step::Burying, unindex.into_iter().chain([Command::Bury]).collect())
}
