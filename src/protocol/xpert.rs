//! Xpert's public API: what is posted to threads and runs, and what their streams mean.
//!
//! [`Fold`] reads a run's events into an answer; it may be fed any part of a stream again from the last
//! id it saw. Events that say nothing about the answer are skipped, whatever their shape.

use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::answer::{Answer, Interrupt};
use crate::domain::entry::ActionKind;
use crate::domain::id::TurnId;
use crate::domain::time::Timestamp;
use crate::protocol::foreign::{is_event_id, is_id};
use crate::protocol::sse::Event;
use crate::protocol::surrogate;

/// Makes the thread of a session, or does nothing where it is there.
pub fn thread_body(thread_id: &str, expert: &str) -> Value {
    json!({ "thread_id": thread_id, "assistant_id": expert, "if_exists": "do_nothing" })
}

/// Asks the expert. The turn is named, so that people can find it in Xpert's own records. `files` are
/// the server's own records of them.
pub fn send_body(expert: &str, turn: &str, text: &str, files: &[Value]) -> Value {
    let input = if files.is_empty() {
        json!({ "input": text })
    } else {
        json!({ "input": text, "files": files })
    };
    json!({
        "assistant_id": expert,
        "input": { "action": "send", "message": { "clientMessageId": turn, "input": input } },
    })
}

/// The server's record of a file that it was given: an object, whatever is in it.
pub fn decode_file(body: &[u8]) -> Option<String> {
    let value: Value = surrogate::from_foreign(body).ok()?;
    value.is_object().then(|| value.to_string())
}

/// Goes on with an interrupted run; `None` for actions that are no decision.
pub fn resume_body(expert: &str, run: &str, action: &ActionKind) -> Option<Value> {
    let decision = match action {
        ActionKind::Confirm => "confirm",
        ActionKind::Reject => "reject",
        ActionKind::Custom(_) | ActionKind::End => return None,
    };
    Some(json!({
        "assistant_id": expert,
        "input": {
            "action": "resume",
            "target": { "executionId": run },
            "decision": { "type": decision },
        },
    }))
}

/// Says more into a run at work. `steered` names what is said, as [`steer_id`] has it.
pub fn steer_body(expert: &str, run: &str, steered: &str, text: &str) -> Value {
    json!({
        "assistant_id": expert,
        "input": {
            "action": "follow_up",
            "mode": "steer",
            "target": { "executionId": run },
            "message": { "clientMessageId": steered, "input": { "input": text } },
        },
    })
}

/// What follows the turn's id in the name of a message that is said into a run. The name is never that
/// of a turn: the server would answer a turn of that name with this message's words alone.
const STEERED: &str = "/steer";

/// Names what is said into a run: `turn` as it will be once the run has read it.
pub fn steer_id(turn: &TurnId) -> String {
    format!("{turn}{STEERED}")
}

/// The turn in a name that [`steer_id`] gave.
pub fn steered_turn(name: &str) -> Option<TurnId> {
    name.strip_suffix(STEERED)?.parse().ok()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub id: String,
    pub status: Status,
    pub created_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Pending,
    Running,
    Success,
    Error,
    Timeout,
    Interrupted,
    /// A word of a later release.
    Unknown,
}

#[derive(Deserialize)]
struct WireRun {
    run_id: String,
    #[serde(default)]
    status: String,
    created_at: Option<String>,
}

pub fn decode_run(body: &[u8]) -> Option<Run> {
    run(surrogate::from_foreign::<WireRun>(body).ok()?)
}

/// The runs of a thread, in whatever order the server lists them.
pub fn decode_runs(body: &[u8]) -> Option<Vec<Run>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wire {
        List(Vec<WireRun>),
        Page { items: Vec<WireRun> },
    }
    let list = match surrogate::from_foreign(body).ok()? {
        Wire::List(list) | Wire::Page { items: list } => list,
    };
    list.into_iter().map(run).collect()
}

/// `None` if its name must not stand in a path.
fn run(wire: WireRun) -> Option<Run> {
    if !is_id(&wire.run_id) {
        return None;
    }
    let status = match wire.status.as_str() {
        "pending" => Status::Pending,
        "running" => Status::Running,
        "success" => Status::Success,
        "error" => Status::Error,
        "timeout" => Status::Timeout,
        "interrupted" => Status::Interrupted,
        _ => Status::Unknown,
    };
    let created_at = wire.created_at.as_deref().and_then(time_of);
    Some(Run { id: wire.run_id, status, created_at })
}

