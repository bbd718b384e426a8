//! Signed HTTP callbacks up to the `PubAck`, 64 in flight.
//!
//! The baseline is a handler that only reads the body and publishes it through the same client, to the
//! subjects of the same conversations in turn. A second one publishes everything to one subject, so that
//! the broker's share of telling conversations apart is seen by itself: it remembers the routes of 512.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::HeaderMap;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Mutex;

use super::Figure;
use super::http::Client;
use super::rate::{measure, median};
use super::stand::{CLIENT_SECRET, INTEGRATION, Stand};
use crate::context::listener;
use crate::domain::id::IntegrationId;
use crate::io::nats::Nats;
use crate::protocol::callback::signed::robot_sign;
use crate::protocol::subject;

/// Rounds are short, so that both sides of a ratio meet the same moment of a machine, and many. All of
/// them leave in the log's dedupe window what 200 messages a second do, the rate that `latency` has.
const REQUESTS: usize = 5_000;
const ROUNDS: usize = 25;
const IN_FLIGHT: usize = 64;
const CONVERSATIONS: usize = 1000;
const SENDER: &str = "$:LWCP_v1:$sender0b3f73fd635c2f4657eb";
/// The paths of the baselines.
const SPREAD: &str = "/spread";
const SINGLE: &str = "/single";
/// Of the handler that knows one subject only.
const SINGLE_ASKED: f64 = 0.7;

pub async fn run() -> anyhow::Result<Vec<Figure>> {
    let stand = Stand::start("accept").await?;
    let edge = stand.start_edge().await?;
    let floor = serve_floor(&stand).await?;
    let webhook = format!("/api/dingtalk/webhook/{INTEGRATION}");
    let (mut edges, mut spreads, mut singles) = (vec![], vec![], vec![]);
    let (mut ratios, mut single_ratios) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let spread = load(&stand, floor, SPREAD, &format!("spread{round}")).await?;
        let whole = load(&stand, edge, &webhook, &format!("edge{round}")).await?;
        let single = load(&stand, floor, SINGLE, &format!("single{round}")).await?;
        ratios.push(whole / spread);
        single_ratios.push(whole / single);
        edges.push(whole);
        spreads.push(spread);
        singles.push(single);
    }
    stand.end().await;
    let measured = format!("{:.0} callbacks/s", median(edges));
    let figure = |name, floors, ratios, asked| Figure {
        name,
        measured: measured.clone(),
        baseline: format!("{:.0} bodies/s", median(floors)),
        ratio: median(ratios),
        asked,
        is_less_better: false,
    };
    Ok(vec![
        figure("accept", spreads, ratios, 0.8),
        figure("  single", singles, single_ratios, SINGLE_ASKED),
    ])
}

async fn load(stand: &Stand, address: SocketAddr, path: &str, word: &str) -> anyhow::Result<f64> {
    let mut clients = vec![];
    for _ in 0..IN_FLIGHT {
        clients.push(Arc::new(Mutex::new(Client::connect(address).await?)));
    }
    let now = stand.context.clock.now();
    let timestamp = now.0.to_string();
    let sign = robot_sign(CLIENT_SECRET, &timestamp);
    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| request(path, &format!("{word}-{number}"), number, (&timestamp, &sign)))
        .collect();
    let (clients, requests) = (Arc::new(clients), Arc::new(requests));
    measure(&stand.context, REQUESTS, IN_FLIGHT, move |lane, number| {
        let (clients, requests) = (clients.clone(), requests.clone());
        async move {
            let (Some(client), Some(request)) = (clients.get(lane), requests.get(number)) else {
                return Ok(());
            };
            let status = client.lock().await.send(request).await?;
            anyhow::ensure!(status == 200, "a callback was answered {status}");
            Ok(())
        }
    })
    .await
}

fn conversation_id(number: usize) -> String {
    format!("cid{}", number % CONVERSATIONS)
}

/// What DingTalk sends in HTTP mode, about 1 KiB.
fn request(path: &str, id: &str, number: usize, (timestamp, sign): (&str, &str)) -> Vec<u8> {
    let body = json!({
        "conversationId": conversation_id(number),
        "chatbotCorpId": "dingbench0b3f73fd635c2f4657eb6378f",
        "chatbotUserId": "$:LWCP_v1:$bench0b3f73fd635c2f4657eb63",
        "msgId": format!("msg{id}"),
        "senderNick": "Bench",
        "isAdmin": false,
        "senderStaffId": "staff1",
        "sessionWebhookExpiredTime": 4_102_444_800_000_i64,
        "createAt": 1_795_405_342_033_i64,
        "senderCorpId": "dingbench0b3f73fd635c2f4657eb6378f",
        "conversationType": "1",
        "senderId": SENDER,
        "sessionWebhook": "https://oapi.dingtalk.com/robot/sendBySession?session=0b3f73fd635c2f46",
        "text": { "content": "How long does it take until an answer comes?" },
        "robotCode": "dingbench",
        "msgtype": "text",
    })
    .to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\n\
         Content-Type: application/json; charset=utf-8\r\ntimestamp: {timestamp}\r\n\
         sign: {sign}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn serve_floor(stand: &Stand) -> anyhow::Result<SocketAddr> {
    let integration = IntegrationId::parse(INTEGRATION)?;
    let subject = |number| {
        let id = conversation_id(number);
        subject::log(&subject::conversation(&integration, &id, Some(SENDER)))
    };
    let subjects: Arc<[String]> = (0..CONVERSATIONS).map(subject).collect();
    let next = Arc::new(AtomicUsize::new(0));
    let spread = async move |State(nats): State<Nats>, body: Bytes| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        match subjects.get(number % CONVERSATIONS) {
            Some(subject) => publish(&nats, subject, body).await,
            None => (StatusCode::NOT_FOUND, ""),
        }
    };
    let single = async |State(nats): State<Nats>, body: Bytes| {
        publish(&nats, "dt.in.bench.floor", body).await
    };
    let app = Router::new()
        .route(SPREAD, post(spread))
        .route(SINGLE, post(single))
        .with_state(stand.parts.nats.clone());
    Ok(listener::serve(&stand.context, &listener::Config::new("127.0.0.1:0"), app, "floor").await?)
}

async fn publish(nats: &Nats, subject: &str, body: Bytes) -> (StatusCode, &'static str) {
    match nats.publish(subject, HeaderMap::new(), body).await {
        Ok(_) => (StatusCode::OK, r#"{"msgtype":"empty"}"#),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, ""),
    }
}
