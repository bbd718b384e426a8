//! The log: the stream `DT_IN`, every conversation's entries in the order the broker stored them.
//!
//! Nothing is ever copied out of it; a turn is a range of it, and the sequence of an entry is the
//! version of its conversation.

use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;

use super::header::{KIND, MSG_ID};
use super::nats::publish::PublishError;
use super::nats::read::Record;
use super::nats::{self, Nats};
use crate::domain::entry::{Entry, EntryKind, Logged};
use crate::domain::id::{Conversation, IntegrationId, MsgId, Seq};
use crate::domain::span::Spot;
use crate::domain::time::Timestamp;
use crate::protocol::envelope;
use crate::protocol::{entry, subject, trace};

pub const STREAM: &str = "DT_IN";

/// What an id begins with that is no message's; DingTalk's are base64 and hold no colon.
const MADE: [&str; 3] = ["card:", "link:", "end:"];

/// Entries that are read at once where one is looked for: at most 25 MiB of them.
const FIND_PAGE: usize = 100;
const MAX_PAYLOAD: &str = "the broker's max_payload";

#[derive(Clone)]
pub struct Log {
    nats: Nats,
    entry_max_bytes: usize,
}

/// An entry in the bytes of the log, within its limit.
pub struct Written {
    kind: EntryKind,
    bytes: Bytes,
}

