//! Closing the cards of questions that are open no more.
//!
//! A courtesy that nothing waits for: it is tried a few times beside what goes on, and says nothing but
//! what is on record, so that doing it twice or late does no harm. A card that stays open is closed when
//! somebody presses it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::context::Context;
use crate::domain::binding::Integration;
use crate::domain::id::TurnId;
use crate::io::dingtalk::failure::SendClass;
use crate::io::dingtalk::send::Sender;

/// Cards being closed at once; what is over it stays open until it is pressed.
const ABREAST_MAX: usize = 256;
/// Before each attempt.
const WAITS: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
const WAIT_MAX: Duration = Duration::from_mins(1);

/// Cheap to clone; all clones share one limit.
#[derive(Clone)]
pub struct Cards {
    context: Context,
    sender: Sender,
    permits: Arc<Semaphore>,
}

impl Cards {
    pub fn new(context: &Context, sender: &Sender) -> Self {
        let permits = Arc::new(Semaphore::new(ABREAST_MAX));
        Self { context: context.clone(), sender: sender.clone(), permits }
    }

    /// Disables the buttons of the card that `turn` asked by. Without a `result` it goes on saying what
    /// it said last.
    pub fn close(&self, integration: &Integration, turn: TurnId, result: Option<String>) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            self.context.metrics.limit_breached("card_closings");
            return;
        };
        let (cards, integration) = (self.clone(), integration.clone());
        self.context.spawn(async move {
            let closed = cards.try_to_close(&integration, &turn, result.as_deref());
            // A process that ends leaves the card to whoever presses it.
            cards.context.stop().run_until_cancelled(closed).await;
            drop(permit);
        });
    }

    async fn try_to_close(&self, integration: &Integration, turn: &TurnId, result: Option<&str>) {
        let mut reason = "";
        let mut wait_max = Duration::ZERO;
        for wait in WAITS {
            sleep(wait.max(wait_max)).await;
            let closed = self.sender.close(integration, turn, integration.language, result).await;
            let Err(error) = closed else { return };
            wait_max = match error.class {
                SendClass::Permanent | SendClass::Quota => {
                    // Perhaps it was asked by a message.
                    tracing::debug!(turn.id = %turn, reason = error.reason.as_str(), "no card to close");
                    return;
                }
                SendClass::Retryable { after } => after.unwrap_or_default().min(WAIT_MAX),
                SendClass::Unknown => Duration::ZERO,
                SendClass::Wait(wait) => wait.min(WAIT_MAX),
            };
            reason = error.reason.as_str();
        }
        tracing::warn!(turn.id = %turn, reason, "a card was not closed");
    }
}
