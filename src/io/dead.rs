//! Dead letters: the stream `DT_DEAD`, one record for each buried turn until it is replayed or dropped.

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::json;

use super::nats::publish::PublishError;
use super::nats::{self, Nats};
use crate::domain::dead::DeadLetter;
use crate::domain::id::Seq;
use crate::protocol::{dead, envelope, subject};

pub const STREAM: &str = "DT_DEAD";

#[derive(Clone)]
pub struct DeadLetters {
    nats: Nats,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Nats(#[from] nats::Error),
    #[error("the dead letter cannot be read: {0}")]
    Unreadable(#[from] envelope::Error),
}

impl DeadLetters {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone() }
    }

    /// Stores a letter once per turn.
    pub async fn bury(
        &self,
        stage: &'static str,
        letter: &DeadLetter,
    ) -> Result<Seq, PublishError> {
        let mut headers = HeaderMap::new();
        let id = format!("dead:{}", letter.turn);
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
        headers.insert(super::log::KIND, letter.reason.as_str());
        headers.insert("Dt-Turn", letter.turn.to_string());
        let subject = subject::dead(stage, &letter.turn.conversation);
        let payload = Bytes::from(dead::encode(letter));
        self.nats.publish(&subject, headers, payload).await.map(|stored| stored.seq)
    }

    pub async fn get(&self, seq: Seq) -> Result<Option<DeadLetter>, Error> {
        match self.nats.at(STREAM, seq).await? {
            None => Ok(None),
            Some(record) => Ok(Some(dead::decode(&record.payload)?)),
        }
    }

    /// Gone afterwards, also where it was gone before.
    pub async fn delete(&self, seq: Seq) -> Result<(), nats::Error> {
        let question = json!({ "seq": seq.0, "no_erase": true });
        let deleted: Result<serde_json::Value, _> =
            self.nats.api(&format!("STREAM.MSG.DELETE.{STREAM}"), &question).await;
        match deleted {
            // 10043 and 10057 say that there is no such message.
            Ok(_) | Err(nats::Error::Refused { code: 10037 | 10043 | 10057, .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }
}
