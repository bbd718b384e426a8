//! The hand-off machine: what a conversation does next, from the last record of its journal.
//!
//! ```text
//! Running ──answer──▶ Sending ──all segments──▶ (delivered)
//!   │ │ └ 202 ─▶ Waiting ── reply ─▶ Sending
//!   │ └ retryable ─▶ Retry ─▶ Running, one attempt on … spent ─▶ Burying ─▶ (dead)
//!   └ expert away, busy, paused ─▶ Parked ─▶ Running          control entry ─▶ (stopped)
//! ```
//! A decision that changes the head names the record to store first; its commands are carried out only
//! after the journal has that record.

pub mod decide;
pub mod failed;
pub mod question;
mod machine;
mod opening;
mod parking;
mod sending;
mod widening;

use std::time::Duration;

use super::id::{ExpertId, Seq};
use super::reason::Reason;
use super::said::Said;
use super::session::Session;
use super::time::Timestamp;
use failed::{Failed, FailedAttempts, Tries};
use question::{Abandoned, Asking, Closes, Closing, Interrupted};

/// How long a turn waits for the database that knows its expert.
pub const UNKNOWN_WAIT: Duration = Duration::from_secs(5);

/// All that the journal knows of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Every entry up to here belongs to an ended turn.
    pub position: Seq,
    pub session: Option<Session>,
    /// Fixed until it ends, and never planned again.
    pub turn: Option<OpenTurn>,
    /// The runtime waits for a decision of the person.
    pub interrupted: Option<Interrupted>,
    pub told_unbound_at: Option<Timestamp>,
    /// The sender knows that the expert is away; until it is reached again, or they come back.
    pub is_told_away: bool,
    /// When the session webhook has its next permit.
    pub webhook_free_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTurn {
    pub first: Seq,
    pub last: Seq,
    pub kind: TurnKind,
    /// `None` where no expert is asked.
    pub asked: Option<Asked>,
    /// When the broker stored the last entry.
    pub accepted_at: Timestamp,
    /// When the turn started; no run of it at the runtime is older.
    pub started_at: Timestamp,
    /// From 1; results of an older one change nothing.
    pub attempt: u32,
    /// An earlier try may have reached the runtime.
    pub is_repeat: bool,
    /// The runtime's own name of the run, where it has one.
    pub run: Option<String>,
    pub phase: Phase,
    /// What its attempts met so far, of asking and of sending.
    pub failed: FailedAttempts,
}

/// The expert and the session a turn was resolved to when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub expert: ExpertId,
    pub epoch: Seq,
    pub is_new: bool,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnKind {
    Messages,
    Action,
    Control,
    /// Asks again what was buried at `dead`.
    Replay {
        dead: Seq,
    },
    Unreadable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Running,
    /// The runtime took the turn and will answer later (202).
    Waiting {
        until: Timestamp,
    },
    Retry {
        at: Timestamp,
    },
    Parked {
        why: Parked,
        until: Option<Timestamp>,
    },
    Sending(Sending),
    /// Given up; the dead letter may or may not be stored yet.
    Burying {
        reason: Reason,
        detail: Said,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Journal sequence of the record that holds the answer; `None` in that record itself.
    pub answer: Option<Seq>,
    pub segments: u32,
    pub sent: u32,
    pub attempt: u32,
    /// Set: the next segment is known not to be under way before then.
    pub not_before: Option<Timestamp>,
    pub asks: Asking,
}

/// Why a turn waits for its expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parked {
    Missing,
    Busy,
    Paused,
}

/// Whether the expert of a turn can be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    Ready,
    Away(Parked),
    /// The database that knows is away.
    Unknown,
}

/// What bounds a wait; copied into the state when the wait begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// For an expert that is missing, and for one that is busy or paused.
    pub handoff_age_max: Duration,
    pub entry_age_max: Duration,
    pub runtime_timeout: Duration,
}

/// A turn that is about to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTurn {
    pub first: Seq,
    pub last: Seq,
    pub kind: TurnKind,
    pub accepted_at: Timestamp,
    /// When its person said what counts as a sign of life in the session, if anything.
    pub heard_at: Option<Timestamp>,
    pub opening: Opening,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Ask the expert of `session`.
    Ask {
        session: Session,
        is_new: bool,
        runtime: Availability,
    },
    /// The service itself answers.
    Say {
        segments: u32,
        closes: Closes,
    },
    /// It ends without a word.
    End {
        ending: Ending,
        closes: Closes,
    },
    Bury {
        reason: Reason,
        detail: Said,
    },
}

