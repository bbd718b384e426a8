//! A dead letter as the admin API shows it: the line of a list, and one with its payload and what each
//! attempt met.
//!
//! What a person wrote is shown only where one letter is asked for. Nothing here changes a letter.

use serde::{Deserialize, Serialize};

use super::super::problem::Problem;
use super::super::views::rfc3339;
use crate::domain::entry::{Entry, Logged};
use crate::domain::inbound::Message;
use crate::domain::turn::failed::{FailedAttempt, Tried};
use crate::io::dead::{Buried, What};
use crate::io::store;
use crate::io::store::dead::{Settled, State as Settlement};
use crate::protocol::runtime;

/// Of each text so much is shown.
const EXCERPT_CHARS: usize = 2000;

/// Also the form in which SQL remembers one whose record is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    pub(super) id: String,
    pub(super) at: String,
    pub(super) stage: String,
    pub(super) reason: String,
    pub(super) integration_id: Option<String>,
    pub(super) xpert_id: Option<String>,
    pub(super) conversation_key: Option<String>,
    pub(super) turn_id: Option<String>,
    msg_ids: Vec<String>,
    attempts: u32,
    pub(super) state: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    #[serde(flatten)]
    item: Item,
    /// `null` where the record is gone.
    payload: Option<Payload>,
    /// What the runtime, DingTalk or the broker said last.
    response: Option<String>,
    /// The oldest first; of many the first and the last.
    failed_attempts: Vec<AttemptView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptView {
    at: String,
    /// `ask` or `send`.
    tried: &'static str,
    /// Which of the answer's segments was sent, from 1.
    segment: Option<u32>,
    attempt: u32,
    reason: &'static str,
    response: String,
}

#[derive(Debug, Serialize)]
struct Payload {
    text: String,
    entries: Vec<EntryView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryView {
    seq: u64,
    at: String,
    kind: &'static str,
    msg_id: Option<String>,
    #[serde(rename = "type")]
    message_type: Option<String>,
    sender_id: Option<String>,
    text: String,
}

pub(super) fn item(buried: &Buried) -> Item {
    let conversation = buried.conversation.as_ref();
    let mut item = Item {
        id: buried.seq.to_string(),
        at: rfc3339(buried.at),
        stage: buried.stage.clone(),
        reason: "decode".to_owned(),
        integration_id: conversation.map(|it| it.integration.to_string()),
        xpert_id: None,
        conversation_key: conversation.map(|it| it.key.to_string()),
        turn_id: None,
        msg_ids: vec![],
        attempts: 0,
        state: "dead".to_owned(),
    };
    match &buried.what {
        What::Letter(letter) => {
            item.reason = letter.reason.as_str().to_owned();
            item.xpert_id = letter.asked.as_ref().map(|asked| asked.expert.to_string());
            item.turn_id = Some(letter.turn.to_string());
            item.msg_ids = letter.messages().map(|message| message.msg_id.to_string()).collect();
            item.attempts = letter.attempts;
        }
        What::Advisory(advisory) => {
            item.reason = advisory.kind.as_str().to_owned();
            item.attempts = advisory.deliveries;
        }
        What::Unreadable(_) => {}
    }
    item
}

pub(super) fn shown(buried: &Buried, settlement: Option<Settlement>) -> Shown {
    let mut item = item(buried);
    if let Some(settlement) = settlement {
        item.state = settlement.as_str().to_owned();
    }
    let mut failed_attempts = vec![];
    let (payload, response) = match &buried.what {
        What::Letter(letter) => {
            let texts = letter.messages().map(Message::text);
            let texts: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
            let entries = letter.entries.iter().flat_map(entries).collect();
            failed_attempts = letter.failed.as_slice().iter().map(attempt).collect();
            let payload = Payload { text: excerpt(&texts.join("\n")), entries };
            (Some(payload), Some(excerpt(letter.detail.expose())))
        }
        What::Advisory(advisory) => {
            let said = advisory.reason.clone().unwrap_or_default();
            let (stream, seq) = (&advisory.stream, advisory.seq);
            (None, Some(format!("the broker gave up message {seq} of {stream} {said}")))
        }
        What::Unreadable(why) => (None, Some(why.clone())),
    };
    Shown { item, payload, response, failed_attempts }
}

/// One whose record is gone.
pub(super) fn remembered(item: Item) -> Shown {
    Shown { item, payload: None, response: None, failed_attempts: vec![] }
}

/// The line as it was when the letter was settled.
pub(super) fn stored(settled: &Settled) -> Result<Item, Problem> {
    let read = serde_json::from_str(&settled.shown);
    read.map_err(|_| {
        let (table, column) = ("dead_letters", "shown");
        store::Error::Unreadable { table, column, value: settled.seq.to_string() }.into()
    })
}

fn entries(logged: &Logged) -> Vec<EntryView> {
    let view = |message: Option<&Message>, text: String| EntryView {
        seq: logged.seq.0,
        at: rfc3339(logged.at),
        kind: logged.entry.kind().as_str(),
        msg_id: message.map(|message| message.msg_id.to_string()),
        message_type: message.map(|message| message.kind.clone()),
        sender_id: message.map(|message| message.sender.user_id().to_owned()),
        text: excerpt(&text),
    };
    if let Some(action) = logged.entry.action() {
        return vec![view(None, runtime::action(&action.kind).to_owned())];
    }
    match &logged.entry {
        Entry::Undecodable { bytes, .. } => {
            vec![view(None, String::from_utf8_lossy(bytes).into_owned())]
        }
        Entry::Action(_) | Entry::Control(_) | Entry::Query(_) | Entry::Gone => {
            vec![view(None, String::new())]
        }
        Entry::Message(_) | Entry::Replay(_) => logged
            .entry
            .messages()
            .iter()
            .map(|message| view(Some(message), message.text()))
            .collect(),
    }
}

fn attempt(met: &FailedAttempt) -> AttemptView {
    let (tried, segment) = match met.tried {
        Tried::Ask => ("ask", None),
        Tried::Send { segment } => ("send", Some(segment)),
    };
    AttemptView {
        at: rfc3339(met.at),
        tried,
        segment,
        attempt: met.attempt,
        reason: met.reason.as_str(),
        response: met.detail.expose().to_owned(),
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).collect()
}
