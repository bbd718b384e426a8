//! A message as a person wrote it to the robot, in our words rather than DingTalk's.
//!
//! Keeps the order of texts and files, and the quoted message beside them. Where DingTalk says nothing
//! there is nothing: no field is made up. Reading its JSON is `protocol::robot`'s.

use super::id::MsgId;
use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub msg_id: MsgId,
    pub place: Place,
    pub sender: Sender,
    pub robot_code: Option<String>,
    /// DingTalk's own `createAt`: passed on, never decided by.
    pub created_at: Option<Timestamp>,
    /// DingTalk's `msgtype`, e.g. `text`, `richText`, `picture`.
    pub kind: String,
    /// What was said, in order. Empty if the kind is not supported.
    pub parts: Vec<Part>,
    pub quote: Option<Quote>,
    pub webhook: Option<SessionWebhook>,
}

/// Where a message was written and where its answer belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// DingTalk's `conversationId`, case-sensitive.
    pub id: String,
    pub kind: PlaceKind,
    pub title: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    Private,
    Group,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// DingTalk's encrypted `senderId`.
    pub id: String,
    /// The organisation's user id; absent for people outside it.
    pub staff_id: Option<String>,
    pub name: String,
    /// `senderCorpId`: the organisation that `staff_id` belongs to. Buttons and links do not tell it.
    pub corp_id: Option<String>,
}

impl Sender {
    /// `senderStaffId`, else `senderId`.
    pub fn user_id(&self) -> &str {
        self.staff_id.as_deref().unwrap_or(&self.id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Media(Media),
    /// Something was sent that is not handed on; the expert reads a marker in its place.
    Missing(Missing),
}

impl Part {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(said) => said.len(),
            Self::Media(Media { code, name, recognition, .. }) => {
                let said = name.iter().chain(recognition).map(String::len);
                code.len() + said.sum::<usize>()
            }
            Self::Missing(_) => 0,
        }
    }
}

/// Something to be fetched with a download code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    pub kind: MediaKind,
    pub code: String,
    pub name: Option<String>,
    /// What DingTalk heard in an audio message.
    pub recognition: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A file without a code that the robot may use.
    Media(MediaKind),
    /// Of a kind that cannot be read.
    Content,
    /// So many lines over a limit.
    Rest(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    Picture,
    Audio,
    Video,
    File,
}

/// The message that this one replies to, as far as DingTalk shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    pub msg_id: Option<String>,
    pub parts: Vec<Part>,
}

/// The address that DingTalk hands out with each message for answers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionWebhook {
    pub url: String,
    pub expires_at: Timestamp,
}

impl SessionWebhook {
    /// DingTalk named no time: the webhook is tried, and its answer tells.
    pub const UNKNOWN_EXPIRY: Timestamp = Timestamp(i64::MAX);
}

impl Message {
    /// What an expert is asked: the texts and recognitions, joined as written and trimmed.
    pub fn text(&self) -> String {
        text_of(&self.parts)
    }

    /// How much it brings for an expert to read, with what it quotes.
    pub fn bytes(&self) -> usize {
        let quoted = self.quote.iter().flat_map(|quote| &quote.parts);
        self.parts.iter().chain(quoted).map(Part::bytes).sum()
    }

    pub fn media(&self) -> impl Iterator<Item = &Media> {
        self.parts.iter().filter_map(|part| match part {
            Part::Media(media) => Some(media),
            Part::Text(_) | Part::Missing(_) => None,
        })
    }

    /// Nothing in it can be handed to an expert.
    pub fn is_unsupported(&self) -> bool {
        let is_read = |part: &Part| !matches!(part, Part::Missing(_));
        let is_quoting = self.quote.as_ref().is_some_and(|quote| quote.parts.iter().any(is_read));
        let is_silent = self.media().next().is_none() && self.text().is_empty();
        self.parts.is_empty() || (is_silent && !is_quoting)
    }
}

/// The readable text of `parts`: texts as they stand, audio by its recognition.
pub fn text_of(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(said) => text.push_str(said),
            Part::Media(media) => text.push_str(media.recognition.as_deref().unwrap_or_default()),
            Part::Missing(_) => {}
        }
    }
    text.trim().to_owned()
}
