//! `/api/conversations`: who talks with which expert, and ending sessions.
//!
//! Ending only appends a control entry to the log; the conversation's own run carries it out, in order.

use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::body::{Id, Query, absent};
use super::lists::{self, List};
use super::problem::Problem;
use super::views::rfc3339;
use crate::domain::entry::{Control, ControlKind, Entry};
use crate::domain::id::{Conversation, ConversationKey, ExpertId, IntegrationId, InvalidId};
use crate::domain::time::Timestamp;
use crate::io::store::conversations::{self as sessions, Cursor, Filter, Session};

/// How many sessions are ended at once.
const END_TOGETHER: u32 = 100;
/// A session that ran out may still have a turn under way or a question open, but not for longer than
/// the journal keeps its record (`streams/DT_JOURNAL.json`).
const EXPIRED_MAX: Duration = Duration::from_hours(8 * 24);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Search {
    integration_id: Option<String>,
    xpert_id: Option<String>,
    q: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Whose {
    integration_id: Option<String>,
    xpert_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionView {
    key: String,
    integration_id: String,
    xpert_id: String,
    thread_id: String,
    epoch: u64,
    state: &'static str,
    conversation: Place,
    sender: Person,
    last_activity_at: String,
    session_timeout_seconds: u64,
    expires_at: String,
}

#[derive(Debug, Serialize)]
struct Place {
    id: String,
    title: Option<String>,
}

#[derive(Debug, Serialize)]
struct Person {
    id: String,
    name: String,
}

pub(super) async fn list(
    State(state): State<super::State>,
    Query(search): Query<Search>,
) -> Result<Json<List<SessionView>>, Problem> {
    let limit = lists::limit(search.limit.as_deref())?;
    let after = match search.after.as_deref() {
        None | Some("") => None,
        Some(text) => Some(cursor(text)?),
    };
    let filter = Filter {
        integration: id("integrationId", search.integration_id.as_deref())?,
        expert: id("xpertId", search.xpert_id.as_deref())?,
        search: search.q,
    };
    let rows = state.store.conversations(&filter, after.as_ref(), limit.saturating_add(1)).await?;
    let now = state.context.clock.now();
    let next = |row: &Session| format!("{}.{}", row.last_activity.0, row.conversation.key);
    Ok(List::of(rows, limit, next, |row| view(row, now)))
}

pub(super) async fn end(
    State(state): State<super::State>,
    Id(key): Id<ConversationKey>,
) -> Result<StatusCode, Problem> {
    let session = state.store.conversation(&key).await?.ok_or_else(absent::<ConversationKey>)?;
    append_end(&state, &session.conversation).await?;
    let note = state.note("conversation.end", key.as_str(), &json!({}));
    state.store.note(&note).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers how many sessions were open.
pub(super) async fn end_all(
    State(state): State<super::State>,
    Query(whose): Query<Whose>,
) -> Result<Json<Value>, Problem> {
    let integration: Option<IntegrationId> = id("integrationId", whose.integration_id.as_deref())?;
    let expert: Option<ExpertId> = id("xpertId", whose.xpert_id.as_deref())?;
    let (whose, subject) = match (integration, expert) {
        (Some(id), None) => (sessions::Whose::Integration(id.clone()), id.to_string()),
        (None, Some(id)) => (sessions::Whose::Expert(id.clone()), id.to_string()),
        _ => {
            let message = "name either integrationId or xpertId, so that not all sessions end";
            return Err(Problem::field("integrationId", message));
        }
    };
    let now = state.context.clock.now();
    let since = now.before(EXPIRED_MAX);
    let (mut ended, mut after) = (0_usize, None);
    loop {
        let rows =
            state.store.open_conversations(&whose, since, after.as_ref(), END_TOGETHER).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.conversation.key.clone());
        let appends = rows.iter().map(|row| append_end(&state, &row.conversation));
        futures_util::future::try_join_all(appends).await?;
        ended += rows.iter().filter(|session| now <= expires_at(session)).count();
    }
    let note = state.note("conversation.end_all", &subject, &json!({ "ended": ended }));
    state.store.note(&note).await?;
    Ok(Json(json!({ "ended": ended })))
}

/// A second press is a second entry, which finds nothing left to end.
async fn append_end(state: &super::State, conversation: &Conversation) -> Result<(), Problem> {
    let entry = Entry::Control(Control { kind: ControlKind::End, origin: None });
    let message_id = format!("{}:end:{}", conversation.integration, Uuid::new_v4());
    state.log.append(conversation, &message_id, entry).await?;
    Ok(())
}

fn id<T: FromStr<Err = InvalidId>>(
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, Problem> {
    text.filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|e: InvalidId| Problem::field(field, e.to_string())))
        .transpose()
}

fn cursor(text: &str) -> Result<Cursor, Problem> {
    let parts = text.split_once('.').and_then(|(at, key)| {
        let key = ConversationKey::parse(key).ok()?;
        Some(Cursor { last_activity: Timestamp(at.parse().ok()?), key: key.to_string() })
    });
    parts.ok_or_else(|| Problem::field("after", "after must be `next` of the list before"))
}

fn expires_at(session: &Session) -> Timestamp {
    session.last_activity.after(session.timeout)
}

fn view(session: Session, now: Timestamp) -> SessionView {
    let expires_at = expires_at(&session);
    let state = match session.is_ended {
        true => "ended",
        false if now > expires_at => "expired",
        false => "open",
    };
    SessionView {
        key: session.conversation.key.to_string(),
        integration_id: session.conversation.integration.to_string(),
        xpert_id: session.expert.to_string(),
        thread_id: session.thread,
        epoch: session.epoch.0,
        state,
        conversation: Place { id: session.place_id, title: session.place_title },
        sender: Person { id: session.sender_id, name: session.sender_name },
        last_activity_at: rfc3339(session.last_activity),
        session_timeout_seconds: session.timeout.as_secs(),
        expires_at: rfc3339(expires_at),
    }
}
