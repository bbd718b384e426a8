//! `GET /api/status`: streams, consumers, lag, pods and Stream connections in one look.
//!
//! What does not answer is said in its place; the rest is still shown, and asked for at the same time.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::links;
use super::views::rfc3339;
use crate::io::live::Stored;
use crate::io::nats::Nats;
use crate::protocol::live::{self, LinkState, Member, Pod};

const STREAMS: [&str; 6] = ["DT_IN", "DT_TIMER", "DT_RUN", "DT_JOURNAL", "DT_HANDOFF", "DT_DEAD"];
const CONSUMERS: [(&str, &str); 3] =
    [("DT_IN", "intake"), ("DT_TIMER", "due"), ("DT_RUN", "dispatch")];

#[derive(Debug, Deserialize)]
struct StreamInfo {
    state: StreamState,
    config: StreamConfig,
    cluster: Option<Cluster>,
}

#[derive(Debug, Deserialize)]
struct StreamState {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    last_seq: u64,
    consumer_count: u64,
}

#[derive(Debug, Deserialize)]
struct StreamConfig {
    max_bytes: i64,
    num_replicas: u64,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    leader: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ConsumerInfo {
    num_pending: u64,
    num_ack_pending: u64,
    num_redelivered: u64,
    num_waiting: u64,
    #[serde(default)]
    paused: bool,
}

pub(super) async fn show(State(state): State<super::State>) -> Json<Value> {
    // All at once: who asks because something is away does not wait for one time-out after another.
    let (streams, consumers, database, pods, connections) = tokio::join!(
        join_all(STREAMS.map(|name| stream(&state.nats, name))),
        join_all(CONSUMERS.map(|(stream, name)| consumer(&state.nats, stream, name))),
        state.store.ping(),
        pods(&state),
        connections(&state),
    );
    let (consumers, pending): (Vec<_>, Vec<_>) = consumers.into_iter().unzip();
    let lag: BTreeMap<_, _> = CONSUMERS.map(|(_, name)| name).into_iter().zip(pending).collect();
    let database = database.err().map(|error| error.to_string());
    let reasons = state.context.health.missing();
    Json(json!({
        "ready": reasons.is_empty() && database.is_none(),
        "missing": reasons,
        "database": { "ok": database.is_none(), "error": database },
        "streams": streams,
        "consumers": consumers,
        "lag": lag,
        "pods": pods,
        "connections": connections,
    }))
}

async fn stream(nats: &Nats, name: &str) -> Value {
    let info: Result<StreamInfo, _> = nats.api(&format!("STREAM.INFO.{name}"), &json!({})).await;
    match info {
        Ok(info) => json!({
            "name": name,
            "messages": info.state.messages,
            "bytes": info.state.bytes,
            "maxBytes": u64::try_from(info.config.max_bytes).ok(),
            "firstSeq": info.state.first_seq,
            "lastSeq": info.state.last_seq,
            "consumers": info.state.consumer_count,
            "replicas": info.config.num_replicas,
            "leader": info.cluster.and_then(|cluster| cluster.leader),
        }),
        Err(error) => json!({ "name": name, "error": error.to_string() }),
    }
}

/// As it is shown, and what is neither taken nor acknowledged yet.
async fn consumer(nats: &Nats, stream: &str, name: &str) -> (Value, Option<u64>) {
    let subject = format!("CONSUMER.INFO.{stream}.{name}");
    let info: Result<ConsumerInfo, _> = nats.api(&subject, &json!({})).await;
    match info {
        Ok(info) => {
            let shown = json!({
                "stream": stream,
                "name": name,
                "pending": info.num_pending,
                "ackPending": info.num_ack_pending,
                "redelivered": info.num_redelivered,
                "waiting": info.num_waiting,
                "paused": info.paused,
            });
            (shown, Some(info.num_pending.saturating_add(info.num_ack_pending)))
        }
        Err(error) => (json!({ "stream": stream, "name": name, "error": error.to_string() }), None),
    }
}

async fn pods(state: &super::State) -> Value {
    let read = tokio::try_join!(state.live.read(live::MEMBERS), state.live.read(live::PODS));
    let (edges, others) = match read {
        Ok(stored) => stored,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let shown = |stored: &Stored, pod: &str, role: &str, is_leaving: bool| {
        let seen_at = rfc3339(stored.at);
        json!({ "pod": pod, "role": role, "leaving": is_leaving, "seenAt": seen_at })
    };
    let edges = edges.iter().filter_map(|stored| {
        let member: Member = live::read(&stored.key, &stored.value).ok()?;
        Some(shown(stored, &member.pod, "edge", member.is_leaving))
    });
    let others = others.iter().filter_map(|stored| {
        let pod: Pod = live::read(&stored.key, &stored.value).ok()?;
        Some(shown(stored, &pod.pod, &pod.role, false))
    });
    edges.chain(others).collect()
}

async fn connections(state: &super::State) -> Value {
    let held = match links::held(state, live::LINKS).await {
        Ok(held) => held,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    held.into_iter()
        .map(|(id, links)| {
            let connected = links.iter().filter(|link| link.state == LinkState::Connected);
            let pods: Vec<_> = connected.map(|link| link.pod.as_str()).collect();
            json!({
                "integrationId": id.as_str(),
                "state": live::state_of(&links).as_str(),
                "pods": pods,
            })
        })
        .collect()
}
