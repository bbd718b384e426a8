//! A simulated Xpert server: threads, runs, resumable event streams, cancel, files, conversations.
//!
//! Guarantees the laws that trip clients up: a resumed run continues a stream that had ended, a busy thread
//! refuses nothing, a thread belongs to one assistant. Other trouble comes as a named [`Fault`].

pub mod fault;
pub mod thread;
pub mod ask;
pub mod run;
pub mod player;
pub mod stream;
pub mod answer;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::answer::Refusal;
use self::fault::Fault;
use self::thread::Thread;
use super::{locked, server};
use crate::context::Context;
use crate::domain::secret::Secret;

const BODY_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Calls kept; the oldest go first.
const CALLS_MAX: usize = 500_000;

/// A run that was asked for.
#[derive(Debug, Clone)]
pub struct Call {
    pub at_ms: i64,
    pub thread: String,
    pub run: String,
    pub body: Value,
}

pub struct Server {
    pub context: Context,
    api_key: Secret,
    pub threads: Mutex<BTreeMap<String, Thread>>,
    pub faults: Mutex<VecDeque<Fault>>,
    calls: Mutex<VecDeque<Call>>,
    /// What was said into runs.
    steered: Mutex<Vec<Call>>,
    /// How far this server's clock is ahead.
    ahead_ms: AtomicI64,
    count: watch::Sender<u64>,
    /// Runs that began while another ran on their thread.
    pub overlaps: AtomicU64,
    /// Runs that were cancelled while they ran or waited for a decision.
    pub cancelled: Mutex<Vec<String>>,
    pub stop: CancellationToken,
}

impl Server {
    /// The time by this server's own clock.
    pub fn now_ms(&self) -> i64 {
        self.context.clock.now().0 + self.ahead_ms.load(Ordering::Relaxed)
    }

    pub fn steered(&self, call: Call) {
        locked(&self.steered).push(call);
    }

    pub fn called(&self, call: Call) {
        let mut calls = locked(&self.calls);
        calls.push_back(call);
        if calls.len() > CALLS_MAX {
            calls.pop_front();
        }
        self.count.send_modify(|count| *count += 1);
    }
}

/// A running server. Cheap to clone.
#[derive(Clone)]
pub struct Xpert {
    server: Arc<Server>,
    url: String,
}

impl Xpert {
    /// Listens before it returns.
    pub async fn start(context: &Context, address: &str, api_key: Secret) -> std::io::Result<Self> {
        let bound = server::bind(address).await?;
        let url = format!("{}/api/ai", bound.url());
        let server = Arc::new(Server {
            context: context.clone(),
            api_key,
            threads: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            steered: Mutex::default(),
            ahead_ms: AtomicI64::new(0),
            count: watch::Sender::new(0),
            overlaps: AtomicU64::new(0),
            cancelled: Mutex::default(),
            stop: context.stop().child_token(),
        });
        server::serve(context, bound, router(&server), server.stop.clone());
        Ok(Self { server, url })
    }

    /// The base address of the public API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Queues a fault for the next call that it concerns.
    pub fn fault(&self, fault: Fault) {
        locked(&self.server.faults).push_back(fault);
    }

    /// How many faults no call has met yet.
    pub fn faults(&self) -> usize {
        locked(&self.server.faults).len()
    }

    /// Sets this server's clock, which its answers are stamped with, so far ahead; or back.
    pub fn set_ahead_ms(&self, ms: i64) {
        self.server.ahead_ms.store(ms, Ordering::Relaxed);
    }

    /// What was said into runs and taken, in order.
    pub fn steered(&self) -> Vec<Call> {
        locked(&self.server.steered).clone()
    }

    /// The runs asked for, in order.
    pub fn calls(&self) -> Vec<Call> {
        locked(&self.server.calls).iter().cloned().collect()
    }

    /// Waits for so many runs since the start, at most `limit`; false when they did not come.
    pub async fn called(&self, times: u64, limit: Duration) -> bool {
        let mut count = self.server.count.subscribe();
        tokio::time::timeout(limit, count.wait_for(|count| *count >= times)).await.is_ok()
    }

    /// How often a run began while another ran on its thread: a fault of the caller.
    pub fn overlaps(&self) -> u64 {
        self.server.overlaps.load(Ordering::Relaxed)
    }

    /// The runs that were cancelled while they ran or waited for a decision, in order.
    pub fn cancelled(&self) -> Vec<String> {
        locked(&self.server.cancelled).clone()
    }

    /// The runs that work at the moment, of all threads.
    pub fn working(&self) -> Vec<String> {
        let threads = locked(&self.server.threads);
        let runs = threads.values().flat_map(|thread| &thread.runs);
        runs.filter(|run| run.status() == "running").map(|run| run.id.clone()).collect()
    }

    /// Ends this server alone.
    pub fn stop(&self) {
        self.server.stop.cancel();
    }
}

fn router(server: &Arc<Server>) -> Router {
    let api = Router::new()
        .route("/assistants/search", post(thread::assistants))
        .route("/assistants/{id}", get(thread::assistant))
        .route("/threads", post(thread::create))
        .route("/threads/{thread}", get(thread::show).delete(thread::delete))
        .route("/threads/{thread}/runs", post(run::create).get(run::list))
        .route("/threads/{thread}/runs/stream", post(run::create_and_stream))
        .route("/threads/{thread}/runs/wait", post(run::create_and_wait))
        .route("/threads/{thread}/runs/{run}", get(run::show))
        .route("/threads/{thread}/runs/{run}/stream", get(run::join))
        .route("/threads/{thread}/runs/{run}/cancel", post(run::cancel))
        .route("/conversations/{id}", get(thread::conversation))
        .route("/conversations/{id}/messages", get(thread::messages))
        .route("/contexts/file", post(thread::file))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(from_fn_with_state(server.clone(), authorise));
    Router::new()
        .nest("/api/ai", api)
        .route("/sim/fault", post(fault::queue))
        .with_state(server.clone())
}

/// `x-api-key`, or the same as a bearer token. A queued refusal comes before everything else.
async fn authorise(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let is_known = key(request.headers()) == Some(server.api_key.expose());
    if !is_known {
        return Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized").into_response();
    }
    match fault::take(&server, |fault| matches!(fault, Fault::Status { .. } | Fault::Hang)) {
        Some(Fault::Status { status, retry_after }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = Refusal::new(status, "refused on request").into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        Some(_) => std::future::pending().await,
        None => {
            let mut response = next.run(request).await;
            if let Some(date) = http_date(server.now_ms()) {
                response.headers_mut().insert(header::DATE, date);
            }
            response
        }
    }
}

/// The header `Date`, of whole seconds.
fn http_date(ms: i64) -> Option<HeaderValue> {
    let time = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).ok()?;
    let text = time.format(&Rfc2822).ok()?;
    HeaderValue::from_str(&text.replace("+0000", "GMT")).ok()
}

fn key(headers: &HeaderMap) -> Option<&str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    header("x-api-key").or_else(|| header("authorization")?.strip_prefix("Bearer "))
}

#[cfg(test)]
mod tests;
