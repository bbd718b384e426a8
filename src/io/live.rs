//! Who is alive: the bucket `DT_LIVE`, used as the stream it is.
//!
//! A record is one plain publish with a time to live, because the client's own `create_with_ttl` forgets
//! it over a tombstone. Each record carries its revision and the broker's time. Reads may be answered by
//! a replica that is some milliseconds behind; nothing that must be exact lives here.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::time::Timestamp;

const ROOT: &str = "$KV.DT_LIVE.";
const READ: &str = "$JS.API.DIRECT.GET.KV_DT_LIVE";
const PAGE: usize = 500;
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long the trace of a deleted record stays.
const TOMBSTONE_TTL: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the broker did not confirm the record {key}: {reason}")]
    Unconfirmed { key: String, reason: String },
    #[error("the records {prefix}* could not be read: {reason}")]
    Unread { prefix: String, reason: String },
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub key: String,
    /// Grows with every change of any record.
    pub revision: u64,
    pub at: Timestamp,
    pub value: Bytes,
}

#[derive(Clone)]
pub struct Live {
    jetstream: Context,
}

impl Live {
    pub fn new(jetstream: Context) -> Self {
        Self { jetstream }
    }

    /// Stores the record; it vanishes after `ttl`, in whole seconds, unless it is stored again.
    pub async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<u64, Error> {
        self.publish(key, PublishMessage::build().payload(value.into()).ttl(ttl)).await
    }

    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let tombstone = PublishMessage::build().header("KV-Operation", "DEL").ttl(TOMBSTONE_TTL);
        self.publish(key, tombstone).await.map(|_| ())
    }

    async fn publish(&self, key: &str, message: PublishMessage) -> Result<u64, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Unconfirmed {
            key: key.to_owned(),
            reason: error.to_string(),
        };
        let subject = format!("{ROOT}{key}");
        let ack = self.jetstream.send_publish(subject, message).await.map_err(|e| failed(&e))?;
        Ok(ack.await.map_err(|e| failed(&e))?.sequence)
    }

    pub async fn get(&self, key: &str) -> Result<Option<Stored>, Error> {
        Ok(self.all(key, format!("{ROOT}{key}")).await?.pop())
    }

    /// All records whose key begins with `prefix`, which ends with a dot, by key.
    pub async fn read(&self, prefix: &str) -> Result<Vec<Stored>, Error> {
        self.all(prefix, format!("{ROOT}{prefix}>")).await
    }

    async fn all(&self, prefix: &str, subject: String) -> Result<Vec<Stored>, Error> {
        let mut found = BTreeMap::new();
        let mut next = Some(1);
        while let Some(first) = next {
            let failed = |reason| Error::Unread { prefix: prefix.to_owned(), reason };
            let (page, end) = self.page(&subject, first).await.map_err(failed)?;
            for (stored, is_tombstone) in page {
                // A record that changed meanwhile comes again, further up.
                if is_tombstone {
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
    async fn page(
        &self,
        subject: &str,
        first: u64,
    ) -> Result<(Vec<(Stored, bool)>, Option<u64>), String> {
        let client = self.jetstream.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|e| e.to_string())?;
        let request = json!({ "seq": first, "next_by_subj": subject, "batch": PAGE }).to_string();
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
                    let last = page.last().map(|(stored, _)| stored.revision);
                    let next = last.filter(|_| pending > 0).map(|last| last.saturating_add(1));
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

/// The record in a direct answer, and whether it is only the trace of a deleted one.
fn stored(message: &Message) -> Option<(Stored, bool)> {
    let headers = message.headers.as_ref()?;
    let subject: String = header(message, "Nats-Subject")?;
    let at: String = header(message, "Nats-Time-Stamp")?;
    let at = OffsetDateTime::parse(&at, &Rfc3339).ok()?.unix_timestamp_nanos() / 1_000_000;
    let stored = Stored {
        key: subject.strip_prefix(ROOT)?.to_owned(),
        revision: header(message, "Nats-Sequence")?,
        at: Timestamp(i64::try_from(at).ok()?),
        value: message.payload.clone(),
    };
    Some((stored, is_tombstone(headers)))
}

fn is_tombstone(headers: &HeaderMap) -> bool {
    headers.get("KV-Operation").is_some() || headers.get("Nats-Marker-Reason").is_some()
}

fn header<T: std::str::FromStr>(message: &Message, name: &str) -> Option<T> {
    message.headers.as_ref()?.get(name)?.as_str().parse().ok()
}
