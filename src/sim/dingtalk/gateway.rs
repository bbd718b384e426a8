//! Stream mode: tickets, sockets, frames.
//!
//! Guarantees what the official clients rely on: a ticket opens one connection within its life, pings of the
//! socket are answered, a `disconnect` frame stops deliveries at once. Leaves redelivery to `delivery`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::answer::refusal;
use super::app::{AppState, Connection, Down, FRAMES_MAX, Receive};
use super::cloud::{Cloud, Subscription, Ticket};
use super::record::{Kind, Record};
use crate::sim::locked;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    client_id: String,
    client_secret: String,
    subscriptions: Vec<Subscription>,
}

/// `POST /v1.0/gateway/connections/open`.
pub async fn open(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, super::answer::Refusal> {
    let open: Open = serde_json::from_slice(&body)
        .map_err(|_| refusal(400, "invalidParameter", "request body invalid"))?;
    let app = cloud
        .app(&open.client_id)
        .filter(|app| app.app.client_secret.expose() == open.client_secret)
        .ok_or_else(|| refusal(401, "authFailed", "鉴权失败"))?;
    if app.app.receive != Receive::Stream {
        return Err(refusal(400, "invalidParameter", "stream mode is not enabled"));
    }
    if open.subscriptions.is_empty() {
        return Err(refusal(400, "invalidParameter", "subscriptions empty"));
    }
    let ticket = uuid::Uuid::new_v4().to_string();
    let expires = Instant::now() + cloud.config.ticket_life;
    {
        let mut tickets = locked(&cloud.tickets);
        tickets.retain(|_, ticket| ticket.expires > Instant::now());
        let client_id = open.client_id.clone();
        tickets.insert(
            ticket.clone(),
            Ticket { client_id, expires, subscriptions: open.subscriptions },
        );
    }
    cloud.record(Record {
        kind: Kind::Opened,
        robot: open.client_id,
        body: without_secret(&body),
        ..Record::default()
    });
    let endpoint = format!("{}/connect", cloud.url.replacen("http", "ws", 1));
    let accept =
        headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") {
        return Ok(axum::Json(json!({ "endpoint": endpoint, "ticket": ticket })).into_response());
    }
    // As DingTalk does to clients that do not ask for JSON.
    let xml =
        format!("<response><endpoint>{endpoint}</endpoint><ticket>{ticket}</ticket></response>");
    Ok(([(header::CONTENT_TYPE, "application/xml")], xml).into_response())
}

fn without_secret(body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("clientSecret");
    }
    body
}

/// `GET /connect?ticket=`.
pub async fn connect(State(cloud): State<Arc<Cloud>>, mut request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let text = query.split('&').find_map(|pair| pair.strip_prefix("ticket=")).unwrap_or_default();
    let ticket =
        locked(&cloud.tickets).remove(text).filter(|ticket| ticket.expires > Instant::now());
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
    let (Some(ticket), Some(key)) = (ticket, key) else {
        return (StatusCode::BAD_REQUEST, "ticket invalid").into_response();
    };
    let Some(app) = cloud.app(&ticket.client_id) else {
        return (StatusCode::BAD_REQUEST, "client unknown").into_response();
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    let spawner = cloud.context.clone();
    spawner.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let io = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
                Session::new(cloud, app, ticket.subscriptions).run(socket).await;
            }
            Err(error) => tracing::debug!(%error, "simulated gateway could not upgrade"),
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Body::empty())
        .unwrap_or_default()
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// One socket from its handshake to its end.
struct Session {
    cloud: Arc<Cloud>,
    app: Arc<AppState>,
    id: u64,
    down: mpsc::Receiver<Down>,
    /// Set by the `disconnect` frame: when the server closes.
    closes: Option<Instant>,
    /// Keeps `down` open when the connection is no longer listed.
    _connection: Arc<Connection>,
}

/// Why a session ended, as the book names it.
type Ended = &'static str;

impl Session {
    fn new(cloud: Arc<Cloud>, app: Arc<AppState>, subscriptions: Vec<Subscription>) -> Self {
        let id = cloud.next_connection.fetch_add(1, Ordering::Relaxed);
        let (sender, down) = mpsc::channel(FRAMES_MAX);
        let connection = Arc::new(Connection { id, subscriptions, down: sender });
        app.join(connection.clone());
        let session = Self { cloud, app, id, down, closes: None, _connection: connection };
        session.note(Kind::Connected, "");
        session
    }

    async fn run(mut self, mut socket: Socket) {
        let ended = self.serve(&mut socket).await.unwrap_or("broken");
        self.app.leave(self.id);
        self.note(Kind::Closed, ended);
    }

