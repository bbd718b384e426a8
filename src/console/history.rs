//! Looking back: the trace of one message, and what happened in a conversation.
//!
//! Both are read from the journal, which keeps eight days. Where a message went is known from a
//! projection in SQL that follows the journal within moments.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::body::{Id, Query, absent};
use super::lists::{self, List, Paging};
use super::problem::Problem;
use super::views::rfc3339;
use crate::domain::id::{ConversationKey, IntegrationId, MsgId, Seq};
use crate::domain::turn::failed::Tried;
use crate::domain::turn::{OpenTurn, Parked, Phase, Step};
use crate::io::journal::{Journal, Past};

/// What happened to one DingTalk message. What an older release stored names no pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trace {
    integration_id: String,
    msg_id: String,
    conversation_key: String,
    received: Received,
    turn: Option<Turn>,
    attempts: Vec<Attempt>,
    sends: Vec<Send>,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct Received {
    at: String,
    pod: Option<String>,
    seq: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Turn {
    turn_id: String,
    at: Option<String>,
    pod: Option<String>,
    xpert_id: Option<String>,
    ended_at: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    attempt: u32,
    at: String,
    pod: Option<String>,
    /// `running`, `accepted` (202), `answered`, `failed`, or `stopped`.
    state: &'static str,
    ended_at: Option<String>,
    /// Where it failed: what the runtime said.
    response: Option<String>,
}

#[derive(Debug, Serialize)]
struct Send {
    /// From 1.
    segment: u32,
    at: String,
    pod: Option<String>,
    /// `sent`, or `retrying`.
    state: &'static str,
    /// Where it is tried again: what DingTalk said.
    response: Option<String>,
}

pub(super) async fn trace(
    State(state): State<super::State>,
    Path((integration, msg_id)): Path<(String, String)>,
) -> Result<Json<Trace>, Problem> {
    let missing = || Problem::missing("MESSAGE_NOT_FOUND", "there is no trace of such a message");
    let id = IntegrationId::parse(&integration).map_err(|_| missing())?;
    let msg_id = MsgId::parse(&msg_id).map_err(|_| missing())?;
    let row = state.store.message(&id, &msg_id).await?.ok_or_else(missing)?;
    let records = match &row.turn {
        Some(turn) => Journal::new(&state.nats).history(turn).await?,
        None => vec![],
    };
    let received_by = state.log.pod(&row.conversation, row.seq).await?;
    Ok(Json(Trace {
        integration_id: id.to_string(),
        msg_id: msg_id.to_string(),
        conversation_key: row.conversation.key.to_string(),
        received: Received { at: rfc3339(row.at), pod: received_by, seq: row.seq.0 },
        turn: row.turn.as_ref().map(|turn| Turn {
            turn_id: turn.to_string(),
            at: records.first().map(|record| rfc3339(record.at)),
            pod: records.first().and_then(|record| record.pod.clone()),
            xpert_id: records.iter().find_map(expert),
            ended_at: records.iter().find(|record| is_end(record)).map(|past| rfc3339(past.at)),
        }),
        attempts: attempts(&records),
        sends: sends(&records),
        state: records.last().map_or("received", state_of),
    }))
}

fn expert(record: &Past) -> Option<String> {
    Some(record.head.turn.as_ref()?.asked.as_ref()?.expert.to_string())
}

fn is_end(record: &Past) -> bool {
    record.head.turn.is_none()
}

fn attempts(records: &[Past]) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = vec![];
    for record in records {
        let at = rfc3339(record.at);
        let turn = record.head.turn.as_ref();
        let begins = matches!(record.step, Step::Started | Step::Running | Step::Steered)
            && turn.is_some_and(|turn| turn.asked.is_some() && turn.phase == Phase::Running);
        if let Some(turn) = turn.filter(|_| begins) {
            // A later record of the same attempt is another run of it, or names its run.
            if attempts.last().is_none_or(|last| last.attempt != turn.attempt) {
                let (attempt, pod) = (turn.attempt, record.pod.clone());
                attempts.push(running(attempt, at, pod));
            }
            continue;
        }
        let Some(last) = attempts.last_mut().filter(|last| last.ended_at.is_none()) else {
            continue;
        };
        last.state = match record.step {
            Step::Waiting => {
                last.state = "accepted";
                continue;
            }
            Step::Answered | Step::Sending | Step::Delivered => "answered",
            Step::Retry | Step::Burying | Step::Dead | Step::Parked => "failed",
            Step::Stopped | Step::Lost | Step::Merged => "stopped",
            Step::Started | Step::Running | Step::Steered | Step::Noted => continue,
        };
        last.ended_at = Some(at.clone());
        let failed = turn.filter(|_| last.state == "failed");
        last.response = failed.and_then(|turn| response(turn, Tried::Ask, last.attempt));
        // A turn that took in newer messages is asked anew.
        if let (Step::Merged, Some(turn)) = (record.step, turn) {
            let (attempt, pod) = (turn.attempt, record.pod.clone());
            attempts.push(running(attempt, at, pod));
        }
    }
    attempts
}

