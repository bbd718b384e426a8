//! A scripted Stream gateway over real sockets: hands out tickets, accepts websockets, and leaves each
//! connection to the test.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Gateway {
    pub(crate) url: String,
    script: Arc<Script>,
    peers: mpsc::UnboundedReceiver<Peer>,
}

#[derive(Default)]
struct Script {
    /// Refusals to come, as status and body; then tickets.
    refusals: Mutex<VecDeque<(u16, String)>>,
    /// The bodies of all requests so far.
    requests: Mutex<Vec<Value>>,
    endpoint: Mutex<String>,
}

/// The gateway's side of a connection.
pub(crate) struct Peer {
    /// Of whom it is, as the ticket tells.
    pub(crate) client_id: String,
    orders: mpsc::UnboundedSender<Order>,
    heard: mpsc::UnboundedReceiver<Value>,
}

enum Order {
    Push(String),
    Close,
    /// Stays open, and neither reads nor answers.
    Freeze,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let api = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let sockets = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let url = format!("http://{}", api.local_addr().expect("a bound port has an address"));
        let script = Arc::new(Script::default());
        *script.endpoint.lock().expect("no other task panicked") =
            format!("ws://{}/connect", sockets.local_addr().expect("a bound port has an address"));
        let app = Router::new()
            .route("/v1.0/gateway/connections/open", post(open))
            .with_state(script.clone());
        spawn(async move { axum::serve(api, app).await.expect("serve") });
        let (arrived, peers) = mpsc::unbounded_channel();
        spawn(async move {
            loop {
                let (socket, _) = sockets.accept().await.expect("accept");
                spawn(accept(socket, arrived.clone()));
            }
        });
        Self { url, script, peers }
    }

    pub(crate) fn refuse(&self, status: u16, body: &str) {
        self.script
            .refusals
            .lock()
            .expect("no other task panicked")
            .push_back((status, body.to_owned()));
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        self.script.requests.lock().expect("no other task panicked").clone()
    }

    /// The next connection.
    pub(crate) async fn peer(&mut self) -> Peer {
        let peer = tokio::time::timeout(LIMIT, self.peers.recv()).await;
        peer.expect("a connection is opened in time").expect("the gateway runs")
    }

    pub(crate) fn try_peer(&mut self) -> Option<Peer> {
        self.peers.try_recv().ok()
    }
}

impl Peer {
    pub(crate) fn push(&self, frame: impl Into<String>) {
        self.orders.send(Order::Push(frame.into())).ok();
    }

    pub(crate) fn close(&self) {
        self.orders.send(Order::Close).ok();
    }

    pub(crate) fn freeze(&self) {
        self.orders.send(Order::Freeze).ok();
    }

    /// The next text from the client.
    pub(crate) async fn heard(&mut self) -> Value {
        let heard = tokio::time::timeout(LIMIT, self.heard.recv()).await;
        heard.expect("the client answers in time").expect("the connection is open")
    }

    /// The message id of the next acknowledgement, which must be a success.
    pub(crate) async fn acknowledged(&mut self) -> String {
        let ack = self.heard().await;
        assert_eq!(ack["code"], 200, "{ack}");
        ack["headers"]["messageId"].as_str().expect("a message id").to_owned()
    }

    /// Waits until the client has closed it.
    pub(crate) async fn closed(&mut self) {
        let closed = async { while self.heard.recv().await.is_some() {} };
        tokio::time::timeout(LIMIT, closed).await.expect("the client closes in time");
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.heard.is_closed()
    }
}

pub(crate) fn bot(id: &str, conversation: &str, msg_id: &str) -> String {
    let data = json!({ "conversationId": conversation, "msgId": msg_id });
    callback("/v1.0/im/bot/messages/get", id, &data)
}

pub(crate) fn callback(topic: &str, id: &str, data: &Value) -> String {
    let headers = json!({ "topic": topic, "messageId": id, "contentType": "application/json" });
    json!({ "specVersion": "1.0", "type": "CALLBACK", "headers": headers, "data": data.to_string() }).to_string()
}

pub(crate) fn system(topic: &str, id: &str, data: &Value) -> String {
    let headers = json!({ "topic": topic, "messageId": id, "contentType": "application/json" });
    json!({ "specVersion": "1.0", "type": "SYSTEM", "headers": headers, "data": data.to_string() })
        .to_string()
}

pub(crate) fn ping(id: &str) -> String {
    system("ping", id, &json!({ "opaque": "0dcb" }))
}

#[expect(clippy::disallowed_methods, reason = "the fake outlives no test's runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

async fn open(
    State(script): State<Arc<Script>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> impl IntoResponse {
    assert_eq!(headers["accept"], "application/json");
    let client = body["clientId"].as_str().expect("a client id").to_owned();
    script.requests.lock().expect("no other task panicked").push(body);
    if let Some((status, body)) =
        script.refusals.lock().expect("no other task panicked").pop_front()
    {
        return (StatusCode::from_u16(status).expect("a status"), body);
    }
    let endpoint = script.endpoint.lock().expect("no other task panicked").clone();
    // What must be escaped in a query, so that a client that does not is found out.
    (StatusCode::OK, json!({ "endpoint": endpoint, "ticket": format!("+/={client}") }).to_string())
}

#[expect(clippy::result_large_err, reason = "the callback's signature is the library's")]
async fn accept(socket: TcpStream, arrived: mpsc::UnboundedSender<Peer>) {
    let mut client_id = String::new();
    let look = |request: &Request, response: Response| {
        let query = request.uri().query().unwrap_or_default();
        client_id = query.strip_prefix("ticket=%2B%2F%3D").expect("an escaped ticket").to_owned();
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(socket, look).await else { return };
    let (orders, received) = mpsc::unbounded_channel();
    let (hear, heard) = mpsc::unbounded_channel();
    arrived.send(Peer { client_id, orders, heard }).ok();
    serve(socket, received, hear).await;
}

async fn serve(
    mut socket: WebSocketStream<TcpStream>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    hear: mpsc::UnboundedSender<Value>,
) {
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Push(text)) => {
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                Some(Order::Close) | None => {
                    socket.close(None).await.ok();
                    return;
                }
                Some(Order::Freeze) => {
                    hear.closed().await;
                    return;
                }
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    hear.send(serde_json::from_str(&text).expect("the client sends JSON")).ok();
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}
