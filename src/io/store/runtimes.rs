//! Runtimes: where an expert is reached, its key or secret sealed.
//!
//! A lease is only its length here; whether it is alive is a record in `DT_LIVE`.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::audit::{self, Note};
use super::{Error, Page, Store, flag, millis};
use crate::domain::binding::{Runtime, RuntimeKind};
use crate::domain::id::ExpertId;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::io::seal::{Keyring, Place};

const TABLE: &str = "runtimes";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub runtime: Runtime,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Store {
    /// Registers it, or replaces what is registered. Whether it is paused stays as it is.
    pub async fn put_runtime(&self, runtime: &Runtime, note: &Note) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        write(&mut tx, &self.keyring, runtime, note.at).await?;
        audit::write(&mut tx, note).await?;
        Ok(tx.commit().await?)
    }

    pub async fn pause_runtime(
        &self,
        expert: &ExpertId,
        is_paused: bool,
        note: &Note,
    ) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let updated = sqlx::query(
            "-- runtimes::pause_runtime
             UPDATE runtimes SET is_paused = $1, updated_at = $2 WHERE xpert_id = $3",
        )
        .bind(i16::from(is_paused))
        .bind(note.at.0)
        .bind(expert.as_str())
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Err(Error::Missing { what: format!("a runtime of xpert {expert}") });
        }
        audit::write(&mut tx, note).await?;
        Ok(tx.commit().await?)
    }

    pub async fn remove_runtime(&self, expert: &ExpertId, note: &Note) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let removed = sqlx::query(
            "-- runtimes::remove_runtime
             DELETE FROM runtimes WHERE xpert_id = $1",
        )
        .bind(expert.as_str())
        .execute(&mut *tx)
        .await?;
        if removed.rows_affected() == 0 {
            return Err(Error::Missing { what: format!("a runtime of xpert {expert}") });
        }
        audit::write(&mut tx, note).await?;
        Ok(tx.commit().await?)
    }

    pub async fn runtime(&self, expert: &ExpertId) -> Result<Option<Record>, Error> {
        let row = sqlx::query(
            "-- runtimes::runtime
             SELECT xpert_id, kind, url, secret, organization_id, lease_ms, is_paused, created_at,
              updated_at
             FROM runtimes WHERE xpert_id = $1",
        )
        .bind(expert.as_str())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| self.open_runtime(&row)).transpose()
    }

    pub async fn runtimes(&self, page: &Page) -> Result<Vec<Record>, Error> {
        let rows = sqlx::query(
            "-- runtimes::runtimes
             SELECT xpert_id, kind, url, secret, organization_id, lease_ms, is_paused, created_at,
              updated_at
             FROM runtimes WHERE xpert_id > $1 ORDER BY xpert_id LIMIT $2",
        )
        .bind(page.after.as_deref().unwrap_or_default())
        .bind(i64::from(page.limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| self.open_runtime(row)).collect()
    }

    fn open_runtime(&self, row: &AnyRow) -> Result<Record, Error> {
        let id: String = row.try_get("xpert_id")?;
        let unreadable = |column, value: &str| Error::Unreadable {
            table: TABLE,
            column,
            value: value.to_owned(),
        };
        let url = || -> Result<String, Error> {
            row.try_get::<Option<String>, _>("url")?.ok_or_else(|| unreadable("url", "NULL"))
        };
        let secret = || -> Result<Secret, Error> {
            let sealed: Option<Vec<u8>> = row.try_get("secret")?;
            let sealed = sealed.ok_or_else(|| unreadable("secret", "NULL"))?;
            Ok(self.keyring.open(Place { table: TABLE, row: &id, column: "secret" }, &sealed)?)
        };
        let kind: String = row.try_get("kind")?;
        let kind = match kind.as_str() {
            "xpert" => RuntimeKind::Xpert {
                base_url: url()?,
                api_key: secret()?,
                organization_id: row.try_get("organization_id")?,
            },
            "callback" => RuntimeKind::Callback { url: url()?, secret: secret()? },
            "echo" => RuntimeKind::Echo,
            other => return Err(unreadable("kind", other)),
        };
        let lease: Option<i64> = row.try_get("lease_ms")?;
        Ok(Record {
            runtime: Runtime {
                expert: ExpertId::parse(&id).map_err(|_| unreadable("xpert_id", &id))?,
                kind,
                lease: lease
                    .and_then(|lease| u64::try_from(lease).ok())
                    .map(std::time::Duration::from_millis),
                is_paused: flag(row, "is_paused")?,
            },
            created_at: Timestamp(row.try_get("created_at")?),
            updated_at: Timestamp(row.try_get("updated_at")?),
        })
    }
}

pub(super) async fn write(
    db: &mut AnyConnection,
    keyring: &Keyring,
    runtime: &Runtime,
    at: Timestamp,
) -> Result<(), Error> {
    let (kind, url, secret, organization_id) = match &runtime.kind {
        RuntimeKind::Xpert { base_url, api_key, organization_id } => {
            ("xpert", Some(base_url), Some(api_key), organization_id.as_deref())
        }
        RuntimeKind::Callback { url, secret } => ("callback", Some(url), Some(secret), None),
        RuntimeKind::Echo => ("echo", None, None, None),
    };
    let place = Place { table: TABLE, row: runtime.expert.as_str(), column: "secret" };
    let sealed = secret.map(|secret| keyring.seal(place, secret)).transpose()?;
    sqlx::query(
        "-- runtimes::write
         INSERT INTO runtimes
         (xpert_id, kind, url, secret, organization_id, lease_ms, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (xpert_id) DO UPDATE SET kind = excluded.kind, url = excluded.url,
          secret = excluded.secret, organization_id = excluded.organization_id,
          lease_ms = excluded.lease_ms, updated_at = excluded.updated_at",
    )
    .bind(runtime.expert.as_str())
    .bind(kind)
    .bind(url.map(String::as_str))
    .bind(sealed)
    .bind(organization_id)
    .bind(runtime.lease.map(millis))
    .bind(at.0)
    .bind(at.0)
    .execute(db)
    .await?;
    Ok(())
}
