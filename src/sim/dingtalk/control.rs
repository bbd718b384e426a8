//! The control surface over HTTP, under `/sim/`: what people do, what goes wrong, what was seen.
//!
//! It is what the chat page and tests in other languages use; Rust tests use `Sim` itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::{App, Down, Receive};
use super::card::Click;
use super::cloud::Cloud;
use super::fault::Fault;
use super::message::Say;
use crate::domain::secret::Secret;
use crate::protocol::host::Hosts;
use crate::sim::locked;

/// The largest file a person may attach.
const FILE_MAX_BYTES: usize = 20 * 1024 * 1024;
/// The longest that a reader of the log is kept waiting.
const WAIT_MAX: Duration = Duration::from_secs(30);
const RECORDS_MAX: usize = 1000;

/// They answer only to addresses, `localhost` and the host of `url`: a page in a browser that makes its own name
/// lead here reads nothing.
pub fn routes(url: &str) -> Router<Arc<Cloud>> {
    let hosts = Hosts::new([url]);
    Router::new()
        .route("/", get(async || Html(include_str!("../chat.html"))))
        .route("/sim/chat.js", get(script))
        .route("/sim/state", get(state))
        .route("/sim/apps", post(put_app))
        .route("/sim/say", post(say))
        .route("/sim/raw", post(raw))
        .route("/sim/event", post(event))
        .route("/sim/click", post(click))
        .route("/sim/stream", post(stream))
        .route("/sim/fault", post(fault).delete(clear_faults))
        .route("/sim/people", post(people))
        .route("/sim/tokens/revoke", post(revoke))
        .route("/sim/log", get(log))
        .route("/sim/cards/{id}", get(card))
        .route("/sim/files", post(put_file).layer(DefaultBodyLimit::max(FILE_MAX_BYTES)))
        .route("/sim/files/{code}", get(file))
        .layer(from_fn(move |request: Request, next: Next| {
            let is_ours = hosts.has(request.headers());
            async move {
                if is_ours {
                    next.run(request).await
                } else {
                    StatusCode::MISDIRECTED_REQUEST.into_response()
                }
            }
        }))
}

async fn script() -> impl IntoResponse {
    let kind = "text/javascript; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], include_str!("../chat.js"))
}

fn unknown(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": format!("no such {what}") }))).into_response()
}

