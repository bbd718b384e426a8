//! The index of conversations that wait for an expert: the stream `DT_HANDOFF`. Only the holder of a
//! conversation's slot adds or removes its own entry; nobody consumes it.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::nats::publish::PublishError;
use super::nats::{self, Nats};
use crate::domain::id::{Conversation, ExpertId};
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

    /// Enters a conversation; durable when this returns.
    pub async fn enter(
        &self,
        expert: &ExpertId,
        conversation: &Conversation,
        why: Parked,
    ) -> Result<(), PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(super::log::KIND, word(why));
        let subject = subject::handoff(expert, conversation);
        self.nats.publish(&subject, headers, Bytes::new()).await.map(|_| ())
    }

    pub async fn leave(
        &self,
        expert: &ExpertId,
        conversation: &Conversation,
    ) -> Result<(), nats::Error> {
        let filter = json!({ "filter": subject::handoff(expert, conversation) });
        let purge = format!("STREAM.PURGE.{STREAM}");
        self.nats.api::<_, serde_json::Value>(&purge, &filter).await.map(|_| ())
    }

    /// The waiting conversations of each expert, at most `max` in all.
    pub async fn waiting(
        &self,
        max: usize,
    ) -> Result<BTreeMap<ExpertId, Vec<Conversation>>, nats::Error> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            #[serde(default)]
            subjects: BTreeMap<String, u64>,
        }
        let question = json!({ "subjects_filter": "dt.handoff.>" });
        let info: Info = self.nats.api(&format!("STREAM.INFO.{STREAM}"), &question).await?;
        let mut waiting: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for text in info.state.subjects.keys().take(max) {
            let expert = text.split('.').nth(2).and_then(|token| ExpertId::parse(token).ok());
            if let Some((expert, conversation)) = expert.zip(subject::conversation_of(text)) {
                waiting.entry(expert).or_default().push(conversation);
            }
        }
        Ok(waiting)
    }
}

fn word(why: Parked) -> &'static str {
    match why {
        Parked::Missing => "missing",
        Parked::Busy => "busy",
        Parked::Paused => "paused",
    }
}
