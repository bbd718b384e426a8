//! A simulated callback expert: it checks the Standard Webhooks signature of a turn and answers it as
//! `script` says, in deltas.
//!
//! Guarantees that every call is kept in order, so that a test can see attempts and doubling. The demo's expert is
//! one of these.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::Stream;
use futures_util::stream::unfold;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::script::{self, Act, Decision, End};
use super::{locked, server};
use crate::context::Context;
use crate::domain::secret::Secret;

/// How far the caller's clock may be off.
const SKEW_MAX_MS: i64 = 300_000;
/// Calls kept; the oldest go first.
const CALLS_MAX: usize = 500_000;

/// One turn as it was received.
#[derive(Debug, Clone)]
pub struct Call {
    pub at_ms: i64,
    pub webhook_id: String,
    /// Whether the signature was right.
    pub is_signed: bool,
    /// Its `traceparent`.
    pub trace: String,
    pub body: Value,
}

/// What the next call gets instead of the script's answer.
#[derive(Debug, Clone)]
pub enum Next {
    Act(Act),
    /// One JSON answer.
    Json(Value),
    /// One answer, byte for byte.
    Raw {
        content_type: String,
        body: String,
    },
    Status {
        status: u16,
        retry_after: Option<u64>,
        body: String,
    },
}

/// A running expert. Cheap to clone.
#[derive(Clone)]
pub struct Expert {
    state: Arc<Shared>,
    url: String,
}

struct Shared {
    context: Context,
    secret: Secret,
    calls: Mutex<VecDeque<Arc<Call>>>,
    count: watch::Sender<u64>,
    next: Mutex<VecDeque<Next>>,
    /// Instead of the script, where nothing is queued.
    always: Mutex<Option<Next>>,
    stop: CancellationToken,
}

impl Expert {
    /// Listens before it returns. `secret` is `whsec_` and base64.
    pub async fn start(context: &Context, address: &str, secret: Secret) -> std::io::Result<Self> {
        let bound = server::bind(address).await?;
        let url = format!("{}/turn", bound.url());
        let state = Arc::new(Shared {
            context: context.clone(),
            secret,
            calls: Mutex::default(),
            count: watch::Sender::new(0),
            next: Mutex::default(),
            always: Mutex::default(),
            stop: context.stop().child_token(),
        });
        let router = Router::new().route("/turn", post(turn)).with_state(state.clone());
        server::serve(context, bound, router, state.stop.clone());
        Ok(Self { state, url })
    }

    /// The address to register as a runtime of kind `callback`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The calls kept so far, in order.
    pub fn calls(&self) -> Vec<Arc<Call>> {
        locked(&self.state.calls).iter().cloned().collect()
    }

    /// Waits for so many calls since the start, at most `limit`; false when they did not come.
    pub async fn called(&self, times: u64, limit: Duration) -> bool {
        let mut count = self.state.count.subscribe();
        tokio::time::timeout(limit, count.wait_for(|count| *count >= times)).await.is_ok()
    }

    /// Queues what a coming call gets.
    pub fn next(&self, next: Next) {
        locked(&self.state.next).push_back(next);
    }

    /// What every call gets that nothing is queued for, in place of the script's answer.
    pub fn always(&self, next: Next) {
        *locked(&self.state.always) = Some(next);
    }

    /// Ends this expert alone.
    pub fn stop(&self) {
        self.state.stop.cancel();
    }
}