fn time_of(text: &str) -> Option<Timestamp> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    i64::try_from(nanos / 1_000_000).ok().map(Timestamp)
}

/// The conversation of a thread.
pub fn decode_thread(body: &[u8]) -> Option<String> {
    let value: Value = surrogate::from_foreign(body).ok()?;
    text_at(value.get("metadata")?, "id").filter(|id| is_id(id)).map(ToOwned::to_owned)
}

/// How many messages a conversation has, and what the expert said last on this page of them.
pub fn decode_last_message(body: &[u8]) -> (u64, Option<String>) {
    let value: Value = surrogate::from_foreign(body).unwrap_or_default();
    let total = value.get("total").and_then(Value::as_u64).unwrap_or_default();
    let last = value.get("items").and_then(Value::as_array).and_then(|items| items.last());
    let content = last.filter(|item| text_at(item, "role") == Some("ai"));
    let said =
        content.and_then(|item| item.get("content")).and_then(|said| match said.as_array() {
            Some(parts) => Some(parts.iter().filter_map(|part| text_at(part, "text")).collect()),
            None => said.as_str().map(ToOwned::to_owned),
        });
    (total, said)
}

/// How a run came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Answered,
    /// It waits for a decision.
    Interrupted(Interrupt),
    /// Somebody cancelled it.
    Cancelled,
    Failed(String),
}

/// A run's events, read so far.
pub struct Fold {
    text: String,
    /// What is over it is not kept; one piece over it shows that the answer was longer.
    text_max_bytes: usize,
    before: Before,
    beginning: Beginning,
    /// The id of the last event.
    pub last_event_id: Option<String>,
    pub conversation: Option<String>,
    /// The names of what was said into the run and has been read there since it was last asked.
    pub read: Vec<String>,
    pub end: Option<End>,
    /// The stream said that nothing follows.
    pub is_complete: bool,
}

/// What the last piece of the answer was: it decides what separates the next.
#[derive(PartialEq)]
enum Before {
    Nothing,
    Text(Option<String>),
    Component,
}

/// Whether the event was there that every run begins with: the server keeps only so many of the last.
#[derive(PartialEq)]
enum Beginning {
    Unknown,
    Seen,
    Gone,
}

impl Fold {
    /// Begins after the event `from`, or at the first.
    pub fn new(text_max_bytes: usize, from: Option<String>) -> Self {
        Self {
            text: String::new(),
            text_max_bytes,
            before: Before::Nothing,
            beginning: if from.is_some() { Beginning::Seen } else { Beginning::Unknown },
            last_event_id: from,
            conversation: None,
            read: Vec::new(),
            end: None,
            is_complete: false,
        }
    }

    pub fn push(&mut self, event: &Event) {
        match &event.id {
            Some(id) if is_event_id(id) => self.last_event_id = Some(id.clone()),
            // The stream could not be read on from here.
            Some(_) => {
                self.end = Some(End::Failed("an event's id is unreadable".to_owned()));
                return;
            }
            None => {}
        }
        if event.kind.as_deref() == Some("error") {
            self.end = Some(End::Failed(event.data.clone()));
            return;
        }
        // Some servers send their keep-alive as data.
        let Some(value) = read(event.data.as_bytes()) else { return };
        let data = value.get("data").unwrap_or(&Value::Null);
        if self.beginning == Beginning::Unknown {
            let is_first = text_at(&value, "event") == Some("on_conversation_start");
            self.beginning = if is_first { Beginning::Seen } else { Beginning::Gone };
        }
        match (text_at(&value, "type"), text_at(&value, "event")) {
            (Some("complete"), _) => self.is_complete = true,
            (Some("message"), _) => self.push_message(data),
            (Some("event"), Some("on_conversation_start")) => self.learn_conversation(data),
            (Some("event"), Some("on_conversation_end")) => {
                self.learn_conversation(data);
                self.end = Some(end(data));
            }
            (Some("event"), Some("on_error")) => self.end = Some(failed(data)),
            (Some("event"), Some("on_chat_event")) => self.read.extend(names_read(data)),
            (_, _) => {}
        }
    }

