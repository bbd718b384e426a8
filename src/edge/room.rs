//! Whether the log would take what comes: a look at it every few seconds, for `/readyz`.
//!
//! A full, removed or leaderless log refuses each message for itself; this says it of the process, so
//! that whoever shares out requests hears of it. It says so before a message is refused, and takes it
//! back without one: a pod that is not ready gets none.

use std::time::Duration;

use tokio::time::sleep;

use crate::context::Context;
use crate::io::nats::{Error, Nats};
use crate::io::{log, state};

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// On the health board.
const ACCEPTING: &str = "accepting";

/// Looks until the process stops. There is room as long as the largest entry fits.
pub async fn watch(context: Context, nats: Nats, entry_max_bytes: usize) {
    let needed = i64::try_from(entry_max_bytes).unwrap_or(i64::MAX);
    let mut was_open = true;
    while !context.is_stopping() {
        let why = match state::stream(&nats, log::STREAM).await {
            Ok((log, max_bytes)) => full(log.bytes, max_bytes, needed),
            Err(error) => Some(away(&error)),
        };
        let is_open = why.is_none();
        match why {
            None => context.health.has(ACCEPTING),
            Some(why) => {
                if was_open {
                    tracing::warn!(why, "the log would not take a message");
                }
                context.health.lacks(ACCEPTING, why);
            }
        }
        was_open = is_open;
        context.stop().run_until_cancelled(sleep(LOOK_EVERY)).await;
    }
}

/// Why an entry of `needed` bytes does not fit; a stream without a limit says -1 or 0.
fn full(bytes: u64, max_bytes: i64, needed: i64) -> Option<String> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let is_full = max_bytes > 0 && max_bytes.saturating_sub(bytes) < needed;
    is_full.then(|| {
        format!("DT_IN is full: {bytes} of {max_bytes} bytes; raise its max_bytes, or let workers answer")
    })
}

fn away(error: &Error) -> String {
    let remedy = if error.is_not_found() { "; run `dingtalk-trigger streams apply`" } else { "" };
    format!("DT_IN: {error}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_full_where_the_largest_entry_does_not_fit() {
        for (bytes, max_bytes, is_full) in [
            (0, -1, false),
            (u64::MAX, 0, false),
            (700, 1000, false),
            (701, 1000, true),
            (5000, 1000, true),
            (u64::MAX, 1000, true),
        ] {
            assert_eq!(full(bytes, max_bytes, 300).is_some(), is_full, "{bytes} of {max_bytes}");
        }
    }
}
