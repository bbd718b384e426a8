//! Trigger bindings: which expert answers for an integration.
//!
//! Guarantees that publishing is one transaction, with the runtime's registration and the audit line
//! in it; that of two publishers who want one integration the unique index lets exactly one through;
//! and that moving to another integration is one step, because a binding is the expert's row.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, Note};
use super::{
    Error, Page, Store, duration, flag, is_foreign_key_violation, is_unique_violation, millis,
    runtimes, word,
};
use crate::domain::binding::{ActBy, BusyPolicy, FormerWindow, QueuedNotice, Runtime, Trigger};
use crate::domain::id::{ExpertId, IntegrationId};
use crate::domain::time::Timestamp;

const TABLE: &str = "trigger_bindings";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub trigger: Trigger,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Store {
    /// `Conflict` where the integration belongs to another expert, `Missing` where there is none. A
    /// window that differs from what was published makes that the former one, until the time of `note`.
    pub async fn publish(
        &self,
        trigger: &Trigger,
        runtime: Option<&Runtime>,
        note: &Note,
    ) -> Result<(), Error> {
        // The first statement writes: SQLite then waits for its turn instead of failing on a stale
        // snapshot.
        let mut tx = self.pool.begin().await?;
        let written = sqlx::query(
            "-- triggers::publish
             INSERT INTO trigger_bindings
             (xpert_id, integration_id, is_enabled, session_timeout_ms, summary_window_ms,
              busy_policy, queued_notice, allow_conversations, allow_senders, mention_asker, act_by,
              created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT (xpert_id) DO UPDATE SET integration_id = excluded.integration_id,
              is_enabled = excluded.is_enabled, session_timeout_ms = excluded.session_timeout_ms,
              former_window_ms = CASE
                WHEN trigger_bindings.summary_window_ms = excluded.summary_window_ms
                THEN trigger_bindings.former_window_ms
               ELSE trigger_bindings.summary_window_ms END,
              former_window_until = CASE
                WHEN trigger_bindings.summary_window_ms = excluded.summary_window_ms
                THEN trigger_bindings.former_window_until ELSE excluded.updated_at END,
              summary_window_ms = excluded.summary_window_ms, busy_policy = excluded.busy_policy,
              queued_notice = excluded.queued_notice,
              allow_conversations = excluded.allow_conversations,
              allow_senders = excluded.allow_senders, mention_asker = excluded.mention_asker,
              act_by = excluded.act_by, updated_at = excluded.updated_at",
        )
        .bind(trigger.expert.as_str())
        .bind(trigger.integration.as_str())
        .bind(i16::from(trigger.is_enabled))
        .bind(millis(trigger.session_timeout))
        .bind(millis(trigger.summary_window))
        .bind(trigger.busy_policy.as_str())
        .bind(trigger.queued_notice.as_str())
        .bind(json(&trigger.allow_conversations))
        .bind(json(&trigger.allow_senders))
        .bind(i16::from(trigger.mention_asker))
        .bind(trigger.act_by.as_str())
        .bind(note.at.0)
        .bind(note.at.0)
        .execute(&mut *tx)
        .await;
        let integration = trigger.integration.to_string();
        match written {
            Err(error) if is_unique_violation(&error) => {
                return Err(Error::Conflict { integration });
            }
            Err(error) if is_foreign_key_violation(&error) => {
                return Err(Error::Missing { what: format!("integration {integration}") });
            }
            outcome => outcome?,
        };
        if let Some(runtime) = runtime {
            runtimes::write(&mut tx, &self.keyring, runtime, note.at).await?;
        }
        audit::write(&mut tx, note).await?;
        Ok(tx.commit().await?)
    }

    /// Gives back what was there.
    pub async fn unpublish(&self, expert: &ExpertId, note: &Note) -> Result<Trigger, Error> {
        let mut tx = self.pool.begin().await?;
        let removed = sqlx::query(
            "-- triggers::unpublish
             DELETE FROM trigger_bindings WHERE xpert_id = $1
             RETURNING xpert_id, integration_id, is_enabled, session_timeout_ms, summary_window_ms,
              former_window_ms, former_window_until, busy_policy, queued_notice,
              allow_conversations, allow_senders, mention_asker, act_by, created_at, updated_at",
        )
        .bind(expert.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = removed else {
            return Err(Error::Missing { what: format!("a trigger of xpert {expert}") });
        };
        audit::write(&mut tx, note).await?;
        let trigger = record(&row)?.trigger;
        tx.commit().await?;
        Ok(trigger)
    }

    pub async fn trigger(&self, expert: &ExpertId) -> Result<Option<Record>, Error> {
        let row = sqlx::query(
            "-- triggers::trigger
             SELECT xpert_id, integration_id, is_enabled, session_timeout_ms, summary_window_ms,
              former_window_ms, former_window_until, busy_policy, queued_notice,
              allow_conversations, allow_senders, mention_asker, act_by, created_at, updated_at
             FROM trigger_bindings WHERE xpert_id = $1",
        )
        .bind(expert.as_str())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| record(&row)).transpose()
    }

    /// The enabled binding of an integration: there is at most one.
    pub async fn trigger_of(&self, id: &IntegrationId) -> Result<Option<Record>, Error> {
        let row = sqlx::query(
            "-- triggers::trigger_of
             SELECT xpert_id, integration_id, is_enabled, session_timeout_ms, summary_window_ms,
              former_window_ms, former_window_until, busy_policy, queued_notice,
              allow_conversations, allow_senders, mention_asker, act_by, created_at, updated_at
             FROM trigger_bindings WHERE integration_id = $1 AND is_enabled = 1",
        )
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| record(&row)).transpose()
    }

    pub async fn triggers(&self, page: &Page) -> Result<Vec<Record>, Error> {
        let rows = sqlx::query(
            "-- triggers::triggers
             SELECT xpert_id, integration_id, is_enabled, session_timeout_ms, summary_window_ms,
              former_window_ms, former_window_until, busy_policy, queued_notice,
              allow_conversations, allow_senders, mention_asker, act_by, created_at, updated_at
             FROM trigger_bindings WHERE xpert_id > $1 ORDER BY xpert_id LIMIT $2",
        )
        .bind(page.after.as_deref().unwrap_or_default())
        .bind(i64::from(page.limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(record).collect()
    }
}

fn json(list: &[String]) -> String {
    serde_json::json!(list).to_string()
}

fn list(row: &AnyRow, column: &'static str) -> Result<Vec<String>, Error> {
    let value: String = row.try_get(column)?;
    serde_json::from_str(&value).map_err(|_| Error::Unreadable { table: TABLE, column, value })
}

fn former_window(row: &AnyRow) -> Result<Option<FormerWindow>, Error> {
    let until: Option<i64> = row.try_get("former_window_until")?;
    let Some(until) = until.map(Timestamp) else { return Ok(None) };
    Ok(Some(FormerWindow { window: duration(row, "former_window_ms")?, until }))
}

fn record(row: &AnyRow) -> Result<Record, Error> {
    Ok(Record {
        trigger: Trigger {
            expert: word(row, (TABLE, "xpert_id"), |id| ExpertId::parse(id).ok())?,
            integration: word(row, (TABLE, "integration_id"), |id| IntegrationId::parse(id).ok())?,
            is_enabled: flag(row, "is_enabled")?,
            session_timeout: duration(row, "session_timeout_ms")?,
            summary_window: duration(row, "summary_window_ms")?,
            former_window: former_window(row)?,
            busy_policy: word(row, (TABLE, "busy_policy"), BusyPolicy::parse)?,
            queued_notice: word(row, (TABLE, "queued_notice"), QueuedNotice::parse)?,
            allow_conversations: list(row, "allow_conversations")?,
            allow_senders: list(row, "allow_senders")?,
            corp_id: None,
            mention_asker: flag(row, "mention_asker")?,
            act_by: word(row, (TABLE, "act_by"), ActBy::parse)?,
        },
        created_at: Timestamp(row.try_get("created_at")?),
        updated_at: Timestamp(row.try_get("updated_at")?),
    })
}
