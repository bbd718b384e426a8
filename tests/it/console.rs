//! The admin API over a real server: SQLite, a real broker, DingTalk faked over sockets. Here is what
//! the tests share.
#![expect(clippy::unwrap_used, reason = "fixtures of tests")]

mod calls;
mod conversations;
mod dead;
mod integrations;
mod runtimes;
mod status;
mod triggers;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dingtalk_trigger::console::{self, Config, State};
use dingtalk_trigger::context::{Clock, Context, listener};
use dingtalk_trigger::domain::binding::Language;
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::io::admin::Admin;
use dingtalk_trigger::io::egress::{self, Egress};
use dingtalk_trigger::io::gateway::{self, Gateway};
use dingtalk_trigger::io::live::Live;
use dingtalk_trigger::io::log::Log;
use dingtalk_trigger::io::routing::Routing;
use dingtalk_trigger::io::store::{self, Store};
use dingtalk_trigger::io::{nats, topology};
use dingtalk_trigger::protocol::host::Hosts;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::database::Sqlite;
use crate::support::nats::Nats;

const TOKEN: &str = "an admin token of tests";
const AES_KEY: &str = "4g5j64qlyl3zvetqxz5jiocdr586fn2zvjpa8zls3ij";

/// Answers of the faked DingTalk and of the faked edge.
const KNOWN_SECRET: &str = "known-secret";
const REACHABLE: &str = "reachable";

struct Console {
    nats: Nats,
    store: Store,
    routing: Routing,
    live: Live,
    log: Log,
    url: String,
    client: reqwest::Client,
    context: Context,
    _database: Sqlite,
}

impl Console {
    async fn start() -> Self {
        Self::with_gateway("http://127.0.0.1:1").await
    }

    async fn with_gateway(gateway_url: &str) -> Self {
        let nats = Nats::start().await;
        let database = Sqlite::fresh();
        let context = Context::new(Clock::system());
        let store = Store::connect(&store::Config {
            url: Secret::new(database.url()),
            master_key: Secret::new(STANDARD.encode([1; 32])),
            old_master_key: None,
            connections_max: 4,
        })
        .await
        .unwrap();
        store.migrate().await.unwrap();
        let broker = nats::Nats::connect(&context, &broker(nats.url())).await.unwrap();
        let streams = topology::Config { replicas: 1, dedupe_window: Duration::from_secs(600) };
        topology::apply(&broker, streams, context.clock.now()).await.unwrap();
        let routing = Routing::start(&context, store.clone(), Some(broker.client().clone()));
        let routing = routing.await.unwrap();
        let outside = fake().await;
        let egress = Egress::new(&egress::Config::default()).unwrap();
        let client = egress.client().clone();
        let gateway_config =
            gateway::Config { api_url: gateway_url.to_owned(), ..gateway::Config::default() };
        let live = Live::new(&broker);
        let log = Log::new(&broker, 256 * 1024);
        let state = State {
            context: context.clone(),
            store: store.clone(),
            routing: routing.clone(),
            log: log.clone(),
            nats: broker,
            live: live.clone(),
            gateway: Gateway::new(client.clone(), gateway::tls().unwrap(), gateway_config),
            egress: egress.clone(),
            config: Arc::new(Config {
                listener: listener::Config::new("127.0.0.1:0"),
                admin: Admin::new(Some(Secret::new(TOKEN)), context.metrics.clone()),
                hosts: Hosts::new(["https://console.example.org/"]),
                public_url: outside.clone(),
                dingtalk_api_url: outside,
                language: Language::ZhHans,
            }),
        };
        let url = format!("http://{}", console::serve(state, Router::new()).await.unwrap());
        Self { nats, store, routing, live, log, url, client, context, _database: database }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PUT, path, Some(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PATCH, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        self.call(Method::DELETE, path, None).await
    }

    /// An integration in HTTP mode.
    async fn robot(&self, id: &str) -> Value {
        let (status, shown) = self.post("/api/integrations", http_mode(id)).await;
        assert_eq!(status, 201, "{shown}");
        shown
    }
}

fn broker(url: &str) -> nats::Config {
    nats::Config {
        url: url.to_owned(),
        credentials: None,
        login: nats::login::Login::default(),
        name: "console".to_owned(),
        request_timeout: Duration::from_secs(3),
    }
}

fn http_mode(id: &str) -> Value {
    json!({
        "id": id, "name": "Robot", "mode": "http", "clientId": "ding1",
        "clientSecret": KNOWN_SECRET, "callbackToken": "token", "callbackAesKey": AES_KEY,
    })
}

/// `error.code` and `error.field` of an answer.
fn error(answer: &Value) -> (&str, &str) {
    let part = |name: &str| answer["error"][name].as_str().unwrap_or_default();
    (part("code"), part("field"))
}

/// DingTalk's token call, and an edge that knows one integration.
async fn fake() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .route("/v1.0/oauth2/accessToken", post(token))
        .route(&format!("/api/dingtalk/webhook/{REACHABLE}"), get(async || "success"));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

async fn token(Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    if body == json!({ "appKey": "ding1", "appSecret": KNOWN_SECRET }) {
        (StatusCode::OK, Json(json!({ "accessToken": "t", "expireIn": 7200 })))
    } else {
        let said = json!({ "code": "invalidClientIdOrSecret", "message": "无效的clientId" });
        (StatusCode::BAD_REQUEST, Json(said))
    }
}