/// What the log did with an entry. Both mean that it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    Stored(Seq),
    /// It was there before: a redelivery.
    Duplicate(Seq),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the entry has {bytes} bytes, more than {limit} = {max}")]
    TooLarge { bytes: usize, limit: &'static str, max: usize },
    #[error("the log did not confirm the entry: {0}")]
    NotDurable(String),
    #[error("a newer release wrote entry {} (version {version})", found.seq)]
    Newer { found: Found, version: u8 },
    #[error(transparent)]
    Nats(#[from] nats::Error),
}

impl Log {
    pub fn new(nats: &Nats, entry_max_bytes: usize) -> Self {
        Self { nats: nats.clone(), entry_max_bytes }
    }

    /// Stores an entry once per `message_id` within the dedupe window. `Ok` means durable.
    pub async fn append(
        &self,
        conversation: &Conversation,
        message_id: &str,
        entry: Entry,
    ) -> Result<Appended, Error> {
        let written = self.write(entry)?;
        self.append_written(conversation, message_id, written).await
    }

    /// The entry as the log keeps it. Who does this before waiting for anything holds less meanwhile.
    pub fn write(&self, entry: Entry) -> Result<Written, Error> {
        let kind = entry.kind();
        let bytes = Bytes::from(entry::encode(entry));
        let (limit, max) = match kind {
            // It holds a whole turn, whose entries were each within their limit.
            EntryKind::Replay => (MAX_PAYLOAD, self.nats.payload_max()),
            EntryKind::Message | EntryKind::Action | EntryKind::Control | EntryKind::Query => {
                ("DT_ENTRY_MAX_BYTES", self.entry_max_bytes)
            }
        };
        if bytes.len() > max {
            return Err(Error::TooLarge { bytes: bytes.len(), limit, max });
        }
        Ok(Written { kind, bytes })
    }

    /// See [`Log::append`].
    pub async fn append_written(
        &self,
        conversation: &Conversation,
        message_id: &str,
        Written { kind, bytes }: Written,
    ) -> Result<Appended, Error> {
        let subject = subject::log(conversation);
        loop {
            let mut headers = HeaderMap::new();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, message_id);
            // A name that is known to be static is neither checked nor copied.
            headers.insert(HeaderName::from_static(KIND), kind.as_str());
            headers.insert(HeaderName::from_static(MSG_ID), message_id);
            headers.insert(HeaderName::from_static(trace::HEADER), trace::of(message_id));
            self.nats.sign(&mut headers);
            return match self.nats.publish(&subject, headers, bytes.clone()).await {
                Ok(stored) if stored.is_duplicate => Ok(Appended::Duplicate(stored.seq)),
                Ok(stored) => Ok(Appended::Stored(stored.seq)),
                Err(PublishError::BeingStored) => continue,
                Err(PublishError::TooLarge) => {
                    let max = self.nats.payload_max();
                    Err(Error::TooLarge { bytes: bytes.len(), limit: MAX_PAYLOAD, max })
                }
                Err(e) => Err(Error::NotDurable(e.to_string())),
            };
        }
    }

    /// Where a conversation has the entry that was stored under this id, at or after `since`.
    pub async fn find(
        &self,
        conversation: &Conversation,
        message_id: &str,
        since: Timestamp,
    ) -> Result<Option<Seq>, Error> {
        let subject = subject::log(conversation);
        let first = self.nats.first_since(STREAM, since, &subject).await?;
        let mut next = first.map(|record| record.seq);
        while let Some(from) = next {
            // One request for many: somebody may wait for the answer.
            let page = self.nats.page(STREAM, from, &subject, FIND_PAGE).await?;
            let is_it = |headers: &HeaderMap| {
                headers.get(MSG_ID).is_some_and(|id| id.as_str() == message_id)
            };
            if let Some((record, _)) = page.records.iter().find(|(_, headers)| is_it(headers)) {
                return Ok(Some(record.seq));
            }
            next = page.next;
        }
        Ok(None)
    }

    /// The newest entry of a conversation whose id `is_it`, of those that were stored at or after `since`.
    pub async fn find_last(
        &self,
        conversation: &Conversation,
        since: Timestamp,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<Option<Seq>, Error> {
        let subject = subject::log(conversation);
        let first = self.nats.next_since(STREAM, since, &subject).await?;
        let (mut next, mut found) = (first.map(|record| record.seq), None);
        while let Some(from) = next {
            let page = self.nats.page(STREAM, from, &subject, FIND_PAGE).await?;
            let of_page = page
                .records
                .iter()
                .rev()
                .find(|(_, headers)| headers.get(MSG_ID).is_some_and(|id| is_it(id.as_str())));
            found = of_page.map(|(record, _)| record.seq).or(found);
            next = page.next;
        }
        Ok(found)
    }

    /// The pod that stored the entry at `seq` of this conversation.
    pub async fn pod(
        &self,
        conversation: &Conversation,
        seq: Seq,
    ) -> Result<Option<String>, Error> {
        let entry = self.nats.at(STREAM, seq).await?;
        let entry = entry.filter(|entry| entry.subject == subject::log(conversation));
        Ok(entry.and_then(|entry| entry.pod))
    }

    /// The newest entry of a conversation, from the leader.
    pub async fn newest(&self, conversation: &Conversation) -> Result<Option<Found>, Error> {
        let found = self.nats.last(STREAM, &subject::log(conversation)).await?;
        Ok(found.map(|record| found_at(&record)))
    }

    /// The first entry after `position`, from the leader; an error where a newer release wrote it.
    pub async fn first_after(
        &self,
        conversation: &Conversation,
        position: Seq,
    ) -> Result<Option<Logged>, Error> {
        let subject = subject::log(conversation);
        match self.nats.next(STREAM, Seq(position.0 + 1), &subject).await? {
            Some(record) => read(&record).map(Some),
            None => Ok(None),
        }
    }

    /// The entries after `position` up to `to`, at most `entries_max` and `bytes_max` but at least one.
    /// An entry that was there and is gone is given as [`Entry::Gone`] at `to`; one that a newer release
    /// wrote is an error.
    pub async fn page(
        &self,
        conversation: &Conversation,
        position: Seq,
        to: Seq,
        limits: PageLimits,
    ) -> Result<Vec<Logged>, Error> {
        let records = self.records(conversation, position, to, limits).await?;
        records
            .into_iter()
            .map(|record| record.map_or_else(|| Ok(gone(to)), |r| read(&r)))
            .collect()
    }

    /// Like [`Log::page`], for those who only look, or will not wait any longer: what a newer release
    /// wrote is given as [`Entry::Undecodable`].
    pub async fn glance(
        &self,
        conversation: &Conversation,
        position: Seq,
        to: Seq,
        limits: PageLimits,
    ) -> Result<Vec<Logged>, Error> {
        let records = self.records(conversation, position, to, limits).await?;
        let show = |record: &Record| {
            read(record).unwrap_or_else(|error| undecodable(record, error.to_string()))
        };
        Ok(records.iter().map(|record| record.as_ref().map_or_else(|| gone(to), show)).collect())
    }

    /// `None` stands for what was there up to `to` and is gone.
    async fn records(
        &self,
        conversation: &Conversation,
        position: Seq,
        to: Seq,
        limits: PageLimits,
    ) -> Result<Vec<Option<Record>>, nats::Error> {
        let subject = subject::log(conversation);
        let mut page = Vec::new();
        let mut bytes = 0;
        let mut after = position;
        while after < to && page.len() < limits.entries_max && bytes < limits.bytes_max {
            let from = Seq(after.0 + 1);
            let mut found = self.nats.next_direct(STREAM, from, &subject).await?;
            if found.as_ref().is_none_or(|record| record.seq > to) {
                // A replica may lag behind, or `to` itself is gone: the leader knows.
                found = self.nats.next(STREAM, from, &subject).await?;
            }
            let Some(record) = found.filter(|record| record.seq <= to) else {
                page.push(None);
                break;
            };
            after = record.seq;
            bytes += record.payload.len();
            page.push(Some(record));
        }
        Ok(page)
    }
}

/// An entry's place, without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub seq: Seq,
    pub at: Timestamp,
    /// Where its trace begins.
    pub trace: Option<Spot>,
}

