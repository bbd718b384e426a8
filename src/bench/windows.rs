//! 100,000 windows open at once, through the real intake path of a worker of its own; against the same
//! timers armed straight at the broker at the same time, with nothing behind them.
//!
//! Every tenth conversation says a second word, which restarts its window. When each was dispatched, and
//! with which version, the journal tells; what people read, the sink. They come due as they were opened,
//! at a pace that leaves the machine half idle: a backlog would measure something else.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{self, consumer::pull::OrderedConfig};
use async_nats::{HeaderMap, header};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval};

use super::Figure;
use super::memory::resident_mib;
use super::rate::percentile;
use super::stand::{Stand, bind};
use crate::domain::binding::Mode;
use crate::domain::entry::Entry;
use crate::domain::id::Seq;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::turn::Step;
use crate::io::nats::Nats;
use crate::io::nats::pull::Puller;
use crate::io::nats::read::rfc3339;
use crate::io::store::{self, Store};
use crate::io::{journal, log};
use crate::protocol::record;

const WINDOWS: usize = 100_000;
/// Conversations that say a second word.
const AGAIN: usize = WINDOWS / 10;
const WINDOW: Duration = Duration::from_secs(380);
/// Messages a second: all windows are open before the first one ends.
const PACE: usize = 300;
const TICK: Duration = Duration::from_millis(10);
/// For all of them, once the first one has ended.
const LIMIT: Duration = Duration::from_secs(420);
const TIMERS: &str = "BENCH_TIMER";

pub async fn run() -> anyhow::Result<Vec<Figure>> {
    let url = crate::config::variable("DT_TEST_POSTGRES_URL");
    let url =
        url.context("DT_TEST_POSTGRES_URL names no PostgreSQL: `ops/dev bench` starts one")?;
    let stand = Stand::start("windows").await?;
    let mut worker = start_worker(&stand, &url).await?;
    let measured = through(&stand, &worker).await;
    worker.kill().await.ok(); // It may have ended by itself.
    stand.end().await;
    let Measured { lateness, bare, worker_mib, broker_mib } = measured?;
    let late = |times: &[f64]| format!("p99 {:.0} ms late", percentile(times, 99));
    let memory = |name, (before, open): (f64, f64), asked: f64| Figure {
        name,
        measured: format!("{open:.0} MiB resident"),
        baseline: format!("{before:.0} MiB before"),
        ratio: open - before,
        asked,
        is_less_better: true,
    };
    Ok(vec![
        Figure {
            name: "windows",
            measured: late(&lateness),
            baseline: late(&bare),
            ratio: percentile(&lateness, 99) / percentile(&bare, 99),
            asked: 1.2,
            is_less_better: true,
        },
        memory("  worker", worker_mib, WORKER_MIB),
        memory("  broker", broker_mib, BROKER_MIB),
    ])
}

/// What all open windows together may take.
const WORKER_MIB: f64 = 64.0;
const BROKER_MIB: f64 = 512.0;

struct Measured {
    /// In milliseconds, of each conversation.
    lateness: Vec<f64>,
    /// Of each timer that was armed straight at the broker.
    bare: Vec<f64>,
    /// Before, and with all windows open.
    worker_mib: (f64, f64),
    broker_mib: (f64, f64),
}

/// Calls `work` with each number, at the pace of the scenario.
async fn paced<F>(stand: &Stand, count: usize, work: impl Fn(usize) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut tick = interval(TICK);
    let at_once = PACE / 100;
    let mut pending = Vec::with_capacity(count);
    for first in (0..count).step_by(at_once) {
        tick.tick().await;
        for number in first..count.min(first + at_once) {
            pending.push(stand.context.spawn(work(number)));
        }
    }
    for done in pending {
        done.await??;
    }
    Ok(())
}

