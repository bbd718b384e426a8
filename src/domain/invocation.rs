//! What a runtime is asked: one attempt at one turn, complete in itself.
//!
//! Nothing here is read from anywhere else while the runtime works, so that an attempt can be made
//! again by any pod from the journal and the log alone. How it is written down for a kind of runtime
//! is the business of `protocol`.

use super::binding::Language;
use super::entry::ActionKind;
use super::id::{ExpertId, MsgId, TurnId};
use super::inbound::{MediaKind, Place, Sender};
use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnRequest {
    /// Names the integration and the conversation too.
    pub turn: TurnId,
    /// From 1.
    pub attempt: u32,
    pub expert: ExpertId,
    pub place: Place,
    pub sender: Sender,
    pub session: Session,
    pub action: Option<ActionKind>,
    /// The turn whose interrupt the action answers.
    pub resumes: Option<TurnId>,
    /// The text of all messages, as the expert reads it.
    pub text: String,
    pub messages: Vec<Asked>,
    /// Where an answer that comes later is posted.
    pub reply_url: String,
    pub language: Language,
    /// The time of the record `Started`: a run of this turn is not older.
    pub started_at: Timestamp,
    /// An earlier try of this turn may have reached the runtime.
    pub is_repeat: bool,
    /// The runtime's own name of the run that an earlier try of this turn started.
    pub run: Option<String>,
    /// The runtime's own name of the run that `resumes` left interrupted.
    pub resumed_run: Option<String>,
}

/// The runtime's side of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub thread_id: String,
    pub is_new: bool,
    pub expires_at: Timestamp,
}

/// One message of the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub msg_id: MsgId,
    pub at: Timestamp,
    /// DingTalk's `msgtype`.
    pub kind: String,
    /// With a marker where a file stood.
    pub text: String,
    pub files: Vec<File>,
    /// What the message replies to.
    pub quoted: Option<Quoted>,
}

/// The message that another one replies to, as far as DingTalk shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    pub msg_id: Option<String>,
    pub text: String,
    pub files: Vec<File>,
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// As in the marker in the text; unique in the turn.
    pub number: u32,
    pub kind: MediaKind,
    pub name: String,
    /// What the first bytes say.
    pub content_type: Option<String>,
    pub size_bytes: Option<u64>,
    pub content: Content,
}

/// How the runtime gets at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// With the turn itself.
    Inline(Vec<u8>),
    /// From DingTalk's store, without a token, until it expires.
    Url {
        url: String,
        expires_at: Option<Timestamp>,
    },
    /// The runtime has it; this is its own record of it, in JSON.
    Uploaded(String),
    /// Not at all: this kind of runtime takes no files.
    Unfetched,
    Unread(Unread),
}

/// Why a file is not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    TooLarge,
    Unreadable,
}
