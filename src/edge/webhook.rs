//! `POST` and `GET /api/dingtalk/webhook/{integrationId}`: callbacks in HTTP mode.
//!
//! Guarantees an answer within DingTalk's patience: success only for what the log confirmed, 503
//! where it could not in time. Nothing is published on any 4xx. Whether a callback is what it claims to
//! be is found out in [`verify`], what a payload means in [`super::accept`].
//!
//! Every request's future is one allocation that is moved once, so it is kept small: futures are pinned
//! where they are made, and rare branches are boxed.

pub mod refusal;
pub mod verify;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout_at};

use self::refusal::Refusal;
use self::verify::{Answer, Callback, Proof, Verified};
use super::Edge;
use super::repeat::Arrival;
use crate::context::body;
use crate::domain::binding::{Integration, Mode};
use crate::domain::id::IntegrationId;
use crate::io::store::events::Seen;

/// DingTalk waits 1.5 s; the rest is for the way back.
const DEADLINE: Duration = Duration::from_millis(1400);

pub(super) const PATH: &str = "/api/dingtalk/webhook/{integration}";

/// The integration that the path of a callback names, where it is spelled as we spell it.
pub(super) fn id(path: &str) -> Option<IntegrationId> {
    let (before, _) = PATH.split_once('{')?;
    IntegrationId::parse(path.strip_prefix(before)?).ok()
}

/// DingTalk's console asks this address before it accepts it.
pub async fn get(
    State(edge): State<Arc<Edge>>,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let found = timeout_at(Instant::now() + DEADLINE, find(&edge, parse(id))).await;
    match found.unwrap_or_else(|_| Err(Refusal::too_late())) {
        Ok(_) => "success".into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// For callbacks that are spelled in another way than ours.
pub async fn post(
    State(edge): State<Arc<Edge>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    answer(&edge, parse(id), request).await
}

fn parse(id: Result<Path<String>, PathRejection>) -> Option<IntegrationId> {
    IntegrationId::parse(&id.ok()?.0).ok()
}

/// What a callback for `id` is answered; `None` stands for what cannot be one.
pub(super) async fn answer(edge: &Edge, id: Option<IntegrationId>, request: Request) -> Response {
    let arrived = Instant::now();
    // Outside of what is waited for: a refusal is counted where it belongs, also when it comes too late.
    let mut integration = None;
    let received = {
        let received = pin!(receive(edge, id, request, arrived, &mut integration));
        timeout_at(arrived + DEADLINE, received).await
    };
    received.unwrap_or_else(|_| Err(Refusal::too_late())).unwrap_or_else(|refusal| {
        note(edge, integration.as_deref(), &refusal);
        refusal.into_response()
    })
}

fn note(edge: &Edge, integration: Option<&Integration>, refusal: &Refusal) {
    edge.count(integration, refusal.code);
    let Some(integration) = integration else { return };
    tracing::debug!(integration.id = %integration.id, code = refusal.code, "callback refused");
    if refusal.status.is_client_error() {
        let rejected = Some((edge.context.clock.now(), refusal.reason()));
        edge.recorder.record(&integration.id, Seen { rejected, ..Seen::default() });
    }
}

/// `integration` is set as soon as it is known.
async fn receive(
    edge: &Edge,
    id: Option<IntegrationId>,
    request: Request,
    arrived: Instant,
    integration: &mut Option<Arc<Integration>>,
) -> Result<Response, Refusal> {
    let integration = integration.insert(find(edge, id).await?);
    let Verified { decision, answer, signed_at } = decide(edge, integration, request).await?;
    let arrival = Arrival { at: arrived, signed_at: Some(signed_at) };
    let response = match answer {
        Answer::Plain => {
            edge.take(integration, decision, arrival).await?;
            verify::plain()
        }
        // There is no room in it for what changes on a card: the worker's update brings that.
        Answer::Envelope(envelopes) => {
            edge.take(integration, decision, arrival).await?;
            verify::sealed(&envelopes, edge.context.clock.now())
        }
        Answer::Card => {
            let shown = Box::pin(edge.take_press(integration, decision, arrival)).await?;
            Json(shown).into_response()
        }
    };
    Ok(response)
}

/// Judges the head, reads the body and decides about both; nothing of it is left when this returns.
async fn decide(
    edge: &Edge,
    integration: &mut Arc<Integration>,
    request: Request,
) -> Result<Verified, Refusal> {
    let (head, body) = request.into_parts();
    let mut proof = Proof::of(edge, integration, &head);
    if let Err(error) = proof.admits() {
        if !error.may_be_stale() || !Box::pin(renew(edge, integration)).await? {
            return Err(error.into());
        }
        proof = Proof::of(edge, integration, &head);
        proof.admits()?;
    }
    let body = edge.readers.read(body, edge.body_max_bytes).await.inspect_err(|error| {
        if let body::Error::TooLarge(_) = error {
            edge.context.metrics.limit_breached("body_bytes");
        }
    })?;
    let callback = Callback { head, body };
    let now = edge.context.clock.now();
    match callback.decide(&proof, integration, now) {
        Err(error) if error.may_be_stale() => {
            if !Box::pin(renew(edge, integration)).await? {
                return Err(error.into());
            }
            proof = Proof::of(edge, integration, &callback.head);
            Ok(callback.decide(&proof, integration, now)?)
        }
        outcome => Ok(outcome?),
    }
}

/// The secrets may have changed a moment ago. True where the integration is another one than before.
async fn renew(edge: &Edge, integration: &mut Arc<Integration>) -> Result<bool, Refusal> {
    let fresh = edge.routing.integration_again(&integration.id).await?;
    let fresh = check_mode(fresh.ok_or_else(Refusal::unknown_integration)?)?;
    let is_other = fresh != *integration;
    *integration = fresh;
    Ok(is_other)
}

async fn find(edge: &Edge, id: Option<IntegrationId>) -> Result<Arc<Integration>, Refusal> {
    let found = match id {
        Some(id) => edge.routing.integration(&id).await?,
        None => None,
    };
    check_mode(found.ok_or_else(Refusal::unknown_integration)?)
}

fn check_mode(integration: Arc<Integration>) -> Result<Arc<Integration>, Refusal> {
    match integration.mode {
        Mode::Http => Ok(integration),
        Mode::Stream => Err(Refusal::not_http_mode()),
    }
}