/// How a turn ends without having run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Delivered,
    Stopped,
    /// Its entries are gone from the log.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Opened {
        turn: NewTurn,
        at: Timestamp,
    },
    /// A run holds the slot and finds the turn open.
    Taken {
        runtime: Availability,
        at: Timestamp,
    },
    /// The slot was taken too often without an end.
    Poisoned {
        deliveries: u64,
    },
    /// No record can hold what the turn came to: trying again would end in the same way.
    Unrecordable {
        why: String,
    },
    /// Only another release can read its entries, and none came for it.
    Unreadable {
        why: String,
    },
    RunNamed {
        attempt: u32,
        run: String,
    },
    Answered {
        attempt: u32,
        answered: Answered,
    },
    Accepted {
        attempt: u32,
        at: Timestamp,
    },
    Failed {
        attempt: u32,
        failure: Failed,
        at: Timestamp,
    },
    Sent {
        webhook_free_at: Option<Timestamp>,
        at: Timestamp,
    },
    SendFailed {
        failure: Failed,
        tries: Tries,
        at: Timestamp,
    },
    /// The question is with its asker, out of the group's sight.
    AskedInPrivate,
    /// The governor asks for a wait that is too long to hold the slot.
    SendHeld {
        until: Timestamp,
    },
    /// The dead letter that a replay answers is deleted.
    DeadSettled {
        at: Timestamp,
    },
    Buried,
    Controlled {
        by: Seq,
    },
    /// The turn's entries are gone from the log.
    Vanished,
    /// The log holds nothing that is unfinished.
    Idle {
        at: Timestamp,
    },
    /// Newer messages join the turn while it is under way.
    Widened {
        last: Seq,
        accepted_at: Timestamp,
        at: Timestamp,
    },
    /// The run has read newer messages that were said into it.
    Steered {
        last: Seq,
        accepted_at: Timestamp,
    },
}

/// An answer as the machine needs it: how many segments it has, not what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    pub segments: u32,
    pub has_interrupt: bool,
    /// It came by itself, to a run that no longer holds the slot.
    pub is_late: bool,
    pub at: Timestamp,
}

/// The record to store before the commands are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
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
    /// Stopped by a newer message, and started anew together with it.
    Merged,
    /// Grown by a newer message that the same run has read.
    Steered,
}

impl Step {
    /// After these no turn is open, and the position is at the turn's last entry.
    pub const ENDS: [Self; 4] = [Self::Delivered, Self::Stopped, Self::Lost, Self::Dead];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Retry => "retry",
            Self::Parked => "parked",
            Self::Answered => "answered",
            Self::Sending => "sending",
            Self::Burying => "burying",
            Self::Delivered => "delivered",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
            Self::Dead => "dead",
            Self::Noted => "noted",
            Self::Merged => "merged",
            Self::Steered => "steered",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Invoke,
    /// Cancel at the runtime what may still run there, or waits for a decision.
    CancelRun(Abandoned),
    /// Show that the runtime's question of this turn is open no more.
    Close {
        question: Seq,
        how: Closing,
    },
    Send {
        segment: u32,
    },
    CountAmbiguous,
    /// Bring the conversation back at this time.
    Arm {
        at: Timestamp,
        purpose: Purpose,
    },
    /// Enter the index of waiting conversations, then look at the expert once more.
    Index,
    /// Leave the index of waiting conversations.
    Unindex {
        /// A timer may be armed that ends the wait.
        has_expiry: bool,
    },
    Bury,
    /// Delete the dead letter that this replay answered.
    SettleDead {
        dead: Seq,
    },
    Tell(Notice),
}

/// What a timer is for: it stands in the timer's subject, so that no two share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Retry { attempt: u32 },
    SendRetry { sent: u32, attempt: u32 },
    Expiry,
}

/// What the service says of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    ExpertAway,
    Failed,
    Unbound,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub head: Head,
    pub record: Option<Step>,
    pub commands: Vec<Command>,
}

#[cfg(test)]
mod tests;
