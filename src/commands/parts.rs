//! What roles are composed of, made from the configuration in one place.
//!
//! Guarantees that a process works only on streams and tables that its release knows: it waits for a
//! broker that is away, and stops with a remedy where something must be applied first.

use anyhow::Context as _;

use super::Failure;
use crate::config::Config;
use crate::context::Context;
use crate::io::egress::{self, Egress};
use crate::io::gateway::{self, Gateway};
use crate::io::log::Log;
use crate::io::nats::{Nats, skew};
use crate::io::routing::Routing;
use crate::io::store::{self, Store};
use crate::io::topology::{self, Difference};
use crate::io::{log, nats};
use crate::protocol::action;

/// Between two looks for a broker or a database that is not there yet.
const START_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

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
        let missing = "set DATABASE_URL and DT_MASTER_KEY (32 bytes in base64)";
        let settings = config.store.as_ref();
        let settings = settings.ok_or_else(|| Failure::Configuration(missing.to_owned()))?;
        let nats = Nats::connect(context, &config.nats).await.context("connect to NATS")?;
        verify_streams(&nats, config).await?;
        follow_time(context, &nats).await.context("read the broker's time")?;
        let (store, pending) = open_store(context, settings).await?;
        if !pending.is_empty() {
            let remedy = "the database is older than this release: run `dingtalk-trigger migrate`";
            return Err(Failure::Configuration(remedy.to_owned()));
        }
        let client = nats.client().clone();
        let routing = Routing::start(context, store.clone(), Some(client));
        let routing = routing.await.context("read integrations and triggers")?;
        let log = Log::new(&nats, config.limits.entry_max_bytes);
        let egress = Egress::new(&egress::Config::default()).context("start the HTTP client")?;
        let links = action::Key::derive(settings.master_key.expose().as_bytes());
        Ok(Self { nats, store, routing, log, egress, links })
    }

    pub fn gateway(&self, config: &Config) -> anyhow::Result<Gateway> {
        let client = self.egress.client().clone();
        let api_url = config.dingtalk_api_url.clone();
        let settings = gateway::Config { api_url, ..gateway::Config::default() };
        let tls = gateway::tls().context("prepare TLS")?;
        Ok(Gateway::new(client, tls, settings))
    }
}

/// What breaks the protocol stops a program; the rest is a warning.
async fn verify_streams(nats: &Nats, config: &Config) -> Result<(), Failure> {
    let differences = read_streams(nats, config).await.context("read the streams")?;
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
    loop {
        match read_store(settings).await {
            Err(store::Error::Unavailable(why)) => {
                context.health.lacks("database", "waiting for it; check DATABASE_URL");
                tracing::warn!(%why, "waiting for the database; check DATABASE_URL");
                tokio::time::sleep(START_WAIT).await;
            }
            outcome => {
                context.health.has("database");
                return Ok(outcome.context("connect to the database")?);
            }
        }
    }
}

/// The store, and what its database has yet to be given for this release.
async fn read_store(settings: &store::Config) -> Result<(Store, Vec<String>), store::Error> {
    let store = Store::connect(settings).await?;
    let pending = store.pending().await?;
    Ok((store, pending))
}

async fn follow_time(context: &Context, nats: &Nats) -> Result<(), nats::Error> {
    loop {
        match skew::follow(context, nats, log::STREAM).await {
            Err(nats::Error::Unavailable(why)) => {
                tracing::warn!(why, "waiting for NATS; check NATS_URL");
                tokio::time::sleep(START_WAIT).await;
            }
            outcome => return outcome,
        }
    }
}

/// A process that starts before its broker waits for it; `/readyz` says so meanwhile.
async fn read_streams(nats: &Nats, config: &Config) -> Result<Vec<Difference>, nats::Error> {
    loop {
        match topology::diff(nats, config.topology).await {
            Err(nats::Error::Unavailable(why)) => {
                tracing::warn!(why, "waiting for NATS; check NATS_URL");
                tokio::time::sleep(START_WAIT).await;
            }
            outcome => return outcome,
        }
    }
}
