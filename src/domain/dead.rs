//! A dead letter: a buried turn with everything that is needed to ask it again.
//!
//! Guarantees nothing by itself: that it is stored before its turn ends is the machine's, how it is
//! written `protocol::dead`'s.

use super::entry::{Action, Again, Logged, Replay};
use super::id::{Conversation, TurnId};
use super::inbound::Message;
use super::reason::Reason;
use super::said::Said;
use super::turn::Asked;
use super::turn::failed::FailedAttempts;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub turn: TurnId,
    pub reason: Reason,
    /// For operators: what the other side said last.
    pub detail: Said,
    pub attempts: u32,
    /// What they met.
    pub failed: FailedAttempts,
    pub asked: Option<Asked>,
    /// The turn's range of the log.
    pub entries: Vec<Logged>,
}

impl DeadLetter {
    /// What people wrote in it.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.entries.iter().flat_map(|logged| logged.entry.messages())
    }

    /// The press that it is the turn of.
    pub fn action(&self) -> Option<&Action> {
        self.entries.iter().rev().find_map(|logged| logged.entry.action())
    }

    /// Whether `replay`, an entry of `conversation`, asks this letter again, and not one that had its
    /// number before the stream was made anew.
    pub fn is_asked_by(&self, conversation: &Conversation, replay: &Replay) -> bool {
        self.turn.conversation == *conversation
            && match &replay.again {
                Again::Messages(messages) => self.messages().eq(messages),
                Again::Press { action, .. } => self.action() == Some(action.as_ref()),
            }
    }
}
