//! The index of conversations that wait for an expert: the stream `DT_HANDOFF`. Only the holder of a
//! conversation's slot adds or removes its own entry; nobody consumes it.
//!
//! It may name a conversation that no longer waits, after a kill; whoever reads it asks the journal.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::HeaderMap;
use serde_json::json;

use super::header::{self, KIND, TURN};
use super::nats::publish::PublishError;
use super::nats::{self, Nats};
use super::state::subjects;
use crate::domain::id::{Conversation, ExpertId, IntegrationId, Seq};
use crate::domain::time::Timestamp;
use crate::domain::turn::{OpenTurn, Parked};
use crate::protocol::{subject, token};

pub const STREAM: &str = "DT_HANDOFF";

#[derive(Clone)]
pub struct Handoffs {
    nats: Nats,
}

impl Handoffs {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone() }
    }

    /// Enters the conversation of `turn` and gives its place in the line; durable when this returns. A turn
    /// that is in the index keeps its place, and the reason that it came with.
    pub async fn enter(
        &self,
        expert: &ExpertId,
        conversation: &Conversation,
        turn: &OpenTurn,
        why: Parked,
    ) -> Result<Seq, PublishError> {
        let subject = subject::handoff(expert, conversation);
        let mut expected = Seq(0);
        loop {
            let mut headers = HeaderMap::new();
            headers.insert(KIND, why.as_str());
            headers.insert(TURN, header::turn(conversation, turn.last));
            let subject_sequence = async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
            headers.insert(subject_sequence, expected.to_string());
            let payload = token::encode_waiting(turn.first).into();
            // Most turns enter for the first time: the expectation spares them a read.
            match self.nats.publish(&subject, headers, payload).await {
                Ok(stored) => return Ok(stored.seq),
                Err(PublishError::Conflict) => {}
                Err(e) => return Err(e),
            }
            let there = self.nats.last(STREAM, &subject).await?;
            let is_it = |payload: &[u8]| token::decode_waiting(payload) == Ok(turn.first);
            match there {
                Some(there) if is_it(&there.payload) => return Ok(there.seq),
                there => expected = there.map_or(Seq(0), |there| there.seq),
            }
        }
    }

    pub async fn leave(
        &self,
        expert: &ExpertId,
        conversation: &Conversation,
    ) -> Result<(), nats::Error> {
        let filter = json!({ "filter": subject::handoff(expert, conversation) });
        self.nats.purge(STREAM, &filter).await
    }

    /// Removes the entry at `seq` and no later one: what a run that died left behind.
    pub async fn clear(&self, seq: Seq) -> Result<(), nats::Error> {
        self.nats.delete(STREAM, seq).await
    }

    /// How many conversations of each integration wait for each expert.
    pub async fn waiting(&self) -> Result<BTreeMap<(ExpertId, IntegrationId), usize>, nats::Error> {
        let mut waiting = BTreeMap::new();
        for text in subjects(&self.nats, STREAM, "dt.handoff.>").await?.keys() {
            if let (Some(expert), Some(conversation)) =
                (expert_of(text), subject::conversation_of(text))
            {
                *waiting.entry((expert, conversation.integration)).or_default() += 1;
            }
        }
        Ok(waiting)
    }

    /// The experts that conversations of this integration wait for.
    pub async fn experts_of(
        &self,
        integration: &IntegrationId,
    ) -> Result<BTreeSet<ExpertId>, nats::Error> {
        let filter = format!("dt.handoff.*.{integration}.*");
        let subjects = subjects(&self.nats, STREAM, &filter).await?;
        Ok(subjects.keys().filter_map(|text| expert_of(text)).collect())
    }

    /// The conversations that have waited longest for `expert` among those entered after `after`, at most
    /// `count`. Any replica may answer: an entry may be gone already. A foreign message is taken out: it would
    /// stay in the index for ever.
    pub async fn page(
        &self,
        expert: &ExpertId,
        after: Seq,
        count: usize,
    ) -> Result<Page, nats::Error> {
        let filter = format!("dt.handoff.{expert}.>");
        let found = self.nats.page(STREAM, Seq(after.0 + 1), &filter, count).await?;
        let mut page =
            Page { last: found.records.last().map(|(record, _)| record.seq), ..Page::default() };
        for (record, headers) in found.records {
            let Some(conversation) = subject::conversation_of(&record.subject) else {
                let subject = record.subject.as_str();
                tracing::warn!(subject, "dropped a message whose subject names no conversation");
                self.clear(record.seq).await?;
                continue;
            };
            let is_busy =
                headers.get(KIND).is_some_and(|why| why.as_str() == Parked::Busy.as_str());
            let first = token::decode_waiting(&record.payload).unwrap_or(Seq(0));
            page.waiting.push(Waiting {
                entry: record.seq,
                conversation,
                first,
                is_busy,
                at: record.at,
            });
        }
        Ok(page)
    }
}

/// A conversation in the index.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its place in the line.
    pub entry: Seq,
    pub conversation: Conversation,
    /// The first entry of the turn that waits.
    pub first: Seq,
    /// It came because the expert was busy; it may wait for something else by now.
    pub is_busy: bool,
    /// When it came.
    pub at: Timestamp,
}

#[derive(Debug, Default)]
pub struct Page {
    pub waiting: Vec<Waiting>,
    /// The last place that was looked at; `None`: the index holds nothing behind `after`.
    pub last: Option<Seq>,
}

fn expert_of(subject: &str) -> Option<ExpertId> {
    ExpertId::parse(subject.split('.').nth(2)?).ok()
}
