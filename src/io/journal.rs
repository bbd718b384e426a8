//! The journal: the stream `DT_JOURNAL`. A conversation's state is its last record, written only by
//! compare-and-set. That is the fence: no effect begins before the record that announces it is stored.
//!
//! What a conflict means for a run is `worker::run`'s.

use async_nats::HeaderMap;

use super::header::{self, KIND, TURN};
use super::nats::publish::PublishError;
use super::nats::read::Record as Stored;
use super::nats::{self, Nats};
use crate::domain::answer::Answer;
use crate::domain::id::{Conversation, ConversationKey, Seq, TurnId};
use crate::domain::time::Timestamp;
use crate::domain::turn::question::Interrupted;
use crate::domain::turn::{Head, Phase, Step, TurnKind};
use crate::protocol::envelope;
use crate::protocol::record::{self, Record};
use crate::protocol::subject;

pub const STREAM: &str = "DT_JOURNAL";

#[derive(Clone)]
pub struct Journal {
    nats: Nats,
}

/// The last record of a conversation, or the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Last {
    /// Zero where the conversation has no journal.
    pub seq: Seq,
    pub at: Option<Timestamp>,
    pub nonce: u64,
    pub count: u32,
    pub head: Head,
}

/// A record where it stands, for those who look back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    pub conversation: Conversation,
    pub seq: Seq,
    pub at: Timestamp,
    pub step: Step,
    pub head: Head,
    /// Who stored it.
    pub pod: Option<String>,
}

/// What the headers of a conversation's records say, whatever release wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Of the last record.
    pub seq: Seq,
    /// Every entry up to here belongs to a turn that has ended.
    pub ended: Seq,
    /// The last entry of the turn that the last record is about.
    pub last: Seq,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a newer release wrote the journal (version {0})")]
    Newer(u8),
    #[error("journal record {seq} cannot be read: {why}")]
    Unreadable { seq: Seq, why: String },
    #[error("the answer in journal record {0} is gone")]
    AnswerGone(Seq),
    #[error(transparent)]
    Nats(#[from] nats::Error),
}

/// What became of an append.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another record stands where this one belonged.
    #[error("the journal has another record")]
    Conflict,
    /// The broker will never take it.
    #[error("the journal's record is larger than the broker's max_payload: raise it")]
    TooLarge,
    /// Nobody knows whether it was stored.
    #[error("the journal did not confirm the record: {0}")]
    Unknown(String),
}

