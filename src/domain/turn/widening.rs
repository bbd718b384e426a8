//! How an open turn grows: newer messages join it instead of waiting for its answer, either asked anew
//! together with it or said into its run.
//!
//! The range keeps its first entry, so that turns go on to tile the log. Whether messages are to join is
//! the busy policy's, and judged before.

use super::machine::Machine;
use super::{Command, Decision, OpenTurn, Phase, Step, TurnKind, question};
use crate::domain::id::Seq;
use crate::domain::time::Timestamp;

impl OpenTurn {
    /// Whether newer messages may still join it.
    pub fn may_grow(&self) -> bool {
        let is_under_way = matches!(self.phase, Phase::Running | Phase::Waiting { .. });
        is_under_way && self.kind == TurnKind::Messages
    }
}

impl Machine {
    /// Newer messages join: the range grows at its end, what still runs for the narrower turn is
    /// cancelled, and the expert is asked anew. What answers that turn names another id and comes too late.
    pub(super) fn widened(mut self, last: Seq, accepted_at: Timestamp, at: Timestamp) -> Decision {
        if !self.turn.may_grow() || last <= self.turn.last {
            return self.unchanged();
        }
        self.touch_session(accepted_at);
        let abandoned = question::abandon_run(&self.head, &self.turn);
        self.turn = OpenTurn {
            last,
            accepted_at,
            started_at: at,
            attempt: 1,
            is_repeat: false,
            run: None,
            phase: Phase::Running,
            ..self.turn
        };
        let commands = abandoned.into_iter().chain([Command::Invoke]);
        self.goes_on(Step::Merged, commands.collect())
    }

    /// The run at work has read newer messages: the range grows at its end, and the answer that comes is
    /// theirs too.
    pub(super) fn steered(mut self, last: Seq, accepted_at: Timestamp) -> Decision {
        let is_at_work = self.turn.phase == Phase::Running;
        if !is_at_work || self.turn.kind != TurnKind::Messages || last <= self.turn.last {
            return self.unchanged();
        }
        self.touch_session(accepted_at);
        self.turn.last = last;
        self.turn.accepted_at = accepted_at;
        self.goes_on(Step::Steered, vec![])
    }

    fn touch_session(&mut self, at: Timestamp) {
        let epoch = self.turn.asked.as_ref().map(|asked| asked.epoch);
        if let Some(session) = self.head.session.take_if(|session| Some(session.epoch) == epoch) {
            self.head.session = Some(session.touched(at));
        }
    }
}
