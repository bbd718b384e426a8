//! The light acknowledgement of a message that waits for the run before it.
//!
//! Said at most once for a message, and perhaps never: it is a courtesy, so nothing waits for it and a
//! slow DingTalk holds up no stage.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Parts, dispatch};
use crate::context::Context;
use crate::domain::binding::{BusyPolicy, QueuedNotice};
use crate::domain::entry::Entry;
use crate::domain::id::{Conversation, Seq};
use crate::domain::plan;
use crate::domain::reply::{Limits, segments};
use crate::domain::status::{is_waited_for, taken};
use crate::domain::steer::{joining, offer};
use crate::domain::turn::OpenTurn;
use crate::domain::words::Word;
use crate::io::dingtalk::send::Sender;
use crate::io::journal::Journal;
use crate::io::log::{Log, PageLimits};
use crate::io::routing::Routing;
use crate::io::runtime::can_steer;

/// Notices under way at once; what is over it is not said.
const ABREAST_MAX: usize = 64;
const LIMIT: Duration = Duration::from_secs(5);

/// Cheap to clone; all clones share one limit.
#[derive(Clone)]
pub struct QueuedNotices {
    context: Context,
    routing: Routing,
    journal: Journal,
    log: Log,
    sender: Sender,
    plan: plan::Limits,
    page: PageLimits,
    permits: Arc<Semaphore>,
}

impl QueuedNotices {
    pub fn new(context: &Context, parts: &Parts, config: &dispatch::Config) -> Self {
        Self {
            context: context.clone(),
            routing: parts.routing.clone(),
            journal: Journal::new(&parts.nats),
            log: parts.log.clone(),
            sender: parts.sender.clone(),
            plan: config.plan,
            page: config.page,
            permits: Arc::new(Semaphore::new(ABREAST_MAX)),
        }
    }

    /// The message at `seq` found the slot occupied, or a turn open before it.
    pub fn offer(&self, conversation: &Conversation, seq: Seq) {
        let trigger = self.routing.trigger_of(&conversation.integration);
        if trigger.is_none_or(|trigger| trigger.queued_notice == QueuedNotice::None) {
            return;
        }
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            self.context.metrics.limit_breached("queued_notices");
            return;
        };
        let (notices, conversation) = (self.clone(), conversation.clone());
        self.context.spawn(async move {
            match timeout(LIMIT, notices.tell(&conversation, seq)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(error = %format!("{error:#}"), "a queued notice was not said");
                }
                Err(_) => tracing::debug!("a queued notice took too long"),
            }
            drop(permit);
        });
    }

    async fn tell(&self, conversation: &Conversation, seq: Seq) -> anyhow::Result<()> {
        let Some(trigger) = self.routing.trigger_of(&conversation.integration) else {
            return Ok(());
        };
        let head = self.journal.last(conversation).await.context("read journal")?.head;
        // The run in flight may be this message's own, or just be ending.
        let now = self.context.clock.now();
        let is_running = head.turn.as_ref().is_some_and(|turn| is_waited_for(turn, now));
        if !is_running || seq <= taken(&head) {
            return Ok(());
        }
        if let Some(turn) = &head.turn
            && self.joins(conversation, turn, seq, trigger.busy_policy).await?
        {
            return Ok(());
        }
        let before = Seq(seq.0.saturating_sub(1));
        let found = self.log.first_after(conversation, before).await.context("read entry")?;
        let Some(Entry::Message(message)) = found.map(|logged| logged.entry) else {
            return Ok(());
        };
        let integration = self.routing.integration(&conversation.integration).await;
        let Some(integration) = integration.context("read integration")? else { return Ok(()) };
        if !trigger.allows(&message.place, &message.sender) {
            return Ok(());
        }
        match trigger.queued_notice {
            QueuedNotice::None => {}
            QueuedNotice::Reaction => {
                let reacted =
                    self.sender.react(&integration, &message.origin(), &message.msg_id).await;
                reacted.context("react")?;
            }
            QueuedNotice::Text => {
                let text = Word::Queued.text(integration.language);
                let said = segments(text, Limits::default(), integration.language, None);
                for segment in &said.list {
                    let sent = self.sender.send(&integration, &message.origin(), segment).await;
                    sent.context("say that it waits")?;
                }
            }
        }
        Ok(())
    }

    /// Whether the message at `seq` is answered with the open turn, and so waits for nothing.
    async fn joins(
        &self,
        conversation: &Conversation,
        turn: &OpenTurn,
        seq: Seq,
        policy: BusyPolicy,
    ) -> anyhow::Result<bool> {
        let Some(asked) = turn.asked.as_ref().filter(|_| turn.may_grow()) else {
            return Ok(false);
        };
        let may_join = match policy {
            BusyPolicy::Queue => false,
            BusyPolicy::Interrupt => true,
            BusyPolicy::Steer => {
                let runtime = self.routing.runtime(&asked.expert).await.context("read runtime")?;
                runtime.is_some_and(|runtime| can_steer(&runtime.kind))
            }
        };
        if !may_join {
            return Ok(false);
        }
        let before = Seq(turn.first.0.saturating_sub(1));
        let whole = PageLimits { entries_max: usize::MAX, bytes_max: usize::MAX };
        let entries = self.log.glance(conversation, before, turn.last, whole).await;
        let entries = entries.context("read the open turn's entries")?;
        let newer = self.log.glance(conversation, turn.last, seq, self.page).await;
        let newer = newer.context("read newer messages")?;
        let joining = &newer[..joining(&entries, &newer, self.plan)];
        let taken_in = if policy == BusyPolicy::Steer { offer(joining, Seq(0)) } else { joining };
        Ok(taken_in.last().is_some_and(|last| last.seq >= seq))
    }
}
