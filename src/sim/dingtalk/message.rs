//! Messages as a person writes them, in the JSON that DingTalk sends to a robot.
//!
//! The fields are those of captured messages, with ids in DingTalk's form. Bringing them to the robot,
//! and again where it does not answer, is left to `delivery`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::app::{AppState, Receive};
use super::cloud::{Cloud, Conversation, Place, random_id, short_hash};
use super::delivery::{Push, PushKind};
use super::record::{Kind, Record};

pub const CORP_ID: &str = "dingsimulated0b3f73fd635c2f4657eb6378f";

/// A message of a person to a robot.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Say {
    /// Client id or robot code.
    pub robot: String,
    /// The group's conversation id; absent in a direct chat.
    #[serde(default)]
    pub group: Option<String>,
    /// The group's name, taken when it is first written to; absent: its id.
    #[serde(default)]
    pub title: Option<String>,
    /// The sender's staff id.
    pub sender: String,
    /// Shown name; absent: the staff id.
    #[serde(default)]
    pub nick: Option<String>,
    #[serde(default)]
    pub text: String,
    /// Anything but text: `msgtype` and the part that goes with it, as in DingTalk's JSON.
    #[serde(default)]
    pub content: Option<Value>,
    /// In a group: whether the robot is mentioned. Without it DingTalk does not deliver.
    #[serde(default)]
    pub unmentioned: bool,
    /// Delivers a group message without a mention nevertheless.
    #[serde(default)]
    pub force: bool,
    /// The message replied to: DingTalk's `repliedMsg`.
    #[serde(default)]
    pub quote: Option<Value>,
    /// Absent: a new one.
    #[serde(default)]
    pub msg_id: Option<String>,
    /// Fields that replace or join those of the payload; null removes one.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

impl Say {
    pub fn direct(robot: &str, sender: &str, text: &str) -> Self {
        Self {
            robot: robot.to_owned(),
            sender: sender.to_owned(),
            text: text.to_owned(),
            ..Self::default()
        }
    }

    pub fn group(robot: &str, group: &str, sender: &str, text: &str) -> Self {
        Self { group: Some(group.to_owned()), ..Self::direct(robot, sender, text) }
    }

    #[must_use]
    pub fn content(mut self, content: Value) -> Self {
        self.content = Some(content);
        self
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub msg_id: String,
    pub conversation: String,
}

impl Cloud {
    /// Records the message and pushes it. `None` where no such robot exists.
    pub fn say(self: &Arc<Self>, say: Say) -> Option<Said> {
        let app = self.app(&say.robot)?;
        let conversation = match &say.group {
            Some(group) => {
                let title = say.title.as_ref().unwrap_or(group);
                self.group(&app.app.client_id, group, title)
            }
            None => self.direct(&app.app.client_id, &say.sender),
        };
        let msg_id = say.msg_id.clone().unwrap_or_else(|| random_id("msg"));
        let body = self.payload(&app, &conversation, &say, &msg_id);
        self.record(Record {
            kind: Kind::Said,
            robot: app.app.client_id.clone(),
            conversation: conversation.id.clone(),
            person: say.sender.clone(),
            msg_id: msg_id.clone(),
            text: say.text,
            body: body.clone(),
            ..Record::default()
        });
        let said = Said { msg_id: msg_id.clone(), conversation: conversation.id.clone() };
        if say.group.is_some() && say.unmentioned && !say.force {
            return Some(said);
        }
        let push = Push {
            app,
            kind: PushKind::Bot,
            conversation: conversation.id.clone(),
            person: say.sender,
            msg_id,
            data: body,
        };
        self.push(push, None);
        Some(said)
    }

