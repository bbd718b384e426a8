//! What the edge saw of an integration: the last event, refusal, verification and error.
//!
//! For the status page alone: recording never waits, and what happens within half a second is one row
//! of one statement. A field that is absent leaves what is stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};

use super::{Error, Store, placeholders, storable};
use crate::context::Context;
use crate::domain::id::IntegrationId;
use crate::domain::time::Timestamp;

const COLUMNS: usize = 7;
const FLUSH_EVERY: Duration = Duration::from_millis(500);
const ROWS_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// A signed or encrypted callback was accepted.
    pub verified_at: Option<Timestamp>,
    /// A callback was refused with this code.
    pub rejected: Option<(Timestamp, String)>,
    pub last_event_at: Option<Timestamp>,
    pub last_error: Option<(Timestamp, String)>,
}

impl Seen {
    /// Takes over what `newer` knows.
    pub fn update(&mut self, newer: Self) {
        self.verified_at = newer.verified_at.or(self.verified_at);
        self.last_event_at = newer.last_event_at.or(self.last_event_at);
        self.rejected = newer.rejected.or_else(|| self.rejected.take());
        self.last_error = newer.last_error.or_else(|| self.last_error.take());
    }
}

/// Collects what is seen and writes it from time to time. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    pending: Arc<Mutex<BTreeMap<IntegrationId, Seen>>>,
}

impl Recorder {
    pub fn start(context: &Context, store: Store) -> Self {
        let recorder = Self { pending: Arc::default() };
        let task = recorder.clone();
        let stop = context.stop().clone();
        context.spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(FLUSH_EVERY)).await.is_some() {
                task.flush(&store).await;
            }
            task.flush(&store).await;
        });
        recorder
    }

    /// Only for integrations that exist: each takes a row.
    pub fn record(&self, id: &IntegrationId, seen: Seen) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        match pending.get_mut(id) {
            Some(before) => before.update(seen),
            None => {
                pending.insert(id.clone(), seen);
            }
        }
    }

    async fn flush(&self, store: &Store) {
        let rows =
            std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let rows: Vec<_> = rows.into_iter().collect();
        for chunk in rows.chunks(ROWS_MAX) {
            if let Err(error) = store.put_seen(chunk).await {
                tracing::warn!(%error, "the status of integrations was not stored");
            }
        }
    }
}

impl Store {
    /// One statement for all; an integration may be in `seen` once.
    pub async fn put_seen(&self, seen: &[(IntegrationId, Seen)]) -> Result<(), Error> {
        if seen.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "-- events::put_seen
             INSERT INTO integration_events (integration_id, verified_at, rejected_at,
              rejected_code, last_event_at, last_error_at, last_error)
             VALUES {}
             ON CONFLICT (integration_id) DO UPDATE SET
              verified_at = COALESCE(excluded.verified_at, integration_events.verified_at),
              rejected_at = COALESCE(excluded.rejected_at, integration_events.rejected_at),
              rejected_code = COALESCE(excluded.rejected_code, integration_events.rejected_code),
              last_event_at = COALESCE(excluded.last_event_at, integration_events.last_event_at),
              last_error_at = COALESCE(excluded.last_error_at, integration_events.last_error_at),
              last_error = COALESCE(excluded.last_error, integration_events.last_error)",
            placeholders(seen.len(), COLUMNS)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (id, seen) in seen {
            query = query
                .bind(id.as_str())
                .bind(seen.verified_at.map(|at| at.0))
                .bind(seen.rejected.as_ref().map(|(at, _)| at.0))
                .bind(seen.rejected.as_ref().map(|(_, code)| storable(code)))
                .bind(seen.last_event_at.map(|at| at.0))
                .bind(seen.last_error.as_ref().map(|(at, _)| at.0))
                .bind(seen.last_error.as_ref().map(|(_, text)| storable(text)));
        }
        query.execute(&self.pool).await?;
        Ok(())
    }

    pub async fn seen(&self, id: &IntegrationId) -> Result<Seen, Error> {
        let row = sqlx::query(
            "-- events::seen
             SELECT verified_at, rejected_at, rejected_code, last_event_at, last_error_at,
              last_error
             FROM integration_events WHERE integration_id = $1",
        )
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(Seen::default()) };
        let time = |column| -> Result<Option<Timestamp>, sqlx::Error> {
            Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp))
        };
        Ok(Seen {
            verified_at: time("verified_at")?,
            rejected: time("rejected_at")?.zip(row.try_get("rejected_code")?),
            last_event_at: time("last_event_at")?,
            last_error: time("last_error_at")?.zip(row.try_get("last_error")?),
        })
    }
}
