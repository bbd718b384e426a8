//! Accepted to reply at a steady 200/s, against raw publish to deliver in the same run.
//!
//! The floor is the broker alone under the same load, so the difference is what the service adds. No
//! window, no retry: what waits on purpose is not measured here.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Figure;
use super::rate::median;
use super::stand::Stand;
use crate::domain::entry::Entry;
use crate::io::nats::pull::Puller;

const MESSAGES: usize = 2000;
const EVERY: Duration = Duration::from_millis(5);

pub async fn run() -> anyhow::Result<Vec<Figure>> {
    let stand = Stand::start("latency").await?;
    let raw = raw(&stand).await?;
    stand.start_worker();
    let whole = whole(&stand).await?;
    stand.end().await;
    Ok(vec![Figure {
        name: "latency",
        measured: format!("p50 {:.2} ms", whole * 1e3),
        baseline: format!("p50 {:.2} ms", raw * 1e3),
        ratio: whole / raw,
        asked: 30.0,
        is_less_better: true,
    }])
}

/// Publish into a stream, deliver from its consumer: the slot of a conversation and its puller.
async fn raw(stand: &Stand) -> anyhow::Result<f64> {
    let nats = &stand.parts.nats;
    let mut puller = Puller::new(nats, "DT_TIMER", "due").await?;
    let mut times = vec![];
    let mut tick = interval(EVERY);
    for number in 0..500 {
        tick.tick().await;
        let began = Instant::now();
        let subject = format!("dt.due.bench.raw{number}");
        let stored = nats.publish(&subject, async_nats::HeaderMap::new(), Bytes::new());
        let (stored, taken) = tokio::join!(stored, puller.next(256));
        stored?;
        times.push(began.elapsed().as_secs_f64());
        nats.ack(&taken?).await;
    }
    Ok(median(times))
}

async fn whole(stand: &Stand) -> anyhow::Result<f64> {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut accepted = BTreeMap::new();
    let mut pending = futures_util::stream::FuturesUnordered::new();
    for number in 0..MESSAGES {
        tick.tick().await;
        let id = format!("lat{number}");
        let (conversation, message) = stand.message(number % 500, &id);
        let log = stand.parts.log.clone();
        pending.push(stand.context.spawn(async move {
            let entry = Entry::Message(message);
            log.append(&conversation, &format!("bench:{id}"), entry)
                .await
                .map(|_| (id, Instant::now()))
        }));
    }
    while let Some(done) = pending.next().await {
        let (id, at) = done??;
        accepted.insert(id, at);
    }
    let count = u64::try_from(MESSAGES).unwrap_or(u64::MAX);
    stand.replies(count, Duration::from_secs(30)).await?;
    let arrivals =
        stand.sink.arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let times = arrivals.iter().filter_map(|(id, at)| {
        accepted.get(id).map(|from| at.saturating_duration_since(*from).as_secs_f64())
    });
    Ok(median(times.collect()))
}
