//! `migrate` and `streams`: the only commands that change tables and streams.
//!
//! Each may be repeated, and says what it did. A process that finds them out of date only says so.

use anyhow::Context as _;

use super::Failure;
use super::parts::NO_STORE;
use super::process::say;
use crate::config::Config;
use crate::context::{Clock, Context};
use crate::io::mark::{Marks, Moved};
use crate::io::nats::Nats;
use crate::io::store::{self, Store};
use crate::io::topology::{self, Difference};

pub async fn migrate(config: &Config) -> Result<(), Failure> {
    let settings = config.store.as_ref();
    let settings = settings.ok_or_else(|| Failure::Configuration(NO_STORE.to_owned()))?;
    let store = Store::connect(settings).await.context("connect to the database")?;
    store.migrate().await.context("migrate the database")?;
    say("the database is at this release");
    reseal(&store, settings).await
}

/// After a rotation nothing stays sealed under the old key; what it signed lives for a day.
pub async fn reseal(store: &Store, settings: &store::Config) -> Result<(), Failure> {
    if settings.old_master_key.is_some() {
        let count = store.reseal().await.context("seal anew under DT_MASTER_KEY")?;
        say(&format!(
            "sealed anew under DT_MASTER_KEY: {count}; keep DT_MASTER_KEY_OLD for a day, in which links that it signed hold, and while cards of HTTP robots from before are open"
        ));
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
    let is_restored = match Marks::new(&nats).look().await {
        Ok(mark) => mark.shared_from.is_some(),
        // What is missing has been said.
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(Failure::Failed(anyhow::Error::new(error).context("read DT_IN"))),
    };
    if is_restored {
        say("DT_IN was restored from a backup: the positions of conversations are above its end");
    }
    if differences.is_empty() && !is_restored {
        say("no difference");
        return Ok(());
    }
    Err(Failure::Difference)
}

pub async fn apply(config: &Config) -> Result<(), Failure> {
    let context = Context::new(Clock::system());
    let nats = Nats::connect(&context, &config.nats).await.context("connect to NATS")?;
    let (changed, moved) = applied(&context, &nats, config).await?;
    for difference in &changed {
        say(&format!("applied: {difference}"));
    }
    let is_nothing = changed.is_empty() && moved.is_none();
    if let Some(Moved { mark, conversations }) = moved {
        say(&format!(
            "DT_IN was restored from a backup: it goes on after {}; conversations moved: {}",
            mark.seq, conversations
        ));
    }
    say(if is_nothing { "nothing to do" } else { "done" });
    Ok(())
}

/// Makes the streams what the files say, and lets a log that was put back from a backup go on.
pub async fn applied(
    context: &Context,
    nats: &Nats,
    config: &Config,
) -> Result<(Vec<Difference>, Option<Moved>), Failure> {
    let now = context.clock.now();
    let changed = topology::apply(nats, config.topology, now).await.context("apply the streams")?;
    let moved = Marks::new(nats).move_positions(now).await.context("move the positions")?;
    Ok((changed, moved))
}