fn running(attempt: u32, at: String, pod: Option<String>) -> Attempt {
    Attempt { attempt, at, pod, state: "running", ended_at: None, response: None }
}

/// What the turn's last attempt met, if it was this one.
fn response(turn: &OpenTurn, tried: Tried, attempt: u32) -> Option<String> {
    let met = turn.failed.as_slice().last()?;
    (met.tried == tried && met.attempt == attempt).then(|| met.detail.expose().to_owned())
}

fn sends(records: &[Past]) -> Vec<Send> {
    let mut sends = vec![];
    let (mut sent, mut segments) = (0, 0);
    for record in records {
        let at = rfc3339(record.at);
        let said = |segment, state| {
            let pod = record.pod.clone();
            Send { segment, at: at.clone(), pod, state, response: None }
        };
        let turn = record.head.turn.as_ref();
        match turn.map(|turn| &turn.phase) {
            Some(Phase::Sending(sending)) => {
                sends.extend((sent + 1..=sending.sent).map(|segment| said(segment, "sent")));
                (sent, segments) = (sending.sent, sending.segments);
                if record.step == Step::Retry {
                    let tried = Tried::Send { segment: sent + 1 };
                    let before = sending.attempt.saturating_sub(1);
                    let response = turn.and_then(|turn| response(turn, tried, before));
                    sends.push(Send { response, ..said(sent + 1, "retrying") });
                }
            }
            None if record.step == Step::Delivered => {
                sends.extend((sent + 1..=segments).map(|segment| said(segment, "sent")));
            }
            Some(_) | None => {}
        }
    }
    sends
}

/// Where a turn stands after this record, in one word.
fn state_of(record: &Past) -> &'static str {
    let Some(OpenTurn { phase, .. }) = &record.head.turn else { return record.step.as_str() };
    match phase {
        Phase::Running => "running",
        Phase::Waiting { .. } => "waiting",
        Phase::Retry { .. } => "retrying",
        Phase::Parked { .. } => "parked",
        Phase::Sending(_) => "sending",
        Phase::Burying { .. } => "burying",
    }
}

/// One record of a conversation's journal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Happened {
    seq: u64,
    at: String,
    event: &'static str,
    state: &'static str,
    turn_id: Option<String>,
    xpert_id: Option<String>,
    attempt: Option<u32>,
    detail: Option<String>,
}

pub(super) async fn timeline(
    State(state): State<super::State>,
    Id(key): Id<ConversationKey>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Happened>>, Problem> {
    let page = paging.page()?;
    let after = match page.after.as_deref() {
        None => Seq(0),
        Some(text) => text
            .parse()
            .map(Seq)
            .map_err(|_| Problem::field("after", "after must be `next` of the list before"))?,
    };
    let count = usize::try_from(lists::one_more(&page).limit).unwrap_or(usize::MAX);
    let records = Journal::new(&state.nats).after(&key, after, count).await?;
    if records.is_empty() && state.store.conversation(&key).await?.is_none() {
        return Err(absent::<ConversationKey>());
    }
    Ok(List::of(records, page.limit, |record| record.seq.to_string(), |record| happened(&record)))
}

fn happened(record: &Past) -> Happened {
    let turn = record.head.turn.as_ref();
    let last = turn.map_or(record.head.position, |turn| turn.last);
    Happened {
        seq: record.seq.0,
        at: rfc3339(record.at),
        event: record.step.as_str(),
        state: state_of(record),
        turn_id: (last > Seq(0)).then(|| format!("{}.{last}", record.conversation)),
        xpert_id: expert(record),
        attempt: turn.map(|turn| turn.attempt),
        detail: turn.and_then(detail),
    }
}

/// What the phase says beyond its word.
fn detail(turn: &OpenTurn) -> Option<String> {
    match &turn.phase {
        Phase::Waiting { until } => Some(format!("until {}", rfc3339(*until))),
        Phase::Retry { at } => {
            let met =
                turn.failed.as_slice().last().map(|met| format!(", after {}", met.detail.expose()));
            Some(format!("at {}{}", rfc3339(*at), met.unwrap_or_default()))
        }
        Phase::Parked { why, .. } => Some(
            match why {
                Parked::Missing => "the expert is away",
                Parked::Busy => "the expert is busy",
                Parked::Paused => "paused",
            }
            .to_owned(),
        ),
        Phase::Sending(sending) => Some(format!("{} of {} sent", sending.sent, sending.segments)),
        Phase::Burying { reason, detail } => {
            Some(format!("{}: {}", reason.as_str(), detail.expose()))
        }
        Phase::Running => None,
    }
}
