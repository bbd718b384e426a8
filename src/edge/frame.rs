//! A callback frame of Stream mode, taken like a callback in HTTP mode.
//!
//! The gateway's word is enough for who sent it. What can never be taken is acknowledged all the same
//! and counted: DingTalk would send it again for ever.

use serde_json::Value;
use tokio::time::Instant;

use super::Edge;
use super::accept;
use super::repeat::Arrival;
use super::stream::Outcome;
use crate::domain::binding::Integration;
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
        let taken = match kind {
            Kind::Bot => self.take(integration, decision, arrival).await.map(|_| Value::Null),
            Kind::Card => self.take_press(integration, decision, arrival).await,
        };
        match taken {
            Ok(response) => Outcome::Ack(response),
            Err(error @ log::Error::TooLarge { .. }) => {
                tracing::warn!(integration.id = %integration.id, %error, "a frame is too large");
                self.count(Some(integration), "PAYLOAD_TOO_LARGE");
                Outcome::Unreadable
            }
            Err(error) => {
                tracing::warn!(integration.id = %integration.id, %error, "a frame was not stored");
                self.count(Some(integration), "NOT_DURABLE");
                Outcome::NoAck
            }
        }
    }
}
