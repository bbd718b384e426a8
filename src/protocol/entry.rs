//! The wire form of a log entry (`dt.in.<integration>.<conversation>`).
//!
//! Any bytes are read as something: what no release can read is an entry too, so that nothing in the
//! log is skipped. Variants are appended, never reordered.

mod part;
mod press;

use serde::{Deserialize, Serialize};

use self::part::WirePart;
use self::press::{WireAction, WirePressAgain};
use super::envelope::{self, Error};
use crate::domain::entry::{Again, Control, ControlKind, Entry, Origin, Query, QueryKind, Replay};
use crate::domain::id::{ExpertId, InvalidId, MsgId, Seq};
use crate::domain::inbound::{Message, Place, PlaceKind, Quote, Sender, SessionWebhook};
use crate::domain::time::Timestamp;

pub fn encode(mut entry: Entry) -> Vec<u8> {
    let corps: Vec<_> = senders(&mut entry).map(|sender| sender.corp_id.take()).collect();
    let is_known = corps.iter().any(Option::is_some);
    let appended = is_known.then_some(Appended::Corps(corps));
    envelope::encode_with(&WireEntry::from(entry), appended.as_slice())
}

/// Bytes of a newer release are an error; bytes that nobody can read are an entry to be buried.
pub fn decode(bytes: &[u8]) -> Result<Entry, Error> {
    let undecodable = |why| Ok(Entry::Undecodable { bytes: bytes.to_vec(), why });
    match envelope::decode_with::<WireEntry, Appended>(bytes) {
        Ok((wire, appended)) => match Entry::try_from(wire) {
            Ok(entry) => Ok(with(entry, appended)),
            Err(e) => undecodable(e.to_string()),
        },
        Err(Error::Newer(version)) => Err(Error::Newer(version)),
        Err(e @ (Error::Empty | Error::Undecodable(_))) => undecodable(e.to_string()),
    }
}

/// What stands behind an entry since its form was first written.
#[derive(Serialize, Deserialize)]
enum Appended {
    /// The organisations of its senders, in the order of the entry.
    Corps(Vec<Option<String>>),
}

fn with(mut entry: Entry, appended: Vec<Appended>) -> Entry {
    for Appended::Corps(corps) in appended {
        for (sender, corp_id) in senders(&mut entry).zip(corps) {
            sender.corp_id = corp_id;
        }
    }
    entry
}

/// All people in it whose organisation may be known, always in one order.
fn senders(entry: &mut Entry) -> impl Iterator<Item = &mut Sender> {
    let (mut one, mut many) = (None, Default::default());
    match entry {
        Entry::Message(message) => one = Some(&mut message.sender),
        Entry::Action(action) => one = Some(&mut action.by),
        Entry::Control(Control { origin, .. }) => one = origin.as_mut().map(|it| &mut it.sender),
        Entry::Query(Query { origin, .. }) => one = Some(&mut origin.sender),
        Entry::Replay(Replay { again: Again::Messages(messages), .. }) => {
            many = messages.iter_mut();
        }
        Entry::Replay(Replay { again: Again::Press { action, .. }, .. }) => {
            one = Some(&mut action.by);
        }
        Entry::Undecodable { .. } | Entry::Gone => {}
    }
    one.into_iter().chain(many.map(|message| &mut message.sender))
}

