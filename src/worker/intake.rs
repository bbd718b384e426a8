//! The intake stage: every entry of the log gets a timer or a slot, whatever it holds.
//!
//! It buries nothing, and decodes only a question to the service itself, which it answers, and what waits
//! for quiet with a message, which may be a full turn with it.

mod answering;

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;

use super::driver::Disposition;
use super::queued::QueuedNotices;
use crate::context::Context;
use crate::domain::binding::BusyPolicy;
use crate::domain::debounce::{self, Intake, TimerKind, Token};
use crate::domain::entry::EntryKind;
use crate::domain::id::{Conversation, Seq, TurnId};
use crate::domain::plan::{self, filled};
use crate::domain::time::Timestamp;
use crate::io::dingtalk::send::Sender;
use crate::io::journal::{self, Journal};
use crate::io::log::{self, Log, PageLimits};
use crate::io::nats::Nats;
use crate::io::nats::pull::Delivery;
use crate::io::routing::Routing;
use crate::io::slot::{Offered, Slots};
use crate::io::store::messages::Trace;
use crate::io::store::writer::{Row, Writer};
use crate::io::timer::Timers;
use crate::protocol::subject;
use crate::protocol::token::Slot;

#[derive(Clone)]
pub struct IntakeStage {
    pub context: Context,
    pub nats: Nats,
    pub slots: Slots,
    pub timers: Timers,
    pub log: Log,
    pub journal: Journal,
    pub routing: Routing,
    pub sender: Sender,
    pub notices: QueuedNotices,
    pub writer: Writer,
    pub plan: plan::Limits,
    pub page: PageLimits,
}

/// When the sender hears that the message waits, if it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Now,
    /// Before, or by its window's timer, or not at all.
    Later,
}

impl IntakeStage {
    pub async fn handle(self, delivery: Delivery) -> anyhow::Result<Disposition> {
        let Some(conversation) = subject::conversation_of(&delivery.subject) else {
            return Ok(Disposition::foreign(&delivery));
        };
        let kind = log::kind(&delivery.headers);
        let window = self.window(&conversation, delivery.at);
        let token = Token { seq: delivery.seq, kind: TimerKind::Window, window, refusals: 0 };
        match debounce::intake(kind, window) {
            Intake::ArmWindow => {
                if kind == EntryKind::Message {
                    self.project(&conversation, &delivery, None);
                }
                let at = delivery.at.after(window);
                let purpose = delivery.seq.to_string();
                self.timers.arm(&conversation, &purpose, at, &token).await.context("arm window")?;
                if kind == EntryKind::Message
                    && let Some(seq) = self.filled(&conversation, delivery.seq).await?
                {
                    self.offer(&conversation, &Token { seq, ..token }, Told::Later).await?;
                }
            }
            Intake::OfferSlot => {
                let is_new = kind == EntryKind::Message && delivery.deliveries <= 1;
                let told = if is_new { Told::Now } else { Told::Later };
                let offered = self.offer(&conversation, &token, told).await?;
                if offered == Offered::Occupied && kind == EntryKind::Message {
                    self.project(&conversation, &delivery, None);
                }
            }
        }
        match kind {
            EntryKind::Control => {
                self.nats.hint(subject::control(&conversation), Bytes::new()).await;
                // Nobody knows the id of a command later; its turn is its own.
                let turn = TurnId { conversation: conversation.clone(), last: delivery.seq };
                self.project(&conversation, &delivery, Some(turn));
            }
            EntryKind::Query => {
                self.project(&conversation, &delivery, None);
                return self.answer(&conversation, &delivery).await;
            }
            // A run in flight may have to take it in.
            EntryKind::Message if self.may_join(&conversation) => {
                self.nats.hint(subject::control(&conversation), Bytes::new()).await;
            }
            EntryKind::Message | EntryKind::Action | EntryKind::Replay => {}
        }
        Ok(Disposition::Done)
    }

    /// The end of the turn that the message at `seq` fills: that one is due at once, and what is behind it
    /// has its own timer. Behind an open turn its run looks at what follows.
    async fn filled(&self, conversation: &Conversation, seq: Seq) -> anyhow::Result<Option<Seq>> {
        let head = match self.journal.glance(conversation).await {
            Ok(last) => last.head,
            // The timer is left to that release.
            Err(journal::Error::Newer(_)) => return Ok(None),
            Err(e) => return Err(e).context("read journal"),
        };
        if head.turn.is_some() || seq <= head.position {
            return Ok(None);
        }
        let page = self.log.glance(conversation, head.position, seq, self.page).await;
        let page = page.context("read what waits")?;
        // Of more than a page another message has filled the first turn.
        let is_whole = page.last().is_some_and(|last| last.seq == seq);
        Ok(if is_whole { filled(&page, self.plan) } else { None })
    }

    /// Occupied: the run in flight looks at what follows; the timer is there if it dies.
    async fn offer(
        &self,
        conversation: &Conversation,
        token: &Token,
        told: Told,
    ) -> anyhow::Result<Offered> {
        let slot = Slot { to: token.seq, window: token.window };
        let offered = match told {
            Told::Now => self.slots.offer_first(conversation, &slot).await,
            Told::Later => self.slots.offer(conversation, &slot).await,
        };
        let offered = offered.context("offer slot")?;
        if offered == Offered::Occupied {
            if told == Told::Now {
                self.notices.offer(conversation, token.seq);
            }
            let at = self.context.clock.now().after(Duration::from_secs(1));
            let again = Token { kind: TimerKind::Now, ..*token };
            let purpose = format!("{}b0t{}", token.seq, at.0);
            self.timers.arm(conversation, &purpose, at, &again).await.context("arm now")?;
        }
        Ok(offered)
    }

    fn may_join(&self, conversation: &Conversation) -> bool {
        let trigger = self.routing.trigger_of(&conversation.integration);
        trigger.is_some_and(|trigger| trigger.busy_policy != BusyPolicy::Queue)
    }

    /// A message that waits can be traced before its turn starts; one that does not is projected then.
    /// `turn` where it is known already.
    fn project(&self, conversation: &Conversation, delivery: &Delivery, turn: Option<TurnId>) {
        let Some(msg_id) = log::msg_id(&delivery.headers, &conversation.integration) else {
            return;
        };
        self.writer.offer(Row::Message(Trace {
            msg_id,
            conversation: conversation.clone(),
            seq: delivery.seq,
            turn,
            at: delivery.at,
        }));
    }

    /// Without a binding the entry is looked at at once, so that its sender is told.
    fn window(&self, conversation: &Conversation, at: Timestamp) -> Duration {
        let trigger = self.routing.trigger_of(&conversation.integration);
        trigger.map_or(Duration::ZERO, |trigger| trigger.window_at(at))
    }
}
