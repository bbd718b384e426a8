//! A callback frame of Stream mode, taken like a callback in HTTP mode.
//!
//! The gateway's word is enough for who sent it. What can never be taken is acknowledged all the same
//! and counted: DingTalk would send it again for ever.

use serde_json::Value;
use tokio::time::Instant;

use super::Edge;
use super::accept::{self, Decision};
use super::repeat::Arrival;
use super::stream::Outcome;
use crate::domain::binding::Integration;
use crate::domain::entry::Entry;
use crate::io::log;
use crate::protocol::stream::Kind;

impl Edge {
    pub async fn take_frame(&self, integration: &Integration, kind: Kind, value: Value) -> Outcome {
        let arrival = Arrival::unsigned(Instant::now());
        let decided = match kind {
            Kind::Bot => accept::robot(integration, &(&value).into()),
            Kind::Card => accept::card(integration, &(&value).into()),
        };
        let decision = match decided {
            Ok(decision) => decision,
            Err(error) => {
                tracing::warn!(integration.id = %integration.id, %error, "a frame is malformed");
                self.count(Some(integration), "MALFORMED");
                return Outcome::Unreadable;
            }
        };
        let mut taken = self.carry(integration, kind, decision, arrival).await;
        if let Err(error @ log::Error::TooLarge { .. }) = &taken {
            tracing::warn!(integration.id = %integration.id, %error, "a frame is too large");
            self.count(Some(integration), "PAYLOAD_TOO_LARGE");
            if let Some(rest) = without_content(integration, kind, &value) {
                taken = self.carry(integration, kind, rest, arrival).await;
            }
        }
        match taken {
            Ok(response) => Outcome::Ack(response),
            Err(log::Error::TooLarge { .. }) => Outcome::Unreadable,
            Err(error) => {
                tracing::warn!(integration.id = %integration.id, %error, "a frame was not stored");
                self.count(Some(integration), "NOT_DURABLE");
                Outcome::NoAck
            }
        }
    }

    async fn carry(
        &self,
        integration: &Integration,
        kind: Kind,
        decision: Decision,
        arrival: Arrival,
    ) -> Result<Value, log::Error> {
        match kind {
            Kind::Bot => self.take(integration, decision, arrival).await.map(|_| Value::Null),
            Kind::Card => self.take_press(integration, decision, arrival).await,
        }
    }
}

/// Of a message that is too large, who wrote it and where: they are told, as of a kind that is not supported.
/// Nobody hears of the answer to a frame, as the sender of a callback does.
fn without_content(integration: &Integration, kind: Kind, value: &Value) -> Option<Decision> {
    let decision = match kind {
        Kind::Bot => accept::robot(integration, &value.into()).ok()?,
        Kind::Card => return None,
    };
    let Decision::Publish(mut publish) = decision else { return None };
    let Entry::Message(message) = &mut publish.entry else { return None };
    (message.parts, message.quote) = (vec![], None);
    Some(Decision::Publish(publish))
}
