//! Frames acknowledged a second on one Stream connection, each after its `PubAck`; against the official
//! Python SDK, which acknowledges without storing anything. The same simulated cloud pushes to both.
//!
//! Rounds of both alternate. The SDK must be there: a figure without its baseline says nothing.

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::time::Instant;

use super::Figure;
use super::rate::{median, per_second};
use super::stand::{CLIENT_ID, CLIENT_SECRET, Stand};
use crate::context::{Clock, Context};
use crate::domain::binding::Mode;
use crate::sim::dingtalk::Sim;
use crate::sim::dingtalk::app::App;
use crate::sim::dingtalk::message::Say;
use crate::sim::dingtalk::settings;

const FRAMES: usize = 6000;
const WARM: usize = 500;
const ROUNDS: usize = 9;
const LIMIT: Duration = Duration::from_secs(90);
const PYTHON: &str = ".tools/venv/bin/python";
const CLIENT: &str = "ops/bench_client.py";

pub async fn run() -> anyhow::Result<Vec<Figure>> {
    let (mut ours, mut theirs, mut ratios) = (vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let sdk = sdk().await?;
        let edge = edge(round).await?;
        ratios.push(edge / sdk);
        ours.push(edge);
        theirs.push(sdk);
    }
    Ok(vec![Figure {
        name: "stream",
        measured: format!("{:.0} frames/s", median(ours)),
        baseline: format!("{:.0} bare acks/s", median(theirs)),
        ratio: median(ratios),
        asked: 1.0,
        is_less_better: false,
    }])
}

async fn cloud(context: &Context) -> anyhow::Result<Sim> {
    let config = settings::Config {
        apps: vec![App::stream(CLIENT_ID, CLIENT_SECRET)],
        ack_timeout: LIMIT,
        records_max: 10_000,
        ..settings::Config::default()
    };
    Ok(Sim::start(context, config).await?)
}

async fn sdk() -> anyhow::Result<f64> {
    let context = Context::new(Clock::system());
    let cloud = cloud(&context).await?;
    let mut client = Command::new(PYTHON)
        .args([CLIENT, CLIENT_ID, CLIENT_SECRET])
        .env("DINGTALK_OPENAPI_ENDPOINT", cloud.url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {PYTHON}: `ops/dev bench` installs it"))?;
    let rate = pushed(&cloud).await;
    client.kill().await.ok(); // It may have ended by itself.
    context.finish(Duration::from_secs(2)).await;
    rate
}

async fn edge(round: usize) -> anyhow::Result<f64> {
    let context = Context::new(Clock::system());
    let cloud = cloud(&context).await?;
    let url = cloud.url().to_owned();
    let stand = Stand::start_with(&format!("stream{round}"), Mode::Stream, Some(url)).await?;
    stand.start_edge().await?;
    let rate = pushed(&cloud).await;
    stand.end().await;
    context.finish(Duration::from_secs(2)).await;
    rate
}

/// Pushes frames to the one connection there is, and counts its acks.
async fn pushed(cloud: &Sim) -> anyhow::Result<f64> {
    let until = Instant::now() + LIMIT;
    while cloud.connections(CLIENT_ID) == 0 {
        ensure!(Instant::now() < until, "no Stream connection was opened");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    push(cloud, WARM).await?;
    let began = Instant::now();
    push(cloud, FRAMES).await?;
    Ok(per_second(FRAMES, began.elapsed().as_secs_f64()))
}

async fn push(cloud: &Sim, frames: usize) -> anyhow::Result<()> {
    let acked = &cloud.book().counts.acked;
    let target = acked.load(Ordering::Relaxed) + u64::try_from(frames).unwrap_or(u64::MAX);
    for number in 0..frames {
        let sender = format!("person{}", number % 200);
        let said = cloud.say(Say::direct(CLIENT_ID, &sender, "How long does an answer take?"));
        said.context("the simulated cloud knows the robot")?;
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let until = Instant::now() + LIMIT;
    while acked.load(Ordering::Relaxed) < target {
        ensure!(Instant::now() < until, "frames were not acknowledged in time");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
