//! The serialisable mirror of the journal's state. Append variants and fields, never reorder.
//!
//! Every state that the core can be in can be written, and reads back as itself; a reason is written as
//! its word. The version byte is `envelope`'s.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reason::Reason;
use super::told;
use crate::domain::answer::{Answer, Interrupt};
use crate::domain::id::{ExpertId, InvalidId, Seq};
use crate::domain::session;
use crate::domain::time::Timestamp;
use crate::domain::turn;

#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    nonce: u64,
    count: u32,
    step: Step,
    head: Head,
    answer: Option<(String, Option<(String, String)>)>,
}

#[derive(Serialize, Deserialize)]
enum Step {
    Started,
    Running,
    Waiting,
    Retry,
    Parked,
    Answered,
    Sending,
    Burying,
    Delivered,
    Stopped,
    Lost,
    Dead,
    Noted,
    Merged,
    Steered,
    /// What a later release writes in place of every other one.
    #[cfg(feature = "wire-next")]
    Later(Box<Self>),
}

#[derive(Serialize, Deserialize)]
struct Head {
    position: u64,
    session: Option<Session>,
    turn: Option<OpenTurn>,
    interrupted: Option<(u64, Option<String>)>,
    told_unbound_at: Option<i64>,
    webhook_free_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Session {
    epoch: u64,
    expert: String,
    timeout_ms: u64,
    last_activity: i64,
}

#[derive(Serialize, Deserialize)]
struct OpenTurn {
    first: u64,
    last: u64,
    kind: TurnKind,
    asked: Option<Asked>,
    accepted_at: i64,
    started_at: i64,
    attempt: u32,
    is_repeat: bool,
    run: Option<String>,
    phase: Phase,
}

#[derive(Serialize, Deserialize)]
pub(in crate::protocol) struct Asked {
    expert: String,
    epoch: u64,
    is_new: bool,
    expires_at: i64,
}

#[derive(Serialize, Deserialize)]
enum TurnKind {
    Messages,
    Action,
    Control,
    Replay { dead: u64 },
    Unreadable,
}

#[derive(Serialize, Deserialize)]
enum Phase {
    Running,
    Waiting { until: i64 },
    Retry { at: i64 },
    Parked { why: Parked, until: Option<i64>, is_told: bool },
    Sending(Sending),
    Burying { reason: Reason, detail: String },
}

#[derive(Serialize, Deserialize)]
struct Sending {
    answer: Option<u64>,
    segments: u32,
    sent: u32,
    attempt: u32,
    not_before: Option<i64>,
    asks: Asking,
}

/// The first two are a flag's bytes.
#[derive(Serialize, Deserialize)]
enum Asking {
    Nothing,
    Openly,
    InPrivate,
}

#[derive(Serialize, Deserialize)]
enum Parked {
    Missing,
    Busy,
    Paused,
}

/// Writes the two directions between enums whose variants have the same names.
macro_rules! same_variants {
    ($wire:ty, $domain:ty, $($variant:ident),+ $(; $later:ident)?) => {
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$variant => Self::$variant),+ }
            }
        }
        impl From<$wire> for $domain {
            fn from(value: $wire) -> Self {
                match value {
                    $(<$wire>::$variant => Self::$variant,)+
                    $(
                        #[cfg(feature = "wire-next")]
                        Step::$later(value) => (*value).into(),
                    )?
                }
            }
        }
    };
}

same_variants!(
    Step,
    turn::Step,
    Started,
    Running,
    Waiting,
    Retry,
    Parked,
    Answered,
    Sending,
    Burying,
    Delivered,
    Stopped,
    Lost,
    Dead,
    Noted,
    Merged,
    Steered;
    Later
);
same_variants!(Parked, turn::Parked, Missing, Busy, Paused);
same_variants!(Asking, turn::question::Asking, Nothing, Openly, InPrivate);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<&super::Record> for Record {
    fn from(record: &super::Record) -> Self {
        Self {
            nonce: record.nonce,
            count: record.count,
            #[cfg(not(feature = "wire-next"))]
            step: record.step.into(),
            #[cfg(feature = "wire-next")]
            step: Step::Later(Box::new(record.step.into())),
            head: (&record.head).into(),
            answer: record.answer.as_ref().map(|answer| {
                let interrupt = answer.interrupt.as_ref();
                (answer.text.clone(), interrupt.map(|i| (i.title.clone(), i.text.clone())))
            }),
        }
    }
}

