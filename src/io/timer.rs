//! Timers: scheduled messages in the stream `DT_TIMER` that fire as tokens.
//!
//! A timer's subject serves one purpose and one time: arming the same subject again at another time
//! could lose it while the first one fires.

use async_nats::{HeaderMap, header};
use bytes::Bytes;
use serde_json::json;

use super::header::{KIND, TURN, turn};
use super::nats::publish::PublishError;
use super::nats::read::rfc3339;
use super::nats::{self, Nats};
use super::settled::{self, Queue};
use super::state;
use crate::domain::debounce::Token;
use crate::domain::id::{Conversation, Seq};
use crate::domain::time::Timestamp;
use crate::protocol::{subject, token};

pub const STREAM: &str = "DT_TIMER";

const QUEUE: Queue = Queue { stream: STREAM, consumer: "due", filter: "dt.due.>" };

/// The purpose of a timer that ends a wait, behind the sequence of the turn that waits.
pub const EXPIRY: &str = "x";

/// Whether the timer under this subject only ends a wait.
pub fn is_expiry(subject: &str) -> bool {
    let purpose = subject.strip_prefix("dt.timer.").and_then(|rest| rest.splitn(3, '.').nth(2));
    let word = purpose.map(|purpose| purpose.trim_start_matches(|c: char| c.is_ascii_digit()));
    word.is_some_and(|word| word.starts_with(EXPIRY))
}

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
        let headers = schedule(conversation, at, Some(token.seq));
        self.nats.publish(&subject, headers, payload).await.map(|_| ())
    }

    /// Arms a timer for what is left to a newer release.
    pub async fn leave(
        &self,
        conversation: &Conversation,
        purpose: &str,
        at: Timestamp,
        left: Left,
    ) -> Result<(), PublishError> {
        let seq = token::decode_token(&left.token).ok().map(|token| token.seq);
        let mut headers = schedule(conversation, at, seq);
        headers.insert(LEFT_SINCE, left.since.0.to_string());
        let subject = subject::timer(conversation, purpose);
        self.nats.publish(&subject, headers, left.token).await.map(|_| ())
    }

    /// Takes back the timers that would end a wait which is over.
    pub async fn disarm_expiry(&self, conversation: &Conversation) -> Result<(), nats::Error> {
        let all = subject::timer(conversation, "*");
        for armed in state::subjects(&self.nats, STREAM, &all).await?.into_keys() {
            if is_expiry(&armed) {
                self.nats.purge(STREAM, &json!({ "filter": armed })).await?;
            }
        }
        Ok(())
    }

    /// Takes out tokens that are acknowledged already.
    pub async fn clear(&self) -> Result<usize, nats::Error> {
        settled::clear(&self.nats, QUEUE).await
    }

    /// Puts a token into the due stage's queue without a timer.
    pub async fn fire(
        &self,
        conversation: &Conversation,
        token: &Token,
    ) -> Result<(), PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(KIND, "token");
        headers.insert(TURN, turn(conversation, token.seq));
        let payload = token::encode_token(token).into();
        self.nats.publish(&subject::due(conversation), headers, payload).await.map(|_| ())
    }
}

/// The headers that make a message fire at `at`. The broker hands all others on to the token; `seq` is
/// the entry it is for, where that can be read.
fn schedule(conversation: &Conversation, at: Timestamp, seq: Option<Seq>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_SCHEDULE, format!("@at {}", rfc3339(at)));
    headers.insert(header::NATS_SCHEDULE_TARGET, subject::due(conversation));
    headers.insert(KIND, "timer");
    if let Some(seq) = seq {
        headers.insert(TURN, turn(conversation, seq));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_wait_is_an_expiry() {
        let conversation = "xr.abcdefghijklmnopqrstuvwx23";
        for (purpose, expected) in
            [("7x", true), ("17xt1700", true), ("7", false), ("7r2t1700", false), ("7b1t8", false)]
        {
            let subject = format!("dt.timer.{conversation}.{purpose}");
            assert_eq!(is_expiry(&subject), expected, "{purpose}");
        }
        assert!(!is_expiry(&format!("dt.due.{conversation}")));
    }
}
