//! The edge over real sockets: a real axum server, a real broker, a real database. Here is what its
//! tests share.
#![expect(clippy::unwrap_used, reason = "fixtures of tests")]

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage as Publish;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dingtalk_trigger::context::body::Readers;
use dingtalk_trigger::context::{Clock, Context, listener};
use dingtalk_trigger::domain::binding::{Integration, Language, Mode, Scope};
use dingtalk_trigger::domain::entry::Entry;
use dingtalk_trigger::domain::id::IntegrationId;
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::edge::order::Order;
use dingtalk_trigger::edge::{self, Edge};
use dingtalk_trigger::io::journal::Journal;
use dingtalk_trigger::io::log::Log;
use dingtalk_trigger::io::nats as broker;
use dingtalk_trigger::io::routing::Routing;
use dingtalk_trigger::io::store::audit::Note;
use dingtalk_trigger::io::store::events::Recorder;
use dingtalk_trigger::io::store::{self, Store};
use dingtalk_trigger::io::topology;
use dingtalk_trigger::protocol::action::Key;
use dingtalk_trigger::protocol::callback::signed::robot_sign;
use dingtalk_trigger::protocol::callback::{Envelopes, Stamp};
use dingtalk_trigger::protocol::entry;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::database::Sqlite;
use crate::support::nats::Nats;
use crate::support::wait::wait_until;

mod webhook;
mod refusals;
mod durability;
mod action_page;
mod frames;

/// The id of an entry that is stored again as soon as its id is forgotten.
const PROBE: &str = "probe";
const BODY_MAX_BYTES: usize = 256 * 1024;
const ENTRY_MAX_BYTES: usize = 64 * 1024;
const CLIENT_SECRET: &str = "client-secret-never-shown";
const TOKEN: &str = "token-never-shown";
/// The master key before the last rotation.
const OLD_MASTER_KEY: [u8; 32] = [6; 32];
const AES_KEY: &str = "4g5j64qlyl3zvetqxz5jiocdr586fn2zvjpa8zls3ij";

/// An edge with the integrations `http` and `stream`.
struct Bench {
    nats: Nats,
    store: Store,
    context: Context,
    key: Key,
    edge: Edge,
    base: String,
    client: reqwest::Client,
    _database: Sqlite,
}

impl Bench {
    async fn start() -> Self {
        Self::recognising_for(Duration::from_secs(600)).await
    }

    /// Its log has this dedupe window.
    async fn recognising_for(dedupe_window: Duration) -> Self {
        let nats = Nats::start().await;
        // Nobody takes the entries: the log is all that is looked at.
        nats.leaves_work();
        let context = Context::new(Clock::system());
        let config = broker::Config {
            url: nats.url().to_owned(),
            credentials: None,
            login: Default::default(),
            name: "it".to_owned(),
            request_timeout: Duration::from_secs(5),
        };
        let connection = broker::Nats::connect(&context, &config).await.unwrap();
        let streams = topology::Config { replicas: 1, dedupe_window };
        topology::apply(&connection, streams, context.clock.now()).await.unwrap();
        let database = Sqlite::fresh();
        let store = open_store(database.url()).await;
        for integration in [integration("http", Mode::Http), integration("stream", Mode::Stream)] {
            store.create_integration(&integration, &note()).await.unwrap();
        }
        let key = Key::derive(&[7; 32], Some(&OLD_MASTER_KEY));
        let edge = Edge {
            context: context.clone(),
            log: Log::new(&connection, ENTRY_MAX_BYTES),
            journal: Journal::new(&connection),
            routing: Routing::start(&context, store.clone(), None).await.unwrap(),
            recorder: Recorder::start(&context, store.clone()),
            action_key: key.clone(),
            body_max_bytes: BODY_MAX_BYTES,
            readers: Readers::default(),
            dedupe_window,
            order: Order::default(),
        };
        let address =
            edge::serve(edge.clone(), &listener::Config::new("127.0.0.1:0"), axum::Router::new())
                .await
                .unwrap();
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let base = format!("http://{address}");
        Self { nats, store, context, key, edge, base, client, _database: database }
    }

    fn now(&self) -> i64 {
        self.context.clock.now().0
    }

    fn webhook(&self, id: &str) -> String {
        format!("{}/api/dingtalk/webhook/{id}", self.base)
    }

    /// A robot message in the clear, rightly signed.
    fn plain(&self, body: &Value) -> RequestBuilder {
        self.signed(CLIENT_SECRET, self.now()).json(body)
    }