impl TryFrom<Record> for super::Record {
    type Error = InvalidId;

    fn try_from(wire: Record) -> Result<Self, InvalidId> {
        let interrupt = |(title, text)| Interrupt { title, text };
        Ok(Self {
            nonce: wire.nonce,
            count: wire.count,
            step: wire.step.into(),
            head: wire.head.try_into()?,
            answer: wire.answer.map(|(text, asks)| Answer { text, interrupt: asks.map(interrupt) }),
        })
    }
}

impl From<&turn::Head> for Head {
    fn from(head: &turn::Head) -> Self {
        let mut turn: Option<OpenTurn> = head.turn.as_ref().map(Into::into);
        let mut is_told_away = head.is_told_away;
        // A turn that waits says so itself.
        if let Some(OpenTurn { phase: Phase::Parked { is_told, .. }, .. }) = &mut turn {
            *is_told = std::mem::take(&mut is_told_away);
        }
        Self {
            position: head.position.0,
            session: head.session.as_ref().map(|session| Session {
                epoch: session.epoch.0,
                expert: session.expert.to_string(),
                timeout_ms: millis(session.timeout),
                last_activity: session.last_activity.0,
            }),
            turn,
            interrupted: head.interrupted.as_ref().map(|i| (i.turn.0, i.run.clone())),
            told_unbound_at: told::write(head.told_unbound_at, is_told_away),
            webhook_free_at: head.webhook_free_at.map(|at| at.0),
        }
    }
}

impl TryFrom<Head> for turn::Head {
    type Error = InvalidId;

    fn try_from(wire: Head) -> Result<Self, InvalidId> {
        let phase = wire.turn.as_ref().map(|turn| &turn.phase);
        let is_told_parked = matches!(phase, Some(Phase::Parked { is_told: true, .. }));
        let (told_unbound_at, is_told_away) = told::read(wire.told_unbound_at);
        Ok(Self {
            position: Seq(wire.position),
            session: wire.session.map(session::Session::try_from).transpose()?,
            turn: wire.turn.map(turn::OpenTurn::try_from).transpose()?,
            interrupted: wire
                .interrupted
                .map(|(turn, run)| turn::question::Interrupted { turn: Seq(turn), run }),
            told_unbound_at,
            is_told_away: is_told_away || is_told_parked,
            webhook_free_at: wire.webhook_free_at.map(Timestamp),
        })
    }
}

impl TryFrom<Session> for session::Session {
    type Error = InvalidId;

    fn try_from(wire: Session) -> Result<Self, InvalidId> {
        Ok(Self {
            epoch: Seq(wire.epoch),
            expert: ExpertId::parse(&wire.expert)?,
            timeout: Duration::from_millis(wire.timeout_ms),
            last_activity: Timestamp(wire.last_activity),
        })
    }
}

impl From<&turn::OpenTurn> for OpenTurn {
    fn from(turn: &turn::OpenTurn) -> Self {
        Self {
            first: turn.first.0,
            last: turn.last.0,
            kind: match turn.kind {
                turn::TurnKind::Messages => TurnKind::Messages,
                turn::TurnKind::Action => TurnKind::Action,
                turn::TurnKind::Control => TurnKind::Control,
                turn::TurnKind::Replay { dead } => TurnKind::Replay { dead: dead.0 },
                turn::TurnKind::Unreadable => TurnKind::Unreadable,
            },
            asked: turn.asked.as_ref().map(Into::into),
            accepted_at: turn.accepted_at.0,
            started_at: turn.started_at.0,
            attempt: turn.attempt,
            is_repeat: turn.is_repeat,
            run: turn.run.clone(),
            phase: (&turn.phase).into(),
        }
    }
}

