//! Signed HTTP callbacks up to the `PubAck`, 64 in flight.
//!
//! The baseline is a handler that only reads the body and publishes it through the same client. A
//! second one gives each body a message id as well, so that the broker's share of recognising
//! redeliveries is seen by itself.

use std::net::SocketAddr;
use std::sync::Arc;

use async_nats::HeaderMap;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::Figure;
use super::http::Client;
use super::rate::{measure, median};
use super::stand::{CLIENT_SECRET, INTEGRATION, Stand};
use crate::io::nats::Nats;
use crate::protocol::callback::signed::robot_sign;

const REQUESTS: usize = 20_000;
const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 5;
/// Begins the message ids of bodies that the floor publishes with an id.
const WITH_ID: &str = "named";

pub async fn run() -> anyhow::Result<Vec<Figure>> {
    let stand = Stand::start("accept").await?;
    let edge = stand.start_edge().await?;
    let floor = serve_floor(&stand).await?;
    let (mut edges, mut floors, mut named, mut ratios) = (vec![], vec![], vec![], vec![]);
    let mut named_ratios = vec![];
    for round in 0..ROUNDS {
        let bare = load(&stand, floor, &format!("floor{round}")).await?;
        let whole = load(&stand, edge, &format!("edge{round}")).await?;
        let with_id = load(&stand, floor, &format!("{WITH_ID}{round}")).await?;
        ratios.push(whole / bare);
        named_ratios.push(whole / with_id);
        edges.push(whole);
        floors.push(bare);
        named.push(with_id);
    }
    stand.end().await;
    let measured = format!("{:.0} callbacks/s", median(edges));
    let figure = |name, baseline, ratio| Figure {
        name,
        measured: measured.clone(),
        baseline,
        ratio,
        asked: 0.8,
        is_less_better: false,
    };
    let bare = format!("{:.0} bodies/s", median(floors));
    let with_id = format!("{:.0} bodies with id/s", median(named));
    Ok(vec![
        figure("accept", bare, median(ratios)),
        figure("accept-id", with_id, median(named_ratios)),
    ])
}

async fn load(stand: &Stand, address: SocketAddr, word: &str) -> anyhow::Result<f64> {
    let mut clients = vec![];
    for _ in 0..IN_FLIGHT {
        clients.push(Arc::new(Mutex::new(Client::connect(address).await?)));
    }
    let now = stand.context.clock.now();
    let timestamp = now.0.to_string();
    let sign = robot_sign(CLIENT_SECRET, &timestamp);
    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| request(&format!("{word}-{number}"), number, &timestamp, &sign))
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

/// What DingTalk sends in HTTP mode, about 1 KiB.
fn request(id: &str, number: usize, timestamp: &str, sign: &str) -> Vec<u8> {
    let body = json!({
        "conversationId": format!("cid{}", number % 1000),
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
        "senderId": "$:LWCP_v1:$sender0b3f73fd635c2f4657eb",
        "sessionWebhook": "https://oapi.dingtalk.com/robot/sendBySession?session=0b3f73fd635c2f46",
        "text": { "content": "How long does it take until an answer comes?" },
        "robotCode": "dingbench",
        "msgtype": "text",
    })
    .to_string();
    format!(
        "POST /api/dingtalk/webhook/{INTEGRATION} HTTP/1.1\r\nHost: bench\r\n\
         Content-Type: application/json; charset=utf-8\r\ntimestamp: {timestamp}\r\n\
         sign: {sign}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn serve_floor(stand: &Stand) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new()
        .route("/api/dingtalk/webhook/{integration}", post(publish))
        .with_state(stand.parts.nats.clone());
    let stop = stand.context.stop().clone();
    stand.context.spawn(async move {
        axum::serve(listener, app)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await
            .ok();
    });
    Ok(address)
}

async fn publish(State(nats): State<Nats>, body: Bytes) -> (axum::http::StatusCode, &'static str) {
    let mut headers = HeaderMap::new();
    let marker = format!("\"msg{WITH_ID}");
    let id = std::str::from_utf8(&body).ok().and_then(|text| text.split_once(&marker));
    if let Some((id, _)) = id.and_then(|(_, rest)| rest.split_once('"')) {
        headers.insert(async_nats::header::NATS_MESSAGE_ID, format!("bench:{id}"));
    }
    match nats.publish("dt.in.bench.floor", headers, body).await {
        Ok(_) => (axum::http::StatusCode::OK, r#"{"msgtype":"empty"}"#),
        Err(_) => (axum::http::StatusCode::SERVICE_UNAVAILABLE, ""),
    }
}