async fn turn(State(expert): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let id = header("webhook-id");
    let now_ms = expert.context.clock.now().0;
    let is_fresh = header("webhook-timestamp")
        .parse::<i64>()
        .is_ok_and(|at| (now_ms - at.saturating_mul(1000)).abs() <= SKEW_MAX_MS);
    let expected = sign(&expert.secret, &id, &header("webhook-timestamp"), &body);
    let is_signed = is_fresh
        && expected.is_some_and(|expected| {
            header("webhook-signature").split(' ').any(|one| one == expected)
        });
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    {
        let trace = header("traceparent");
        let call = Call { at_ms: now_ms, webhook_id: id, is_signed, trace, body: body.clone() };
        let mut calls = locked(&expert.calls);
        calls.push_back(Arc::new(call));
        if calls.len() > CALLS_MAX {
            calls.pop_front();
        }
        expert.count.send_modify(|count| *count += 1);
    }
    if !is_signed {
        return (StatusCode::UNAUTHORIZED, "signature").into_response();
    }
    let queued = locked(&expert.next).pop_front();
    match queued.or_else(|| locked(&expert.always).clone()) {
        Some(Next::Json(answer)) => axum::Json(answer).into_response(),
        Some(Next::Raw { content_type, body }) => {
            ([(header::CONTENT_TYPE, content_type)], body).into_response()
        }
        Some(Next::Status { status, retry_after, body }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = (status, body).into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        Some(Next::Act(act)) => play(act),
        None => play(act_of(&body)),
    }
}

fn act_of(body: &Value) -> Act {
    match body.get("action").and_then(Value::as_str) {
        Some("confirm") => script::decided(Decision::Confirm),
        Some("reject") => script::decided(Decision::Reject),
        Some(_) | None => {
            let text = body.pointer("/input/text").and_then(Value::as_str).unwrap_or_default();
            script::answer(&format!("{}{text}", quoted(body)))
        }
    }
}

/// What the turn's messages quote, every line marked: who answers what was said shows that it read it.
fn quoted(body: &Value) -> String {
    let messages = body.pointer("/input/messages").and_then(Value::as_array);
    let quotes = messages.into_iter().flatten();
    let quotes = quotes.filter_map(|message| message.pointer("/quoted/text")?.as_str());
    let lines: Vec<_> = quotes.flat_map(str::lines).map(|line| format!("> {line}\n")).collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("{}\n", lines.concat()),
    }
}

fn play(act: Act) -> Response {
    match act.end {
        End::Fail => (StatusCode::INTERNAL_SERVER_ERROR, "failed on request").into_response(),
        End::Refuse => (StatusCode::BAD_REQUEST, "refused on request").into_response(),
        End::Done | End::Interrupt { .. } | End::Hang | End::Cut => {
            let kind = [(header::CONTENT_TYPE, "text/event-stream")];
            (kind, Body::from_stream(events(act))).into_response()
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cut on request")]
struct CutOnRequest;

/// The answer as server-sent events: deltas, then the end.
fn events(act: Act) -> impl Stream<Item = Result<Bytes, CutOnRequest>> {
    let deltas: VecDeque<String> = act.deltas.into();
    let start = (deltas, Some(act.end), act.pause);
    unfold(start, async |(mut deltas, end, pause)| {
        if let Some(delta) = deltas.pop_front() {
            tokio::time::sleep(pause).await;
            return Some((Ok(event(&json!({ "delta": delta }))), (deltas, end, pause)));
        }
        let last = match end? {
            End::Interrupt { title, text } => {
                json!({ "done": true, "interrupt": { "title": title, "text": text } })
            }
            End::Hang => std::future::pending().await,
            End::Cut => return Some((Err(CutOnRequest), (deltas, None, pause))),
            End::Done | End::Fail | End::Refuse => json!({ "done": true }),
        };
        Some((Ok(event(&last)), (deltas, None, pause)))
    })
}

fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// `v1,<base64>` over `id.timestamp.body`. `None` for a secret that is none.
fn sign(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> Option<String> {
    let key = STANDARD.decode(secret.expose().strip_prefix("whsec_")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Clock;

    #[test]
    fn the_signature_is_that_of_the_published_sample() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(
            sign(&secret, id, "1614265330", body).unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[tokio::test]
    async fn a_turn_is_answered_in_deltas_and_a_forged_one_is_not() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let context = Context::new(Clock::system());
        let secret = Secret::new(format!("whsec_{}", STANDARD.encode([7; 32])));
        let expert = Expert::start(&context, "127.0.0.1:0", secret.clone()).await.unwrap();
        let now = (context.clock.now().0 / 1000).to_string();
        let body = json!({ "action": null, "input": { "text": "confirm it" } }).to_string();
        let signature = sign(&secret, "turn-1", &now, body.as_bytes()).unwrap();
        let ask = |signature: &str| {
            reqwest::Client::new()
                .post(expert.url())
                .header("webhook-id", "turn-1")
                .header("webhook-timestamp", &now)
                .header("webhook-signature", signature)
                .body(body.clone())
                .send()
        };
        assert_eq!(ask("v1,wrong").await.unwrap().status(), 401);
        let answer = ask(&signature).await.unwrap().text().await.unwrap();
        assert!(answer.matches("\"delta\"").count() > 1, "{answer}");
        assert!(answer.contains("\"interrupt\""), "{answer}");
        expert.next(Next::Status { status: 429, retry_after: Some(3), body: String::new() });
        assert_eq!(ask(&signature).await.unwrap().headers()["retry-after"], "3");
        assert_eq!(expert.calls().len(), 3);
        assert!(context.finish(Duration::from_secs(5)).await);
    }
}
