//! The index of conversations that wait for an expert: the stream `DT_HANDOFF`. Only the holder of a
//! conversation's slot adds or removes its own entry; nobody consumes it.
//!
//! It may name a conversation that no longer waits, after a kill; whoever reads it asks the journal.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::json;

use super::nats::publish::PublishError;
use super::nats::{self, Nats};
use super::state::subjects;
use crate::domain::id::{Conversation, ExpertId, IntegrationId, Seq};
use crate::domain::turn::Parked;
use crate::protocol::subject;

pub const STREAM: &str = "DT_HANDOFF";

#[derive(Clone)]
pub struct Handoffs {
    nats: Nats,
}

impl Handoffs {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone() }
    }

    /// Enters a conversation whose turn begins at `turn`; durable when this returns. A turn that is in
    /// the index keeps its place in the line.
    pub async fn enter(
        &self,
        expert: &ExpertId,
        conversation: &Conversation,
        turn: Seq,
        why: Parked,
    ) -> Result<(), PublishError> {
        let subject = subject::handoff(expert, conversation);
        let payload = Bytes::from(turn.to_string());
        let there = self.nats.last(STREAM, &subject).await?;
        if there.is_some_and(|there| there.payload == payload) {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(super::log::KIND, why.as_str());
        self.nats.publish(&subject, headers, payload).await.map(|_| ())
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

    /// How many conversations wait for each expert.
    pub async fn waiting(&self) -> Result<BTreeMap<ExpertId, usize>, nats::Error> {
        let mut waiting = BTreeMap::new();
        for text in subjects(&self.nats, STREAM, "dt.handoff.>").await?.keys() {
            if let Some(expert) = expert_of(text) {
                *waiting.entry(expert).or_default() += 1;
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

    /// The conversation that has waited longest for `expert` among those entered after `seq`.
    pub async fn next(
        &self,
        expert: &ExpertId,
        seq: Seq,
    ) -> Result<Option<(Seq, Conversation)>, nats::Error> {
        let filter = format!("dt.handoff.{expert}.>");
        let found = self.nats.next(STREAM, Seq(seq.0 + 1), &filter).await?;
        Ok(found.and_then(|record| {
            subject::conversation_of(&record.subject).map(|conversation| (record.seq, conversation))
        }))
    }
}

fn expert_of(subject: &str) -> Option<ExpertId> {
    ExpertId::parse(subject.split('.').nth(2)?).ok()
}
