//! Who is alive: the bucket `DT_LIVE`, used as the stream it is.
//!
//! A record is one plain publish with a time to live, because the client's own `create_with_ttl` forgets
//! it over a tombstone. Each record carries its revision and the broker's time. Reads may be answered by
//! a replica that is some milliseconds behind; nothing that must be exact lives here.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;

use super::nats::publish::PublishError;
use super::nats::read::timestamp;
use super::nats::{self, Nats};
use crate::domain::id::Seq;
use crate::domain::time::Timestamp;

const STREAM: &str = "KV_DT_LIVE";
const ROOT: &str = "$KV.DT_LIVE.";
const READ: &str = "$JS.API.DIRECT.GET.KV_DT_LIVE";
const PAGE: usize = 500;
const ANSWER_MAX: Duration = Duration::from_secs(2);
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
        Ok(last.filter(|record| !record.payload.is_empty()).map(|record| Stored {
            key: key.to_owned(),
            revision: record.seq,
            at: record.at,
            value: record.payload,
        }))
    }

    /// All records whose key begins with `prefix`, which ends with a dot, by key.
    pub async fn read(&self, prefix: &str) -> Result<Vec<Stored>, Error> {
        let mut found = BTreeMap::new();
        let mut next = Some(Seq(1));
        while let Some(first) = next {
            let unread = |reason| Error::Unread { keys: format!("{prefix}*"), reason };
            let (page, end) = self.page(prefix, first).await.map_err(unread)?;
            for stored in page {
                // A record that changed meanwhile comes again, further up.
                if stored.value.is_empty() {
                    found.remove(&stored.key);
                } else {
                    found.insert(stored.key.clone(), stored);
                }
            }
            next = end;
        }
        Ok(found.into_values().collect())
    }

    /// A page of records and the sequence where the next begins, if there is one.
    async fn page(&self, prefix: &str, first: Seq) -> Result<(Vec<Stored>, Option<Seq>), String> {
        let client = self.nats.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|e| e.to_string())?;
        let subject = format!("{ROOT}{prefix}>");
        let request = json!({ "seq": first.0, "next_by_subj": subject, "batch": PAGE }).to_string();
        client.publish_with_reply(READ, inbox, request.into()).await.map_err(|e| e.to_string())?;
        let mut page = Vec::new();
        loop {
            let message = answer(&mut answers).await?;
            match message.status.map(|status| status.as_u16()) {
                None | Some(200) => {
                    page.push(stored(&message).ok_or("a record came without its headers")?);
                }
                // Nothing at or above `first`.
                Some(404) => return Ok((page, None)),
                // The end of the page.
                Some(204) => {
                    let pending: u64 = header(&message, "Nats-Num-Pending").unwrap_or_default();
                    let last = page.last().map(|stored: &Stored| stored.revision);
                    let next =
                        last.filter(|_| pending > 0).map(|last| Seq(last.0.saturating_add(1)));
                    return Ok((page, next));
                }
                Some(status) => {
                    let said = message.description.unwrap_or_default();
                    return Err(format!("the broker answers {status} {said}"));
                }
            }
        }
    }
}

async fn answer(answers: &mut Subscriber) -> Result<Message, String> {
    match tokio::time::timeout(ANSWER_MAX, answers.next()).await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err("the connection to the broker is closed".to_owned()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
    }
}

/// The record in a direct answer.
fn stored(message: &Message) -> Option<Stored> {
    let subject: String = header(message, "Nats-Subject")?;
    let at: String = header(message, "Nats-Time-Stamp")?;
    Some(Stored {
        key: subject.strip_prefix(ROOT)?.to_owned(),
        revision: Seq(header(message, "Nats-Sequence")?),
        at: timestamp(&at).ok()?,
        value: message.payload.clone(),
    })
}

fn header<T: std::str::FromStr>(message: &Message, name: &str) -> Option<T> {
    message.headers.as_ref()?.get(name)?.as_str().parse().ok()
}
