//! The transitions of an open turn, one function each.
//!
//! Each takes the turn as it is stored and gives what to store next and what to do then; what does not
//! fit the phase changes nothing. Which of them an event means is decided in `decide`.

use std::time::Duration;

use super::failed::{Failed, FailedAttempt, Tried};
use super::question::Asking;
use super::{
    Answered, Availability, Command, Decision, Head, Notice, OpenTurn, Phase, Policy, Purpose,
    Sending, Step, TurnKind, opening, parking, question,
};
use crate::domain::id::{Seq, TurnId};
use crate::domain::reason::Reason;
use crate::domain::retry;
use crate::domain::said::Said;
use crate::domain::time::Timestamp;

/// How long the word that nothing is bound holds for a conversation.
const UNBOUND_SILENCE: Duration = Duration::from_secs(3600);

/// A head whose turn is open, taken apart for the length of one decision.
pub(super) struct Machine {
    pub(super) head: Head,
    pub(super) turn: OpenTurn,
    pub(super) id: TurnId,
    pub(super) policy: Policy,
}

impl Machine {
    pub(super) fn unchanged(self) -> Decision {
        Decision { head: self.head, record: None, commands: vec![] }
    }

    /// No record: what the journal already says is carried out again.
    pub(super) fn again(self, commands: Vec<Command>) -> Decision {
        Decision { head: self.head, record: None, commands }
    }

    pub(super) fn goes_on(mut self, record: Step, commands: Vec<Command>) -> Decision {
        self.head.turn = Some(self.turn);
        Decision { head: self.head, record: Some(record), commands }
    }

    fn ends(mut self, record: Step, commands: Vec<Command>) -> Decision {
        if self.close().is_some() {
            self.head.interrupted = None;
        }
        self.head.position = self.turn.last;
        self.head.turn = None;
        Decision { head: self.head, record: Some(record), commands }
    }

    fn close(&self) -> Option<Command> {
        question::close(&self.head, &self.turn)
    }

    /// Another run takes the turn over: it announces itself before its first effect, so that the
    /// journal stops whoever had the turn before.
    pub(super) fn taken(mut self, runtime: Availability, at: Timestamp) -> Decision {
        match self.turn.phase.clone() {
            Phase::Running => {
                self.turn.is_repeat = true;
                // The run before may have died before it showed this.
                let close = self.close();
                let mut decision = self.asked(runtime, at);
                decision.commands.splice(..0, close);
                decision
            }
            Phase::Retry { at: due } if at < due => {
                let purpose = Purpose::Retry { attempt: self.turn.attempt };
                self.again(vec![Command::Arm { at: due, purpose }])
            }
            Phase::Retry { .. } => self.asked(runtime, at),
            Phase::Waiting { until } if at < until => {
                let purpose = Purpose::Retry { attempt: self.turn.attempt };
                self.again(vec![Command::Arm { at: until, purpose }])
            }
            Phase::Waiting { .. } => {
                let failure = Failed {
                    reason: Reason::RuntimeTimeout,
                    detail: "the runtime took the turn and did not answer in time".into(),
                    retry: Some(Duration::ZERO),
                };
                self.gave_no_answer(failure, at)
            }
            Phase::Parked { why, .. } if self.turn.is_overdue(at) => {
                let (record, commands) = parking::overdue(&mut self.turn, why);
                self.goes_on(record, commands)
            }
            Phase::Parked { why, until } => self.parked(why, until, runtime, at),
            Phase::Sending(sending) => self.send_resumed(&sending, at),
            Phase::Burying { .. } => self.again(vec![Command::Bury]),
        }
    }

    fn send_resumed(mut self, sending: &Sending, at: Timestamp) -> Decision {
        let segment = sending.sent;
        match sending.not_before {
            _ if segment >= sending.segments => self.all_sent(at),
            Some(due) if at < due => {
                let purpose = Purpose::SendRetry { sent: segment, attempt: sending.attempt };
                self.again(vec![Command::Arm { at: due, purpose }])
            }
            Some(_) => {
                self.turn.phase = Phase::Sending(Sending { not_before: None, ..sending.clone() });
                self.goes_on(Step::Sending, vec![Command::Send { segment }])
            }
            None => {
                // A control entry closes a question with its own answer.
                let close = self.close().filter(|_| self.turn.asked.is_none());
                let again = [Command::CountAmbiguous, Command::Send { segment }];
                self.goes_on(Step::Sending, close.into_iter().chain(again).collect())
            }
        }
    }

    pub(super) fn run_named(mut self, attempt: u32, run: String) -> Decision {
        if self.turn.phase != Phase::Running || attempt != self.turn.attempt {
            return self.unchanged();
        }
        self.turn.run = Some(run);
        self.goes_on(Step::Running, vec![])
    }

