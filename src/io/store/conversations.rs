//! Conversations: a projection of the journal with the last session of each.
//!
//! Guarantees that an older epoch never overwrites a newer one and that a session which ended stays
//! ended, in whatever order workers write. The journal decides; these rows are for lists, for ending
//! sessions, and for the day the journal is gone.

use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Error, Store, duration, flag, millis, placeholders, storable, word};
use crate::domain::id::{Conversation, ConversationKey, ExpertId, IntegrationId, Seq};
use crate::domain::session;
use crate::domain::time::Timestamp;
use crate::protocol::subject;

const TABLE: &str = "conversations";
const COLUMNS: usize = 12;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub conversation: Conversation,
    pub expert: ExpertId,
    pub thread: String,
    pub epoch: Seq,
    pub last_activity: Timestamp,
    pub timeout: Duration,
    /// Empty where it is not known, as at an operator's end: what is stored of place and person stays.
    pub place_id: String,
    pub place_title: Option<String>,
    pub sender_id: String,
    pub sender_name: String,
    pub is_ended: bool,
}

impl Session {
    /// What the journal knows of it: place and person stay as they are stored.
    pub fn of_journal(conversation: &Conversation, session: &session::Session) -> Self {
        Self {
            conversation: conversation.clone(),
            expert: session.expert.clone(),
            thread: subject::thread_id(conversation, session.epoch),
            epoch: session.epoch,
            last_activity: session.last_activity,
            timeout: session.timeout,
            place_id: String::new(),
            place_title: None,
            sender_id: String::new(),
            sender_name: String::new(),
            is_ended: false,
        }
    }
}

/// What a list is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub integration: Option<IntegrationId>,
    pub expert: Option<ExpertId>,
    /// Part of a title or a name, in any case.
    pub search: Option<String>,
}

/// Whose sessions are meant where all of them are.
#[derive(Debug, Clone)]
pub enum Whose {
    Integration(IntegrationId),
    Expert(ExpertId),
}

/// The place of a session in a list: the latest activity first.
#[derive(Debug, Clone)]
pub struct Cursor {
    pub last_activity: Timestamp,
    pub key: String,
}

impl Store {
    /// One statement for all; at most one session of a conversation may be in `sessions`. What the journal
    /// alone tells, and is stored already, writes nothing.
    pub async fn put_conversations(&self, sessions: &[Session]) -> Result<(), Error> {
        if sessions.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "-- conversations::put_conversations
             INSERT INTO conversations
             (conversation_key, integration_id, xpert_id, thread_id, epoch, last_activity_at,
              session_timeout_ms, place_id, place_title, sender_id, sender_name, is_ended)
             VALUES {}
             ON CONFLICT (conversation_key) DO UPDATE SET xpert_id = excluded.xpert_id,
              thread_id = excluded.thread_id, epoch = excluded.epoch,
              last_activity_at = CASE WHEN conversations.epoch = excluded.epoch
                AND conversations.last_activity_at > excluded.last_activity_at
               THEN conversations.last_activity_at ELSE excluded.last_activity_at END,
              session_timeout_ms = excluded.session_timeout_ms,
              place_title = CASE WHEN excluded.place_id = ''
               THEN conversations.place_title ELSE excluded.place_title END,
              sender_id = CASE WHEN excluded.place_id = ''
               THEN conversations.sender_id ELSE excluded.sender_id END,
              sender_name = CASE WHEN excluded.place_id = ''
               THEN conversations.sender_name ELSE excluded.sender_name END,
              place_id = CASE WHEN excluded.place_id = ''
               THEN conversations.place_id ELSE excluded.place_id END,
              is_ended = CASE WHEN conversations.epoch = excluded.epoch
                AND conversations.is_ended = 1 THEN conversations.is_ended
               ELSE excluded.is_ended END
             WHERE conversations.epoch < excluded.epoch OR (conversations.epoch = excluded.epoch
              AND (excluded.place_id <> '' OR conversations.is_ended < excluded.is_ended
               OR conversations.last_activity_at < excluded.last_activity_at))",
            placeholders(sessions.len(), COLUMNS)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for session in sessions {
            query = query
                .bind(session.conversation.key.as_str())
                .bind(session.conversation.integration.as_str())
                .bind(session.expert.as_str())
                .bind(storable(&session.thread))
                .bind(i64::try_from(session.epoch.0).unwrap_or(i64::MAX))
                .bind(session.last_activity.0)
                .bind(millis(session.timeout))
                .bind(storable(&session.place_id))
                .bind(session.place_title.as_deref().map(storable))
                .bind(storable(&session.sender_id))
                .bind(storable(&session.sender_name))
                .bind(i16::from(session.is_ended));
        }
        query.execute(&self.pool).await?;
        Ok(())
    }

