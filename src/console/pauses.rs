//! Pause and resume of an integration or an expert: accepted messages wait, in order, and flow again.
//!
//! Only the configuration changes here. The announcement brings waiting conversations back.

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::body::{Expert, Id, absent};
use super::problem::Problem;
use super::runtimes;
use crate::domain::id::{ExpertId, IntegrationId};
use crate::io::routing::Change;
use crate::io::store::Error;

pub(super) async fn pause_integration(
    State(state): State<super::State>,
    Id(id): Id<IntegrationId>,
) -> Result<StatusCode, Problem> {
    integration(&state, id, true, "integration.pause").await
}

pub(super) async fn resume_integration(
    State(state): State<super::State>,
    Id(id): Id<IntegrationId>,
) -> Result<StatusCode, Problem> {
    integration(&state, id, false, "integration.resume").await
}

pub(super) async fn pause_runtime(
    State(state): State<super::State>,
    Expert(expert): Expert,
) -> Result<StatusCode, Problem> {
    runtime(&state, expert, true, "runtime.pause").await
}

pub(super) async fn resume_runtime(
    State(state): State<super::State>,
    Expert(expert): Expert,
) -> Result<StatusCode, Problem> {
    runtime(&state, expert, false, "runtime.resume").await
}

async fn integration(
    state: &super::State,
    id: IntegrationId,
    is_paused: bool,
    action: &'static str,
) -> Result<StatusCode, Problem> {
    let note = state.note(action, id.as_str(), &json!({}));
    state.store.pause_integration(&id, is_paused, &note).await.map_err(|error| match error {
        Error::Missing { .. } => absent::<IntegrationId>(),
        other => other.into(),
    })?;
    state.routing.announce(Change::Integration(id)).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn runtime(
    state: &super::State,
    expert: ExpertId,
    is_paused: bool,
    action: &'static str,
) -> Result<StatusCode, Problem> {
    let note = state.note(action, expert.as_str(), &json!({}));
    state.store.pause_runtime(&expert, is_paused, &note).await.map_err(|error| match error {
        Error::Missing { .. } => runtimes::absent(),
        other => other.into(),
    })?;
    state.routing.announce(Change::Runtime(expert)).await;
    Ok(StatusCode::NO_CONTENT)
}
