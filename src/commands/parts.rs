//! What roles are composed of, made from the configuration in one place.
//!
//! Guarantees that a process works only on streams and tables that its release knows: it waits for a
//! broker that is away, and stops with a remedy where something must be applied first.

use anyhow::Context as _;

use super::Failure;
use crate::config::Config;
use crate::context::Context;
use crate::io::egress::Egress;
use crate::io::gateway::{self, Gateway};
use crate::io::log::Log;
use crate::io::nats::{Nats, skew};
use crate::io::routing::Routing;
use crate::io::store::{self, Store};
use crate::io::topology;
use crate::io::{log, nats};
use crate::protocol::action;

/// Between two looks for a broker or a database that is not there yet.
const START_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

pub const NO_STORE: &str = "set DATABASE_URL and DT_MASTER_KEY (32 bytes in base64)";
const DATABASE: &str = "the database; check DATABASE_URL";
const BROKER: &str = "NATS; check NATS_URL";

/// What every role has: the broker, the database, and the routes through them.
pub struct Parts {
    pub nats: Nats,
    pub store: Store,
    pub routing: Routing,
    pub log: Log,
    pub egress: Egress,
    pub links: action::Key,
}

impl Parts {
    /// Connects, and verifies that streams and tables are those of this release.
    pub async fn connect(context: &Context, config: &Config) -> Result<Self, Failure> {
        let settings = config.store.as_ref();
        let settings = settings.ok_or_else(|| Failure::Configuration(NO_STORE.to_owned()))?;
        let nats = Nats::connect(context, &config.nats).await.context("connect to NATS")?;
        verify_streams(&nats, config).await?;
        let follow = async || skew::follow(context, &nats, log::STREAM).await;
        wait_for(BROKER, nats::Error::is_unavailable, follow)
            .await
            .context("read the broker's time")?;
        let (store, pending) = open_store(context, settings).await?;
        if !pending.is_empty() {
            let remedy = "the database is older than this release: run `dingtalk-trigger migrate`";
            return Err(Failure::Configuration(remedy.to_owned()));
        }
        let read =
            async || Routing::start(context, store.clone(), Some(nats.client().clone())).await;
        let routing = wait_for(DATABASE, store::Error::is_unavailable, read)
            .await
            .context("read integrations and triggers")?;
        let log = Log::new(&nats, config.limits.entry_max_bytes);
        let egress = Egress::new(&config.egress()).context("start the HTTP client")?;
        let old_master_key = settings.old_master_key.as_ref().map(|key| key.expose().as_bytes());
        let links = action::Key::derive(settings.master_key.expose().as_bytes(), old_master_key);
        Ok(Self { nats, store, routing, log, egress, links })
    }

    pub fn gateway(&self, config: &Config) -> anyhow::Result<Gateway> {
        let client = self.egress.client().clone();
        let api_url = config.dingtalk_api_url.clone();
        let frame_max_bytes = config.limits.frame_max_bytes;
        let settings = gateway::Config { api_url, frame_max_bytes, ..gateway::Config::default() };
        let tls = gateway::tls().context("prepare TLS")?;
        Ok(Gateway::new(client, tls, settings).through(self.egress.tunnels().clone()))
    }
}

/// What breaks the protocol stops a program; the rest is a warning.
async fn verify_streams(nats: &Nats, config: &Config) -> Result<(), Failure> {
    let read = async || topology::diff(nats, config.topology).await;
    let differences =
        wait_for(BROKER, nats::Error::is_unavailable, read).await.context("read the streams")?;
    let mut breaking = vec![];
    for difference in differences {
        if difference.is_breaking() {
            breaking.push(format!("  {difference}"));
        } else {
            tracing::warn!(%difference, "the streams differ from this release's files");
        }
    }
    if breaking.is_empty() {
        return Ok(());
    }
    let list = breaking.join("\n");
    Err(Failure::Failed(anyhow::anyhow!(
        "the streams are not those of this release; run `dingtalk-trigger streams apply`:\n{list}"
    )))
}

/// A process that starts while its database is away waits for it; `/readyz` says so meanwhile.
async fn open_store(
    context: &Context,
    settings: &store::Config,
) -> Result<(Store, Vec<String>), Failure> {
    context.health.lacks("database", "waiting for it; check DATABASE_URL");
    let opened = wait_for(DATABASE, store::Error::is_unavailable, async || {
        let store = Store::connect(settings).await?;
        // What its database has yet to be given for this release.
        let pending = store.pending().await?;
        Ok((store, pending))
    });
    let opened = opened.await.context("connect to the database")?;
    context.health.has("database");
    Ok(opened)
}

/// A process that starts before what it needs asks again until it is there.
async fn wait_for<T, E: std::fmt::Display>(
    what: &'static str,
    is_unavailable: fn(&E) -> bool,
    ask: impl AsyncFn() -> Result<T, E>,
) -> Result<T, E> {
    loop {
        match ask().await {
            Err(why) if is_unavailable(&why) => {
                tracing::warn!(%why, "waiting for {what}");
                tokio::time::sleep(START_WAIT).await;
            }
            outcome => return outcome,
        }
    }
}
