//! The wait of a turn for its expert: why, until when, and what the sender hears of it.
//!
//! Who waits is in the index of waiting conversations, which brings it back when the expert is there.

use super::machine::Machine;
use super::{
    Availability, Command, Decision, Head, Notice, OpenTurn, Parked, Phase, Policy, Purpose, Step,
    UNKNOWN_WAIT, opening,
};
use crate::domain::reason::Reason;
use crate::domain::time::Timestamp;

impl Machine {
    pub(super) fn asked(mut self, runtime: Availability, at: Timestamp) -> Decision {
        match runtime {
            Availability::Ready => self.runs(vec![Command::Invoke]),
            Availability::Away(why) => {
                let Self { head, turn, policy, .. } = &mut self;
                let (record, commands) = park(head, turn, why, at, *policy);
                self.goes_on(record, commands)
            }
            Availability::Unknown => {
                let due = at.after(UNKNOWN_WAIT);
                let purpose = Purpose::Retry { attempt: self.turn.attempt };
                self.again(vec![Command::Arm { at: due, purpose }])
            }
        }
    }

    /// The expert is reached: whoever finds it away after this hears of it anew.
    fn runs(mut self, commands: Vec<Command>) -> Decision {
        self.turn.phase = Phase::Running;
        self.head.is_told_away = false;
        self.goes_on(Step::Running, commands)
    }

    pub(super) fn parked(
        self,
        why: Parked,
        until: Option<Timestamp>,
        runtime: Availability,
        at: Timestamp,
    ) -> Decision {
        match runtime {
            Availability::Ready => self.runs(vec![Command::Unindex, Command::Invoke]),
            Availability::Away(now) if now == why => {
                let arm = until.map(|at| Command::Arm { at, purpose: Purpose::Expiry });
                self.again(std::iter::once(Command::Index).chain(arm).collect())
            }
            Availability::Away(_) | Availability::Unknown => self.asked(runtime, at),
        }
    }
}

/// The wait for an expert. A missing one is told to the sender, once until it is reached, and expires; a
/// busy or paused one does neither. Whose time is over before it could wait is buried without that word.
pub(super) fn park(
    head: &mut Head,
    turn: &mut OpenTurn,
    why: Parked,
    at: Timestamp,
    policy: Policy,
) -> (Step, Vec<Command>) {
    let until = (why == Parked::Missing).then(|| turn.accepted_at.after(policy.handoff_age_max));
    if until.is_some_and(|until| at >= until) {
        return overdue(turn);
    }
    turn.phase = Phase::Parked { why, until };
    let mut commands = vec![Command::Index];
    commands.extend(until.map(|at| Command::Arm { at, purpose: Purpose::Expiry }));
    if why == Parked::Missing && !head.is_told_away {
        head.is_told_away = true;
        commands.push(Command::Tell(Notice::ExpertAway));
    }
    (Step::Parked, commands)
}

pub(super) fn overdue(turn: &mut OpenTurn) -> (Step, Vec<Command>) {
    let detail = "the expert was away for longer than DT_HANDOFF_MAX_AGE".to_owned();
    opening::bury(turn, Reason::HandoffExpired, detail)
}
