//! Whether the database answers: asked every few seconds, for `/readyz`.
//!
//! Nearly every call of the admin API needs it, and a database that goes away after the start is only
//! noticed by asking. For a process that is the console alone: who also accepts messages goes on without it.

use std::time::Duration;

use tokio::time::sleep;

use crate::context::Context;
use crate::io::store::Store;

const ASK_EVERY: Duration = Duration::from_secs(2);

/// On the health board, as at the start.
const DATABASE: &str = "database";

/// Asks until the process stops.
pub async fn watch(context: Context, store: Store) {
    while !context.is_stopping() {
        match store.ping().await {
            Ok(()) => context.health.has(DATABASE),
            Err(error) => {
                tracing::debug!(%error, "the database does not answer");
                context.health.lacks(DATABASE, format!("{error}; check DATABASE_URL"));
            }
        }
        context.stop().run_until_cancelled(sleep(ASK_EVERY)).await;
    }
}
