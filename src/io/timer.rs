//! Timers: scheduled messages in the stream `DT_TIMER` that fire as tokens.
//!
//! A timer's subject serves one purpose and one time: arming the same subject again at another time
//! could lose it while the first one fires.

use async_nats::{HeaderMap, header};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::nats::Nats;
use super::nats::publish::PublishError;
use crate::domain::debounce::Token;
use crate::domain::id::Conversation;
use crate::domain::time::Timestamp;
use crate::protocol::{subject, token};

pub const STREAM: &str = "DT_TIMER";

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
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_SCHEDULE, format!("@at {}", rfc3339(at)));
        headers.insert(header::NATS_SCHEDULE_TARGET, subject::due(conversation));
        headers.insert(super::log::KIND, "timer");
        let subject = subject::timer(conversation, purpose);
        let payload = token::encode_token(token).into();
        self.nats.publish(&subject, headers, payload).await.map(|_| ())
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

/// A time the broker's scheduler reads; one that is out of range fires at once.
fn rfc3339(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}