    fn payload(&self, app: &AppState, place: &Conversation, say: &Say, msg_id: &str) -> Value {
        let now = self.now_ms();
        let life = i64::try_from(self.config.webhook_life.as_millis()).unwrap_or(i64::MAX);
        let expires = now.saturating_add(life);
        place.session_expires_ms.fetch_max(expires, Ordering::Relaxed);
        let robot_user = encrypted(&["robot", &app.app.client_id]);
        let mut body = json!({
            "conversationId": place.id,
            "openThreadId": place.id,
            "chatbotCorpId": CORP_ID,
            "chatbotUserId": robot_user,
            "msgId": msg_id,
            "senderNick": say.nick.as_ref().unwrap_or(&say.sender),
            "isAdmin": false,
            "senderStaffId": say.sender,
            "senderCorpId": CORP_ID,
            "senderPlatform": "Mac",
            "senderId": encrypted(&["person", &say.sender]),
            "sessionWebhook": format!("{}/robot/sendBySession?session={}", self.url, place.session),
            "sessionWebhookExpiredTime": expires,
            "createAt": now,
            "conversationType": "1",
            "robotCode": app.app.robot_code(),
        });
        let Some(fields) = body.as_object_mut() else { return body };
        if let Place::Group { title } = &place.place {
            fields.insert("conversationType".to_owned(), json!("2"));
            fields.insert("conversationTitle".to_owned(), json!(title));
            fields.insert("isInAtList".to_owned(), json!(!say.unmentioned));
            let mentioned =
                if say.unmentioned { json!([]) } else { json!([{ "dingtalkId": robot_user }]) };
            fields.insert("atUsers".to_owned(), mentioned);
        }
        add_content(fields, say, matches!(place.place, Place::Group { .. }));
        for (name, value) in &say.extra {
            match value {
                Value::Null => drop(fields.remove(name)),
                value => drop(fields.insert(name.clone(), value.clone())),
            }
        }
        body
    }

    /// Pushes any JSON as a robot message, for shapes that no person can write.
    pub fn say_raw(self: &Arc<Self>, robot: &str, body: Value) -> bool {
        let Some(app) = self.app(robot) else { return false };
        let field =
            |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let push = Push {
            app,
            kind: PushKind::Bot,
            conversation: field("conversationId"),
            person: field("senderStaffId"),
            msg_id: field("msgId"),
            data: body,
        };
        self.push(push, None);
        true
    }

    /// Pushes an organisation event; its id is returned.
    pub fn event(self: &Arc<Self>, robot: &str, event_type: &str, data: Value) -> Option<String> {
        let app = self.app(robot)?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        // Over HTTP the event's own name and place are part of its body, not headers beside it.
        let is_http = matches!(app.app.receive, Receive::Http { .. });
        let data = if is_http { self.named_event(event_type, &id, &data) } else { data };
        let push = Push {
            app,
            kind: PushKind::Event { event_type: event_type.to_owned() },
            conversation: String::new(),
            person: String::new(),
            msg_id: id.clone(),
            data,
        };
        self.push(push, None);
        Some(id)
    }
}

impl Cloud {
    fn named_event(&self, event_type: &str, id: &str, data: &Value) -> Value {
        let mut named = json!({ "EventType": event_type });
        if event_type != "check_url"
            && let Some(fields) = named.as_object_mut()
        {
            fields.insert("EventTime".to_owned(), json!(self.now_ms()));
            fields.insert("CorpId".to_owned(), json!(CORP_ID));
            fields.insert("eventId".to_owned(), json!(id));
            fields.extend(data.as_object().cloned().unwrap_or_default());
        }
        named
    }
}

/// The mention is stripped from a group's text and leaves a space.
fn add_content(fields: &mut Map<String, Value>, say: &Say, is_group: bool) {
    if let Some(Value::Object(content)) = &say.content {
        fields.extend(content.clone());
    } else {
        let lead = if is_group && !say.unmentioned { " " } else { "" };
        fields.insert("msgtype".to_owned(), json!("text"));
        fields.insert("text".to_owned(), json!({ "content": format!("{lead}{}", say.text) }));
    }
    let Some(quote) = &say.quote else { return };
    if let Some(quoted) = quote.get("msgId") {
        fields.insert("originalMsgId".to_owned(), quoted.clone());
    }
    let text = fields.entry("text").or_insert_with(|| json!({}));
    if let Some(text) = text.as_object_mut() {
        text.insert("isReplyMsg".to_owned(), json!(true));
        text.insert("repliedMsg".to_owned(), quote.clone());
    }
}

/// DingTalk's form of an id that only it can read.
fn encrypted(parts: &[&str]) -> String {
    format!("$:LWCP_v1:${}", short_hash(parts))
}
