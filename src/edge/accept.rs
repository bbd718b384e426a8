//! What becomes of a payload of DingTalk: an entry for the log, or a reason to leave it.
//!
//! Pure, and the same for both modes: the HTTP body and the `data` of a Stream frame are one JSON.
//! Guarantees that the same payload always has the same message id, so that the log takes it once.
//! Verifying who sent it comes before, storing it after.

#[cfg(test)]
mod tests;

use serde_json_borrow::Value;

use crate::domain::binding::{Integration, Scope};
use crate::domain::command::Command;
use crate::domain::entry::{Action, ActionKind, Control, ControlKind, Entry, Origin};
use crate::domain::id::{Conversation, TurnId};
use crate::domain::inbound::{Message, Place, PlaceKind, Sender};
use crate::io::log;
use crate::protocol::action::{self, Link};
use crate::protocol::{card, loose, robot, subject};

/// What a payload is, by its look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// With its type.
    Event(String),
    Robot,
    Card,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Publish(Box<Publish>),
    Ignore(Ignored),
}

/// One entry for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub conversation: Conversation,
    /// The log stores it once.
    pub message_id: String,
    pub entry: Entry,
}

/// Why nothing is published. DingTalk gets the same answer as for what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ignored {
    /// An event, by its type.
    Event(String),
    /// Written in a group without a mention of the robot.
    NotMentioned,
    OwnMessage,
    /// The monthly quota is used up; what DingTalk said about it.
    QuotaExceeded(String),
    ForeignCard,
}

impl Ignored {
    /// The `result` of `dt_inbound_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Event(_) => "ignored_event",
            Self::NotMentioned => "ignored_not_mentioned",
            Self::OwnMessage => "ignored_own_message",
            Self::QuotaExceeded(_) => "ignored_quota",
            Self::ForeignCard => "ignored_foreign_card",
        }
    }
}

/// The field without which a payload cannot be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be read")]
pub struct Malformed(pub &'static str);

/// `None` where it looks like nothing that DingTalk sends.
pub fn payload(value: &Value<'_>) -> Option<Payload> {
    let event =
        ["EventType", "eventType"].iter().find_map(|name| loose::field(value, name)?.as_str());
    if let Some(event) = event {
        return Some(Payload::Event(event.to_owned()));
    }
    if card::is_card_callback(value) {
        return Some(Payload::Card);
    }
    robot::is_robot_message(value).then_some(Payload::Robot)
}

pub fn decide(
    integration: &Integration,
    payload: &Payload,
    value: &Value<'_>,
) -> Result<Decision, Malformed> {
    match payload {
        Payload::Event(event) => Ok(Decision::Ignore(Ignored::Event(event.clone()))),
        Payload::Robot => robot(integration, value),
        Payload::Card => card(integration, value),
    }
}

/// A robot message: the group rule, own messages, commands.
pub fn robot(integration: &Integration, value: &Value<'_>) -> Result<Decision, Malformed> {
    let message = match robot::inspect(value).map_err(|error| Malformed(error.0))? {
        robot::Outcome::Message(message) => message,
        robot::Outcome::NotMentioned => return Ok(Decision::Ignore(Ignored::NotMentioned)),
        robot::Outcome::OwnMessage => return Ok(Decision::Ignore(Ignored::OwnMessage)),
        robot::Outcome::QuotaExceeded { said } => {
            return Ok(Decision::Ignore(Ignored::QuotaExceeded(said)));
        }
    };
    let conversation =
        conversation(integration, message.place.kind, &message.place.id, &message.sender.id);
    let message_id = log::robot_id(&integration.id, &message.msg_id);
    let entry = entry(*message);
    Ok(Decision::Publish(Box::new(Publish { conversation, message_id, entry })))
}

/// A press on a card: its conversation is that of the turn whose card it is.
pub fn card(integration: &Integration, value: &Value<'_>) -> Result<Decision, Malformed> {
    match card::inspect(&integration.id, value).map_err(|error| Malformed(error.0))? {
        card::Outcome::Foreign => Ok(Decision::Ignore(Ignored::ForeignCard)),
        card::Outcome::Pressed(press) => Ok(Decision::Publish(Box::new(Publish {
            conversation: press.turn.conversation,
            message_id: press.message_id,
            entry: press.entry,
        }))),
    }
}

/// A verified link; `signature` is its own, so that it acts once.
pub fn link(integration: &Integration, link: &Link, signature: &str) -> Publish {
    let sender = Sender {
        id: link.sender_id.clone(),
        staff_id: link.staff_id.clone(),
        name: String::new(),
        corp_id: None,
    };
    let place =
        link.place_kind.map(|kind| Place { id: link.conversation_id.clone(), kind, title: None });
    let conversation = match &link.turn {
        Some(turn) => turn.conversation.clone(),
        None => {
            let kind = link.place_kind.unwrap_or(PlaceKind::Private);
            conversation(integration, kind, &link.conversation_id, &link.sender_id)
        }
    };
    Publish {
        conversation,
        message_id: format!("{}:link:{signature}", integration.id),
        entry: link_entry(integration, link, sender, place),
    }
}

fn link_entry(
    integration: &Integration,
    link: &Link,
    sender: Sender,
    place: Option<Place>,
) -> Entry {
    let answer = |turn: &TurnId, kind, by, place| {
        Entry::Action(Action { turn: turn.clone(), kind, by, place, params: "{}".to_owned() })
    };
    match (link.kind, &link.turn) {
        (action::Kind::Confirm, Some(turn)) => answer(turn, ActionKind::Confirm, sender, place),
        (action::Kind::Reject, Some(turn)) => answer(turn, ActionKind::Reject, sender, place),
        (action::Kind::End, Some(turn)) => answer(turn, ActionKind::End, sender, place),
        // A verified link without a turn is an end.
        (action::Kind::End | action::Kind::Confirm | action::Kind::Reject, _) => {
            let origin = place.map(|place| Origin {
                place,
                sender,
                robot_code: integration.robot_code.clone(),
                webhook: None,
            });
            Entry::Control(Control { kind: ControlKind::End, origin })
        }
    }
}

fn entry(message: Message) -> Entry {
    match Command::of(&message) {
        Some(command) => command.entry(&message),
        None => Entry::Message(message),
    }
}

/// Whose conversation it is: the person's, or the whole group's where the integration says so.
fn conversation(
    integration: &Integration,
    kind: PlaceKind,
    conversation_id: &str,
    sender_id: &str,
) -> Conversation {
    let is_shared = kind == PlaceKind::Group && integration.scope == Scope::Group;
    let sender = (!is_shared).then_some(sender_id);
    subject::conversation(&integration.id, conversation_id, sender)
}
