//! The wait of a turn for its expert: why, until when, and what the sender hears of it.
//!
//! Who waits is in the index of waiting conversations, which brings it back when the expert is there.

use std::time::Duration;

use super::machine::Machine;
use super::{
    Availability, Command, Decision, Head, Notice, OpenTurn, Parked, Phase, Policy, Purpose, Step,
    UNKNOWN_WAIT, opening,
};
use crate::domain::reason::Reason;
use crate::domain::time::Timestamp;

/// An earlier release gave no end to the wait for a busy or paused expert.
const UNSAID: Duration = Duration::from_secs(6 * 24 * 3600);

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
            Availability::Ready => {
                // A sender who was told that the expert is away waits under an expiry.
                let has_expiry = why == Parked::Missing || self.head.is_told_away;
                self.runs(vec![Command::Unindex { has_expiry }, Command::Invoke])
            }
            Availability::Away(now) if now == why => {
                self.again(std::iter::once(Command::Index).chain(expiry(why, until)).collect())
            }
            Availability::Away(_) | Availability::Unknown => self.asked(runtime, at),
        }
    }
}

impl Parked {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Busy => "busy",
            Self::Paused => "paused",
        }
    }
}

impl OpenTurn {
    /// When its wait for an expert is over; `None` where it does not wait for one.
    pub(super) fn waits_until(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Parked { until, .. } => {
                Some(until.unwrap_or_else(|| self.accepted_at.after(UNSAID)))
            }
            Phase::Running
            | Phase::Waiting { .. }
            | Phase::Retry { .. }
            | Phase::Sending(_)
            | Phase::Burying { .. } => None,
        }
    }

    /// It has waited for an expert as long as it may.
    pub fn is_overdue(&self, at: Timestamp) -> bool {
        self.waits_until().is_some_and(|until| at >= until)
    }
}

/// The wait for an expert, which always has an end. A missing one is told to the sender, once until it is
/// reached. Whose time is over before it could wait is buried without that word.
pub(super) fn park(
    head: &mut Head,
    turn: &mut OpenTurn,
    why: Parked,
    at: Timestamp,
    policy: Policy,
) -> (Step, Vec<Command>) {
    let until = turn.accepted_at.after(match why {
        Parked::Missing => policy.handoff_age_max,
        Parked::Busy | Parked::Paused => policy.entry_age_max,
    });
    if at >= until {
        return overdue(turn, why);
    }
    turn.phase = Phase::Parked { why, until: Some(until) };
    let mut commands = vec![Command::Index];
    commands.extend(expiry(why, Some(until)));
    if why == Parked::Missing && !head.is_told_away {
        head.is_told_away = true;
        commands.push(Command::Tell(Notice::ExpertAway));
    }
    (Step::Parked, commands)
}

/// The timer of a wait. Busy and paused experts have many waiting for days: the sweep looks after the end
/// of those.
fn expiry(why: Parked, until: Option<Timestamp>) -> Option<Command> {
    let at = until.filter(|_| why == Parked::Missing)?;
    Some(Command::Arm { at, purpose: Purpose::Expiry })
}

pub(super) fn overdue(turn: &mut OpenTurn, why: Parked) -> (Step, Vec<Command>) {
    let (reason, detail) = match why {
        Parked::Missing => {
            (Reason::HandoffExpired, "the expert was away for longer than DT_HANDOFF_MAX_AGE")
        }
        Parked::Busy => (Reason::Expired, "the expert was busy for longer than DT_ENTRY_MAX_AGE"),
        Parked::Paused => (Reason::Expired, "it was paused for longer than DT_ENTRY_MAX_AGE"),
    };
    opening::bury(turn, reason, detail.into())
}