impl TryFrom<OpenTurn> for turn::OpenTurn {
    type Error = InvalidId;

    fn try_from(wire: OpenTurn) -> Result<Self, InvalidId> {
        Ok(Self {
            first: Seq(wire.first),
            last: Seq(wire.last),
            kind: match wire.kind {
                TurnKind::Messages => turn::TurnKind::Messages,
                TurnKind::Action => turn::TurnKind::Action,
                TurnKind::Control => turn::TurnKind::Control,
                TurnKind::Replay { dead } => turn::TurnKind::Replay { dead: Seq(dead) },
                TurnKind::Unreadable => turn::TurnKind::Unreadable,
            },
            asked: wire.asked.map(TryInto::try_into).transpose()?,
            accepted_at: Timestamp(wire.accepted_at),
            started_at: Timestamp(wire.started_at),
            attempt: wire.attempt,
            is_repeat: wire.is_repeat,
            run: wire.run,
            phase: wire.phase.try_into()?,
            failed: turn::failed::FailedAttempts::default(), // stands behind the record
        })
    }
}

impl From<&turn::Phase> for Phase {
    fn from(phase: &turn::Phase) -> Self {
        match phase {
            turn::Phase::Running => Self::Running,
            turn::Phase::Waiting { until } => Self::Waiting { until: until.0 },
            turn::Phase::Retry { at } => Self::Retry { at: at.0 },
            turn::Phase::Parked { why, until } => {
                Self::Parked { why: (*why).into(), until: until.map(|at| at.0), is_told: false }
            }
            turn::Phase::Sending(sending) => Self::Sending(Sending {
                answer: sending.answer.map(|seq| seq.0),
                segments: sending.segments,
                sent: sending.sent,
                attempt: sending.attempt,
                not_before: sending.not_before.map(|at| at.0),
                asks: sending.asks.into(),
            }),
            turn::Phase::Burying { reason, detail } => {
                Self::Burying { reason: (*reason).into(), detail: detail.expose().to_owned() }
            }
        }
    }
}

impl TryFrom<Phase> for turn::Phase {
    type Error = InvalidId;

    fn try_from(wire: Phase) -> Result<Self, InvalidId> {
        Ok(match wire {
            Phase::Running => Self::Running,
            Phase::Waiting { until } => Self::Waiting { until: Timestamp(until) },
            Phase::Retry { at } => Self::Retry { at: Timestamp(at) },
            Phase::Parked { why, until, is_told: _ } => {
                Self::Parked { why: why.into(), until: until.map(Timestamp) }
            }
            Phase::Sending(sending) => Self::Sending(turn::Sending {
                answer: sending.answer.map(Seq),
                segments: sending.segments,
                sent: sending.sent,
                attempt: sending.attempt,
                not_before: sending.not_before.map(Timestamp),
                asks: sending.asks.into(),
            }),
            Phase::Burying { reason, detail } => {
                Self::Burying { reason: reason.into(), detail: detail.into() }
            }
        })
    }
}

impl From<&turn::Asked> for Asked {
    fn from(asked: &turn::Asked) -> Self {
        Self {
            expert: asked.expert.to_string(),
            epoch: asked.epoch.0,
            is_new: asked.is_new,
            expires_at: asked.expires_at.0,
        }
    }
}

impl TryFrom<Asked> for turn::Asked {
    type Error = InvalidId;

    fn try_from(wire: Asked) -> Result<Self, InvalidId> {
        Ok(Self {
            expert: ExpertId::parse(&wire.expert)?,
            epoch: Seq(wire.epoch),
            is_new: wire.is_new,
            expires_at: Timestamp(wire.expires_at),
        })
    }
}
