//! Seals anew, under the current master key, what an older one sealed.
//!
//! Safe to run at any time and by several processes: a row that changed meanwhile keeps its change,
//! which was sealed under the current key anyway.

use sqlx::{AssertSqlSafe, Row};

use super::{Error, Store};
use crate::io::seal::Place;

/// Table, key, column of each sealed secret.
const SEALED: [(&str, &str, &str); 4] = [
    ("integrations", "id", "client_secret"),
    ("integrations", "id", "callback_token"),
    ("integrations", "id", "callback_aes_key"),
    ("runtimes", "xpert_id", "secret"),
];

impl Store {
    /// Gives back how many secrets were sealed anew.
    pub async fn reseal(&self) -> Result<u64, Error> {
        let mut count = 0;
        for (table, id, column) in SEALED {
            let select = format!(
                "-- rotation::reseal
                 SELECT {id}, {column} FROM {table} WHERE {column} IS NOT NULL"
            );
            let update = format!(
                "-- rotation::reseal
                 UPDATE {table} SET {column} = $1 WHERE {id} = $2 AND {column} = $3"
            );
            for row in sqlx::query(AssertSqlSafe(select)).fetch_all(&self.pool).await? {
                let (id, sealed): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
                if self.keyring.is_current(&sealed) {
                    continue;
                }
                let place = Place { table, row: &id, column };
                let secret = self.keyring.open(place, &sealed)?;
                let anew = self.keyring.seal(place, &secret)?;
                let updated = sqlx::query(AssertSqlSafe(update.as_str()))
                    .bind(anew)
                    .bind(id)
                    .bind(sealed)
                    .execute(&self.pool)
                    .await?;
                count += updated.rows_affected();
            }
        }
        Ok(count)
    }
}
