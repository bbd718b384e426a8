//! Publishing into a stream: done when the stream's leader says stored, and not before.
//!
//! Tells apart what callers must: a lost compare-and-set, an occupied subject, a full stream, a message
//! too large. After a failure nobody knows whether it was stored.

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::Deserialize;

use super::{ApiError, Error, Nats, trace};
use crate::domain::id::Seq;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub seq: Seq,
    /// The message id was there already; `seq` is the first one's.
    pub is_duplicate: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The compare-and-set lost: 10071, or 10164 where a rival is still in flight.
    #[error("another record is newer")]
    Conflict,
    /// The subject may hold one message and holds it.
    #[error("the subject is occupied")]
    Occupied,
    #[error("the stream is full: {0}")]
    Full(String),
    /// 10158: somebody else stores a message with this id at this moment. Asked again, it is there.
    #[error("a message with this id is being stored")]
    BeingStored,
    #[error("the message is larger than the broker's max_payload")]
    TooLarge,
    #[error(transparent)]
    Failed(#[from] Error),
}

#[derive(Deserialize)]
struct PubAck {
    error: Option<ApiError>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

/// More than our headers ever take, which the broker counts with the payload.
const HEADERS_MAX: usize = 1024;

impl Nats {
    /// What one message may hold beside its headers.
    pub fn payload_max(&self) -> usize {
        self.client.max_payload().saturating_sub(HEADERS_MAX)
    }

    /// Publishes under the trace of this task and waits for the acknowledgement.
    pub async fn publish(
        &self,
        subject: &str,
        mut headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Stored, PublishError> {
        if payload.len() > self.payload_max() {
            return Err(PublishError::TooLarge);
        }
        trace::add(&mut headers);
        let asked = self.ask(subject.to_owned(), Some(headers), payload).await?;
        let ack: PubAck =
            serde_json::from_slice(&asked.payload).map_err(|e| Error::Unreadable(e.to_string()))?;
        let Some(error) = ack.error else {
            return Ok(Stored { seq: Seq(ack.seq), is_duplicate: ack.duplicate });
        };
        Err(match error.err_code {
            10158 => PublishError::BeingStored,
            10071 | 10164 => PublishError::Conflict,
            10077 if error.description.contains("per subject") => PublishError::Occupied,
            10077 | 10023 | 10047 => PublishError::Full(error.description),
            10054 => PublishError::TooLarge,
            _ => Error::from(error).into(),
        })
    }
}
