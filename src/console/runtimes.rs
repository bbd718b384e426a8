//! `/api/runtimes`: where experts are reached, and the heartbeats of those who registered themselves.
//!
//! Guarantees that conversations which wait for an expert are told when it is there: with each
//! registration, and with a heartbeat that brings a lapsed lease back.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::json;

use super::body::{Body, Expert, Query};
use super::lists::{List, Paging, one_more};
use super::problem::Problem;
use super::views::{self, RuntimeView};
use crate::domain::binding::{Runtime, RuntimeKind};
use crate::domain::id::ExpertId;
use crate::domain::secret::Secret;
use crate::io::lease;
use crate::io::routing::Change;
use crate::io::store::{Error, runtimes};

const LEASE_MAX_S: i64 = 86_400;
const TEXT_MAX_CHARS: usize = 2048;

/// The body of `PUT /api/runtimes/{xpertId}`: the fields of one kind, and the lease.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewRuntime {
    kind: String,
    base_url: Option<String>,
    api_key: Option<String>,
    organization_id: Option<String>,
    url: Option<String>,
    secret: Option<String>,
    lease_seconds: Option<i64>,
}

impl NewRuntime {
    /// `prefix` goes before the name of a refused field.
    pub(super) fn runtime(&self, expert: &ExpertId, prefix: &str) -> Result<Runtime, Problem> {
        let refuse = |field: &str, why: &str| {
            Problem::field(format!("{prefix}{field}"), format!("{prefix}{field} {why}"))
        };
        let kind = match self.kind.as_str() {
            "xpert" => self.xpert(),
            "callback" => self.callback(),
            "echo" => Ok(RuntimeKind::Echo),
            _ => Err(("kind", "must be one of xpert, callback, echo")),
        };
        let kind = kind.map_err(|(field, why)| refuse(field, why))?;
        let foreign = match kind {
            RuntimeKind::Xpert { .. } => self.first_given(&["url", "secret"]),
            RuntimeKind::Callback { .. } => {
                self.first_given(&["baseUrl", "apiKey", "organizationId"])
            }
            RuntimeKind::Echo => {
                self.first_given(&["baseUrl", "apiKey", "organizationId", "url", "secret"])
            }
        };
        if let Some(field) = foreign {
            let message = format!("{prefix}{field} is not a field of kind {}", self.kind);
            return Err(Problem::unknown_field(format!("{prefix}{field}"), message));
        }
        let lease = match self.lease_seconds {
            None => None,
            Some(given) if (1..=LEASE_MAX_S).contains(&given) => {
                Some(Duration::from_secs(u64::try_from(given).unwrap_or(1)))
            }
            Some(_) => return Err(refuse("leaseSeconds", "must be from 1 to 86400")),
        };
        Ok(Runtime { expert: expert.clone(), kind, lease, is_paused: false })
    }

    fn xpert(&self) -> Result<RuntimeKind, (&'static str, &'static str)> {
        Ok(RuntimeKind::Xpert {
            base_url: address("baseUrl", self.base_url.as_deref())?,
            api_key: Secret::new(text("apiKey", self.api_key.as_deref())?),
            organization_id: match self.organization_id.as_deref() {
                None | Some("") => None,
                given => Some(text("organizationId", given)?),
            },
        })
    }

    fn callback(&self) -> Result<RuntimeKind, (&'static str, &'static str)> {
        let secret = text("secret", self.secret.as_deref())?;
        let bytes = secret.strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
        if !bytes.is_some_and(|bytes| (24..=64).contains(&bytes.len())) {
            return Err(("secret", "must be `whsec_` and base64 of 24 to 64 bytes"));
        }
        Ok(RuntimeKind::Callback {
            url: address("url", self.url.as_deref())?,
            secret: Secret::new(secret),
        })
    }

