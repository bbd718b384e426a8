//! Integrations: a robot's configuration, its secrets sealed.
//!
//! Guarantees that an update is made on the version that was read, that the scope stays while a
//! trigger uses the integration, and that one in use is not removed: the database decides, not a
//! check before the write.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, Note};
use super::{Error, Page, Store, flag, is_foreign_key_violation, is_unique_violation, word};
use crate::domain::binding::{Integration, Language, Mode, Scope};
use crate::domain::id::IntegrationId;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::io::seal::Place;

const TABLE: &str = "integrations";

/// An integration with what the database keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub integration: Integration,
    /// Counts changes; an update names the one it was made on.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The three secrets of a row, sealed.
struct Sealed {
    client_secret: Vec<u8>,
    callback_token: Option<Vec<u8>>,
    callback_aes_key: Option<Vec<u8>>,
}

impl Store {
    pub async fn create_integration(&self, new: &Integration, note: &Note) -> Result<(), Error> {
        let sealed = self.seal(new)?;
        let mut tx = self.pool.begin().await?;
        let written = sqlx::query(
            "-- integrations::create_integration
             INSERT INTO integrations
             (id, name, mode, client_id, client_secret, robot_code, callback_token,
              callback_aes_key, card_template_id, language, receiver_id, scope, is_paused,
              version, created_at, updated_at, corp_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14, $15, $16)",
        )
        .bind(new.id.as_str())
        .bind(new.name.as_str())
        .bind(new.mode.as_str())
        .bind(new.client_id.as_str())
        .bind(sealed.client_secret)
        .bind(new.robot_code.as_deref())
        .bind(sealed.callback_token)
        .bind(sealed.callback_aes_key)
        .bind(new.card_template_id.as_deref())
        .bind(new.language.as_str())
        .bind(new.receiver_id.as_deref())
        .bind(new.scope.as_str())
        .bind(i16::from(new.is_paused))
        .bind(note.at.0)
        .bind(note.at.0)
        .bind(new.corp_id.as_deref())
        .execute(&mut *tx)
        .await;
        match written {
            Err(error) if is_unique_violation(&error) => {
                return Err(Error::Exists { what: format!("integration {}", new.id) });
            }
            outcome => outcome?,
        };
        audit::write(&mut tx, note).await?;
        Ok(tx.commit().await?)
    }