    /// The first answer to the attempt that is under way; any other is late.
    pub(super) fn answered(mut self, attempt: u32, answered: Answered) -> Decision {
        let is_open = matches!(self.turn.phase, Phase::Running | Phase::Waiting { .. });
        if !is_open || attempt != self.turn.attempt {
            return self.unchanged();
        }
        // What a replay asks in a session that is over, nobody can answer: its run waits in vain.
        let in_vain = answered.has_interrupt && !self.is_of_session();
        let abandoned = in_vain.then(|| question::abandon_run(&self.head, &self.turn)).flatten();
        self.turn.phase = Phase::Sending(Sending {
            answer: None,
            segments: answered.segments,
            sent: 0,
            attempt: 1,
            not_before: answered.is_late.then_some(answered.at),
            asks: Asking::of(answered.has_interrupt && !in_vain),
        });
        match (answered.is_late, answered.segments) {
            // Whoever takes the slot next sends it.
            (true, _) => self.goes_on(Step::Answered, vec![]),
            (false, 0) => self.all_sent(answered.at),
            (false, _) => {
                let send = [Command::Send { segment: 0 }];
                self.goes_on(Step::Answered, send.into_iter().chain(abandoned).collect())
            }
        }
    }

    /// Its session is the one that lasts.
    fn is_of_session(&self) -> bool {
        let current = self.head.session.as_ref().map(|session| session.epoch);
        self.turn.asked.as_ref().is_some_and(|asked| Some(asked.epoch) == current)
    }

    pub(super) fn accepted(mut self, attempt: u32, at: Timestamp) -> Decision {
        if self.turn.phase != Phase::Running || attempt != self.turn.attempt {
            return self.unchanged();
        }
        let until = at.after(self.policy.runtime_timeout);
        self.turn.phase = Phase::Waiting { until };
        let purpose = Purpose::Retry { attempt };
        self.goes_on(Step::Waiting, vec![Command::Arm { at: until, purpose }])
    }

    pub(super) fn failed(self, attempt: u32, failure: Failed, at: Timestamp) -> Decision {
        if self.turn.phase != Phase::Running || attempt != self.turn.attempt {
            return self.unchanged();
        }
        self.gave_no_answer(failure, at)
    }

    fn gave_no_answer(mut self, failure: Failed, at: Timestamp) -> Decision {
        self.note(Tried::Ask, self.turn.attempt, &failure, at);
        let Some(after) = failure.retry else { return self.bury(failure.reason, failure.detail) };
        let Some(wait) = retry::backoff(&self.id, self.turn.attempt, Some(after)) else {
            let reason = match failure.reason {
                Reason::RuntimeTimeout => Reason::RuntimeTimeout,
                Reason::Decode
                | Reason::Unbound
                | Reason::RuntimePermanent
                | Reason::RuntimeExhausted
                | Reason::ReplyPermanent
                | Reason::ReplyExhausted
                | Reason::HandoffExpired
                | Reason::Limit
                | Reason::Expired
                | Reason::Poison
                | Reason::ReplyContent => Reason::RuntimeExhausted,
            };
            return self.bury(reason, failure.detail);
        };
        self.turn.attempt += 1;
        self.turn.is_repeat = true;
        let due = at.after(wait);
        self.turn.phase = Phase::Retry { at: due };
        let purpose = Purpose::Retry { attempt: self.turn.attempt };
        self.goes_on(Step::Retry, vec![Command::Arm { at: due, purpose }])
    }

    pub(super) fn all_sent(self, at: Timestamp) -> Decision {
        match self.turn.kind {
            // The dead letter goes first: once it is gone, no later press asks again.
            TurnKind::Replay { dead } => {
                self.goes_on(Step::Sending, vec![Command::SettleDead { dead }])
            }
            TurnKind::Messages | TurnKind::Action | TurnKind::Control | TurnKind::Unreadable => {
                self.delivered(at)
            }
        }
    }

    pub(super) fn delivered(mut self, at: Timestamp) -> Decision {
        let Phase::Sending(sending) = &self.turn.phase else { return self.unchanged() };
        if sending.sent < sending.segments {
            return self.unchanged();
        }
        let asked = self.turn.asked.as_ref();
        let epoch = asked.map(|asked| asked.epoch);
        // What the service itself says to a message or a command is activity as well; a press that does not
        // count changes nothing.
        let is_own = asked.is_none() && self.turn.kind != TurnKind::Action;
        let heard = self.turn.accepted_at;
        if let Some(session) = self.head.session.take_if(|_| is_own) {
            self.head.session = Some(session.kept(heard, at));
        }
        // A late result of an old session neither revives it nor touches what the new one waits for.
        if let Some(session) = self.head.session.take_if(|session| Some(session.epoch) == epoch) {
            self.head.session = Some(session.touched(at));
            let run = self.turn.run.clone();
            self.head.interrupted = sending
                .asks
                .is_question()
                .then_some(question::Interrupted { turn: self.turn.last, run });
        }
        self.ends(Step::Delivered, vec![])
    }

