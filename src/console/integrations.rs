//! `/api/integrations`: connected robots.
//!
//! Guarantees that two changes at once are both made or one is told so. What makes an integration valid
//! is the business of `new_integration`, what may be removed that of the database.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::body::{Body, Id, Query, absent};
use super::lists::{List, Paging, one_more};
use super::new_integration::{New, Patch};
use super::problem::Problem;
use super::views::{self, IntegrationView};
use crate::domain::id::IntegrationId;
use crate::io::routing::Change;
use crate::io::store::Error;

/// How often a change that another one overtook is made again.
const ATTEMPTS_MAX: u32 = 5;

pub(super) async fn create(
    State(state): State<super::State>,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<IntegrationView>), Problem> {
    let new = new.integration(state.config.language)?;
    let note = state.note("integration.create", new.id.as_str(), &json!({ "name": new.name }));
    state.store.create_integration(&new, &note).await.map_err(|error| match error {
        Error::Exists { .. } => Problem::conflict("INTEGRATION_EXISTS", error.to_string()),
        other => other.into(),
    })?;
    state.routing.announce(Change::Integration(new.id.clone())).await;
    let view = stored(&state, &new.id).await?;
    Ok((StatusCode::CREATED, view))
}

pub(super) async fn list(
    State(state): State<super::State>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<IntegrationView>>, Problem> {
    let page = paging.page()?;
    let rows = state.store.integrations(&one_more(&page)).await?;
    let cursor = |row: &crate::io::store::integrations::Record| row.integration.id.to_string();
    Ok(List::of(rows, page.limit, cursor, |row| views::integration(&state, row)))
}

pub(super) async fn show(
    State(state): State<super::State>,
    Id(id): Id<IntegrationId>,
) -> Result<Json<IntegrationView>, Problem> {
    stored(&state, &id).await
}

pub(super) async fn update(
    State(state): State<super::State>,
    Id(id): Id<IntegrationId>,
    Body(patch): Body<Patch>,
) -> Result<Json<IntegrationView>, Problem> {
    for _ in 0..ATTEMPTS_MAX {
        let record = state.store.integration(&id).await?.ok_or_else(absent::<IntegrationId>)?;
        let next = patch.apply(&record.integration)?;
        if next == record.integration {
            return Ok(Json(views::integration(&state, record)));
        }
        let note =
            state.note("integration.update", id.as_str(), &json!({ "mode": next.mode.as_str() }));
        match state.store.update_integration(&record, &next, &note).await {
            Ok(()) => {
                state.routing.announce(Change::Integration(id.clone())).await;
                return stored(&state, &id).await;
            }
            Err(Error::Stale { .. }) => {}
            Err(Error::InUse { .. }) => {
                return Err(Problem::conflict(
                    "SCOPE_IN_USE",
                    "the scope can change only while no trigger uses the integration",
                ));
            }
            Err(Error::Missing { .. }) => return Err(absent::<IntegrationId>()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::conflict("CHANGED_MEANWHILE", "others change this integration; try again"))
}

pub(super) async fn remove(
    State(state): State<super::State>,
    Id(id): Id<IntegrationId>,
) -> Result<StatusCode, Problem> {
    let note = state.note("integration.remove", id.as_str(), &json!({}));
    state.store.remove_integration(&id, &note).await.map_err(|error| match error {
        Error::InUse { .. } => Problem::conflict(
            "INTEGRATION_IN_USE",
            "a trigger uses this integration; unpublish it first",
        ),
        Error::Missing { .. } => absent::<IntegrationId>(),
        other => other.into(),
    })?;
    state.routing.announce(Change::Integration(id)).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn stored(
    state: &super::State,
    id: &IntegrationId,
) -> Result<Json<IntegrationView>, Problem> {
    let record = state.store.integration(id).await?.ok_or_else(absent::<IntegrationId>)?;
    Ok(Json(views::integration(state, record)))
}
