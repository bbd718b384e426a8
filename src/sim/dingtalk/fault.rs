//! Scripted faults: a queue per API, each taken by the next calls that reach it.
//!
//! Guarantees that a fault is used as often as it was asked for and in the order of the queue. The
//! faults of the Stream socket (lost acks, zombies) are `gateway`'s.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::record::{Kind, Record};
use crate::sim::locked;
use crate::sim::server::cut;

/// The next `times` calls of `api` meet `outcome`, after `delay_ms`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// A name of [`api_of`].
    pub api: String,
    #[serde(default = "once")]
    pub times: u32,
    #[serde(default)]
    pub delay_ms: u64,
    #[serde(flatten)]
    pub outcome: Outcome,
}

fn once() -> u32 {
    1
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// Nothing is done and this is the answer.
    Answer { status: u16, body: Value },
    /// A well-known refusal by its name, see [`preset`].
    Preset { name: String },
    /// Nothing is done and the connection is cut.
    Reset,
    /// Nothing is done and no answer comes.
    Hang,
    /// It is done, and the connection is cut: the caller cannot know.
    AcceptThenReset,
    /// It is done, and no answer comes.
    AcceptThenHang,
    /// It is done, and this is the answer nevertheless.
    AcceptThenAnswer { status: u16, body: Value },
    /// It is done as ever, only after the delay.
    Slow,
}

impl Fault {
    pub fn new(api: &str, outcome: Outcome) -> Self {
        Self { api: api.to_owned(), times: 1, delay_ms: 0, outcome }
    }

    pub fn preset(api: &str, name: &str) -> Self {
        Self::new(api, Outcome::Preset { name: name.to_owned() })
    }

    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }
}

/// The API that a path belongs to, by the name that faults use.
pub fn api_of(path: &str) -> Option<&'static str> {
    Some(match path {
        "/v1.0/gateway/connections/open" => "open",
        "/connect" => "connect",
        "/v1.0/oauth2/accessToken" | "/gettoken" => "token",
        "/robot/sendBySession" => "webhook",
        "/v1.0/robot/oToMessages/batchSend" => "oto",
        "/v1.0/robot/groupMessages/send" => "group",
        "/v1.0/robot/messageFiles/download" => "download",
        "/media/upload" => "upload",
        "/v1.0/card/streaming" => "streaming",
        _ if path.starts_with("/v1.0/robot/emotion/") => "emotion",
        _ if path.starts_with("/v1.0/card/callbacks/") => "register",
        _ if path.starts_with("/v1.0/card/instances") => "card",
        _ if path.starts_with("/files/") => "file",
        _ => return None,
    })
}

/// Refusals as DingTalk words them.
pub fn preset(name: &str) -> Option<(u16, Value)> {
    let refused = |status: u16, code: &str, message: &str| {
        let id = uuid::Uuid::new_v4().to_string().to_uppercase();
        Some((status, json!({ "code": code, "message": message, "requestid": id })))
    };
    let told =
        |code: i64, message: &str| Some((200, json!({ "errcode": code, "errmsg": message })));
    match name {
        "qps" => refused(403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", "QPS limit"),
        "tooMany" => refused(429, "Throttling", "too many requests"),
        "internal" => refused(500, "system.error", "系统异常"),
        "unavailable" => refused(503, "serviceBusy", "服务繁忙"),
        "timeout" => refused(504, "service.timeout", "Gateway Timeout"),
        "tokenInvalid" => refused(400, "InvalidAuthentication", "不合法的access_token"),
        "unauthorized" => refused(401, "InvalidAuthentication", "不合法的access_token"),
        "ipDenied" => refused(403, "Forbidden.AccessDenied.IpNotInWhiteList", "ip not allowed"),
        "quota" => refused(403, "Forbidden.AccessDenied.ApiCountLimitForOrg", "quota exceeded"),
        "permissionDenied" => {
            refused(403, "Forbidden.AccessDenied.AccessTokenPermissionDenied", "no permission")
        }
        "systemError" => refused(400, "system.error", "未知的系统错误"),
        "unsafeText" => refused(400, "contain.notAllowed.text", "文本不合法"),
        "tooLong" => refused(400, "invalidParameter.msgParam.tooLong", "消息内容太长"),
        "disbanded" => refused(400, "group.disbanded", "群已解散"),
        "busy" => told(-1, "系统繁忙"),
        "tooFast" => told(410_100, "send too fast"),
        "sessionGone" => told(300_001, "session 不存在"),
        "webhookTooLong" => told(460_101, "message too long, exceed 20000 bytes"),
        "systemFault" => told(500_100, "description:系统异常，请稍后再试;"),
        "unsafeUrl" => told(430_101, "本次请求包含安全风险 unSafe URL"),
        "robotStopped" => told(400_102, "robot stopped"),
        _ => None,
    }
}

#[derive(Default)]
pub struct Faults {
    queued: AtomicUsize,
    by_api: Mutex<HashMap<String, VecDeque<Fault>>>,
}

impl Faults {
    pub fn push(&self, fault: Fault) {
        let mut by_api = locked(&self.by_api);
        by_api.entry(fault.api.clone()).or_default().push_back(fault);
        self.queued.fetch_add(1, Ordering::Release);
    }

    pub fn clear(&self) {
        let mut by_api = locked(&self.by_api);
        by_api.clear();
        self.queued.store(0, Ordering::Release);
    }

    /// The fault that the next call of `api` meets. Costs one atomic read where none is queued.
    fn take(&self, api: &str) -> Option<Fault> {
        if self.queued.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut by_api = locked(&self.by_api);
        let queue = by_api.get_mut(api)?;
        let fault = queue.front_mut()?;
        fault.times = fault.times.saturating_sub(1);
        let taken = fault.clone();
        if taken.times == 0 {
            queue.pop_front();
            self.queued.fetch_sub(1, Ordering::Release);
        }
        Some(taken)
    }
}

/// The middleware in front of every simulated API.
pub async fn meet(State(cloud): State<Arc<Cloud>>, request: Request, next: Next) -> Response {
    let Some(api) = api_of(request.uri().path()) else { return next.run(request).await };
    let Some(fault) = cloud.faults.take(api) else { return next.run(request).await };
    cloud.record(Record { kind: Kind::Faulted, detail: api.to_owned(), ..Record::default() });
    tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    match fault.outcome {
        Outcome::Answer { status, body } => answer(status, &body),
        Outcome::Preset { name } => match preset(&name) {
            Some((status, body)) => answer(status, &body),
            None => answer(500, &json!({ "code": "sim.unknownPreset", "message": name })),
        },
        Outcome::Reset => {
            read_whole(request.into_body()).await;
            cut()
        }
        Outcome::Hang => std::future::pending().await,
        Outcome::AcceptThenReset => {
            drop(next.run(request).await);
            cut()
        }
        Outcome::AcceptThenHang => {
            drop(next.run(request).await);
            std::future::pending().await
        }
        Outcome::AcceptThenAnswer { status, body } => {
            drop(next.run(request).await);
            answer(status, &body)
        }
        Outcome::Slow => next.run(request).await,
    }
}

/// The caller has sent all it had when the connection goes.
async fn read_whole(body: Body) {
    axum::body::to_bytes(body, usize::MAX).await.ok(); // it is cut either way
}

/// A text body is sent as it is, for answers that are not JSON.
fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match body {
        Value::String(text) => {
            (status, [(header::CONTENT_TYPE, "text/html")], text.clone()).into_response()
        }
        body => (status, axum::Json(body)).into_response(),
    }
}