/// What bounds one page of the log.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    pub entries_max: usize,
    pub bytes_max: usize,
}

/// The kind in an entry's header; an unknown word is treated as a message.
pub fn kind(headers: &HeaderMap) -> EntryKind {
    let word = headers.get(KIND).map(async_nats::HeaderValue::as_str);
    EntryKind::ALL
        .into_iter()
        .find(|kind| word == Some(kind.as_str()))
        .unwrap_or(EntryKind::Message)
}

/// DingTalk's id of the message that an entry of this integration is; `None` for a press, a link and an
/// operator's hand, whose ids are the service's own.
pub fn msg_id(headers: &HeaderMap, integration: &IntegrationId) -> Option<MsgId> {
    let id = own_id(headers.get(MSG_ID)?.as_str(), integration)?;
    let is_made = MADE.iter().any(|made| id.starts_with(made));
    MsgId::parse(id).ok().filter(|_| !is_made)
}

/// The id under which the log takes a robot's message once. One that DingTalk's own ids do not look like stays
/// apart from the service's: a sender that can sign cannot take the id of a later press.
pub fn robot_id(integration: &IntegrationId, message: &MsgId) -> String {
    let is_made = MADE.iter().any(|made| message.as_str().starts_with(made));
    let apart = if is_made { "msg:" } else { "" };
    format!("{integration}:{apart}{message}")
}

/// DingTalk's part of the id by which the log takes a message once.
pub fn own_id<'a>(message_id: &'a str, integration: &IntegrationId) -> Option<&'a str> {
    message_id.strip_prefix(integration.as_str())?.strip_prefix(':')
}

fn read(record: &Record) -> Result<Logged, Error> {
    match entry::decode(&record.payload) {
        Ok(entry) => Ok(Logged { seq: record.seq, at: record.at, trace: record.trace, entry }),
        Err(envelope::Error::Newer(version)) => {
            Err(Error::Newer { found: found_at(record), version })
        }
        Err(e @ (envelope::Error::Empty | envelope::Error::Undecodable(_))) => {
            Ok(undecodable(record, e.to_string()))
        }
    }
}

fn found_at(record: &Record) -> Found {
    Found { seq: record.seq, at: record.at, trace: record.trace }
}

fn undecodable(record: &Record, why: String) -> Logged {
    let entry = Entry::Undecodable { bytes: record.payload.to_vec(), why };
    Logged { seq: record.seq, at: record.at, trace: record.trace, entry }
}

fn gone(to: Seq) -> Logged {
    Logged { seq: to, at: Timestamp::default(), trace: None, entry: Entry::Gone }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robots_message_never_takes_an_id_of_the_services_own() {
        let integration = IntegrationId::parse("robot").unwrap();
        for (message, expected) in [
            ("msg+/A==", "robot:msg+/A=="),
            ("end", "robot:end"),
            ("card:fingerprint", "robot:msg:card:fingerprint"),
            ("link:signature", "robot:msg:link:signature"),
            ("end:1b4e28ba", "robot:msg:end:1b4e28ba"),
        ] {
            assert_eq!(robot_id(&integration, &MsgId::parse(message).unwrap()), expected);
        }
    }

    #[test]
    fn only_a_message_of_dingtalk_has_its_id() {
        let integration = IntegrationId::parse("robot").unwrap();
        for (header, expected) in [
            ("robot:msg+/A==", Some("msg+/A==")),
            ("robot:end", Some("end")),
            ("robot:end:1b4e28ba", None),
            ("robot:link:signature", None),
            ("robot:card:fingerprint", None),
            ("replay:7:1700000000000", None),
            ("other:msg", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(MSG_ID, header);
            let found = msg_id(&headers, &integration);
            assert_eq!(found.as_ref().map(MsgId::as_str), expected, "{header}");
        }
    }
}
