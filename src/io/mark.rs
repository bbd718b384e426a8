//! The mark of the log, kept in the bucket `DT_LIVE`, and how a log that was put back from a backup goes
//! on above it.
//!
//! Nothing that the log holds is taken out of it or copied: its end is lifted, and the few conversations
//! that have entries from before that are lowered. Every step may be repeated.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use super::journal::{self, AppendError, Journal};
use super::log;
use super::nats::publish::PublishError;
use super::nats::read::timestamp;
use super::nats::{self, Nats};
use super::state::{self, StreamState};
use super::timer::Timers;
use crate::domain::debounce::{TimerKind, Token};
use crate::domain::id::{Conversation, Seq};
use crate::domain::mark::{Mark, View, is_another, lowered, moved_on, settled};
use crate::domain::time::Timestamp;
use crate::protocol::live::{LOG_MARK, LogMark};
use crate::protocol::record::Record;
use crate::protocol::{self, subject};

const BUCKET: &str = "KV_DT_LIVE";
/// Conversations read, or blanks on their way, side by side.
const ABREAST: usize = 64;
/// Blanks that stand in the log at once.
const BLANKS: u64 = 1000;

#[derive(Clone)]
pub struct Marks {
    nats: Nats,
    journal: Journal,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Nats(#[from] nats::Error),
    #[error("keep the mark of the log: {0}")]
    Keep(PublishError),
    #[error("lift the end of the log: {0}")]
    Lift(PublishError),
    #[error("move the position of {conversation}: {why}")]
    Move { conversation: Conversation, why: String },
}

impl Error {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Nats(error) if error.is_not_found())
    }
}

/// What was done about a log that was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The mark that said so.
    pub mark: Mark,
    pub conversations: usize,
}