async fn state(State(cloud): State<Arc<Cloud>>) -> Json<Value> {
    let apps: Vec<Value> = cloud
        .apps()
        .iter()
        .map(|state| {
            let connections: Vec<u64> = state.connections().iter().map(|c| c.id).collect();
            let mode = if state.app.receive == Receive::Stream { "stream" } else { "http" };
            json!({
                "clientId": state.app.client_id,
                "robotCode": state.app.robot_code(),
                "mode": mode,
                "connections": connections,
            })
        })
        .collect();
    let counts = &cloud.book.counts;
    Json(json!({
        "apps": apps,
        "last": cloud.book.last(),
        "said": counts.said.load(Ordering::Relaxed),
        "acked": counts.acked.load(Ordering::Relaxed),
        "replies": counts.replies.load(Ordering::Relaxed),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewApp {
    client_id: String,
    client_secret: String,
    #[serde(default)]
    robot_code: Option<String>,
    #[serde(default)]
    receive: Receive,
}

async fn put_app(State(cloud): State<Arc<Cloud>>, Json(app): Json<NewApp>) -> StatusCode {
    cloud.put_app(App {
        client_id: app.client_id,
        client_secret: Secret::new(app.client_secret),
        robot_code: app.robot_code,
        receive: app.receive,
    });
    StatusCode::NO_CONTENT
}

async fn say(State(cloud): State<Arc<Cloud>>, Json(say): Json<Say>) -> Response {
    match cloud.say(say) {
        Some(said) => Json(json!({ "msgId": said.msg_id, "conversationId": said.conversation }))
            .into_response(),
        None => unknown("robot"),
    }
}

#[derive(Deserialize)]
struct Raw {
    robot: String,
    body: Value,
}

async fn raw(State(cloud): State<Arc<Cloud>>, Json(raw): Json<Raw>) -> Response {
    if cloud.say_raw(&raw.robot, raw.body) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        unknown("robot")
    }
}

#[derive(Deserialize)]
struct Event {
    robot: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Value,
}

async fn event(State(cloud): State<Arc<Cloud>>, Json(event): Json<Event>) -> Response {
    match cloud.event(&event.robot, &event.kind, event.data) {
        Some(id) => Json(json!({ "eventId": id })).into_response(),
        None => unknown("robot"),
    }
}

/// Answers as DingTalk's client sees it: the service's response, or that none came in time.
async fn click(State(cloud): State<Arc<Cloud>>, Json(click): Json<Click>) -> Response {
    let Some(answered) = cloud.click(&click) else { return unknown("card") };
    match tokio::time::timeout(super::callback::CARD_DEADLINE, answered).await {
        Ok(Ok(response)) => Json(json!({ "response": response })).into_response(),
        Ok(Err(_)) | Err(_) => {
            (StatusCode::GATEWAY_TIMEOUT, Json(json!({ "error": "no answer in 2 s" })))
                .into_response()
        }
    }
}

/// What happens to a robot's connections.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum StreamFault {
    /// The `disconnect` frame, then the close.
    Disconnect,
    /// TCP ends without a word.
    Kick,
    /// A close frame.
    Close { code: u16 },
    /// Nothing is read or written any more, for so long.
    Zombie { seconds: u64 },
    /// A text that is not JSON.
    Garbage,
    /// The next `count` pushes are delivered twice.
    Duplicate { count: u32 },
    /// The next `count` acks are lost on their way.
    LoseAcks { count: u32 },
}

impl Cloud {
    /// Does it to every connection of the robot; their number.
    pub fn stream_fault(&self, robot: &str, fault: &StreamFault) -> usize {
        let Some(app) = self.app(robot) else { return 0 };
        let connections = app.connections();
        for connection in &connections {
            let down = match fault {
                StreamFault::Disconnect => Down::Disconnect,
                StreamFault::Kick => Down::Kick,
                StreamFault::Close { code } => Down::Close(*code),
                StreamFault::Zombie { seconds } => Down::Freeze(Duration::from_secs(*seconds)),
                StreamFault::Garbage => Down::Frame("{garbage".to_owned()),
                StreamFault::Duplicate { .. } | StreamFault::LoseAcks { .. } => continue,
            };
            connection.down.try_send(down).ok(); // it has ended already
        }
        match fault {
            StreamFault::Duplicate { count } => self.duplicates.store(*count, Ordering::Relaxed),
            StreamFault::LoseAcks { count } => self.lost_acks.store(*count, Ordering::Relaxed),
            StreamFault::Disconnect
            | StreamFault::Kick
            | StreamFault::Close { .. }
            | StreamFault::Zombie { .. }
            | StreamFault::Garbage => {}
        }
        connections.len()
    }
}

/// Takes one off a scripted number; false where none is left.
pub fn take_one(left: &AtomicU32) -> bool {
    left.load(Ordering::Relaxed) > 0
        && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

#[derive(Deserialize)]
struct StreamCall {
    robot: String,
    #[serde(flatten)]
    fault: StreamFault,
}

async fn stream(State(cloud): State<Arc<Cloud>>, Json(call): Json<StreamCall>) -> Json<Value> {
    Json(json!({ "connections": cloud.stream_fault(&call.robot, &call.fault) }))
}

async fn fault(State(cloud): State<Arc<Cloud>>, Json(fault): Json<Fault>) -> StatusCode {
    cloud.faults.push(fault);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(cloud): State<Arc<Cloud>>) -> StatusCode {
    cloud.faults.clear();
    cloud.duplicates.store(0, Ordering::Relaxed);
    cloud.lost_acks.store(0, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

/// Staff ids with a fate: refused by DingTalk, or accepted and never delivered to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct People {
    #[serde(default)]
    invalid: Vec<String>,
    #[serde(default)]
    flow_controlled: Vec<String>,
}

async fn people(State(cloud): State<Arc<Cloud>>, Json(people): Json<People>) -> StatusCode {
    *locked(&cloud.invalid_staff) = people.invalid.into_iter().collect();
    *locked(&cloud.flow_controlled) = people.flow_controlled.into_iter().collect();
    StatusCode::NO_CONTENT
}

async fn revoke(State(cloud): State<Arc<Cloud>>) -> StatusCode {
    cloud.revoke_tokens();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogQuery {
    #[serde(default)]
    since: u64,
    #[serde(default)]
    wait_ms: u64,
}

/// The records after `since`; waits for the first one where asked to.
async fn log(State(cloud): State<Arc<Cloud>>, Query(query): Query<LogQuery>) -> Json<Value> {
    let wait = Duration::from_millis(query.wait_ms).min(WAIT_MAX);
    tokio::time::timeout(wait, cloud.book.past(query.since)).await.ok(); // then there are none
    let records = cloud.book.since(query.since, RECORDS_MAX);
    let next = records.last().map_or(query.since, |record| record.seq);
    Json(json!({ "records": records.iter().map(AsRef::as_ref).collect::<Vec<_>>(), "next": next }))
}

async fn card(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>) -> Response {
    match locked(&cloud.cards).get(&id) {
        Some(card) => Json(card).into_response(),
        None => unknown("card"),
    }
}

#[derive(Deserialize)]
struct FileQuery {
    name: String,
}

async fn put_file(
    State(cloud): State<Arc<Cloud>>,
    Query(query): Query<FileQuery>,
    body: Bytes,
) -> Json<Value> {
    Json(json!({ "downloadCode": cloud.put_file(&query.name, body) }))
}

/// The file as the person who attached it sees it.
async fn file(State(cloud): State<Arc<Cloud>>, Path(code): Path<String>) -> Response {
    let Some(file) = locked(&cloud.files).get(&code).cloned() else { return unknown("file") };
    let is_picture = [".png", ".jpg", ".jpeg", ".gif", ".webp"]
        .iter()
        .any(|end| file.name.to_lowercase().ends_with(end));
    // Never a type that a browser would run in this origin.
    let kind = if is_picture { "image/png" } else { "application/octet-stream" };
    let headers = [(header::CONTENT_TYPE, kind), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, file.bytes.clone()).into_response()
}