/// Timers with nothing behind them. Gives how late a bare consumer has each token, in milliseconds.
async fn bare(stand: &Stand) -> anyhow::Result<impl Future<Output = anyhow::Result<Vec<f64>>>> {
    let nats = &stand.parts.nats;
    let stream = json!({
        "name": TIMERS, "subjects": ["bench.timer.*", "bench.due.*"], "retention": "workqueue",
        "storage": "file", "num_replicas": 1, "discard": "old", "allow_msg_schedules": true,
        "allow_rollup_hdrs": true,
    });
    nats.api::<_, Value>(&format!("STREAM.CREATE.{TIMERS}"), &stream).await?;
    let consumer = json!({ "stream_name": TIMERS, "config": {
        "durable_name": "due", "ack_policy": "explicit", "ack_wait": 5_000_000_000_u64,
        "filter_subject": "bench.due.*", "max_ack_pending": 4096,
    } });
    let create = format!("CONSUMER.DURABLE.CREATE.{TIMERS}.due");
    nats.api::<_, Value>(&create, &consumer).await?;
    let (clock, taker) = (stand.context.clock.clone(), nats.clone());
    let mut puller = Puller::new(nats, TIMERS, "due").await?;
    let taken = stand.context.spawn(async move {
        let mut late = Vec::with_capacity(WINDOWS);
        while late.len() < WINDOWS {
            let delivery = puller.next(256).await?;
            let due: i64 = std::str::from_utf8(&delivery.payload)?.parse()?;
            late.push(millis(clock.now().0 - due));
            taker.ack(&delivery).await;
        }
        anyhow::Ok(late)
    });
    Ok(async move { taken.await? })
}

async fn arm_bare(nats: Nats, number: usize, due: Timestamp) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_SCHEDULE, format!("@at {}", rfc3339(due)));
    headers.insert(header::NATS_SCHEDULE_TARGET, format!("bench.due.{number}"));
    let payload = Bytes::from(due.0.to_string());
    nats.publish(&format!("bench.timer.{number}"), headers, payload).await?;
    Ok(())
}

async fn start_worker(stand: &Stand, url: &str) -> anyhow::Result<Child> {
    let key = stand.config.store.as_ref().context("the stand has a database")?.master_key.clone();
    let settings = store::Config {
        url: Secret::new(url),
        master_key: key.clone(),
        old_master_key: None,
        connections_max: 4,
    };
    let store = Store::connect(&settings).await?;
    store.migrate().await?;
    bind(&stand.context, &store, Mode::Http, WINDOW).await?;
    store.close().await;
    Command::new(std::env::current_exe().context("find this program")?)
        .arg("worker")
        .env("NATS_URL", &stand.config.nats.url)
        .env("DATABASE_URL", url)
        .env("DT_MASTER_KEY", key.expose())
        .env("DT_HEALTH_ADDR", "127.0.0.1:0")
        .env("DT_DINGTALK_API_URL", &stand.sink_url)
        .env("DT_REPLY_HOSTS", stand.sink_url.trim_start_matches("http://"))
        .env("DT_SEND_RATE", "0")
        .env("DT_WEBHOOK_RATE", "0")
        .env("DT_LOG", "warn")
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("start a worker")
}

async fn through(stand: &Stand, worker: &Child) -> anyhow::Result<Measured> {
    let memory = || {
        let worker = worker.id().and_then(resident_mib).context("read the worker's memory")?;
        anyhow::Ok((worker, stand.broker_mib()?))
    };
    // One conversation shows that the worker is there, and what it takes before the others come.
    say(stand, WINDOWS, "warm").await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = memory()?;
    let bare = bare(stand).await?;
    let began = Instant::now();
    paced(stand, WINDOWS, |number| {
        let (said, nats) = (say(stand, number, "first"), stand.parts.nats.clone());
        let clock = stand.context.clock.clone();
        async move {
            said.await?;
            arm_bare(nats, number, clock.now().after(WINDOW)).await
        }
    })
    .await?;
    paced(stand, AGAIN, |number| say(stand, number * 10, "again")).await?;
    let opened = began.elapsed();
    ensure!(opened < WINDOW, "the first window ended before the last one was open: {opened:?}");
    tokio::time::sleep(WINDOW.saturating_sub(opened + Duration::from_secs(2))).await;
    let open = memory()?;
    let all = u64::try_from(WINDOWS + 1).unwrap_or(u64::MAX);
    stand.replies(all, LIMIT).await?;
    // A reply too many would come now.
    tokio::time::sleep(Duration::from_secs(5)).await;
    answered_once(stand)?;
    Ok(Measured {
        lateness: lateness(stand).await?,
        bare: bare.await?,
        worker_mib: (before.0, open.0),
        broker_mib: (before.1, open.1),
    })
}

