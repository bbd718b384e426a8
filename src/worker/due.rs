//! The due stage: a fired timer is a hint; journal and log decide whether its version is due.

use anyhow::Context as _;

use super::driver::Disposition;
use super::queued::QueuedNotices;
use crate::context::Context;
use crate::domain::debounce::{self, Due, TimerKind, Token, View};
use crate::domain::id::Conversation;
use crate::io::journal::Journal;
use crate::io::log::{self, Log};
use crate::io::nats::pull::Delivery;
use crate::io::slot::{Offered, Slots};
use crate::io::timer::Timers;
use crate::protocol::envelope;
use crate::protocol::subject;
use crate::protocol::token::{Slot, decode_token};

/// How long a token of a newer release is left to that release before it is asked again.
const NEWER_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

#[derive(Clone)]
pub struct DueStage {
    pub context: Context,
    pub log: Log,
    pub journal: Journal,
    pub slots: Slots,
    pub timers: Timers,
    pub notices: QueuedNotices,
}

impl DueStage {
    pub async fn handle(self, delivery: Delivery) -> anyhow::Result<Disposition> {
        let Some(conversation) = subject::conversation_of(&delivery.subject) else {
            return Ok(Disposition::foreign(&delivery));
        };
        let token = match decode_token(&delivery.payload) {
            Ok(token) => token,
            Err(envelope::Error::Newer(_)) => return self.leave(&conversation, &delivery).await,
            Err(error) => {
                // It held no person's words: the log has them, and the sweep finds what is stranded.
                tracing::error!(%error, subject = delivery.subject, "a token cannot be read");
                return Ok(Disposition::Done);
            }
        };
        let view = self.view(&conversation, &token).await?;
        match debounce::due(&token, &view) {
            Due::Done | Due::Superseded => {}
            Due::Offer => self.offer(&conversation, &token, &view).await?,
        }
        Ok(Disposition::Done)
    }

    async fn view(&self, conversation: &Conversation, token: &Token) -> anyhow::Result<View> {
        let last = self.journal.last(conversation).await.context("read journal")?;
        let now = self.context.clock.now();
        let taken = last.head.turn.as_ref().map_or(last.head.position, |turn| turn.last);
        let mut view = View {
            position: last.head.position,
            newest: token.seq,
            first_unfinished_at: None,
            now,
        };
        // Only a window asks whether it was superseded.
        if token.kind == TimerKind::Window && token.seq > view.position {
            let newest = self.log.newest(conversation).await.context("read newest")?;
            view.newest = newest.map_or(token.seq, |found| found.seq);
            if view.newest > token.seq {
                view.first_unfinished_at = match self.log.first_after(conversation, taken).await {
                    Ok(first) => first.map(|logged| logged.at),
                    // A newer release reads it, and a newer version of ours brings it there.
                    Err(log::Error::Newer { .. }) => None,
                    Err(e) => return Err(e).context("read the first unfinished entry"),
                };
            }
        }
        Ok(view)
    }

    async fn offer(
        &self,
        conversation: &Conversation,
        token: &Token,
        view: &View,
    ) -> anyhow::Result<()> {
        let slot = Slot { to: token.seq, window: token.window };
        if self.slots.offer(conversation, &slot).await.context("offer slot")? == Offered::Taken {
            return Ok(());
        }
        let Some(wait) = debounce::refused(token, view.newest) else { return Ok(()) };
        if token.kind == TimerKind::Window {
            self.notices.offer(conversation, token.seq);
        }
        let refusals = token.refusals + 1;
        let again = Token { kind: TimerKind::Now, refusals, ..*token };
        let at = view.now.after(wait);
        let purpose = format!("{}b{refusals}t{}", token.seq, at.0);
        self.timers.arm(conversation, &purpose, at, &again).await.context("arm again")
    }

    /// The bytes stay as they are: only the release that wrote them knows what they say.
    async fn leave(
        &self,
        conversation: &Conversation,
        delivery: &Delivery,
    ) -> anyhow::Result<Disposition> {
        let at = self.context.clock.now().after(NEWER_WAIT);
        let purpose = format!("{}n", delivery.seq);
        let bytes = delivery.payload.clone();
        self.timers.arm_bytes(conversation, &purpose, at, bytes).await.context("leave token")?;
        Ok(Disposition::Done)
    }
}
