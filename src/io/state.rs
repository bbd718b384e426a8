//! What streams and consumers say of themselves: subjects, bytes, lag.
//!
//! Read from the leader at the time of the call: good for deciding whether something is on its way, and
//! for figures; never a lock.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::nats::{Error, Nats};
use crate::domain::id::Seq;

/// A stream in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// A consumer in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerState {
    /// Not handed out yet.
    pub pending: u64,
    /// Handed out and not acknowledged.
    pub ack_pending: u64,
    /// Everything up to here is acknowledged.
    pub ack_floor: Seq,
    /// Everything up to here was handed out.
    pub delivered: Seq,
}

pub async fn stream(nats: &Nats, name: &str) -> Result<(StreamState, i64), Error> {
    #[derive(Deserialize)]
    struct Info {
        state: StreamState,
        config: Config,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        max_bytes: i64,
    }
    let info: Info = nats.api(&format!("STREAM.INFO.{name}"), &json!({})).await?;
    Ok((info.state, info.config.max_bytes))
}

pub async fn consumer(nats: &Nats, stream: &str, name: &str) -> Result<ConsumerState, Error> {
    #[derive(Deserialize)]
    struct Info {
        #[serde(default)]
        num_pending: u64,
        #[serde(default)]
        num_ack_pending: u64,
        ack_floor: Floor,
        delivered: Floor,
    }
    #[derive(Deserialize)]
    struct Floor {
        #[serde(default)]
        stream_seq: u64,
    }
    let info: Info = nats.api(&format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await?;
    Ok(ConsumerState {
        pending: info.num_pending,
        ack_pending: info.num_ack_pending,
        ack_floor: Seq(info.ack_floor.stream_seq),
        delivered: Seq(info.delivered.stream_seq),
    })
}

/// Every subject under `filter` with its number of messages.
pub async fn subjects(
    nats: &Nats,
    stream: &str,
    filter: &str,
) -> Result<BTreeMap<String, u64>, Error> {
    #[derive(Deserialize)]
    struct Info {
        #[serde(default)]
        total: usize,
        state: State,
    }
    #[derive(Deserialize)]
    struct State {
        #[serde(default)]
        subjects: Option<BTreeMap<String, u64>>,
    }
    let mut all = BTreeMap::new();
    loop {
        let question = json!({ "subjects_filter": filter, "offset": all.len() });
        let info: Info = nats.api(&format!("STREAM.INFO.{stream}"), &question).await?;
        let page = info.state.subjects.unwrap_or_default();
        let is_last = page.is_empty() || all.len() + page.len() >= info.total;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
