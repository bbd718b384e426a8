//! Reading single messages of a stream.
//!
//! What decides is read from the leader; a direct get may be answered by a replica that lags behind.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep};

use super::{Error, Nats, POD, trace};
use crate::domain::id::Seq;
use crate::domain::span::Spot;
use crate::domain::time::Timestamp;
use crate::protocol::trace::{HEADER, parse};

/// A leader that steps down has a successor by then: whoever waits for it spares its message the wait
/// for a redelivery.
const ELECTION_MAX: Duration = Duration::from_secs(3);

/// A message where it stands in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub subject: String,
    pub seq: Seq,
    pub at: Timestamp,
    pub payload: Bytes,
    /// Who stored it, where that is on record.
    pub pod: Option<String>,
    /// Where its trace begins.
    pub trace: Option<Spot>,
}

#[derive(Deserialize)]
struct GetAnswer {
    message: RawMessage,
}

#[derive(Deserialize)]
struct RawMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
    time: String,
}

impl Nats {
    /// The last message of `subject`, from the leader.
    pub async fn last(&self, stream: &str, subject: &str) -> Result<Option<Record>, Error> {
        self.get(stream, &json!({ "last_by_subj": subject })).await
    }

    /// The message at `seq`, from the leader.
    pub async fn at(&self, stream: &str, seq: Seq) -> Result<Option<Record>, Error> {
        self.get(stream, &json!({ "seq": seq.0 })).await
    }

    /// The first message of `subject` at or after `seq`, from the leader.
    pub async fn next(
        &self,
        stream: &str,
        seq: Seq,
        subject: &str,
    ) -> Result<Option<Record>, Error> {
        self.get(stream, &json!({ "seq": seq.0, "next_by_subj": subject })).await
    }

    /// The first message of `subject` stored at or after `since`, from the leader.
    pub async fn next_since(
        &self,
        stream: &str,
        since: Timestamp,
        subject: &str,
    ) -> Result<Option<Record>, Error> {
        let question = json!({ "start_time": rfc3339(since), "next_by_subj": subject });
        self.get(stream, &question).await
    }

    /// The first message of `subject` at or after `seq`, from any replica. What it gives is true; that
    /// it gives nothing may be stale.
    pub async fn next_direct(
        &self,
        stream: &str,
        seq: Seq,
        subject: &str,
    ) -> Result<Option<Record>, Error> {
        self.direct(stream, &json!({ "seq": seq.0, "next_by_subj": subject })).await
    }

    /// The first message of `subject` stored at or after `since`, from any replica.
    pub async fn first_since(
        &self,
        stream: &str,
        since: Timestamp,
        subject: &str,
    ) -> Result<Option<Record>, Error> {
        let question = json!({ "start_time": rfc3339(since), "next_by_subj": subject });
        self.direct(stream, &question).await
    }

    /// The first message of `subject` at or after `seq` with its headers, from any replica.
    pub async fn next_with_headers(
        &self,
        stream: &str,
        seq: Seq,
        subject: &str,
    ) -> Result<Option<(Record, HeaderMap)>, Error> {
        let question = json!({ "seq": seq.0, "next_by_subj": subject });
        self.direct_with_headers(stream, &question).await
    }

    async fn direct(&self, stream: &str, question: &Value) -> Result<Option<Record>, Error> {
        let found = self.direct_with_headers(stream, question).await?;
        Ok(found.map(|(record, _)| record))
    }

    async fn direct_with_headers(
        &self,
        stream: &str,
        question: &Value,
    ) -> Result<Option<(Record, HeaderMap)>, Error> {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let message = self.ask(subject, None, question.to_string().into()).await?;
        if message.status.is_some_and(|status| status.as_u16() >= 400) {
            return Ok(None);
        }
        direct_record(message).map(Some)
    }

    async fn get(&self, stream: &str, question: &Value) -> Result<Option<Record>, Error> {
        let (subject, begun) = (format!("STREAM.MSG.GET.{stream}"), Instant::now());
        let GetAnswer { message } = loop {
            match self.api(&subject, question).await {
                Ok(answer) => break answer,
                Err(Error::Refused { code: 10037, .. }) => return Ok(None),
                Err(Error::Unavailable(why)) if begun.elapsed() < ELECTION_MAX => {
                    tracing::debug!(stream, why, "reading again");
                    sleep(Duration::from_millis(100)).await;
                }
                Err(e) => return Err(e),
            }
        };
        let decode = |text| STANDARD.decode(text).map_err(|e| Error::Unreadable(e.to_string()));
        let (data, headers) = (decode(message.data)?, decode(message.hdrs)?);
        Ok(Some(Record {
            subject: message.subject,
            seq: Seq(message.seq),
            at: timestamp(&message.time)?,
            payload: data.into(),
            pod: header(&headers, POD),
            trace: header(&headers, HEADER).as_deref().and_then(parse),
        }))
    }
}

/// The record in the answer to a direct get, and its headers.
pub(super) fn direct_record(message: Message) -> Result<(Record, HeaderMap), Error> {
    let header = |name: &str| {
        let headers = message.headers.as_ref();
        headers.and_then(|h| h.get(name)).map(|value| value.as_str().to_owned())
    };
    let unreadable = || Error::Unreadable("direct get without its headers".to_owned());
    let seq = header("Nats-Sequence").and_then(|text| text.parse().ok());
    let record = Record {
        subject: header("Nats-Subject").ok_or_else(unreadable)?,
        seq: Seq(seq.ok_or_else(unreadable)?),
        at: timestamp(&header("Nats-Time-Stamp").ok_or_else(unreadable)?)?,
        pod: header(POD),
        trace: message.headers.as_ref().and_then(trace::beginning),
        payload: message.payload,
    };
    Ok((record, message.headers.unwrap_or_default()))
}

/// A header in the broker's own form: lines of `name: value`.
fn header(headers: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(headers);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// RFC 3339 to milliseconds.
pub fn timestamp(text: &str) -> Result<Timestamp, Error> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|e| Error::Unreadable(format!("time {text}: {e}")))?;
    Ok(Timestamp(i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)))
}

/// A time as the broker reads it; one that is out of range is the beginning of all time.
pub fn rfc3339(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_in_the_brokers_own_form() {
        let headers = b"NATS/1.0\r\nDt-Kind: message\r\nDt-Pod: worker-0\r\n\r\n";
        assert_eq!(header(headers, POD).as_deref(), Some("worker-0"));
        assert_eq!(header(headers, "Dt"), None);
        assert_eq!(header(b"", POD), None);
    }
}
