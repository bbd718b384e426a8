//! The audit log: who changed what, and when. A line is written in the transaction of its change.
//!
//! The detail names fields and states, never a secret.

use sqlx::{AnyConnection, Row};
use uuid::Uuid;

use super::{Error, Page, Store};
use crate::domain::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub at: Timestamp,
    pub actor: String,
    /// For example `integration.create`.
    pub action: &'static str,
    pub subject: String,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub detail: String,
}

pub(super) async fn write(db: &mut AnyConnection, note: &Note) -> Result<(), sqlx::Error> {
    sqlx::query(
        "-- audit::write
         INSERT INTO audit_log (id, at, actor, action, subject, detail)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(Uuid::new_v4().to_string())
    .bind(note.at.0)
    .bind(note.actor.as_str())
    .bind(note.action)
    .bind(note.subject.as_str())
    .bind(note.detail.as_str())
    .execute(db)
    .await
    .map(|_| ())
}

impl Store {
    /// For changes whose effect is not in this database.
    pub async fn note(&self, note: &Note) -> Result<(), Error> {
        let mut db = self.pool.acquire().await?;
        Ok(write(&mut db, note).await?)
    }

    /// The newest first; of `page` only the limit counts.
    pub async fn audit_log(&self, page: &Page) -> Result<Vec<Line>, Error> {
        let rows = sqlx::query(
            "-- audit::audit_log
             SELECT at, actor, action, subject, detail FROM audit_log
             ORDER BY at DESC, id LIMIT $1",
        )
        .bind(i64::from(page.limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Line {
                    at: Timestamp(row.try_get("at")?),
                    actor: row.try_get("actor")?,
                    action: row.try_get("action")?,
                    subject: row.try_get("subject")?,
                    detail: row.try_get("detail")?,
                })
            })
            .collect()
    }
}