impl Journal {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone() }
    }

    /// The conversation's state, from the leader.
    pub async fn last(&self, conversation: &Conversation) -> Result<Last, Error> {
        match self.nats.last(STREAM, &subject::journal(conversation)).await? {
            None => Ok(Last::default()),
            Some(stored) => {
                let record = decode(stored.seq, &stored.payload)?;
                Ok(Last {
                    seq: stored.seq,
                    at: Some(stored.at),
                    nonce: record.nonce,
                    count: record.count,
                    head: pointed(record.head, stored.seq),
                })
            }
        }
    }

    /// Like [`Journal::last`], for those who only look: a record that nobody can read is the beginning. The
    /// next run begins the journal anew.
    pub async fn glance(&self, conversation: &Conversation) -> Result<Last, Error> {
        match self.last(conversation).await {
            Err(Error::Unreadable { .. }) => Ok(Last::default()),
            last => last,
        }
    }

    /// Appends behind `after` or not at all. Gives the record's sequence.
    pub async fn append(
        &self,
        conversation: &Conversation,
        after: Seq,
        record: &Record,
    ) -> Result<Seq, AppendError> {
        let mut headers = HeaderMap::new();
        headers.insert(KIND, record.step.as_str());
        let turn = record.head.turn.as_ref().map_or(record.head.position, |turn| turn.last);
        headers.insert(TURN, header::turn(conversation, turn));
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, after.to_string());
        self.nats.sign(&mut headers);
        let payload = record::encode(record).into();
        match self.nats.publish(&subject::journal(conversation), headers, payload).await {
            Ok(stored) => Ok(stored.seq),
            Err(PublishError::Conflict) => Err(AppendError::Conflict),
            Err(PublishError::TooLarge) => Err(AppendError::TooLarge),
            Err(
                e @ (PublishError::Occupied
                | PublishError::Full(_)
                | PublishError::BeingStored
                | PublishError::Failed(_)),
            ) => Err(AppendError::Unknown(e.to_string())),
        }
    }

    /// For those who cannot read the records themselves; `None` without a journal.
    pub async fn outline(&self, conversation: &Conversation) -> Result<Option<Outline>, Error> {
        let subject = subject::journal(conversation);
        let (mut from, mut found) = (Seq(1), None::<Outline>);
        let mut ended = Seq(0);
        while let Some((record, headers)) =
            self.nats.next_with_headers(STREAM, from, &subject).await?
        {
            from = Seq(record.seq.0 + 1);
            let said = |name| headers.get(name).map_or("", |value| value.as_str());
            let turn = said(TURN).rsplit('.').next().and_then(|seq| seq.parse().ok());
            // A record without its header moves nothing: what was open before it still is.
            let before = found.as_ref().map_or(ended, |found| found.last);
            let last = turn.map_or(before, Seq);
            if Step::ENDS.iter().any(|step| step.as_str() == said(KIND)) {
                ended = ended.max(last);
            }
            found = Some(Outline { seq: record.seq, ended, last });
        }
        Ok(found)
    }

    /// As [`Journal::history`], and empty where the log no longer has the turn's last entry: what a stranger names
    /// must not cost a walk through a whole conversation.
    pub async fn turn(&self, id: &TurnId) -> Result<Vec<Past>, Error> {
        let entry = self.nats.at(super::log::STREAM, id.last).await?;
        match entry.filter(|entry| entry.subject == subject::log(&id.conversation)) {
            Some(_) => self.history(id).await,
            None => Ok(Vec::new()),
        }
    }

    /// The records of one turn, its end among them; empty for a turn that never started.
    pub async fn history(&self, id: &TurnId) -> Result<Vec<Past>, Error> {
        let subject = subject::journal(&id.conversation);
        let entry = self.nats.at(super::log::STREAM, id.last).await?;
        let entry = entry.filter(|entry| entry.subject == subject::log(&id.conversation));
        // No record of a turn is older than its last entry.
        let first = match entry {
            Some(entry) => self.nats.first_since(STREAM, entry.at, &subject).await?,
            None => None,
        };
        let mut from = first.map_or(Seq(1), |record| record.seq);
        let mut found = Vec::new();
        while let Some(stored) = self.nats.next(STREAM, from, &subject).await? {
            from = Seq(stored.seq.0 + 1);
            let Some(past) = past(&stored) else { continue };
            let is_open = past.head.turn.as_ref().is_some_and(|turn| turn.last == id.last);
            let has_ended = past.head.position >= id.last;
            // Only the record that ends an open turn moves the position to its last entry.
            if is_open || past.head.position == id.last && past.head.turn.is_none() {
                found.push(past);
            }
            if has_ended {
                break;
            }
        }
        Ok(found)
    }

    /// The entry of the last turn on record that asks this dead letter again, at or after `since`.
    pub async fn replay(
        &self,
        conversation: &Conversation,
        dead: Seq,
        since: Timestamp,
    ) -> Result<Option<Seq>, Error> {
        let subject = subject::journal(conversation);
        let mut found = None;
        let mut next = self.nats.next_since(STREAM, since, &subject).await?;
        while let Some(stored) = next {
            let turn = past(&stored).and_then(|past| past.head.turn);
            let replay = turn.filter(|turn| turn.kind == TurnKind::Replay { dead });
            found = replay.map(|turn| turn.last).or(found);
            next = self.nats.next(STREAM, Seq(stored.seq.0 + 1), &subject).await?;
        }
        Ok(found)
    }

    /// The question that a turn ended with, and the run that waits for its answer.
    pub async fn question(&self, id: &TurnId) -> Result<Option<Interrupted>, Error> {
        let history = self.history(id).await?;
        let of_turn = |past: Past| past.head.interrupted.filter(|it| it.turn == id.last);
        Ok(history.into_iter().rev().find_map(of_turn))
    }

    /// How the turn ended that holds the entry at `seq` of the log, where the journal was not beyond it
    /// at `since`; `None` where it has not ended, or nothing on record tells.
    pub async fn ending(
        &self,
        conversation: &Conversation,
        seq: Seq,
        since: Timestamp,
    ) -> Result<Option<Step>, Error> {
        let subject = subject::journal(conversation);
        // Without the record before, this one may be of a turn behind it.
        let mut is_before = false;
        let mut next = self.nats.next_since(STREAM, since, &subject).await?;
        while let Some(stored) = next {
            if let Some(past) = past(&stored) {
                if past.head.position >= seq {
                    return Ok(is_before.then_some(past.step));
                }
                is_before = true;
            }
            next = self.nats.next(STREAM, Seq(stored.seq.0 + 1), &subject).await?;
        }
        Ok(None)
    }

    /// At most `count` records after `after` of the conversation that this key names.
    pub async fn after(
        &self,
        key: &ConversationKey,
        after: Seq,
        count: usize,
    ) -> Result<Vec<Past>, Error> {
        let subject = format!("dt.journal.*.{key}");
        let mut from = Seq(after.0.saturating_add(1));
        let mut found = Vec::new();
        while found.len() < count {
            let Some(stored) = self.nats.next(STREAM, from, &subject).await? else { break };
            from = Seq(stored.seq.0 + 1);
            found.extend(past(&stored));
        }
        Ok(found)
    }

    /// When the broker stored the record at `seq`; `None` where it is gone.
    pub async fn stored_at(&self, seq: Seq) -> Result<Option<Timestamp>, Error> {
        Ok(self.nats.at(STREAM, seq).await?.map(|stored| stored.at))
    }

    /// The answer that the record at `seq` brought.
    pub async fn answer(&self, seq: Seq) -> Result<Answer, Error> {
        let stored = self.nats.at(STREAM, seq).await?.ok_or(Error::AnswerGone(seq))?;
        decode(seq, &stored.payload)?.answer.ok_or(Error::AnswerGone(seq))
    }
}

/// `None` for what this release cannot read.
fn past(stored: &Stored) -> Option<Past> {
    let record = decode(stored.seq, &stored.payload).ok()?;
    Some(Past {
        conversation: subject::conversation_of(&stored.subject)?,
        seq: stored.seq,
        at: stored.at,
        step: record.step,
        head: pointed(record.head, stored.seq),
        pod: stored.pod.clone(),
    })
}

fn decode(seq: Seq, payload: &[u8]) -> Result<Record, Error> {
    record::decode(payload).map_err(|e| match e {
        envelope::Error::Newer(version) => Error::Newer(version),
        envelope::Error::Empty | envelope::Error::Undecodable(_) => {
            Error::Unreadable { seq, why: e.to_string() }
        }
    })
}

/// A record that brought an answer cannot name its own sequence; its reader does.
pub fn pointed(mut head: Head, seq: Seq) -> Head {
    if let Some(turn) = &mut head.turn
        && let Phase::Sending(sending) = &mut turn.phase
    {
        sending.answer = sending.answer.or(Some(seq));
    }
    head
}

/// True for a record that carries its answer with it.
pub fn brings_answer(step: Step) -> bool {
    step == Step::Answered
}