    pub async fn conversation(&self, key: &ConversationKey) -> Result<Option<Session>, Error> {
        let row = sqlx::query(
            "-- conversations::conversation
             SELECT conversation_key, integration_id, xpert_id, thread_id, epoch, last_activity_at,
              session_timeout_ms, place_id, place_title, sender_id, sender_name, is_ended
             FROM conversations WHERE conversation_key = $1",
        )
        .bind(key.as_str())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| session(&row)).transpose()
    }

    pub async fn conversations(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Vec<Session>, Error> {
        // An empty text stands for "any": an untyped NULL would leave PostgreSQL guessing.
        let pattern = filter.search.as_deref().map(like).unwrap_or_default();
        let rows = sqlx::query(
            "-- conversations::conversations
             SELECT conversation_key, integration_id, xpert_id, thread_id, epoch, last_activity_at,
              session_timeout_ms, place_id, place_title, sender_id, sender_name, is_ended
             FROM conversations
             WHERE ($1 = '' OR integration_id = $1) AND ($2 = '' OR xpert_id = $2)
              AND ($3 = '' OR LOWER(sender_name) LIKE $3 ESCAPE '!'
               OR LOWER(COALESCE(place_title, '')) LIKE $3 ESCAPE '!')
              AND (last_activity_at < $4 OR (last_activity_at = $4 AND conversation_key > $5))
             ORDER BY last_activity_at DESC, conversation_key LIMIT $6",
        )
        .bind(filter.integration.as_ref().map_or("", IntegrationId::as_str))
        .bind(filter.expert.as_ref().map_or("", ExpertId::as_str))
        .bind(pattern)
        .bind(after.map_or(i64::MAX, |cursor| cursor.last_activity.0))
        .bind(after.map_or("", |cursor| cursor.key.as_str()))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(session).collect()
    }

    /// Sessions that were not ended and had not run out at `since`, in the order of their keys: whatever
    /// people write between two pages, each is on one of them.
    pub async fn open_conversations(
        &self,
        whose: &Whose,
        since: Timestamp,
        after: Option<&ConversationKey>,
        limit: u32,
    ) -> Result<Vec<Session>, Error> {
        let (integration, expert) = match whose {
            Whose::Integration(id) => (id.as_str(), ""),
            Whose::Expert(id) => ("", id.as_str()),
        };
        let rows = sqlx::query(
            "-- conversations::open_conversations
             SELECT conversation_key, integration_id, xpert_id, thread_id, epoch, last_activity_at,
              session_timeout_ms, place_id, place_title, sender_id, sender_name, is_ended
             FROM conversations
             WHERE ($1 = '' OR integration_id = $1) AND ($2 = '' OR xpert_id = $2)
              AND is_ended = 0 AND last_activity_at + session_timeout_ms > $3
              AND conversation_key > $4
             ORDER BY conversation_key LIMIT $5",
        )
        .bind(integration)
        .bind(expert)
        .bind(since.0)
        .bind(after.map_or("", ConversationKey::as_str))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(session).collect()
    }
}

/// A pattern that finds `text` anywhere, its own wildcards taken literally.
fn like(text: &str) -> String {
    let text = storable(text).to_lowercase();
    if text.is_empty() {
        return text;
    }
    let text = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("%{text}%")
}

fn session(row: &AnyRow) -> Result<Session, Error> {
    let epoch: i64 = row.try_get("epoch")?;
    Ok(Session {
        conversation: Conversation {
            integration: word(row, (TABLE, "integration_id"), |id| IntegrationId::parse(id).ok())?,
            key: word(row, (TABLE, "conversation_key"), |key| ConversationKey::parse(key).ok())?,
        },
        expert: word(row, (TABLE, "xpert_id"), |id| ExpertId::parse(id).ok())?,
        thread: row.try_get("thread_id")?,
        epoch: Seq(u64::try_from(epoch).unwrap_or(0)),
        last_activity: Timestamp(row.try_get("last_activity_at")?),
        timeout: duration(row, "session_timeout_ms")?,
        place_id: row.try_get("place_id")?,
        place_title: row.try_get("place_title")?,
        sender_id: row.try_get("sender_id")?,
        sender_name: row.try_get("sender_name")?,
        is_ended: flag(row, "is_ended")?,
    })
}
