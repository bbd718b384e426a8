//! What cannot be done now because the database or a part of the broker is away.
//!
//! Waiting is a timer and a confirmed slot, so that the deliveries of a slot count crashes only. Where not
//! even a timer can be had the slot is left, and that delivery counts.

use std::time::Duration;

use anyhow::Context as _;

use super::Dispatch;
use crate::domain::debounce::{TimerKind, Token};
use crate::domain::id::Conversation;
use crate::domain::time::Timestamp;
use crate::io::nats::publish::PublishError;
use crate::io::nats::pull::Delivery;
use crate::io::timer::{Left, left_since};
use crate::io::{journal, log, nats};
use crate::protocol::token::{Slot, decode_slot, encode_token};
use crate::worker::driver::Disposition;
use crate::worker::lease::Held;

/// How long something that needs what is absent is left alone.
const LATER: Duration = Duration::from_secs(5);

/// Whether a run ended because the broker, or one of its streams, is not there or full. What it refuses for
/// another reason it may refuse for ever.
pub fn is_of_broker(error: &anyhow::Error) -> bool {
    let is_away = |error: &nats::Error| error.is_unavailable() || error.is_not_found();
    let is_for_now = |error: &PublishError| match error {
        PublishError::Failed(error) => is_away(error),
        PublishError::Full(_) | PublishError::BeingStored => true,
        PublishError::Conflict | PublishError::Occupied | PublishError::TooLarge => false,
    };
    error.downcast_ref().is_some_and(is_away)
        || error.downcast_ref().is_some_and(is_for_now)
        || matches!(error.downcast_ref(), Some(log::Error::Nats(error)) if is_away(error))
        || matches!(error.downcast_ref(), Some(journal::Error::Nats(error)) if is_away(error))
}

impl Dispatch {
    /// Gives the slot up for a timer after what is no crash; its error where that fails as well.
    pub(super) async fn put_off(
        &self,
        conversation: &Conversation,
        delivery: &Delivery,
        held: &Held,
        error: anyhow::Error,
    ) -> anyhow::Result<Disposition> {
        let Ok(slot) = decode_slot(&delivery.payload) else { return Err(error) };
        let is_armed = self.again(conversation, slot, delivery).await.is_ok();
        // By now somebody else may have the slot.
        if !is_armed || !held.lasts() || self.nats.ack_confirmed(delivery).await.is_err() {
            return Err(error);
        }
        let error = format!("{error:#}");
        tracing::warn!(%conversation, error, "a run is begun anew in a moment");
        Ok(Disposition::Settled)
    }

    /// Like [`Dispatch::later`]; what is left to a newer release stays left to it since when it was.
    async fn again(
        &self,
        conversation: &Conversation,
        slot: Slot,
        delivery: &Delivery,
    ) -> anyhow::Result<()> {
        let Some(since) = left_since(&delivery.headers) else {
            return self.later(conversation, slot).await;
        };
        let (at, token, purpose) = self.coming_back(slot);
        let left = Left { token: encode_token(&token).into(), since };
        self.timers.leave(conversation, &purpose, at, left).await.context("arm later")
    }

    /// Brings the conversation back in a moment, with what its slot said.
    pub(super) async fn later(
        &self,
        conversation: &Conversation,
        slot: Slot,
    ) -> anyhow::Result<()> {
        let (at, token, purpose) = self.coming_back(slot);
        self.timers.arm(conversation, &purpose, at, &token).await.context("arm later")
    }

    fn coming_back(&self, Slot { to, window }: Slot) -> (Timestamp, Token, String) {
        let at = self.context.clock.now().after(LATER);
        let token = Token { seq: to, kind: TimerKind::Now, window, refusals: 0 };
        (at, token, format!("{to}lt{}", at.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Seq;

    #[test]
    fn what_a_broker_cannot_do_for_now_is_told_from_what_it_never_will() {
        let answered = |code| nats::Error::Refused { code, description: String::new() };
        let (missing, refused) = (|| answered(10059), || answered(10003));
        let gone = || nats::Error::Unavailable("no answer in time".to_owned());
        for (error, expected) in [
            (anyhow::Error::new(gone()), true),
            (anyhow::Error::new(missing()), true),
            (anyhow::Error::new(refused()), false),
            (anyhow::Error::new(PublishError::Failed(missing())), true),
            (anyhow::Error::new(PublishError::Failed(refused())), false),
            (anyhow::Error::new(PublishError::Full("maximum bytes".to_owned())), true),
            (anyhow::Error::new(PublishError::TooLarge), false),
            (anyhow::Error::new(log::Error::Nats(gone())), true),
            (anyhow::Error::new(journal::Error::Nats(gone())), true),
            (anyhow::Error::new(journal::Error::AnswerGone(Seq(7))), false),
            (anyhow::anyhow!("something else"), false),
        ] {
            let error = error.context("enter the hand-off index");
            assert_eq!(is_of_broker(&error), expected, "{error:#}");
        }
    }
}
