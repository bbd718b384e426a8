//! Who is alive: the bucket `DT_LIVE`, used as the stream it is.
//!
//! A record is one plain publish with a time to live, because the client's own `create_with_ttl` forgets
//! it over a tombstone. Each record carries its revision and the broker's time. Reads may be answered by
//! a replica that is some milliseconds behind; nothing that must be exact lives here.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use super::nats::publish::PublishError;
use super::nats::read::Record;
use super::nats::{self, Nats};
use crate::domain::id::Seq;
use crate::domain::time::Timestamp;

const STREAM: &str = "KV_DT_LIVE";
const ROOT: &str = "$KV.DT_LIVE.";
const PAGE: usize = 500;
/// How long the trace of a deleted record stays.
const TOMBSTONE_TTL: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the broker did not confirm the record {key}: {reason}")]
    Unconfirmed { key: String, reason: Box<PublishError> },
    #[error("{keys} in DT_LIVE could not be read: {reason}")]
    Unread { keys: String, reason: String },
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub key: String,
    /// Grows with every change of any record.
    pub revision: Seq,
    pub at: Timestamp,
    pub value: Bytes,
}

#[derive(Clone)]
pub struct Live {
    nats: Nats,
}

impl Live {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone() }
    }

    /// For how long records could be stored without a break, as far as this process knows.
    pub fn reachable_for(&self) -> Duration {
        self.nats.connected_for()
    }

    /// Stores the record; it vanishes after `ttl`, in whole seconds, unless it is stored again.
    pub async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<Seq, Error> {
        self.publish(key, HeaderMap::new(), value.into(), ttl).await
    }

    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        self.publish(key, headers, Bytes::new(), TOMBSTONE_TTL).await.map(|_| ())
    }

    async fn publish(
        &self,
        key: &str,
        mut headers: HeaderMap,
        value: Bytes,
        ttl: Duration,
    ) -> Result<Seq, Error> {
        headers.insert("Nats-TTL", ttl.as_secs().max(1).to_string());
        let published = self.nats.publish(&format!("{ROOT}{key}"), headers, value).await;
        let unconfirmed =
            |reason| Error::Unconfirmed { key: key.to_owned(), reason: Box::new(reason) };
        Ok(published.map_err(unconfirmed)?.seq)
    }

    /// The record as the leader has it.
    pub async fn get(&self, key: &str) -> Result<Option<Stored>, Error> {
        let unread = |e: nats::Error| Error::Unread { keys: key.to_owned(), reason: e.to_string() };
        let last = self.nats.last(STREAM, &format!("{ROOT}{key}")).await.map_err(unread)?;
        // Only what was deleted, or ran out with a marker, is empty.
        Ok(last.filter(|record| !record.payload.is_empty()).and_then(stored))
    }

    /// All records whose key begins with `prefix`, which ends with a dot, by key.
    pub async fn read(&self, prefix: &str) -> Result<Vec<Stored>, Error> {
        let mut found = BTreeMap::new();
        let mut next = Some(Seq(1));
        while let Some(first) = next {
            let page = self.nats.page(STREAM, first, &format!("{ROOT}{prefix}>"), PAGE).await;
            let page = page
                .map_err(|e| Error::Unread { keys: format!("{prefix}*"), reason: e.to_string() })?;
            for (record, _) in page.records {
                let Some(stored) = stored(record) else { continue };
                // A record that changed meanwhile comes again, further up.
                if stored.value.is_empty() {
                    found.remove(&stored.key);
                } else {
                    found.insert(stored.key.clone(), stored);
                }
            }
            next = page.next;
        }
        Ok(found.into_values().collect())
    }
}

fn stored(record: Record) -> Option<Stored> {
    let key = record.subject.strip_prefix(ROOT)?.to_owned();
    Some(Stored { key, revision: record.seq, at: record.at, value: record.payload })
}
