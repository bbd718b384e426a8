//! `POST` and `GET /api/dingtalk/webhook/{integrationId}`: callbacks in HTTP mode.
//!
//! Guarantees an answer within DingTalk's patience: success only for what the log confirmed, 503
//! where it could not in time. Nothing is published on any 4xx. What a payload means is decided in
//! [`super::accept`].

pub mod body;
pub mod refusal;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rand::RngExt;
use rand::distr::Alphanumeric;
use serde_json_borrow::Value;
use tokio::time::Instant;

use self::refusal::Refusal;
use super::Edge;
use super::accept::{self, Payload};
use crate::domain::binding::{Integration, Mode};
use crate::domain::id::IntegrationId;
use crate::io::store::events::Seen;
use crate::protocol::callback::signed::{
    CARD_SIGN, CARD_TIMESTAMP, ROBOT_SIGN, ROBOT_TIMESTAMP, verify_card, verify_robot,
};
use crate::protocol::callback::{self, Envelopes, Stamp};
use crate::protocol::loose;

/// DingTalk waits 1.5 s; the rest is for the way back.
const DEADLINE: Duration = Duration::from_millis(1400);

const DECRYPTED: &str = "the decrypted text";

/// DingTalk's console asks this address before it accepts it.
pub async fn get(
    State(edge): State<Arc<Edge>>,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    match in_time(Instant::now(), find(&edge, id)).await {
        Ok(_) => "success".into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

pub async fn post(
    State(edge): State<Arc<Edge>>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    request: Request,
) -> Response {
    let received = receive(&edge, id, query, request).await;
    received.unwrap_or_else(IntoResponse::into_response)
}

async fn in_time<T>(
    arrived: Instant,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let done = tokio::time::timeout_at(arrived + DEADLINE, work).await;
    done.unwrap_or_else(|_| Err(Refusal::too_late()))
}

/// What the signature of a callback is made of, and what it covers.
struct Callback<'a> {
    query: &'a [(String, String)],
    headers: &'a HeaderMap,
    body: &'a Value<'a>,
}

/// A callback that is what it claims to be.
enum Opened {
    /// The answer is encrypted as the question was.
    Envelope { envelopes: Envelopes, plain: Vec<u8> },
    /// The body itself is what was said.
    Plain(Option<Payload>),
}

async fn receive(
    edge: &Edge,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let arrived = Instant::now();
    let found = in_time(arrived, find(edge, id)).await;
    let mut integration = found.inspect_err(|refusal| edge.count(None, refusal.code))?;
    let taken = take(edge, &mut integration, query, request, arrived);
    let taken = in_time(arrived, taken).await;
    if let Err(refusal) = &taken {
        let now = edge.context.clock.now();
        tracing::debug!(integration.id = %integration.id, code = refusal.code, "callback refused");
        edge.count(Some(&integration), refusal.code);
        if refusal.status.is_client_error() {
            let rejected = Some((now, refusal.code.to_owned()));
            edge.recorder.record(&integration.id, Seen { rejected, ..Seen::default() });
        }
    }
    taken
}

async fn find(
    edge: &Edge,
    id: Result<Path<String>, PathRejection>,
) -> Result<Arc<Integration>, Refusal> {
    let id = id.ok().and_then(|Path(id)| IntegrationId::parse(&id).ok());
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

async fn take(
    edge: &Edge,
    integration: &mut Arc<Integration>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    request: Request,
    arrived: Instant,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|_| callback::Error::Malformed("the query"))?;
    let (head, body) = request.into_parts();
    let bytes = body::read(body, edge.body_max_bytes).await.inspect_err(|refusal| {
        if refusal.status == StatusCode::PAYLOAD_TOO_LARGE {
            edge.context.metrics.limit_breached("body_bytes");
        }
    })?;
    let body = read(&bytes, "the body")?;
    let callback = Callback { query: &query, headers: &head.headers, body: &body };
    let opened = match open(edge, integration, &callback) {
        Err(error) if error.may_be_stale() => {
            // The secrets may have changed a moment ago.
            let fresh = edge.routing.integration_again(&integration.id).await?;
            *integration = check_mode(fresh.ok_or_else(Refusal::unknown_integration)?)?;
            open(edge, integration, &callback)?
        }
        outcome => outcome?,
    };
    let answer = match opened {
        Opened::Plain(payload) => {
            let payload = payload.ok_or(callback::Error::Malformed("the body"))?;
            let decision = accept::decide(integration, &payload, &body)?;
            edge.take(integration, decision, arrived).await?;
            plain_answer(&payload)
        }
        Opened::Envelope { envelopes, plain } => {
            let value = read(&plain, DECRYPTED)?;
            let payload = accept::payload(&value).ok_or(callback::Error::Malformed(DECRYPTED))?;
            let decision = accept::decide(integration, &payload, &value)?;
            edge.take(integration, decision, arrived).await?;
            encrypted_answer(edge, &envelopes)
        }
    };
    let verified_at = Some(edge.context.clock.now());
    edge.recorder.record(&integration.id, Seen { verified_at, ..Seen::default() });
    Ok(answer)
}

fn read<'a>(bytes: &'a [u8], what: &'static str) -> Result<Value<'a>, callback::Error> {
    serde_json::from_slice(bytes).map_err(|_| callback::Error::Malformed(what))
}

/// Verifies and decrypts what came, with the keys of `integration` as it is known now.
fn open(
    edge: &Edge,
    integration: &Integration,
    callback: &Callback<'_>,
) -> Result<Opened, callback::Error> {
    match loose::field(callback.body, "encrypt") {
        Some(encrypt) => open_envelope(integration, callback.query, encrypt),
        None => open_plain(edge, integration, callback),
    }
}

fn open_envelope(
    integration: &Integration,
    query: &[(String, String)],
    encrypt: &Value<'_>,
) -> Result<Opened, callback::Error> {
    let get = |names: &[&str], missing| {
        let value = names.iter().find_map(|wanted| {
            query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        });
        value.filter(|value| !value.is_empty()).ok_or(callback::Error::SignatureMissing(missing))
    };
    let stamp = Stamp {
        signature: get(&["msg_signature", "signature"], "the query parameter signature")?,
        timestamp: get(&["timestamp", "timeStamp"], "the query parameter timestamp")?,
        nonce: get(&["nonce"], "the query parameter nonce")?,
    };
    let encrypt = encrypt.as_str().ok_or(callback::Error::Malformed("encrypt"))?;
    // Without token and key nothing can match.
    let envelopes = Envelopes::of(integration).ok_or(callback::Error::SignatureMismatch)?;
    let plain = envelopes.decrypt(&stamp, encrypt)?;
    Ok(Opened::Envelope { envelopes, plain })
}

fn open_plain(
    edge: &Edge,
    integration: &Integration,
    callback: &Callback<'_>,
) -> Result<Opened, callback::Error> {
    let header = |name| callback.headers.get(name).and_then(|value| value.to_str().ok());
    let now = edge.context.clock.now();
    let payload = accept::payload(callback.body);
    if payload == Some(Payload::Card) {
        let secret = edge.action_key.card_api_secret(&integration.id);
        verify_card(secret.expose(), header(CARD_TIMESTAMP), header(CARD_SIGN), now)?;
    } else {
        let secret = integration.client_secret.expose();
        verify_robot(secret, header(ROBOT_TIMESTAMP), header(ROBOT_SIGN), now)?;
    }
    Ok(Opened::Plain(payload))
}

fn encrypted_answer(edge: &Edge, envelopes: &Envelopes) -> Response {
    let timestamp = edge.context.clock.now().0.to_string();
    let nonce = String::from_utf8_lossy(&random::<8>()).into_owned();
    Json(envelopes.encrypt(b"success", random(), &timestamp, &nonce)).into_response()
}

fn plain_answer(payload: &Payload) -> Response {
    let body = match payload {
        // What a press changes on its card comes with the turn's own update.
        Payload::Card => "{}",
        Payload::Robot | Payload::Event(_) => r#"{"msgtype":"empty"}"#,
    };
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Letters and digits, as DingTalk's own samples use.
fn random<const N: usize>() -> [u8; N] {
    let mut generator = rand::rng();
    std::array::from_fn(|_| generator.sample(Alphanumeric))
}
