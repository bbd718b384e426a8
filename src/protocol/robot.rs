//! What DingTalk tells a robot: its JSON to a [`Message`], or why there is none to carry.
//!
//! Guarantees that a message of any kind keeps its ids, its sender and its place; a kind that nobody
//! knows becomes a message without parts. Unknown fields are ignored. How the parts of a message are
//! read is in [`content`], what it replies to in [`quote`]. Deciding about it is left to others.

pub mod content;
pub mod forwarded;
pub mod quote;
#[cfg(test)]
mod tests;

use serde_json_borrow::Value;

use super::http::excerpt;
use super::loose;
use crate::domain::binding::is_robot_code;
use crate::domain::id::MsgId;
use crate::domain::inbound::{Message, Place, PlaceKind, Sender, SessionWebhook};
use crate::domain::time::Timestamp;

/// What came, as far as a robot is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Message(Box<Message>),
    /// Written in a group without a mention of the robot.
    NotMentioned,
    /// The robot hears itself.
    OwnMessage,
    /// The organisation's monthly quota is used up: DingTalk tells so and withholds the text.
    QuotaExceeded {
        said: String,
    },
}

/// The field without which a message cannot be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the robot message has no usable {0}")]
pub struct Malformed(pub &'static str);

const QUOTA_CODE: i64 = 20001;

/// True where `value` looks like a robot message rather than an event or a card callback.
pub fn is_robot_message(value: &Value<'_>) -> bool {
    ["msgtype", "msgId", "conversationId"].iter().any(|name| loose::field(value, name).is_some())
        || is_quota_notice(value)
}

/// Reads what DingTalk sent, in HTTP mode as the body and in Stream mode as `data`.
pub fn inspect(value: &Value<'_>) -> Result<Outcome, Malformed> {
    if is_quota_notice(value) {
        let said = ["errorMessage", "errMsg"].iter().find_map(|field| loose::text(value, field));
        let said = said.map_or_else(
            || "the monthly message quota is used up".to_owned(),
            |said| excerpt(said.as_bytes()),
        );
        return Ok(Outcome::QuotaExceeded { said });
    }
    let message = read(value)?;
    let robot = loose::said(value, "chatbotUserId");
    if robot.as_deref() == Some(&message.sender.id) {
        return Ok(Outcome::OwnMessage);
    }
    if message.place.kind == PlaceKind::Group && !is_mentioned(value, robot.as_deref()) {
        return Ok(Outcome::NotMentioned);
    }
    Ok(Outcome::Message(Box::new(message)))
}

fn is_quota_notice(value: &Value<'_>) -> bool {
    let code = ["errorCode", "errCode"].iter().find_map(|field| loose::number(value, field));
    let is_absent = |name: &&str| loose::field(value, name).is_none_or(Value::is_null);
    code == Some(QUOTA_CODE) && ["text", "content"].iter().all(is_absent)
}

fn is_mentioned(value: &Value<'_>, robot: Option<&str>) -> bool {
    let is_robot =
        |user: &Value<'_>| robot.is_some() && loose::said(user, "dingtalkId").as_deref() == robot;
    loose::is_set(value, "isInAtList") || loose::items(value, "atUsers").iter().any(is_robot)
}

fn read(value: &Value<'_>) -> Result<Message, Malformed> {
    let required = |name: &'static str| loose::said(value, name).ok_or(Malformed(name));
    let msg_id = MsgId::parse(&required("msgId")?).map_err(|_| Malformed("msgId"))?;
    let kind = required("msgtype")?;
    let staff_id = loose::text(value, "senderStaffId");
    let sender_id = loose::text(value, "senderId").or_else(|| staff_id.clone());
    let robot = loose::said(value, "chatbotUserId");
    let body = content::body(value, &kind);
    Ok(Message {
        msg_id,
        place: place(value)?,
        sender: Sender {
            id: sender_id.ok_or(Malformed("senderId"))?,
            staff_id,
            name: loose::text(value, "senderNick").unwrap_or_default(),
            corp_id: loose::text(value, "senderCorpId"),
        },
        robot_code: loose::text(value, "robotCode").filter(|code| is_robot_code(code)),
        created_at: ["createAt", "createA"]
            .iter()
            .find_map(|field| loose::number(value, field))
            .map(Timestamp),
        parts: content::parts(value, &kind, robot.as_deref()),
        quote: quote::read(value, body.as_deref()),
        webhook: webhook(value),
        kind: kind.into_owned(),
    })
}

fn place(value: &Value<'_>) -> Result<Place, Malformed> {
    let id = loose::text(value, "conversationId").ok_or(Malformed("conversationId"))?;
    let kind = match loose::said(value, "conversationType").as_deref() {
        Some("1") => PlaceKind::Private,
        Some("2") => PlaceKind::Group,
        Some(_) | None => return Err(Malformed("conversationType")),
    };
    Ok(Place { id, kind, title: loose::text(value, "conversationTitle") })
}

fn webhook(value: &Value<'_>) -> Option<SessionWebhook> {
    let url = loose::text(value, "sessionWebhook")?;
    let expires_at = loose::number(value, "sessionWebhookExpiredTime").filter(|&at| at > 0);
    let expires_at = expires_at.map_or(SessionWebhook::UNKNOWN_EXPIRY, Timestamp);
    Some(SessionWebhook { url, expires_at })
}