#[derive(Serialize, Deserialize)]
enum WireEntry {
    Message(WireMessage),
    Action(WireAction),
    Control(WireControl),
    Replay(WireReplay),
    Undecodable {
        bytes: Vec<u8>,
        why: String,
    },
    Gone,
    Query(WireQuery),
    PressAgain(WirePressAgain),
    /// What a later release writes in place of `Message`.
    #[cfg(feature = "wire-next")]
    Said {
        message: WireMessage,
        is_next: bool,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireMessage {
    msg_id: String,
    place: WirePlace,
    sender: WireSender,
    robot_code: Option<String>,
    created_at: Option<i64>,
    kind: String,
    parts: Vec<WirePart>,
    quote: Option<WireQuote>,
    webhook: Option<WireWebhook>,
}

#[derive(Serialize, Deserialize)]
struct WirePlace {
    id: String,
    is_group: bool,
    title: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireSender {
    id: String,
    staff_id: Option<String>,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct WireQuote {
    msg_id: Option<String>,
    parts: Vec<WirePart>,
}

#[derive(Serialize, Deserialize)]
struct WireWebhook {
    url: String,
    expires_at: i64,
}

#[derive(Serialize, Deserialize)]
struct WireControl {
    kind: WireControlKind,
    origin: Option<WireOrigin>,
}

#[derive(Serialize, Deserialize)]
enum WireControlKind {
    Stop,
    New,
    End,
}

#[derive(Serialize, Deserialize)]
struct WireQuery {
    is_status: bool,
    origin: WireOrigin,
}

#[derive(Serialize, Deserialize)]
struct WireOrigin {
    place: WirePlace,
    sender: WireSender,
    robot_code: Option<String>,
    webhook: Option<WireWebhook>,
}

#[derive(Serialize, Deserialize)]
struct WireReplay {
    dead: u64,
    expert: String,
    epoch: u64,
    messages: Vec<WireMessage>,
}

impl From<Entry> for WireEntry {
    fn from(entry: Entry) -> Self {
        match entry {
            #[cfg(not(feature = "wire-next"))]
            Entry::Message(message) => Self::Message(message.into()),
            #[cfg(feature = "wire-next")]
            Entry::Message(message) => Self::Said { message: message.into(), is_next: true },
            Entry::Action(action) => Self::Action(action.into()),
            Entry::Control(control) => Self::Control(WireControl {
                kind: match control.kind {
                    ControlKind::Stop => WireControlKind::Stop,
                    ControlKind::New => WireControlKind::New,
                    ControlKind::End => WireControlKind::End,
                },
                origin: control.origin.map(Into::into),
            }),
            Entry::Query(query) => Self::Query(WireQuery {
                // Only what is replayed from a dead letter matters there, which no query ever is.
                is_status: query.kind == QueryKind::Status,
                origin: query.origin.into(),
            }),
            Entry::Replay(replay) => replay.into(),
            Entry::Undecodable { bytes, why } => Self::Undecodable { bytes, why },
            Entry::Gone => Self::Gone,
        }
    }
}

impl From<Replay> for WireEntry {
    fn from(replay: Replay) -> Self {
        let (dead, expert, epoch) = (replay.dead.0, replay.expert.to_string(), replay.epoch.0);
        match replay.again {
            Again::Messages(messages) => {
                let messages = messages.into_iter().map(Into::into).collect();
                Self::Replay(WireReplay { dead, expert, epoch, messages })
            }
            Again::Press { action, run } => {
                let action = (*action).into();
                Self::PressAgain(WirePressAgain { dead, expert, epoch, action, run })
            }
        }
    }
}

impl TryFrom<WireEntry> for Entry {
    type Error = InvalidId;

    fn try_from(wire: WireEntry) -> Result<Self, InvalidId> {
        Ok(match wire {
            WireEntry::Message(message) => Self::Message(message.try_into()?),
            #[cfg(feature = "wire-next")]
            WireEntry::Said { message, .. } => Self::Message(message.try_into()?),
            WireEntry::Action(action) => Self::Action(action.try_into()?),
            WireEntry::Control(control) => Self::Control(Control {
                kind: match control.kind {
                    WireControlKind::Stop => ControlKind::Stop,
                    WireControlKind::New => ControlKind::New,
                    WireControlKind::End => ControlKind::End,
                },
                origin: control.origin.map(Into::into),
            }),
            WireEntry::Query(WireQuery { is_status, origin }) => Self::Query(Query {
                kind: if is_status { QueryKind::Status } else { QueryKind::Help },
                origin: origin.into(),
            }),
            WireEntry::Replay(replay) => Self::Replay(Replay {
                dead: Seq(replay.dead),
                expert: ExpertId::parse(&replay.expert)?,
                epoch: Seq(replay.epoch),
                again: Again::Messages(
                    replay.messages.into_iter().map(Message::try_from).collect::<Result<_, _>>()?,
                ),
            }),
            WireEntry::PressAgain(press) => Self::Replay(press.try_into()?),
            WireEntry::Undecodable { bytes, why } => Self::Undecodable { bytes, why },
            WireEntry::Gone => Self::Gone,
        })
    }
}

impl From<Message> for WireMessage {
    fn from(message: Message) -> Self {
        Self {
            msg_id: message.msg_id.to_string(),
            place: message.place.into(),
            sender: message.sender.into(),
            robot_code: message.robot_code,
            created_at: message.created_at.map(|at| at.0),
            kind: message.kind,
            parts: message.parts.into_iter().map(Into::into).collect(),
            quote: message.quote.map(|quote| WireQuote {
                msg_id: quote.msg_id,
                parts: quote.parts.into_iter().map(Into::into).collect(),
            }),
            webhook: message.webhook.map(Into::into),
        }
    }
}

impl TryFrom<WireMessage> for Message {
    type Error = InvalidId;

    fn try_from(wire: WireMessage) -> Result<Self, InvalidId> {
        Ok(Self {
            msg_id: MsgId::parse(&wire.msg_id)?,
            place: wire.place.into(),
            sender: wire.sender.into(),
            robot_code: wire.robot_code,
            created_at: wire.created_at.map(Timestamp),
            kind: wire.kind,
            parts: wire.parts.into_iter().map(Into::into).collect(),
            quote: wire.quote.map(|quote| Quote {
                msg_id: quote.msg_id,
                parts: quote.parts.into_iter().map(Into::into).collect(),
            }),
            webhook: wire.webhook.map(Into::into),
        })
    }
}

impl From<Origin> for WireOrigin {
    fn from(origin: Origin) -> Self {
        Self {
            place: origin.place.into(),
            sender: origin.sender.into(),
            robot_code: origin.robot_code,
            webhook: origin.webhook.map(Into::into),
        }
    }
}

impl From<WireOrigin> for Origin {
    fn from(wire: WireOrigin) -> Self {
        Self {
            place: wire.place.into(),
            sender: wire.sender.into(),
            robot_code: wire.robot_code,
            webhook: wire.webhook.map(Into::into),
        }
    }
}

impl From<Place> for WirePlace {
    fn from(place: Place) -> Self {
        let is_group = place.kind == PlaceKind::Group;
        Self { id: place.id, is_group, title: place.title }
    }
}

impl From<WirePlace> for Place {
    fn from(wire: WirePlace) -> Self {
        let kind = if wire.is_group { PlaceKind::Group } else { PlaceKind::Private };
        Self { id: wire.id, kind, title: wire.title }
    }
}

impl From<Sender> for WireSender {
    fn from(sender: Sender) -> Self {
        Self { id: sender.id, staff_id: sender.staff_id, name: sender.name }
    }
}

impl From<WireSender> for Sender {
    fn from(wire: WireSender) -> Self {
        Self { id: wire.id, staff_id: wire.staff_id, name: wire.name, corp_id: None }
    }
}

impl From<SessionWebhook> for WireWebhook {
    fn from(webhook: SessionWebhook) -> Self {
        Self { url: webhook.url, expires_at: webhook.expires_at.0 }
    }
}

impl From<WireWebhook> for SessionWebhook {
    fn from(wire: WireWebhook) -> Self {
        Self { url: wire.url, expires_at: Timestamp(wire.expires_at) }
    }
}