    fn learn_conversation(&mut self, data: &Value) {
        let id = text_at(data, "id").filter(|id| is_id(id)).map(ToOwned::to_owned);
        self.conversation = id.or_else(|| self.conversation.take());
    }

    fn push_message(&mut self, data: &Value) {
        if let Some(text) = data.as_str() {
            return self.push_text(None, text);
        }
        match text_at(data, "type") {
            Some("text") => {
                let id = text_at(data, "id").map(ToOwned::to_owned);
                self.push_text(id, text_at(data, "text").unwrap_or_default());
            }
            Some("component") => self.before = Before::Component,
            Some(_) | None => {}
        }
    }

    fn push_text(&mut self, id: Option<String>, text: &str) {
        if text.is_empty() || self.text.len() > self.text_max_bytes {
            return;
        }
        let now = Before::Text(id);
        let separator = match &self.before {
            before if *before == now => "",
            Before::Nothing => "",
            Before::Component => "\n\n",
            Before::Text(_) => "\n",
        };
        let is_apart = self.text.is_empty()
            || self.text.ends_with(char::is_whitespace)
            || text.starts_with(char::is_whitespace);
        if !is_apart {
            self.text.push_str(separator);
        }
        self.text.push_str(text);
        self.before = now;
    }

    /// The events begin in the middle of the run.
    pub fn lacks_beginning(&self) -> bool {
        self.beginning == Beginning::Gone
    }

    pub fn has_text(&self) -> bool {
        !self.text.trim().is_empty()
    }

    /// The answer so far.
    pub fn into_answer(self, interrupt: Option<Interrupt>) -> Answer {
        Answer { text: surrogate::joined(self.text), interrupt }
    }
}

/// The JSON of an event. A piece of the answer may end in half an emoji, whose other half begins the next.
fn read(data: &[u8]) -> Option<Value> {
    serde_json::from_slice(data).ok().or_else(|| {
        let mended: Value = surrogate::mended(data)?;
        let is_piece = text_at(&mended, "type") == Some("message");
        if is_piece { surrogate::parsed_in_pieces(data).ok() } else { Some(mended) }
    })
}

/// Of the event that a run has read what was said into it.
fn names_read(data: &Value) -> Vec<String> {
    let is_read = text_at(data, "type") == Some("follow_up_consumed");
    let names = data.get("clientMessageIds").and_then(Value::as_array).filter(|_| is_read);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.map(ToOwned::to_owned).collect()
}

fn end(data: &Value) -> End {
    match text_at(data, "status") {
        Some("interrupted") => match data.get("operation").filter(|value| value.is_object()) {
            Some(operation) => End::Interrupted(interrupt(operation)),
            None => End::Cancelled,
        },
        Some("error") => failed(data),
        Some(_) | None => End::Answered,
    }
}

fn failed(data: &Value) -> End {
    let error = text_at(data, "error").or(data.as_str()).unwrap_or("the expert gave no reason");
    End::Failed(error.to_owned())
}

/// What the person is asked to decide: every task with what it would be called with.
fn interrupt(operation: &Value) -> Interrupt {
    let empty = Vec::new();
    let tasks = operation.get("tasks").and_then(Value::as_array).unwrap_or(&empty);
    let mut titles = Vec::new();
    let mut lines = Vec::new();
    for task in tasks {
        let info = task.get("info").unwrap_or(&Value::Null);
        let title = [(info, "title"), (info, "name"), (task, "name")]
            .into_iter()
            .find_map(|(value, name)| text_at(value, name));
        titles.extend(title);
        lines.extend(text_at(info, "description").map(ToOwned::to_owned));
        let arguments = task.get("call").and_then(|call| call.get("args"));
        for (name, value) in arguments.and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            lines.push(format!("- {name}: {value}"));
        }
        let questions = task.get("interrupts").and_then(Value::as_array).unwrap_or(&empty);
        for value in questions.iter().filter_map(|question| question.get("value")) {
            lines.extend(value.as_str().map(ToOwned::to_owned));
        }
    }
    Interrupt { title: titles.join(", "), text: lines.join("\n") }
}

fn text_at<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

#[cfg(test)]
mod tests;
