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

    /// Enters the conversation of `turn`; durable when this returns. A turn that is in the index keeps its
    /// place in the line, and the name it had when it came.
    pub async fn enter(
        &self,
        expert: &ExpertId,
        conversation: &Conversation,
        turn: &OpenTurn,
        why: Parked,
    ) -> Result<(), PublishError> {
        let subject = subject::handoff(expert, conversation);
        let there = self.nats.last(STREAM, &subject).await?;
        // The release before this one wrote the number as text.
        let former = turn.first.to_string();
        let is_it = |payload: &[u8]| {
            token::decode_waiting(payload) == Ok(turn.first) || payload == former.as_bytes()
        };
        if there.is_some_and(|there| is_it(&there.payload)) {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(KIND, why.as_str());
        headers.insert(TURN, header::turn(conversation, turn.last));
        let payload = token::encode_waiting(turn.first).into();
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

    /// The conversation that has waited longest for `expert` among those entered after `seq`. Somebody
    /// else's message before it is taken out: it would stand there for ever.
    pub async fn next(
        &self,
        expert: &ExpertId,
        seq: Seq,
    ) -> Result<Option<(Seq, Conversation)>, nats::Error> {
        let filter = format!("dt.handoff.{expert}.>");
        let mut after = seq;
        while let Some(found) = self.nats.next(STREAM, Seq(after.0 + 1), &filter).await? {
            if let Some(conversation) = subject::conversation_of(&found.subject) {
                return Ok(Some((found.seq, conversation)));
            }
            let subject = found.subject.as_str();
            tracing::warn!(subject, "dropped a message whose subject names no conversation");
            self.clear(found.seq).await?;
            after = found.seq;
        }
        Ok(None)
    }
}

fn expert_of(subject: &str) -> Option<ExpertId> {
    ExpertId::parse(subject.split('.').nth(2)?).ok()
}
