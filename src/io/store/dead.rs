//! What became of dead letters: replayed or dropped, and how they were listed until then.
//!
//! The letter is a record of the stream `DT_DEAD`, and a replay decides by its absence; so what an
//! operator did with it is kept here, with its line in the audit log, and outlives the record.
//! Guarantees that a letter is settled once: of two operators the second is told.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, Note};
use super::{Error, Store, word};
use crate::domain::id::Seq;
use crate::domain::time::Timestamp;

/// As long as the stream keeps a letter.
pub const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

const TABLE: &str = "dead_letters";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Replayed,
    Dropped,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Dropped => "dropped",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Replayed, Self::Dropped].into_iter().find(|state| state.as_str() == word)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub seq: Seq,
    /// When the broker stored the letter.
    pub stored_at: Timestamp,
    pub state: State,
    /// The letter as lists show it, in JSON.
    pub shown: String,
}

impl Store {
    /// False where it was settled before, which then stays as it is.
    pub async fn settle_dead(&self, settled: &Settled, note: &Note) -> Result<bool, Error> {
        let mut tx = self.pool.begin().await?;
        let written = sqlx::query(
            "-- dead::settle_dead
             INSERT INTO dead_letters (seq, stored_at, state, shown, at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (seq, stored_at) DO NOTHING",
        )
        .bind(signed(settled.seq))
        .bind(settled.stored_at.0)
        .bind(settled.state.as_str())
        .bind(super::storable(&settled.shown))
        .bind(note.at.0)
        .execute(&mut *tx)
        .await?;
        if written.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        audit::write(&mut tx, note).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The latest letter with this sequence that was settled.
    pub async fn dead_settled(&self, seq: Seq) -> Result<Option<Settled>, Error> {
        let row = sqlx::query(
            "-- dead::dead_settled
             SELECT seq, stored_at, state, shown FROM dead_letters
             WHERE seq = $1 ORDER BY stored_at DESC LIMIT 1",
        )
        .bind(signed(seq))
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| settled(&row)).transpose()
    }

    /// Which letters from `first` to `last` are settled, by sequence and time.
    pub async fn dead_settled_between(
        &self,
        first: Seq,
        last: Seq,
    ) -> Result<BTreeSet<(Seq, Timestamp)>, Error> {
        let rows = sqlx::query(
            "-- dead::dead_settled_between
             SELECT seq, stored_at, state, shown FROM dead_letters WHERE seq >= $1 AND seq <= $2",
        )
        .bind(signed(first))
        .bind(signed(last))
        .fetch_all(&self.pool)
        .await?;
        let rows = rows.iter().map(settled);
        rows.map(|row| row.map(|row| (row.seq, row.stored_at))).collect()
    }

    /// By sequence, from the first one after `after`.
    pub async fn dead_settled_as(
        &self,
        state: State,
        after: Seq,
        limit: u32,
    ) -> Result<Vec<Settled>, Error> {
        let rows = sqlx::query(
            "-- dead::dead_settled_as
             SELECT seq, stored_at, state, shown FROM dead_letters
             WHERE state = $1 AND seq > $2 ORDER BY seq, stored_at LIMIT $3",
        )
        .bind(state.as_str())
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(settled).collect()
    }

    /// Forgets what was settled before `before`; gives back how many.
    pub async fn forget_dead(&self, before: Timestamp) -> Result<u64, Error> {
        let removed = sqlx::query(
            "-- dead::forget_dead
             DELETE FROM dead_letters WHERE at < $1",
        )
        .bind(before.0)
        .execute(&self.pool)
        .await?;
        Ok(removed.rows_affected())
    }
}

fn signed(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

fn settled(row: &AnyRow) -> Result<Settled, Error> {
    let seq: i64 = row.try_get("seq")?;
    Ok(Settled {
        seq: Seq(u64::try_from(seq).unwrap_or(0)),
        stored_at: Timestamp(row.try_get("stored_at")?),
        state: word(row, (TABLE, "state"), State::parse)?,
        shown: row.try_get("shown")?,
    })
}