    fn note(&self, kind: Kind, detail: &str) {
        self.cloud.record(Record {
            kind,
            robot: self.app.app.client_id.clone(),
            connection: self.id,
            detail: detail.to_owned(),
            ..Record::default()
        });
    }

    async fn serve(
        &mut self,
        socket: &mut Socket,
    ) -> Result<Ended, tokio_tungstenite::tungstenite::Error> {
        if self.cloud.config.greets {
            for topic in ["CONNECTED", "REGISTERED"] {
                socket.send(Message::text(self.system(topic, &json!({})))).await?;
            }
        }
        let stop = self.cloud.stop.clone();
        let every = self.cloud.config.ping_every;
        let mut ping = tokio::time::interval(every.unwrap_or(std::time::Duration::from_secs(3600)));
        ping.tick().await;
        loop {
            let closes = self.closes.unwrap_or_else(far);
            tokio::select! {
                down = self.down.recv() => {
                    let Some(down) = down else { return Ok("left") };
                    if let Some(ended) = self.obey(socket, down).await? {
                        return Ok(ended);
                    }
                }
                received = socket.next() => match received {
                    Some(Ok(message)) => self.take(&message),
                    Some(Err(error)) => return Err(error),
                    None => return Ok("closed by the client"),
                },
                _ = ping.tick(), if every.is_some() && self.closes.is_none() => {
                    let opaque = json!({ "opaque": uuid::Uuid::new_v4().to_string() });
                    socket.send(Message::text(self.system("ping", &opaque))).await?;
                }
                () = tokio::time::sleep_until(closes) => {
                    socket.close(None).await?;
                    return Ok("expired");
                }
                () = stop.cancelled() => return Ok("stopped"),
            }
        }
    }

    /// Does what it is told, with as many waiting frames as there are in one write.
    async fn obey(
        &mut self,
        socket: &mut Socket,
        first: Down,
    ) -> Result<Option<Ended>, tokio_tungstenite::tungstenite::Error> {
        let mut next = Some(first);
        while let Some(down) = next {
            match down {
                // Nothing is delivered any more once `disconnect` was said.
                Down::Frame(frame) if self.closes.is_none() => {
                    socket.feed(Message::text(frame)).await?;
                }
                Down::Frame(_) => {}
                Down::Disconnect => {
                    let reason = json!({ "reason": "persistent connection is timeout" });
                    socket.feed(Message::text(self.system("disconnect", &reason))).await?;
                    self.app.leave(self.id);
                    self.closes = Some(Instant::now() + self.cloud.config.disconnect_grace);
                }
                Down::Kick => return Ok(Some("kicked")),
                Down::Close(code) => {
                    let close = CloseFrame { code: CloseCode::from(code), reason: "".into() };
                    socket.close(Some(close)).await?;
                    return Ok(Some("closed"));
                }
                Down::Freeze(time) => return Ok(Some(self.freeze(time).await)),
            }
            next = self.down.try_recv().ok();
        }
        socket.flush().await?;
        Ok(None)
    }

    /// Still listed, so that pushes go to it and are lost.
    async fn freeze(&mut self, time: std::time::Duration) -> Ended {
        let ends = Instant::now() + time;
        let stop = self.cloud.stop.clone();
        loop {
            tokio::select! {
                down = self.down.recv() => if matches!(down, None | Some(Down::Kick)) {
                    return "kicked";
                },
                () = tokio::time::sleep_until(ends) => return "frozen",
                () = stop.cancelled() => return "stopped",
            }
        }
    }

    /// Any text with a message id answers the frame of that id; the Go client ends it with a newline.
    fn take(&self, message: &Message) {
        let Message::Text(text) = message else { return };
        let ack: Value = serde_json::from_str(text.trim_end()).unwrap_or_default();
        let id = ack.pointer("/headers/messageId").and_then(Value::as_str).map(str::to_owned);
        if let Some(id) = id {
            self.cloud.acked(&id, self.id, ack);
        }
    }

    fn system(&self, topic: &str, data: &Value) -> String {
        let now = self.cloud.now_ms();
        let headers = json!({
            "connectionId": self.id.to_string(),
            "contentType": "application/json",
            "messageId": format!("{:08x}_{now:x}", rand::random::<u32>()),
            "time": now.to_string(),
            "topic": topic,
        });
        let data = data.to_string();
        json!({ "specVersion": "1.0", "type": "SYSTEM", "headers": headers, "data": data })
            .to_string()
    }
}

fn far() -> Instant {
    Instant::now() + std::time::Duration::from_secs(365 * 24 * 3600)
}
