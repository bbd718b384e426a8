//! Messages: a projection that finds the conversation and the turn of a DingTalk message by its id.
//!
//! Guarantees that a turn once known stays known. Rows live for eight days, one longer than the log.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};

use super::{Error, Store, placeholders, storable, word};
use crate::domain::id::{Conversation, ConversationKey, IntegrationId, MsgId, Seq, TurnId};
use crate::domain::time::Timestamp;

pub const KEPT: Duration = Duration::from_secs(8 * 24 * 3600);

const TABLE: &str = "messages";
const COLUMNS: usize = 6;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub msg_id: MsgId,
    pub conversation: Conversation,
    pub seq: Seq,
    pub turn: Option<TurnId>,
    pub at: Timestamp,
}

impl Store {
    /// One statement for all; a message may be in `traces` once.
    pub async fn put_messages(&self, traces: &[Trace]) -> Result<(), Error> {
        if traces.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "-- messages::put_messages
             INSERT INTO messages (integration_id, msg_id, conversation_key, seq, turn_id, at)
             VALUES {}
             ON CONFLICT (integration_id, msg_id) DO UPDATE SET
              conversation_key = excluded.conversation_key, seq = excluded.seq, at = excluded.at,
              turn_id = COALESCE(excluded.turn_id, messages.turn_id)",
            placeholders(traces.len(), COLUMNS)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for trace in traces {
            query = query
                .bind(trace.conversation.integration.as_str())
                .bind(storable(trace.msg_id.as_str()))
                .bind(trace.conversation.key.as_str())
                .bind(i64::try_from(trace.seq.0).unwrap_or(i64::MAX))
                .bind(trace.turn.as_ref().map(TurnId::to_string))
                .bind(trace.at.0);
        }
        query.execute(&self.pool).await?;
        Ok(())
    }

    pub async fn message(
        &self,
        integration: &IntegrationId,
        msg_id: &MsgId,
    ) -> Result<Option<Trace>, Error> {
        let row = sqlx::query(
            "-- messages::message
             SELECT conversation_key, seq, turn_id, at FROM messages
             WHERE integration_id = $1 AND msg_id = $2",
        )
        .bind(integration.as_str())
        .bind(msg_id.as_str())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let key = word(&row, (TABLE, "conversation_key"), |key| ConversationKey::parse(key).ok())?;
        let seq: i64 = row.try_get("seq")?;
        let turn: Option<String> = row.try_get("turn_id")?;
        Ok(Some(Trace {
            msg_id: msg_id.clone(),
            conversation: Conversation { integration: integration.clone(), key },
            seq: Seq(u64::try_from(seq).unwrap_or(0)),
            turn: turn.and_then(|turn| turn.parse().ok()),
            at: Timestamp(row.try_get("at")?),
        }))
    }

    /// Forgets what is older than `before`; gives back how many.
    pub async fn forget_messages(&self, before: Timestamp) -> Result<u64, Error> {
        let removed = sqlx::query(
            "-- messages::forget_messages
             DELETE FROM messages WHERE at < $1",
        )
        .bind(before.0)
        .execute(&self.pool)
        .await?;
        Ok(removed.rows_affected())
    }
}
