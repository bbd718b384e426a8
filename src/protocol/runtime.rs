//! The turn as a callback runtime reads it, and the answer as it writes it: contract 6.
//!
//! Unknown fields of an answer are ignored. What is not an answer at all is an error: nobody is sent
//! an empty text because of it.

mod attachment;

use std::borrow::Cow;

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
struct Reply<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
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
    let reply: Reply<'_> = serde_json::from_slice(body)?;
    Ok(Answer { text: reply.text.into_owned(), interrupt: reply.interrupt.map(Into::into) })
}

/// One event of a streamed answer.
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
    let wire: Wire = serde_json::from_str(data)?;
    Ok(Step { delta: wire.delta, is_done: wire.done, interrupt: wire.interrupt.map(Into::into) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::binding::Language;
    use crate::domain::id::{ExpertId, MsgId};
    use crate::domain::inbound;
    use crate::domain::invocation;
    use serde_json::json;

    fn turn() -> TurnRequest {
        TurnRequest {
            turn: "robot-1.abcdefghijklmnopqrstuvwx23.42".parse().unwrap(),
            attempt: 2,
            expert: ExpertId::parse("expert-1").unwrap(),
            place: inbound::Place {
                id: "cidA==".into(),
                kind: PlaceKind::Group,
                title: Some("组".into()),
            },
            sender: inbound::Sender {
                id: "$:LWCP".into(),
                staff_id: Some("staff1".into()),
                name: "Ann".into(),
            },
            session: invocation::Session {
                thread_id: "t-1".into(),
                is_new: true,
                expires_at: Timestamp(1_700_000_000_000),
            },
            action: None,
            params: None,
            resumes: None,
            text: "hello".into(),
            messages: vec![Asked {
                msg_id: MsgId::parse("msg1==").unwrap(),
                at: Timestamp(1_700_000_000_123),
                kind: "text".into(),
                text: "hello".into(),
                files: vec![],
                quoted: None,
            }],
            reply_url: "https://edge/api/turns/x/reply".into(),
            language: Language::En,
            started_at: Timestamp(0),
            is_repeat: false,
            run: None,
            resumed_run: None,
        }
    }

    #[test]
    fn the_request_has_exactly_the_fields_of_the_contract() {
        let found: Value = serde_json::from_slice(&encode(&turn())).unwrap();
        let expected = json!({
            "version": 1,
            "turnId": "robot-1.abcdefghijklmnopqrstuvwx23.42",
            "attempt": 2,
            "xpertId": "expert-1",
            "integrationId": "robot-1",
            "conversation": {
                "key": "abcdefghijklmnopqrstuvwx23", "id": "cidA==", "type": "group", "title": "组"
            },
            "sender": {"id": "staff1", "name": "Ann"},
            "session": {"threadId": "t-1", "isNew": true, "expiresAt": "2023-11-14T22:13:20Z"},
            "action": null,
            "input": {"text": "hello", "messages": [{
                "msgId": "msg1==", "at": "2023-11-14T22:13:20.123Z", "type": "text", "text": "hello",
                "files": []
            }]},
            "replyUrl": "https://edge/api/turns/x/reply",
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_quote_stands_beside_the_message_that_quotes() {
        let mut turn = turn();
        let (msg_id, text) = (Some("q==".into()), "q".into());
        turn.messages[0].quoted = Some(invocation::Quoted { msg_id, text, files: vec![] });
        let found: Value = serde_json::from_slice(&encode(&turn)).unwrap();
        let expected = json!({"msgId": "q==", "text": "q", "files": []});
        assert_eq!(found["input"]["messages"][0]["quoted"], expected);
    }

    #[test]
    fn an_action_names_itself_and_the_turn_it_answers() {
        let mut turn = turn();
        turn.resumes = Some("robot-1.abcdefghijklmnopqrstuvwx23.41".parse().unwrap());
        let table = [
            (ActionKind::Confirm, "confirm"),
            (ActionKind::Reject, "reject"),
            (ActionKind::Custom("later".into()), "later"),
        ];
        for (kind, expected) in table {
            turn.action = Some(kind);
            let found: Value = serde_json::from_slice(&encode(&turn)).unwrap();
            assert_eq!(found["action"], expected);
            assert_eq!(found["resumes"], "robot-1.abcdefghijklmnopqrstuvwx23.41");
        }
    }

    #[test]
    fn answers_read_with_and_without_an_interrupt_and_nothing_else_passes() {
        let interrupt = Some(Interrupt { title: "T".into(), text: "Q?".into() });
        let table = [
            (r#"{"text":"hi"}"#, Some(Answer { text: "hi".into(), interrupt: None })),
            (r#"{"text":"a\nb","more":1}"#, Some(Answer { text: "a\nb".into(), interrupt: None })),
            (
                r#"{"text":"","interrupt":{"title":"T","text":"Q?"}}"#,
                Some(Answer { text: String::new(), interrupt }),
            ),
            (r#"{"interrupt":null}"#, None),
            (r#"{"text":1}"#, None),
            ("<html>", None),
            ("", None),
        ];
        for (body, expected) in table {
            assert_eq!(decode(body.as_bytes()).ok(), expected, "{body}");
        }
    }

    #[test]
    fn why_something_is_no_answer_is_said_without_what_it_says() {
        let table = [
            (r#"{"text":{"key":"hidden"}}"#, "other fields or types, line 1, column "),
            (r#"{"text":"hidden","text":"hidden"}"#, "other fields or types"),
            (r#""hidden""#, "other fields or types"),
            (r#"{"text":"hidden"#, "it ends too early, line 1"),
            ("hidden", "no JSON, line 1, column 1"),
        ];
        for (body, expected) in table {
            for error in [decode(body.as_bytes()).err(), decode_step(body).err()] {
                let Some(said) = error.map(|error| error.to_string()) else { continue };
                assert!(said.contains(expected) && !said.contains("hidden"), "{said}");
            }
            assert!(decode(body.as_bytes()).is_err());
        }
    }

    #[test]
    fn streamed_steps_read_as_deltas_and_an_end() {
        let delta = Step { delta: "a".into(), ..Step::default() };
        assert_eq!(decode_step(r#"{"delta":"a"}"#).unwrap(), delta);
        let end = decode_step(r#"{"done":true,"interrupt":{"title":"T"}}"#).unwrap();
        assert!(end.is_done && end.interrupt.is_some());
        assert!(decode_step("[DONE]").is_err());
    }
}