impl Marks {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone(), journal: Journal::new(nats) }
    }

    /// The mark as it is to be kept now. Cheap while the log is the one that it names; else every
    /// conversation is asked.
    pub async fn look(&self) -> Result<Mark, Error> {
        Ok(self.read().await?.now)
    }

    /// Looks, and keeps the mark. A log that was put back goes on above all that is past from here on:
    /// the fewer entries share a sequence, the better.
    pub async fn follow(&self) -> Result<Mark, Error> {
        let read = self.read().await?;
        self.keep(&read).await?;
        if read.now.shared_from.is_some() {
            self.lift(read.now.seq).await?;
        }
        Ok(read.now)
    }

    async fn read(&self) -> Result<Read, Error> {
        let (made_at, last) = self.log().await?;
        let (kept, revision) = self.kept().await?;
        let mut view = View { made_at, last, first_new: None, named: Seq(0) };
        if is_another(kept.as_ref(), made_at) {
            let first_new = self.nats.next_since(log::STREAM, made_at, "dt.in.>").await?;
            view.first_new = first_new.map(|entry| entry.seq);
            view.named = self.named().await?;
        }
        Ok(Read { now: moved_on(kept, &view), kept, revision })
    }

    /// Whoever kept another mark meanwhile has seen the same log.
    async fn keep(&self, read: &Read) -> Result<(), Error> {
        if read.kept == Some(read.now) {
            return Ok(());
        }
        let record = protocol::live::write(&LogMark::from(read.now));
        let mut headers = HeaderMap::new();
        let expected = async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
        headers.insert(expected, read.revision.to_string());
        match self.nats.publish(&subject(), headers, record.into()).await {
            Ok(_) | Err(PublishError::Conflict) => Ok(()),
            Err(error) => Err(Error::Keep(error)),
        }
    }

    /// The highest sequence that the mark or any conversation names; zero where nothing ever was.
    pub async fn highest(&self) -> Result<Seq, nats::Error> {
        let or_zero = |read: Result<Seq, nats::Error>| match read {
            Err(error) if error.is_not_found() => Ok(Seq(0)),
            read => read,
        };
        let kept = self.kept().await.map(|(kept, _)| kept.map_or(Seq(0), |kept| kept.seq));
        Ok(or_zero(kept)?.max(or_zero(self.named().await)?))
    }

    /// Lets a log that was put back go on: above all that is past, and with no entry of it counted as
    /// finished that is not. `None`: there was nothing to do.
    pub async fn move_positions(&self, now: Timestamp) -> Result<Option<Moved>, Error> {
        let mark = self.follow().await?;
        let Some(from) = mark.shared_from else { return Ok(None) };
        let mut conversations = 0;
        for (conversation, entries) in self.entries(from, mark.seq).await? {
            if self.lower(&conversation, entries.first).await? {
                self.wake(&conversation, entries.newest, now).await?;
                conversations += 1;
            }
        }
        let (_, last) = self.log().await?;
        let read = self.read().await?;
        self.keep(&Read { now: settled(read.now, last), ..read }).await?;
        Ok(Some(Moved { mark, conversations }))
    }

    /// When the log was made, and where it ends.
    async fn log(&self) -> Result<(Timestamp, Seq), nats::Error> {
        #[derive(Deserialize)]
        struct Info {
            created: String,
            state: StreamState,
        }
        let info: Info = self.nats.api("STREAM.INFO.DT_IN", &json!({})).await?;
        Ok((timestamp(&info.created)?, Seq(info.state.last_seq)))
    }

    async fn kept(&self) -> Result<(Option<Mark>, Seq), nats::Error> {
        let Some(stored) = self.nats.last(BUCKET, &subject()).await? else {
            return Ok((None, Seq(0)));
        };
        if stored.payload.is_empty() {
            // Somebody deleted it.
            return Ok((None, stored.seq));
        }
        let mark = protocol::live::read::<LogMark>(LOG_MARK, &stored.payload);
        let mark = mark.map_err(|e| nats::Error::Unreadable(e.to_string()))?;
        Ok((Some(mark.into()), stored.seq))
    }

    /// The highest sequence of the log that the state of any conversation names.
    async fn named(&self) -> Result<Seq, nats::Error> {
        let subjects = state::subjects(&self.nats, journal::STREAM, "dt.journal.>").await?;
        let conversations: Vec<_> =
            subjects.keys().filter_map(|text| subject::conversation_of(text)).collect();
        stream::iter(conversations)
            .map(|conversation| async move {
                match self.journal.last(&conversation).await {
                    Ok(last) => {
                        let turn = last.head.turn.map_or(Seq(0), |turn| turn.last);
                        Ok(last.head.position.max(turn))
                    }
                    Err(journal::Error::Nats(error)) => Err(error),
                    // What cannot be read names nothing that this release could move.
                    Err(
                        journal::Error::Newer(_)
                        | journal::Error::Unreadable { .. }
                        | journal::Error::AnswerGone(_),
                    ) => Ok(Seq(0)),
                }
            })
            .buffer_unordered(ABREAST)
            .try_fold(Seq(0), |highest, seq| async move { Ok(highest.max(seq)) })
            .await
    }

    /// Sequences are used up by blanks that nobody keeps, until the next entry comes after `until`.
    async fn lift(&self, until: Seq) -> Result<(), Error> {
        loop {
            let (_, last) = self.log().await?;
            let missing = until.0.saturating_sub(last.0);
            if missing == 0 {
                return Ok(());
            }
            stream::iter(0..missing.min(BLANKS))
                .map(|_| self.nats.publish(subject::BLANK, HeaderMap::new(), Bytes::new()))
                .buffer_unordered(ABREAST)
                .try_for_each(|_| async { Ok(()) })
                .await
                .map_err(Error::Lift)?;
            self.nats.purge(log::STREAM, &json!({ "filter": subject::BLANK })).await?;
        }
    }

    /// What stands in the log from `from` up to `until`, by conversation.
    async fn entries(
        &self,
        from: Seq,
        until: Seq,
    ) -> Result<BTreeMap<Conversation, Entries>, nats::Error> {
        let mut found: BTreeMap<Conversation, Entries> = BTreeMap::new();
        let mut from = from;
        while let Some(entry) = self.nats.next(log::STREAM, from, "dt.in.>").await? {
            if entry.seq > until {
                break;
            }
            from = Seq(entry.seq.0 + 1);
            if let Some(conversation) = subject::conversation_of(&entry.subject) {
                let first = Entries { first: entry.seq, newest: entry.seq };
                found.entry(conversation).or_insert(first).newest = entry.seq;
            }
        }
        Ok(found)
    }

    /// Whether the conversation named sequences from `from` on. A run in flight is stopped by this.
    async fn lower(&self, conversation: &Conversation, from: Seq) -> Result<bool, Error> {
        let failed = |why: String| Error::Move { conversation: conversation.clone(), why };
        loop {
            let last = self.journal.last(conversation).await.map_err(|e| failed(e.to_string()))?;
            let Some((step, head)) = lowered(&last.head, from) else { return Ok(false) };
            let record = Record { nonce: rand::random(), count: 1, step, head, answer: None };
            match self.journal.append(conversation, last.seq, &record).await {
                Ok(_) => return Ok(true),
                Err(AppendError::Conflict) => {}
                Err(error @ (AppendError::TooLarge | AppendError::Unknown(_))) => {
                    return Err(failed(error.to_string()));
                }
            }
        }
    }

    /// Its entries may have been taken for finished already.
    async fn wake(
        &self,
        conversation: &Conversation,
        newest: Seq,
        now: Timestamp,
    ) -> Result<(), Error> {
        let window = std::time::Duration::ZERO;
        let token = Token { seq: newest, kind: TimerKind::Now, window, refusals: 0 };
        let purpose = format!("{newest}mt{}", now.0);
        let armed = Timers::new(&self.nats).arm(conversation, &purpose, now, &token).await;
        armed.map_err(|e| Error::Move { conversation: conversation.clone(), why: e.to_string() })
    }
}

/// The mark beside the one that is kept.
struct Read {
    now: Mark,
    kept: Option<Mark>,
    /// Of the mark that is kept; zero where there is none.
    revision: Seq,
}

fn subject() -> String {
    format!("$KV.DT_LIVE.{LOG_MARK}")
}

/// What one conversation has of a stretch of the log.
struct Entries {
    first: Seq,
    newest: Seq,
}