    /// Writes `next` over the version that `on` was read with. Of another scope only while no trigger
    /// uses it.
    pub async fn update_integration(
        &self,
        on: &Record,
        next: &Integration,
        note: &Note,
    ) -> Result<(), Error> {
        let sealed = self.seal(next)?;
        let mut tx = self.pool.begin().await?;
        let updated = sqlx::query(
            "-- integrations::update_integration
             UPDATE integrations SET name = $1, mode = $2, client_id = $3, client_secret = $4,
              robot_code = $5, callback_token = $6, callback_aes_key = $7, card_template_id = $8,
              language = $9, receiver_id = $10, scope = $11, is_paused = $12,
              version = version + 1, updated_at = $13, corp_id = $14
             WHERE id = $15 AND version = $16 AND (scope = $17 OR NOT EXISTS
              (SELECT 1 FROM trigger_bindings WHERE integration_id = $18 AND is_enabled = 1))",
        )
        .bind(next.name.as_str())
        .bind(next.mode.as_str())
        .bind(next.client_id.as_str())
        .bind(sealed.client_secret)
        .bind(next.robot_code.as_deref())
        .bind(sealed.callback_token)
        .bind(sealed.callback_aes_key)
        .bind(next.card_template_id.as_deref())
        .bind(next.language.as_str())
        .bind(next.receiver_id.as_deref())
        .bind(next.scope.as_str())
        .bind(i16::from(next.is_paused))
        .bind(note.at.0)
        .bind(next.corp_id.as_deref())
        .bind(next.id.as_str())
        .bind(on.version)
        .bind(next.scope.as_str())
        .bind(next.id.as_str())
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            tx.rollback().await?;
            return Err(self.why_not_updated(on).await?);
        }
        audit::write(&mut tx, note).await?;
        Ok(tx.commit().await?)
    }

    async fn why_not_updated(&self, on: &Record) -> Result<Error, Error> {
        let id = &on.integration.id;
        Ok(match self.integration(id).await? {
            None => Error::Missing { what: format!("integration {id}") },
            Some(record) if record.version != on.version => {
                Error::Stale { what: format!("integration {id}") }
            }
            Some(_) => Error::InUse { what: format!("the scope of integration {id}") },
        })
    }

    /// Counts as a change, so that an update made on the version before is told.
    pub async fn pause_integration(
        &self,
        id: &IntegrationId,
        is_paused: bool,
        note: &Note,
    ) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let updated = sqlx::query(
            "-- integrations::pause_integration
             UPDATE integrations SET is_paused = $1, version = version + 1, updated_at = $2
             WHERE id = $3",
        )
        .bind(i16::from(is_paused))
        .bind(note.at.0)
        .bind(id.as_str())
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Err(Error::Missing { what: format!("integration {id}") });
        }
        audit::write(&mut tx, note).await?;
        Ok(tx.commit().await?)
    }

    /// Refused while a trigger uses it, enabled or not.
    pub async fn remove_integration(&self, id: &IntegrationId, note: &Note) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let removed = sqlx::query(
            "-- integrations::remove_integration
             DELETE FROM integrations WHERE id = $1",
        )
        .bind(id.as_str())
        .execute(&mut *tx)
        .await;
        match removed {
            Err(error) if is_foreign_key_violation(&error) => {
                return Err(Error::InUse { what: format!("integration {id}") });
            }
            Ok(removed) if removed.rows_affected() == 0 => {
                return Err(Error::Missing { what: format!("integration {id}") });
            }
            outcome => outcome?,
        };
        sqlx::query(
            "-- integrations::remove_integration
             DELETE FROM integration_events WHERE integration_id = $1",
        )
        .bind(id.as_str())
        .execute(&mut *tx)
        .await?;
        audit::write(&mut tx, note).await?;
        Ok(tx.commit().await?)
    }

    pub async fn integration(&self, id: &IntegrationId) -> Result<Option<Record>, Error> {
        let row = sqlx::query(
            "-- integrations::integration
             SELECT id, name, mode, client_id, client_secret, robot_code, callback_token,
              callback_aes_key, card_template_id, language, receiver_id, scope, is_paused,
              version, created_at, updated_at, corp_id
             FROM integrations WHERE id = $1",
        )
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| self.open(&row)).transpose()
    }

    /// By id, from the first one after `page.after`.
    pub async fn integrations(&self, page: &Page) -> Result<Vec<Record>, Error> {
        let rows = sqlx::query(
            "-- integrations::integrations
             SELECT id, name, mode, client_id, client_secret, robot_code, callback_token,
              callback_aes_key, card_template_id, language, receiver_id, scope, is_paused,
              version, created_at, updated_at, corp_id
             FROM integrations WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(page.after.as_deref().unwrap_or_default())
        .bind(i64::from(page.limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| self.open(row)).collect()
    }

    fn seal(&self, integration: &Integration) -> Result<Sealed, Error> {
        let seal = |column, secret: &Secret| {
            self.keyring.seal(Place { table: TABLE, row: integration.id.as_str(), column }, secret)
        };
        let optional = |column, secret: &Option<Secret>| {
            secret.as_ref().map(|secret| seal(column, secret)).transpose()
        };
        Ok(Sealed {
            client_secret: seal("client_secret", &integration.client_secret)?,
            callback_token: optional("callback_token", &integration.callback_token)?,
            callback_aes_key: optional("callback_aes_key", &integration.callback_aes_key)?,
        })
    }

    fn open(&self, row: &AnyRow) -> Result<Record, Error> {
        let id: String = row.try_get("id")?;
        let unseal = |column, sealed: &[u8]| {
            self.keyring.open(Place { table: TABLE, row: &id, column }, sealed)
        };
        let optional = |column| -> Result<Option<Secret>, Error> {
            let sealed: Option<Vec<u8>> = row.try_get(column)?;
            Ok(sealed.map(|sealed| unseal(column, &sealed)).transpose()?)
        };
        let client_secret: Vec<u8> = row.try_get("client_secret")?;
        Ok(Record {
            integration: Integration {
                name: row.try_get("name")?,
                mode: word(row, (TABLE, "mode"), Mode::parse)?,
                client_id: row.try_get("client_id")?,
                client_secret: unseal("client_secret", &client_secret)?,
                robot_code: row.try_get("robot_code")?,
                callback_token: optional("callback_token")?,
                callback_aes_key: optional("callback_aes_key")?,
                card_template_id: row.try_get("card_template_id")?,
                language: word(row, (TABLE, "language"), Language::parse)?,
                receiver_id: row.try_get("receiver_id")?,
                corp_id: row.try_get("corp_id")?,
                scope: word(row, (TABLE, "scope"), Scope::parse)?,
                is_paused: flag(row, "is_paused")?,
                id: IntegrationId::parse(&id).map_err(|_| Error::Unreadable {
                    table: TABLE,
                    column: "id",
                    value: id.clone(),
                })?,
            },
            version: row.try_get("version")?,
            created_at: Timestamp(row.try_get("created_at")?),
            updated_at: Timestamp(row.try_get("updated_at")?),
        })
    }
}
