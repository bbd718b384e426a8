//! An entry of the log: one thing that happened in a conversation, in the order the broker stored it.
//!
//! What it says is fixed once it is stored; what becomes of it is decided by `plan` and `turn`. Bytes
//! and headers are left to `protocol::entry`.

use super::id::{ExpertId, Seq, TurnId};
use super::inbound::{Message, Place, PlaceKind, Sender, SessionWebhook};
use super::span::Spot;
use super::time::Timestamp;

/// An entry where it stands in the log. Its sequence is the version of its conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    pub seq: Seq,
    /// When the broker stored it.
    pub at: Timestamp,
    /// Where its trace begins, for those who look on.
    pub trace: Option<Spot>,
    pub entry: Entry,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Message(Message),
    Action(Action),
    Control(Control),
    Replay(Replay),
    /// Answered by intake: no turn holds it up, and it holds up no turn.
    Query(Query),
    /// Bytes that no release can read: buried as a turn of its own.
    Undecodable {
        bytes: Vec<u8>,
        why: String,
    },
    /// It was in the log and is gone: recorded and counted.
    Gone,
}

/// Somebody answered a turn by a button, a link or a form: a turn of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The turn whose card or link this is.
    pub turn: TurnId,
    pub kind: ActionKind,
    pub by: Sender,
    pub place: Option<Place>,
    /// The form's or button's own parameters, as JSON text.
    pub params: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionKind {
    Confirm,
    Reject,
    Custom(String),
    /// Ends the session that the turn belongs to. The log has it as it was pressed; whether it counts
    /// is judged where it is found, and only then is it a control entry.
    End,
}

/// Ends every unfinished turn before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub kind: ControlKind,
    /// Where the reply to the command goes; absent for an operator's hand.
    pub origin: Option<Origin>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlKind {
    Stop,
    New,
    End,
}

/// A question to the service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub kind: QueryKind,
    pub origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    Status,
    Help,
    /// A command of somebody whom the expert does not listen to: it ends nothing and is not answered.
    /// The log has it as the command that it was.
    Unheeded,
}

/// Who asked, and where the answer belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub place: Place,
    pub sender: Sender,
    pub robot_code: Option<String>,
    pub webhook: Option<SessionWebhook>,
}

impl Origin {
    /// The same person apart from the group; `None` for whom DingTalk takes no direct message.
    pub fn aside(&self) -> Option<Self> {
        self.sender.staff_id.as_deref().filter(|id| !id.is_empty())?;
        let place = Place { id: String::new(), kind: PlaceKind::Private, title: None };
        Some(Self { place, webhook: None, ..self.clone() })
    }
}

impl Message {
    pub fn origin(&self) -> Origin {
        Origin {
            place: self.place.clone(),
            sender: self.sender.clone(),
            robot_code: self.robot_code.clone(),
            webhook: self.webhook.clone(),
        }
    }
}

/// A buried turn, asked again at the end of the log with the session and expert of its own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The sequence of the dead record.
    pub dead: Seq,
    pub expert: ExpertId,
    /// The epoch of the session it belonged to.
    pub epoch: Seq,
    pub again: Again,
}

/// What a replay asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    Messages(Vec<Message>),
    /// A press is not judged again: it counted when it came.
    Press {
        action: Box<Action>,
        /// The run whose question it answers, where the runtime has named it.
        run: Option<String>,
    },
}

impl Replay {
    pub fn messages(&self) -> &[Message] {
        match &self.again {
            Again::Messages(messages) => messages,
            Again::Press { .. } => &[],
        }
    }
}

impl Entry {
    /// What people wrote in it.
    pub fn messages(&self) -> &[Message] {
        match self {
            Self::Message(message) => std::slice::from_ref(message),
            Self::Replay(replay) => replay.messages(),
            Self::Action(_)
            | Self::Control(_)
            | Self::Query(_)
            | Self::Undecodable { .. }
            | Self::Gone => &[],
        }
    }

    /// The press that it is, or asks again.
    pub fn action(&self) -> Option<&Action> {
        match self {
            Self::Action(action) => Some(action),
            Self::Replay(Replay { again: Again::Press { action, .. }, .. }) => Some(action),
            Self::Message(_)
            | Self::Replay(_)
            | Self::Control(_)
            | Self::Query(_)
            | Self::Undecodable { .. }
            | Self::Gone => None,
        }
    }

    /// The word for it in the header `Dt-Kind`, for people who look at the stream.
    pub fn kind(&self) -> EntryKind {
        match self {
            Self::Message(_) | Self::Undecodable { .. } | Self::Gone => EntryKind::Message,
            // It may end what runs: whoever runs it is to look.
            Self::Action(Action { kind: ActionKind::End, .. }) => EntryKind::Control,
            Self::Action(_) => EntryKind::Action,
            Self::Control(_) => EntryKind::Control,
            Self::Replay(_) => EntryKind::Replay,
            Self::Query(_) => EntryKind::Query,
        }
    }
}

/// What intake needs to know of an entry, read from its header alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Message,
    Action,
    Control,
    Replay,
    Query,
}

impl EntryKind {
    pub const ALL: [Self; 5] =
        [Self::Message, Self::Action, Self::Control, Self::Replay, Self::Query];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Action => "action",
            Self::Control => "control",
            Self::Replay => "replay",
            Self::Query => "query",
        }
    }
}
