//! Dead letters: the stream `DT_DEAD`, one record for each buried turn until it is replayed or dropped.
//!
//! Burying the same turn twice within the dedupe window stores it once. What was done with a letter is
//! SQL's to remember (`store::dead`); a deleted record is gone.

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use super::header::{KIND, TURN};
use super::nats::publish::PublishError;
use super::nats::read::Record;
use super::nats::{self, Nats};
use crate::domain::dead::DeadLetter;
use crate::domain::entry::Replay;
use crate::domain::id::{Conversation, Seq};
use crate::domain::time::Timestamp;
use crate::protocol::advisory::{self, Advisory};
use crate::protocol::{dead, subject};

pub const STREAM: &str = "DT_DEAD";

/// So many are read side by side.
const ABREAST: usize = 32;

#[derive(Clone)]
pub struct DeadLetters {
    nats: Nats,
}

/// A record of the stream, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buried {
    pub seq: Seq,
    pub at: Timestamp,
    /// Who gave up: a stage, which for the broker's own records is the consumer's.
    pub stage: String,
    pub conversation: Option<Conversation>,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Letter(Box<DeadLetter>),
    /// The broker itself gave a message up.
    Advisory(Advisory),
    /// This release cannot read it; the text says why.
    Unreadable(String),
}

impl Buried {
    /// Whether `replay`, an entry of `conversation`, asks this again: of a stream that was made anew or put
    /// back, another letter may have its number.
    pub fn is_asked_by(&self, conversation: &Conversation, replay: &Replay) -> bool {
        match &self.what {
            What::Letter(letter) => letter.is_asked_by(conversation, replay),
            // What the entry carries is enough.
            What::Unreadable(_) => self.conversation.as_ref() == Some(conversation),
            What::Advisory(_) => false,
        }
    }
}

impl DeadLetters {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone() }
    }

    /// Stores a letter once per turn: also where a burial that was cut short is repeated when the stream no
    /// longer remembers its id. The turns of a conversation are buried one after the other, so its last
    /// letter is this one or there is none.
    pub async fn bury(
        &self,
        stage: &'static str,
        letter: &DeadLetter,
    ) -> Result<Seq, PublishError> {
        let subject = subject::dead(stage, &letter.turn.conversation);
        if let Some(last) = self.nats.last(STREAM, &subject).await?
            && dead::decode(&last.payload).is_ok_and(|last| last.turn == letter.turn)
        {
            return Ok(last.seq);
        }
        let mut headers = HeaderMap::new();
        let id = format!("dead:{}", letter.turn);
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
        headers.insert(KIND, letter.reason.as_str());
        headers.insert(TURN, letter.turn.to_string());
        let payload = Bytes::from(dead::encode(letter));
        self.nats.publish(&subject, headers, payload).await.map(|stored| stored.seq)
    }

    /// Whatever the stream holds at `seq`.
    pub async fn at(&self, seq: Seq) -> Result<Option<Buried>, nats::Error> {
        match self.nats.at(STREAM, seq).await? {
            None => Ok(None),
            Some(record) => self.read(record).await.map(Some),
        }
    }

    /// At most `count` records after `after`, from the leader: a letter is listed once it is stored.
    pub async fn after(&self, after: Seq, count: usize) -> Result<Vec<Buried>, nats::Error> {
        let last = self.last().await?;
        let mut found = Vec::new();
        let mut from = Seq(after.0.saturating_add(1));
        while found.len() < count {
            // The gaps that deleted letters leave are passed in one step.
            let Some(first) = self.nats.next(STREAM, from, ">").await? else { break };
            let behind = u64::try_from((count - found.len()).min(ABREAST)).unwrap_or(1) - 1;
            let to = first.seq.0.saturating_add(behind).min(last.0);
            from = Seq(to.max(first.seq.0) + 1);
            let behind = stream::iter(first.seq.0 + 1..from.0)
                .map(|seq| self.at(Seq(seq)))
                .buffered(ABREAST)
                .try_collect::<Vec<_>>();
            let (first, behind) = try_join(self.read(first), behind).await?;
            found.push(first);
            found.extend(behind.into_iter().flatten());
        }
        Ok(found)
    }

    /// The last sequence that was given: whatever has one up to it is stored or gone.
    async fn last(&self) -> Result<Seq, nats::Error> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            last_seq: u64,
        }
        let info: Info = self.nats.api(&format!("STREAM.INFO.{STREAM}"), &json!({})).await?;
        Ok(Seq(info.state.last_seq))
    }

    async fn read(&self, record: Record) -> Result<Buried, nats::Error> {
        let Record { seq, at, .. } = record;
        let buried = |stage: &str, conversation, what| Buried {
            seq,
            at,
            stage: stage.to_owned(),
            conversation,
            what,
        };
        match advisory::decode(&record.subject, &record.payload) {
            Some(Ok(advisory)) => {
                // Only the log keeps what was given up; of the others the subject is gone with it.
                let given_up = self.nats.at(&advisory.stream, advisory.seq).await.ok().flatten();
                let conversation = given_up.and_then(|it| subject::conversation_of(&it.subject));
                let stage = advisory.consumer.clone();
                Ok(buried(&stage, conversation, What::Advisory(advisory)))
            }
            Some(Err(error)) => Ok(buried("broker", None, What::Unreadable(error.to_string()))),
            None => {
                let stage = record.subject.split('.').nth(2).unwrap_or_default();
                let conversation = subject::conversation_of(&record.subject);
                let what = match dead::decode(&record.payload) {
                    Ok(letter) => What::Letter(Box::new(letter)),
                    Err(error) => What::Unreadable(error.to_string()),
                };
                Ok(buried(stage, conversation, what))
            }
        }
    }

    /// Gone afterwards, also where it was gone before.
    pub async fn delete(&self, seq: Seq) -> Result<(), nats::Error> {
        self.nats.delete(STREAM, seq).await
    }
}
