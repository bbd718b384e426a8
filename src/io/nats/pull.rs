//! Taking messages from a consumer, never more than there are permits to work on them.
//!
//! One pull request is outstanding at a time; it asks for as many messages as there are free permits.
//! The broker's heartbeats tell a slow consumer from a lost request.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{Error, Nats};
use crate::domain::id::Seq;
use crate::domain::time::Timestamp;

const EXPIRES: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Two heartbeats may be late before the request counts as lost.
const SILENCE_MAX: Duration = Duration::from_millis(2500);

/// How long handing back may take at the end.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// A message in somebody's hands until it is settled or its `ack_wait` is over.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub subject: String,
    pub payload: Bytes,
    pub headers: async_nats::HeaderMap,
    pub reply: String,
    pub seq: Seq,
    /// How often it was handed out, this time included.
    pub deliveries: u64,
    /// When the broker stored it.
    pub at: Timestamp,
    pub taken: Instant,
}

pub struct Puller {
    nats: Nats,
    stream: &'static str,
    consumer: &'static str,
    inbox: Subscriber,
    inbox_subject: String,
    outstanding: usize,
    requested: u64,
}

impl Puller {
    pub async fn new(
        nats: &Nats,
        stream: &'static str,
        consumer: &'static str,
    ) -> Result<Self, Error> {
        let inbox_subject = nats.client().new_inbox();
        let inbox = nats
            .client()
            .subscribe(format!("{inbox_subject}.*"))
            .await
            .map_err(|e| Error::Unavailable(e.to_string()))?;
        let nats = nats.clone();
        Ok(Self { nats, stream, consumer, inbox, inbox_subject, outstanding: 0, requested: 0 })
    }

    pub fn consumer(&self) -> &'static str {
        self.consumer
    }

    /// The next message; asks for `free` more when none is on its way. Cancel safe: what was received
    /// is either returned or still in the subscription.
    pub async fn next(&mut self, free: usize) -> Result<Delivery, Error> {
        loop {
            if self.outstanding == 0 {
                self.request(free).await?;
            }
            let Ok(received) = timeout(SILENCE_MAX, self.inbox.next()).await else {
                tracing::debug!(consumer = self.consumer, "pull request lost, asking again");
                self.outstanding = 0;
                continue;
            };
            let message = received
                .ok_or_else(|| Error::Unavailable("the connection is closed".to_owned()))?;
            match message.status {
                None => {
                    self.outstanding = self.outstanding.saturating_sub(1);
                    return delivery(message);
                }
                Some(status) => self.note(status, &message).await,
            }
        }
    }

    /// Takes back the request that is outstanding, and hands back what the broker sent for it: nobody
    /// would work on it here, and it would wait for its `ack_wait`.
    pub async fn leave(mut self) {
        if let Err(error) = self.inbox.drain().await {
            tracing::debug!(consumer = self.consumer, %error, "could not stop taking");
            return;
        }
        let hand_back = async {
            while let Some(message) = self.inbox.next().await {
                if message.status.is_some() {
                    continue;
                }
                let handed_back = match delivery(message) {
                    Ok(delivery) => self.nats.hand_back(&delivery).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = handed_back {
                    tracing::debug!(consumer = self.consumer, %error, "could not hand back");
                }
            }
        };
        if timeout(LEAVE_MAX, hand_back).await.is_err() {
            tracing::debug!(consumer = self.consumer, "what is left comes back by itself");
        }
    }

    async fn request(&mut self, free: usize) -> Result<(), Error> {
        self.requested += 1;
        self.outstanding = free.max(1);
        let question = json!({
            "batch": self.outstanding,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer);
        let reply = format!("{}.{}", self.inbox_subject, self.requested);
        self.nats
            .client()
            .publish_with_reply(subject, reply, question.to_string().into())
            .await
            .map_err(|e| Error::Unavailable(e.to_string()))
    }

    async fn note(&mut self, status: StatusCode, message: &Message) {
        // A word about an older request says nothing of the one that is outstanding.
        let current = format!("{}.{}", self.inbox_subject, self.requested);
        if message.subject.as_str() != current || status == StatusCode::IDLE_HEARTBEAT {
            return;
        }
        self.outstanding = 0;
        if status != StatusCode::TIMEOUT {
            let description = message.description.as_deref().unwrap_or_default();
            tracing::debug!(consumer = self.consumer, %status, description, "pull request ended");
            // The consumer is away or moves to another leader.
            sleep(Duration::from_millis(250)).await;
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn delivery(message: Message) -> Result<Delivery, Error> {
    let reply = message.reply.map(|subject| subject.to_string()).unwrap_or_default();
    let unreadable = || Error::Unreadable(format!("delivery with reply subject {reply:?}"));
    let tokens: Vec<_> = reply.split('.').collect();
    // $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, in newer
    // servers with <domain>.<account> after ACK and a token at the end.
    let from = match tokens.len() {
        9 => 4,
        11.. => 6,
        _ => return Err(unreadable()),
    };
    let number = |index: usize| {
        tokens.get(from + index).and_then(|token| token.parse::<u64>().ok()).ok_or_else(unreadable)
    };
    let (deliveries, seq, stored_ns) = (number(0)?, number(1)?, number(3)?);
    Ok(Delivery {
        subject: message.subject.to_string(),
        payload: message.payload,
        headers: message.headers.unwrap_or_default(),
        seq: Seq(seq),
        deliveries,
        at: Timestamp(i64::try_from(stored_ns / 1_000_000).unwrap_or(i64::MAX)),
        taken: Instant::now(),
        reply,
    })
}