fn say(
    stand: &Stand,
    number: usize,
    word: &str,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let (conversation, message) = stand.message(number, &format!("{word}-{number}"));
    let log = stand.parts.log.clone();
    async move {
        let id = format!("bench:{}", message.msg_id);
        log.append(&conversation, &id, Entry::Message(message)).await?;
        Ok(())
    }
}

/// Each conversation has one reply, and it is to its newest message.
fn answered_once(stand: &Stand) -> anyhow::Result<()> {
    let arrivals = stand.sink.arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut replies: BTreeMap<&str, usize> = BTreeMap::new();
    for (message, _) in arrivals.iter() {
        *replies.entry(message).or_default() += 1;
    }
    let is_again = |number: usize| number.is_multiple_of(10) && number < WINDOWS;
    let newest = |number| format!("{}-{number}", if is_again(number) { "again" } else { "first" });
    for number in 0..WINDOWS {
        let count = replies.get(newest(number).as_str()).copied().unwrap_or_default();
        ensure!(count == 1, "conversation {number} was answered {count} times");
    }
    ensure!(replies.len() == WINDOWS + 1, "{} messages were answered", replies.len());
    Ok(())
}

/// How long after the end of its window each conversation was dispatched: once, with its newest version.
async fn lateness(stand: &Stand) -> anyhow::Result<Vec<f64>> {
    let mut newest = BTreeMap::new();
    each(stand, log::STREAM, |subject, seq, at, _| {
        newest.insert(key(subject), (seq, at));
        Ok(())
    })
    .await?;
    let mut started = BTreeMap::new();
    each(stand, journal::STREAM, |subject, _, at, payload| {
        let record = record::decode(payload).map_err(|e| anyhow::anyhow!("{e}"))?;
        let Some(turn) = record.head.turn.filter(|_| record.step == Step::Started) else {
            return Ok(());
        };
        let before = started.insert(key(subject), (turn.last, at));
        ensure!(before.is_none(), "{subject} was dispatched twice");
        Ok(())
    })
    .await?;
    ensure!(started.len() == newest.len(), "{} conversations were dispatched", started.len());
    let mut late = Vec::with_capacity(started.len());
    for (conversation, (version, at)) in started {
        let Some((seq, stored)) = newest.get(&conversation) else { continue };
        ensure!(version == *seq, "{conversation} was dispatched with version {version} of {seq}");
        let after = millis(at.0 - stored.after(WINDOW).0);
        ensure!(after >= 0.0, "{conversation} was dispatched before its window ended");
        late.push(after);
    }
    Ok(late)
}

fn key(subject: &str) -> String {
    subject.rsplit('.').next().unwrap_or_default().to_owned()
}

/// Every message of a stream in order: subject, sequence, time, payload.
async fn each(
    stand: &Stand,
    stream: &str,
    mut read: impl FnMut(&str, Seq, Timestamp, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let jetstream = jetstream::new(stand.parts.nats.client().clone());
    let mut stream = jetstream.get_stream(stream).await.map_err(|e| anyhow::anyhow!("{e}"))?;
    let count = stream.info().await?.state.messages;
    let consumer = stream.create_consumer(OrderedConfig::default()).await?;
    let messages = consumer.messages().await?.take(usize::try_from(count)?);
    let mut messages = std::pin::pin!(messages);
    while let Some(message) = messages.try_next().await? {
        let info = message.info().map_err(|e| anyhow::anyhow!("{e}"))?;
        let at = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000)?;
        read(&message.subject, Seq(info.stream_sequence), Timestamp(at), &message.payload)?;
    }
    Ok(())
}

fn millis(late: i64) -> f64 {
    f64::from(i32::try_from(late).unwrap_or(i32::MAX))
}