    /// A request in the clear with the headers of a robot message.
    fn signed(&self, secret: &str, at_ms: i64) -> RequestBuilder {
        let timestamp = at_ms.to_string();
        let sign = robot_sign(secret, &timestamp);
        let request = self.client.post(self.webhook("http"));
        request.header("timestamp", timestamp).header("sign", sign)
    }

    /// An encrypted callback, rightly signed.
    fn sealed(&self, body: &Value) -> RequestBuilder {
        self.sealed_by(&envelopes(), body.to_string().as_bytes())
    }

    fn sealed_by(&self, envelopes: &Envelopes, plain: &[u8]) -> RequestBuilder {
        self.sealed_at(envelopes, plain, self.now())
    }

    fn sealed_at(&self, envelopes: &Envelopes, plain: &[u8], at_ms: i64) -> RequestBuilder {
        let at = at_ms.to_string();
        let sealed = envelopes.encrypt(plain, *b"abcdefghijklmnop", &at, "WL4PK6yA");
        self.client
            .post(self.webhook("http"))
            .query(&[
                ("signature", sealed.msg_signature.as_str()),
                ("timestamp", &sealed.timestamp),
                ("nonce", &sealed.nonce),
            ])
            .json(&json!({ "encrypt": sealed.encrypt }))
    }

    /// All that is in the log, oldest first, with the message ids.
    async fn logged(&self) -> Vec<(String, Entry)> {
        let stream = self.nats.jetstream().await.get_stream("DT_IN").await.unwrap();
        let state = stream.cached_info().state.clone();
        let mut logged = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let id = message.headers.get("Nats-Msg-Id").unwrap().to_string();
            logged.push((id, entry::decode(&message.payload).unwrap()));
        }
        logged
    }

    /// Until the broker no longer recognises what it took so far.
    async fn forget(&self) {
        let jetstream = self.nats.jetstream().await;
        let is_known = async || {
            let publish = Publish::build().message_id(PROBE).payload("".into());
            let subject = "dt.in.http.abcdefghijklmnopqrstuvwx22";
            let stored = jetstream.send_publish(subject, publish).await.unwrap().await.unwrap();
            stored.duplicate
        };
        assert!(!is_known().await);
        let limit = Duration::from_secs(30);
        wait_until("the ids are forgotten", limit, async || !is_known().await).await;
    }

    async fn finish(self) {
        assert!(self.context.finish(Duration::from_secs(30)).await, "the edge does not stop");
    }
}

async fn open_store(url: &str) -> Store {
    let config = store::Config {
        url: Secret::new(url),
        master_key: Secret::new(STANDARD.encode([7; 32])),
        old_master_key: None,
        connections_max: 4,
    };
    let store = Store::connect(&config).await.unwrap();
    store.migrate().await.unwrap();
    store
}

fn integration(id: &str, mode: Mode) -> Integration {
    Integration {
        id: IntegrationId::parse(id).unwrap(),
        name: "robot".to_owned(),
        mode,
        client_id: format!("ding-{id}"),
        client_secret: Secret::new(CLIENT_SECRET),
        robot_code: None,
        callback_token: Some(Secret::new(TOKEN)),
        callback_aes_key: Some(Secret::new(AES_KEY)),
        card_template_id: None,
        language: Language::En,
        receiver_id: None,
        corp_id: None,
        scope: Scope::Sender,
        is_paused: false,
    }
}

fn note() -> Note {
    Note {
        at: Clock::system().now(),
        actor: "test".to_owned(),
        action: "integration.create",
        subject: "subject".to_owned(),
        detail: "{}".to_owned(),
    }
}

fn envelopes() -> Envelopes {
    Envelopes::new(TOKEN, AES_KEY, "ding-http").unwrap()
}

fn message(msg_id: &str, text: &str) -> Value {
    let mut value: Value =
        serde_json::from_str(include_str!("../fixtures/dingtalk/robot_private_text.json")).unwrap();
    value["msgId"] = json!(msg_id);
    value["text"] = json!({ "content": text });
    value
}

/// Asserts the encrypted `success` that DingTalk's console looks for.
async fn assert_sealed_success(response: Response) {
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer.as_object().unwrap().len(), 4, "{answer}");
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    let (signature, timestamp, nonce) = (text("msg_signature"), text("timeStamp"), text("nonce"));
    let stamp = Stamp { signature: &signature, timestamp: &timestamp, nonce: &nonce };
    assert_eq!(envelopes().decrypt(&stamp, &text("encrypt")).unwrap(), b"success");
}

async fn assert_empty(response: Response) {
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "msgtype": "empty" }));
}