    pub(super) fn note(&mut self, tried: Tried, attempt: u32, failure: &Failed, at: Timestamp) {
        let (reason, detail) = (failure.reason, failure.detail.clone());
        self.turn.failed.note(FailedAttempt { tried, attempt, at, reason, detail });
    }

    /// A run that the runtime has named may work on, or wait for an answer that nobody will give.
    pub(super) fn bury(mut self, reason: Reason, detail: Said) -> Decision {
        let named = self.turn.run.is_some();
        let abandoned = named.then(|| question::abandon_run(&self.head, &self.turn)).flatten();
        let (record, commands) = opening::bury(&mut self.turn, reason, detail);
        self.goes_on(record, abandoned.into_iter().chain(commands).collect())
    }

    pub(super) fn buried(mut self) -> Decision {
        let Phase::Burying { reason, .. } = &self.turn.phase else { return self.unchanged() };
        let notice = match (reason, self.turn.kind) {
            (_, TurnKind::Control) => None,
            (Reason::Unbound, _) if self.is_told_unbound() => None,
            (Reason::Unbound, _) => {
                // Goes on record before it is said: it may be lost, it is never said twice.
                self.head.told_unbound_at = Some(self.turn.started_at);
                Some(Notice::Unbound)
            }
            (Reason::ReplyPermanent | Reason::ReplyExhausted, _) => None,
            _ => Some(Notice::Failed),
        };
        self.ends(Step::Dead, notice.map(Command::Tell).into_iter().collect())
    }

    /// The sender has heard within the hour that nobody is bound.
    fn is_told_unbound(&self) -> bool {
        let told = self.head.told_unbound_at;
        told.is_some_and(|told| self.turn.started_at < told.after(UNBOUND_SILENCE))
    }

    /// A control entry after the turn ends it, whatever it does at the moment.
    pub(super) fn controlled(self, by: Seq) -> Decision {
        if by <= self.turn.last { self.unchanged() } else { self.cut(Step::Stopped) }
    }

    /// Without its entries nobody can be asked and nobody answered.
    pub(super) fn lost(self) -> Decision {
        self.cut(Step::Lost)
    }

    /// Ends a turn before its time. One whose dead letter may be stored already is buried to its end;
    /// one that has said everything settles what it answered.
    fn cut(self, record: Step) -> Decision {
        match (&self.turn.phase, self.turn.kind) {
            (Phase::Burying { .. }, _) => self.again(vec![Command::Bury]),
            (Phase::Sending(sending), TurnKind::Replay { dead })
                if sending.sent >= sending.segments =>
            {
                self.again(vec![Command::SettleDead { dead }])
            }
            (phase, _) => {
                let is_parked = matches!(phase, Phase::Parked { .. });
                let unindex =
                    is_parked.then_some(Command::Unindex { has_expiry: true }).into_iter();
                let commands =
                    unindex.chain(question::abandon_run(&self.head, &self.turn)).collect();
                self.ends(record, commands)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Conversation;
    use crate::domain::turn::decide::decide;
    use crate::domain::turn::{Event, Head, NewTurn, Opening};

    const POLICY: Policy = Policy {
        handoff_age_max: Duration::from_secs(60),
        entry_age_max: Duration::from_secs(60),
        runtime_timeout: Duration::from_secs(60),
    };

    #[test]
    fn nobody_bound_is_said_once_an_hour() {
        let conversation = Conversation {
            integration: "robot".parse().unwrap(),
            key: "a".repeat(26).parse().unwrap(),
        };
        let mut head = Head::default();
        let hour = 3_600_000;
        for (seq, (at, is_told)) in (1..).zip([
            (1000, true),
            (2000, false),
            (hour, false),
            (hour + 1000, true),
            (hour + 2000, false),
        ]) {
            let at = Timestamp(at);
            let turn = NewTurn {
                first: Seq(seq),
                last: Seq(seq),
                kind: TurnKind::Messages,
                accepted_at: at,
                heard_at: None,
                opening: Opening::Bury { reason: Reason::Unbound, detail: Said::default() },
            };
            head = decide(head, &conversation, Event::Opened { turn, at }, POLICY).head;
            let decision = decide(head, &conversation, Event::Buried, POLICY);
            let told = decision.commands == [Command::Tell(Notice::Unbound)];
            assert_eq!(told, is_told, "message {seq}");
            assert_eq!(decision.record, Some(Step::Dead), "every message is buried");
            head = decision.head;
        }
    }
}
