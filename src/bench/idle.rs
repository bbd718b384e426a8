//! Resident memory of an `edge` process with 1,000 idle Stream connections.
//!
//! Starts the real binary and reads its memory from the system, so that neither this process nor the
//! simulated cloud is counted. What is asked for stands beside what was measured.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::time::Instant;

use super::Figure;
use super::memory::resident_mib;
use super::stand::{CLIENT_SECRET, Stand, robot};
use crate::context::{Clock, Context};
use crate::domain::binding::Mode;
use crate::domain::id::IntegrationId;
use crate::domain::secret::Secret;
use crate::io::store::audit::Note;
use crate::io::store::{self, Store};
use crate::sim::dingtalk::Sim;
use crate::sim::dingtalk::app::App;
use crate::sim::dingtalk::settings;

const CONNECTIONS: usize = 1000;
const LIMIT: Duration = Duration::from_secs(120);
const ASKED_MIB: f64 = 60.0;

pub async fn run() -> anyhow::Result<Vec<Figure>> {
    let url = crate::config::variable("DT_TEST_POSTGRES_URL");
    let url =
        url.context("DT_TEST_POSTGRES_URL names no PostgreSQL: `ops/dev bench` starts one")?;
    let context = Context::new(Clock::system());
    let names: Vec<_> = (0..CONNECTIONS).map(|number| format!("idle{number}")).collect();
    let config = settings::Config {
        apps: names.iter().map(|name| App::stream(name, CLIENT_SECRET)).collect(),
        ..settings::Config::default()
    };
    let cloud = Sim::start(&context, config).await?;
    let stand = Stand::start("idle").await?;
    let key = stand.config.store.as_ref().context("the stand has a database")?.master_key.clone();
    create(&context, &url, &key, &names).await?;
    let mut edge = Command::new(std::env::current_exe().context("find this program")?)
        .arg("edge")
        .env("NATS_URL", &stand.config.nats.url)
        .env("DATABASE_URL", &url)
        .env("DT_MASTER_KEY", key.expose())
        .env("DT_EDGE_ADDR", "127.0.0.1:0")
        .env("DT_HEALTH_ADDR", "127.0.0.1:0")
        .env("DT_DINGTALK_API_URL", cloud.url())
        .env("DT_LOG", "warn")
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("start an edge")?;
    let connected = all_connected(&cloud, &names).await;
    let resident = edge.id().and_then(resident_mib);
    edge.kill().await.ok(); // It may have ended by itself.
    stand.end().await;
    context.finish(Duration::from_secs(2)).await;
    connected?;
    let resident = resident.context("read the memory of the edge")?;
    Ok(vec![Figure {
        name: "idle",
        measured: format!("{resident:.1} MiB resident"),
        baseline: format!("{ASKED_MIB:.0} MiB"),
        ratio: resident / ASKED_MIB,
        asked: 1.0,
        is_less_better: true,
    }])
}

async fn create(
    context: &Context,
    url: &str,
    key: &Secret,
    names: &[String],
) -> anyhow::Result<()> {
    let settings = store::Config {
        url: Secret::new(url),
        master_key: key.clone(),
        old_master_key: None,
        connections_max: 4,
    };
    let store = Store::connect(&settings).await?;
    store.migrate().await?;
    for name in names {
        let id = IntegrationId::parse(name)?;
        let note = Note {
            at: context.clock.now(),
            actor: "bench".to_owned(),
            action: "bench",
            subject: name.clone(),
            detail: "{}".to_owned(),
        };
        store.create_integration(&robot(id, name, Mode::Stream), &note).await?;
    }
    store.close().await;
    Ok(())
}

async fn all_connected(cloud: &Sim, names: &[String]) -> anyhow::Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        let connected = names.iter().filter(|name| cloud.connections(name) > 0).count();
        if connected == names.len() {
            // What the handshakes needed is given back first.
            tokio::time::sleep(Duration::from_secs(5)).await;
            return Ok(());
        }
        ensure!(Instant::now() < until, "only {connected} connections were opened");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
