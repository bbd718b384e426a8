//! Timers: scheduled messages in the stream `DT_TIMER` that fire as tokens.
//!
//! A timer's subject serves one purpose and one time: arming the same subject again at another time
//! could lose it while the first one fires.

use async_nats::{HeaderMap, header};
use bytes::Bytes;

use super::nats::Nats;
use super::nats::publish::PublishError;
use super::nats::read::rfc3339;
use crate::domain::debounce::Token;
use crate::domain::id::Conversation;
use crate::domain::time::Timestamp;
use crate::protocol::{subject, token};

pub const STREAM: &str = "DT_TIMER";

/// The header of tokens and slots that were left to a newer release: since when.
pub const LEFT_SINCE: &str = "Dt-Left-Since";

/// Since when a token or slot has been left to a newer release; `None` where it never was.
pub fn left_since(headers: &HeaderMap) -> Option<Timestamp> {
    headers.get(LEFT_SINCE)?.as_str().parse().ok().map(Timestamp)
}

/// What is left to a newer release: a token, perhaps one that only that release can read.
pub struct Left {
    pub token: Bytes,
    pub since: Timestamp,
}

#[derive(Clone)]
pub struct Timers {
    nats: Nats,
}

impl Timers {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone() }
    }

    /// Arms a timer under `purpose`; durable when this returns. A time in the past fires at once.
    pub async fn arm(
        &self,
        conversation: &Conversation,
        purpose: &str,
        at: Timestamp,
        token: &Token,
    ) -> Result<(), PublishError> {
        let payload = token::encode_token(token).into();
        let subject = subject::timer(conversation, purpose);
        self.nats.publish(&subject, schedule(conversation, at), payload).await.map(|_| ())
    }

    /// Arms a timer for what is left to a newer release.
    pub async fn leave(
        &self,
        conversation: &Conversation,
        purpose: &str,
        at: Timestamp,
        left: Left,
    ) -> Result<(), PublishError> {
        let mut headers = schedule(conversation, at);
        headers.insert(LEFT_SINCE, left.since.0.to_string());
        let subject = subject::timer(conversation, purpose);
        self.nats.publish(&subject, headers, left.token).await.map(|_| ())
    }

    /// Puts a token into the due stage's queue without a timer.
    pub async fn fire(
        &self,
        conversation: &Conversation,
        token: &Token,
    ) -> Result<(), PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(super::log::KIND, "token");
        let payload = token::encode_token(token).into();
        self.nats.publish(&subject::due(conversation), headers, payload).await.map(|_| ())
    }
}

/// The headers that make a message fire at `at`. The broker hands all others on to the token.
fn schedule(conversation: &Conversation, at: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_SCHEDULE, format!("@at {}", rfc3339(at)));
    headers.insert(header::NATS_SCHEDULE_TARGET, subject::due(conversation));
    headers.insert(super::log::KIND, "timer");
    headers
}
