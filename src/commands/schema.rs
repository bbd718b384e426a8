//! `migrate` and `streams`: the only commands that change tables and streams.
//!
//! Each may be repeated, and says what it did. A process that finds them out of date only says so.

use anyhow::Context as _;

use super::Failure;
use super::process::say;
use crate::config::Config;
use crate::context::{Clock, Context};
use crate::io::nats::Nats;
use crate::io::store::{self, Store};
use crate::io::topology;

pub async fn migrate(config: &Config) -> Result<(), Failure> {
    let settings = config.store.as_ref().ok_or_else(|| {
        let remedy = "set DATABASE_URL and DT_MASTER_KEY (32 bytes in base64)";
        Failure::Configuration(remedy.to_owned())
    })?;
    let store = Store::connect(settings).await.context("connect to the database")?;
    store.migrate().await.context("migrate the database")?;
    say("the database is at this release");
    reseal(&store, settings).await
}

/// After a rotation the old key is needed once: nothing stays sealed under it.
pub async fn reseal(store: &Store, settings: &store::Config) -> Result<(), Failure> {
    if settings.old_master_key.is_some() {
        let count = store.reseal().await.context("seal anew under DT_MASTER_KEY")?;
        say(&format!("sealed anew under DT_MASTER_KEY: {count}; DT_MASTER_KEY_OLD may go"));
    }
    Ok(())
}

/// Exit code 1 where anything differs.
pub async fn diff(config: &Config) -> Result<(), Failure> {
    let context = Context::new(Clock::system());
    let nats = Nats::connect(&context, &config.nats).await.context("connect to NATS")?;
    let differences = topology::diff(&nats, config.topology).await.context("read the streams")?;
    for difference in &differences {
        say(&difference.to_string());
    }
    if differences.is_empty() {
        say("no difference");
        return Ok(());
    }
    Err(Failure::Difference)
}

pub async fn apply(config: &Config) -> Result<(), Failure> {
    let context = Context::new(Clock::system());
    let nats = Nats::connect(&context, &config.nats).await.context("connect to NATS")?;
    let done = topology::apply(&nats, config.topology, context.clock.now()).await;
    let done = done.context("apply the streams")?;
    for difference in &done {
        say(&format!("applied: {difference}"));
    }
    say(if done.is_empty() { "nothing to do" } else { "done" });
    Ok(())
}
