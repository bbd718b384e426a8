//! What is said back to the broker about a delivery.
//!
//! A plain ack may be lost, and the message comes again; a confirmed one is done when this returns.
//! Handing back is the one NAK there is, without a delay, while a process drains.

use bytes::Bytes;

use super::pull::Delivery;
use super::{Error, Nats};

impl Nats {
    /// Acknowledges without waiting: for work that may harmlessly be done twice.
    #[expect(
        clippy::disallowed_methods,
        reason = "a lost ack is a redelivery, which is harmless here"
    )]
    pub async fn ack(&self, delivery: &Delivery) {
        let sent = self.client.publish(delivery.reply.clone(), Bytes::from_static(b"+ACK")).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "an ack was not sent");
        }
    }

    /// Acknowledges and waits until the broker has taken it.
    pub async fn ack_confirmed(&self, delivery: &Delivery) -> Result<(), Error> {
        self.settle(delivery, b"+ACK").await
    }

    /// Asks for another `ack_wait`, and waits until the broker has granted it.
    pub async fn renew(&self, delivery: &Delivery) -> Result<(), Error> {
        self.settle(delivery, b"+WPI").await
    }

    /// Hands a message back at once: only when the process drains.
    pub async fn hand_back(&self, delivery: &Delivery) -> Result<(), Error> {
        self.settle(delivery, b"-NAK").await
    }

    async fn settle(&self, delivery: &Delivery, word: &'static [u8]) -> Result<(), Error> {
        self.ask(delivery.reply.clone(), None, Bytes::from_static(word)).await.map(|_| ())
    }
}