    fn first_given(&self, fields: &[&'static str]) -> Option<&'static str> {
        let is_given = |field: &str| match field {
            "baseUrl" => self.base_url.is_some(),
            "apiKey" => self.api_key.is_some(),
            "organizationId" => self.organization_id.is_some(),
            "url" => self.url.is_some(),
            _ => self.secret.is_some(),
        };
        fields.iter().copied().find(|field| is_given(field))
    }
}

fn text(field: &'static str, given: Option<&str>) -> Result<String, (&'static str, &'static str)> {
    let given = given.ok_or((field, "is required"))?;
    let is_valid = (1..=TEXT_MAX_CHARS).contains(&given.chars().count())
        && !given.chars().any(|c| c.is_control() || c.is_whitespace());
    is_valid
        .then(|| given.to_owned())
        .ok_or((field, "must have 1 to 2048 characters without spaces"))
}

fn address(
    field: &'static str,
    given: Option<&str>,
) -> Result<String, (&'static str, &'static str)> {
    let given = text(field, given)?;
    let uri = given.parse::<Uri>().ok();
    let is_http = uri.as_ref().is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|h| !h.is_empty())
    });
    // It would stand in each answer that shows the address.
    let has_user =
        uri.is_some_and(|uri| uri.authority().is_some_and(|at| at.as_str().contains('@')));
    if given.ends_with("?***") {
        return Err((field, "is masked, as it was shown: give the whole address"));
    }
    match (is_http, has_user) {
        (true, false) => Ok(given),
        (true, true) => {
            Err((field, "must name no user or password: its calls are signed, or bear apiKey"))
        }
        (false, _) => Err((field, "must be an address with http:// or https://")),
    }
}

pub(super) async fn register(
    State(state): State<super::State>,
    Expert(expert): Expert,
    Body(new): Body<NewRuntime>,
) -> Result<Json<RuntimeView>, Problem> {
    let runtime = new.runtime(&expert, "")?;
    let note = state.note("runtime.put", expert.as_str(), &json!({ "kind": new.kind }));
    state.store.put_runtime(&runtime, &note).await?;
    registered(&state, &runtime).await?;
    stored(&state, &expert).await
}

/// What follows the commit of a registration: the first heartbeat, then the news.
pub(super) async fn registered(state: &super::State, runtime: &Runtime) -> Result<(), Problem> {
    let renewed = match runtime.lease {
        Some(lease) => lease::renew(&state.live, &runtime.expert, lease).await,
        None => Ok(()),
    };
    state.routing.announce(Change::Runtime(runtime.expert.clone())).await;
    Ok(renewed?)
}

pub(super) async fn heartbeat(
    State(state): State<super::State>,
    Expert(expert): Expert,
) -> Result<StatusCode, Problem> {
    let runtime = state.routing.runtime(&expert).await?.ok_or_else(absent)?;
    let Some(lease) = runtime.lease else {
        let message = "this runtime has no lease; register it with leaseSeconds";
        return Err(Problem::conflict("NO_LEASE", message));
    };
    let was_alive = lease::is_alive(&state.live, &runtime, state.context.clock.now()).await?;
    lease::renew(&state.live, &expert, lease).await?;
    if !was_alive {
        // Conversations wait for it.
        state.routing.announce(Change::Runtime(expert)).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list(
    State(state): State<super::State>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<RuntimeView>>, Problem> {
    let page = paging.page()?;
    let rows = state.store.runtimes(&one_more(&page)).await?;
    let cursor = |(row, _): &(runtimes::Record, _)| row.runtime.expert.to_string();
    let shown = join_all(rows.iter().map(|row| view(&state, &row.runtime))).await;
    let rows = rows.into_iter().zip(shown).collect();
    Ok(List::of(rows, page.limit, cursor, |(_, shown)| shown))
}

pub(super) async fn show(
    State(state): State<super::State>,
    Expert(expert): Expert,
) -> Result<Json<RuntimeView>, Problem> {
    stored(&state, &expert).await
}

pub(super) async fn unregister(
    State(state): State<super::State>,
    Expert(expert): Expert,
) -> Result<StatusCode, Problem> {
    let note = state.note("runtime.remove", expert.as_str(), &json!({}));
    state.store.remove_runtime(&expert, &note).await.map_err(|error| match error {
        Error::Missing { .. } => absent(),
        other => other.into(),
    })?;
    state.routing.announce(Change::Runtime(expert.clone())).await;
    // A lease without a runtime means nothing, so one that stays for a while does no harm.
    lease::remove(&state.live, &expert).await.ok();
    Ok(StatusCode::NO_CONTENT)
}

async fn stored(state: &super::State, expert: &ExpertId) -> Result<Json<RuntimeView>, Problem> {
    let record = state.store.runtime(expert).await?.ok_or_else(absent)?;
    Ok(Json(view(state, &record.runtime).await))
}

/// As it is shown, with what the broker knows of its lease.
pub(super) async fn view(state: &super::State, runtime: &Runtime) -> RuntimeView {
    let alive = lease::is_alive(&state.live, runtime, state.context.clock.now()).await;
    let alive = alive.inspect_err(|error| tracing::debug!(%error, "a lease was not read"));
    views::runtime(runtime, alive.ok())
}

pub(super) fn absent() -> Problem {
    Problem::missing("RUNTIME_NOT_FOUND", "this xpert has no runtime")
}
