//! The broker's time: all times that decide are its, so this process's clock is corrected by the
//! difference, measured now and then.
//!
//! Differences below a round trip are noise and change nothing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::read::timestamp;
use super::{Error, Nats};
use crate::context::Context;

const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Info {
    ts: String,
}

/// Measures once, then goes on in the background until the process stops.
pub async fn follow(context: &Context, nats: &Nats, stream: &'static str) -> Result<(), Error> {
    measure(context, nats, stream).await?;
    let (task, nats) = (context.clone(), nats.clone());
    context.spawn(async move {
        loop {
            tokio::select! {
                () = task.stop().cancelled() => break,
                () = sleep(INTERVAL) => {}
            }
            if let Err(error) = measure(&task, &nats, stream).await {
                tracing::debug!(%error, "the broker's time could not be read");
            }
        }
    });
    Ok(())
}

async fn measure(context: &Context, nats: &Nats, stream: &str) -> Result<(), Error> {
    let before = context.clock.now();
    let info: Info = nats.api(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
    let after = context.clock.now();
    let middle = before.0 + (after.0 - before.0) / 2;
    let difference = timestamp(&info.ts)?.0 - middle;
    // Below the time of one round trip it is noise.
    if difference.abs() > (after.0 - before.0).max(20) {
        context.clock.set_offset_ms(context.clock.offset_ms() + difference);
        tracing::info!(difference_ms = difference, "corrected the clock by the broker's");
    }
    Ok(())
}
