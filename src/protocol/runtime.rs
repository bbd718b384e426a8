//! The turn as a callback runtime reads it, and the answer as it writes it: contract 6.
//!
//! Unknown fields of an answer are ignored. What is not an answer at all is an error: nobody is sent
//! an empty text because of it.

mod attachment;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::answer::{Answer, Interrupt};
use crate::domain::entry::ActionKind;
use crate::domain::inbound::PlaceKind;
use crate::domain::invocation::{Asked, TurnRequest};
use crate::domain::time::Timestamp;
use crate::protocol::surrogate;

use attachment::{Attachment, attachment};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Without the value, which may be a secret.
    #[error(
        "the answer is not JSON of the form {{\"text\": \"…\"}}: {what}, line {line}, column {column}"
    )]
    Json { what: &'static str, line: usize, column: usize },
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        let what = match error.classify() {
            Category::Syntax | Category::Io => "no JSON",
            Category::Data => "other fields or types",
            Category::Eof => "it ends too early",
        };
        Self::Json { what, line: error.line(), column: error.column() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    version: u8,
    turn_id: String,
    attempt: u32,
    xpert_id: &'a str,
    integration_id: &'a str,
    conversation: Conversation<'a>,
    sender: Sender<'a>,
    session: Session<'a>,
    action: Option<&'a str>,
    /// Of a custom action.
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumes: Option<String>,
    input: Input<'a>,
    reply_url: &'a str,
}

#[derive(Serialize)]
struct Conversation<'a> {
    key: &'a str,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    title: Option<&'a str>,
}

#[derive(Serialize)]
struct Sender<'a> {
    id: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session<'a> {
    thread_id: &'a str,
    is_new: bool,
    expires_at: String,
}

#[derive(Serialize)]
struct Input<'a> {
    text: &'a str,
    messages: Vec<Message<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    msg_id: &'a str,
    at: String,
    #[serde(rename = "type")]
    kind: &'a str,
    text: &'a str,
    files: Vec<Attachment<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quoted: Option<Quoted<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Quoted<'a> {
    msg_id: Option<&'a str>,
    text: &'a str,
    files: Vec<Attachment<'a>>,
}

/// The body of the `POST`.
pub fn encode(turn: &TurnRequest) -> Vec<u8> {
    let request = Request {
        version: 1,
        turn_id: turn.turn.to_string(),
        attempt: turn.attempt,
        xpert_id: turn.expert.as_str(),
        integration_id: turn.turn.conversation.integration.as_str(),
        conversation: Conversation {
            key: turn.turn.conversation.key.as_str(),
            id: &turn.place.id,
            kind: match turn.place.kind {
                PlaceKind::Private => "private",
                PlaceKind::Group => "group",
            },
            title: turn.place.title.as_deref(),
        },
        sender: Sender { id: turn.sender.user_id(), name: &turn.sender.name },
        session: Session {
            thread_id: &turn.session.thread_id,
            is_new: turn.session.is_new,
            expires_at: rfc3339(turn.session.expires_at),
        },
        action: turn.action.as_ref().map(action),
        params: params(turn),
        resumes: turn.resumes.as_ref().map(ToString::to_string),
        input: Input { text: &turn.text, messages: turn.messages.iter().map(message).collect() },
        reply_url: &turn.reply_url,
    };
    serde_json::to_vec(&request).expect("texts and numbers are always JSON")
}

/// The word for an action in contract 6.
pub fn action(kind: &ActionKind) -> &str {
    match kind {
        ActionKind::Confirm => "confirm",
        ActionKind::Reject => "reject",
        ActionKind::Custom(name) => name,
        // Never asked of a runtime.
        ActionKind::End => "end",
    }
}

/// A decision says all by its word; what a custom button carries is the expert's own.
fn params(turn: &TurnRequest) -> Option<Value> {
    match &turn.action {
        Some(ActionKind::Custom(_)) => serde_json::from_str(turn.params.as_deref()?).ok(),
        Some(ActionKind::Confirm | ActionKind::Reject | ActionKind::End) | None => None,
    }
}

fn message(asked: &Asked) -> Message<'_> {
    Message {
        msg_id: asked.msg_id.as_str(),
        at: rfc3339(asked.at),
        kind: &asked.kind,
        text: &asked.text,
        files: asked.files.iter().map(attachment).collect(),
        quoted: asked.quoted.as_ref().map(|quoted| Quoted {
            msg_id: quoted.msg_id.as_deref(),
            text: &quoted.text,
            files: quoted.files.iter().map(attachment).collect(),
        }),
    }
}

fn rfc3339(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[derive(Deserialize)]
struct Reply {
    text: String,
    interrupt: Option<Pause>,
}

#[derive(Deserialize)]
struct Pause {
    #[serde(default)]
    title: String,
    #[serde(default)]
    text: String,
}

impl From<Pause> for Interrupt {
    fn from(pause: Pause) -> Self {
        Self { title: pause.title, text: pause.text }
    }
}

/// How long the JSON of an answer may be, at once or late, whose text is cut at `answer_max_bytes`: it may
/// write a character as six, and what is longer still is no answer.
pub fn body_max_bytes(answer_max_bytes: usize) -> usize {
    answer_max_bytes.saturating_mul(6).saturating_add(64 * 1024)
}

/// The answer of a 200 with JSON, or of a late `POST` to the turn's reply address.
pub fn decode(body: &[u8]) -> Result<Answer, Error> {
    let reply: Reply = surrogate::from_foreign(body)?;
    Ok(Answer { text: reply.text, interrupt: reply.interrupt.map(Into::into) })
}

/// One event of a streamed answer. Its texts may end in half an emoji: see [`whole`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    pub delta: String,
    pub is_done: bool,
    pub interrupt: Option<Interrupt>,
}

pub fn decode_step(data: &str) -> Result<Step, Error> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default)]
        delta: String,
        #[serde(default)]
        done: bool,
        interrupt: Option<Pause>,
    }
    let wire: Wire = surrogate::parsed_in_pieces(data.as_bytes())?;
    Ok(Step { delta: wire.delta, is_done: wire.done, interrupt: wire.interrupt.map(Into::into) })
}

/// An answer whose deltas were put together.
pub fn whole(answer: Answer) -> Answer {
    let interrupt = answer.interrupt.map(|asked| Interrupt {
        title: surrogate::joined(asked.title),
        text: surrogate::joined(asked.text),
    });
    Answer { text: surrogate::joined(answer.text), interrupt }
}

#[cfg(test)]
mod tests;
