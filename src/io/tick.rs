//! Work that one pod of many does: whoever wins the compare-and-set of a tick does it, and nobody else
//! before its interval is over.
//!
//! A pod that wins and dies leaves the work undone for one interval; the work must bear that.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use super::nats::publish::PublishError;
use super::nats::{Error, Nats};
use crate::domain::id::Seq;
use crate::domain::time::Timestamp;

const STREAM: &str = "KV_DT_LIVE";

#[derive(Clone)]
pub struct Ticks {
    nats: Nats,
}

impl Ticks {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone() }
    }

    /// True for one caller an interval. `name` is a token of a subject.
    pub async fn win(&self, name: &str, interval: Duration, now: Timestamp) -> Result<bool, Error> {
        let subject = format!("$KV.DT_LIVE.tick.{name}");
        let last = self.nats.last(STREAM, &subject).await?;
        if last.as_ref().is_some_and(|last| now.since(last.at) < interval) {
            return Ok(false);
        }
        let seq = last.map_or(Seq(0), |last| last.seq);
        let mut headers = HeaderMap::new();
        let expected = async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
        headers.insert(expected, seq.to_string());
        match self.nats.publish(&subject, headers, Bytes::new()).await {
            Ok(_) => Ok(true),
            Err(PublishError::Conflict) => Ok(false),
            Err(PublishError::Failed(e)) => Err(e),
            Err(
                e @ (PublishError::Occupied
                | PublishError::Full(_)
                | PublishError::BeingStored
                | PublishError::TooLarge),
            ) => Err(Error::Unavailable(e.to_string())),
        }
    }
}
