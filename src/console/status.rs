//! `GET /api/integrations/{id}/status`: is the robot connected, and what came from it last.
//!
//! The state is read from `DT_LIVE` with each call, so it follows a change as fast as the pods write it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::body::{Id, absent};
use super::links;
use super::problem::Problem;
use super::triggers;
use super::views::{TriggerView, rfc3339};
use crate::domain::binding::Mode;
use crate::domain::id::IntegrationId;
use crate::io::store::events::Seen;
use crate::protocol::live::{self, Link, LinkState};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    mode: &'static str,
    state: &'static str,
    connections: Vec<Connection>,
    callback: Callback,
    last_event_at: Option<String>,
    last_error: Option<String>,
    trigger: Option<TriggerView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    pod: String,
    since: String,
    last_frame_at: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Callback {
    verified_at: Option<String>,
    last_rejected: Option<Rejected>,
}

#[derive(Debug, Serialize)]
struct Rejected {
    at: String,
    code: String,
}

pub(super) async fn show(
    State(state): State<super::State>,
    Id(id): Id<IntegrationId>,
) -> Result<Json<Status>, Problem> {
    let record = state.store.integration(&id).await?.ok_or_else(absent::<IntegrationId>)?;
    let mode = record.integration.mode;
    let links = match mode {
        Mode::Stream => links::held(&state, &live::links_of(&id)).await?.remove(&id),
        Mode::Http => None,
    };
    let links = links.unwrap_or_default();
    let seen = state.store.seen(&id).await?;
    let trigger = match state.store.trigger_of(&id).await? {
        Some(record) => Some(triggers::view(&state, record).await?),
        None => None,
    };
    let word = match mode {
        Mode::Stream => live::state_of(&links).as_str(),
        Mode::Http => "http",
    };
    Ok(Json(Status {
        mode: mode.as_str(),
        state: word,
        last_error: last_error(&links, &seen),
        connections: links.into_iter().filter(is_connected).map(connection).collect(),
        last_event_at: seen.last_event_at.map(rfc3339),
        callback: Callback {
            verified_at: seen.verified_at.map(rfc3339),
            last_rejected: seen.rejected.map(|(at, code)| Rejected { at: rfc3339(at), code }),
        },
        trigger,
    }))
}

fn is_connected(link: &Link) -> bool {
    link.state == LinkState::Connected
}

fn connection(link: Link) -> Connection {
    Connection {
        since: rfc3339(link.since()),
        last_frame_at: link.last_frame_at().map(rfc3339),
        pod: link.pod,
    }
}

/// What keeps the connection from being, else what DingTalk said last: no more once something came that
/// was well.
fn last_error(links: &[Link], seen: &Seen) -> Option<String> {
    let link = links.iter().find_map(|link| link.last_error.clone());
    let said = seen.last_error.as_ref().filter(|(at, _)| seen.last_event_at <= Some(*at));
    link.or_else(|| said.map(|(_, text)| text.clone()))
}
