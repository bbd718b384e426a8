//! What a newer release wrote and this one cannot read: left to that release, and in the end buried.
//!
//! Two releases run side by side while a fleet is upgraded. A conversation that this one cannot read
//! comes back in a moment, perhaps to a worker that can; order is kept, because nothing of it is done
//! before. The time since it was left first goes with its timers, tokens and slots. Where no worker of
//! the newer release came for it within `DT_NEWER_MAX_AGE`, as after a roll-back, its bytes become a dead
//! letter, and the conversation goes on. A journal that no release can read is not left to any.

use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Dispatch;
use super::turning::Turning;
use crate::domain::dead::DeadLetter;
use crate::domain::debounce::{TimerKind, Token};
use crate::domain::entry::{Entry, Logged};
use crate::domain::id::{Conversation, Seq, TurnId};
use crate::domain::reason::Reason;
use crate::domain::turn::failed::FailedAttempts;
use crate::domain::turn::{Head, OpenTurn, Phase, Step};
use crate::io::journal::{self, Last};
use crate::io::log::{self, PageLimits};
use crate::io::nats::pull::Delivery;
use crate::io::timer::{Left, left_since};
use crate::protocol::record::Record;
use crate::protocol::token::{decode_slot, encode_token};
use crate::telemetry::metrics::{self, Stage};
use crate::worker::driver::Disposition;
use crate::worker::run::{Patience, Run, Stopped};

/// How long a newer release has before this one looks again.
pub const EVERY: Duration = Duration::from_secs(5);
pub const WHY: &str = "a newer release wrote it, and no worker of that release came for it";

/// Whether a run ended because a record is of a newer release.
pub fn is_newer(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(log::Error::Newer { .. }))
        || matches!(error.downcast_ref(), Some(journal::Error::Newer(_)))
}

impl Dispatch {
    pub(super) fn patience(&self, delivery: &Delivery) -> Patience {
        let now = self.context.clock.now();
        match left_since(&delivery.headers) {
            Some(since) if now.since(since) > self.config.newer_age_max => Patience::IsOver,
            Some(_) | None => Patience::Lasts,
        }
    }

    /// Up to its newest entry: whoever takes it may read all of it.
    pub(super) async fn leave(
        &self,
        conversation: &Conversation,
        delivery: &Delivery,
    ) -> anyhow::Result<Disposition> {
        let newest = self.log.newest(conversation).await.context("read newest")?;
        if let Some(found) = newest {
            let now = self.context.clock.now();
            let at = now.after(EVERY);
            let window = match decode_slot(&delivery.payload) {
                Ok(slot) => slot.window,
                Err(_) => {
                    let trigger = self.routing.trigger_of(&conversation.integration);
                    trigger.map_or(Duration::ZERO, |trigger| trigger.window_at(found.at))
                }
            };
            let token = Token { seq: found.seq, kind: TimerKind::Now, window, refusals: 0 };
            let purpose = format!("{}lt{}", found.seq, at.0);
            let since = left_since(&delivery.headers).unwrap_or(now);
            let left = Left { token: encode_token(&token).into(), since };
            let left = self.timers.leave(conversation, &purpose, at, left).await;
            left.context("leave to a newer release")?;
        }
        self.nats.ack_confirmed(delivery).await.context("acknowledge slot")?;
        let stage = Stage { stage: "dispatch" };
        self.context.metrics.newer_left.get_or_create(&stage).inc();
        tracing::info!(conversation = %conversation, "left to a newer release");
        Ok(Disposition::Settled)
    }

    /// The entries after `position`. Past all patience, what only a newer release could read ends the
    /// page as [`Entry::Undecodable`], to be buried like any other.
    pub(super) async fn page(
        &self,
        run: &Run,
        position: Seq,
        to: Seq,
    ) -> Result<Vec<Logged>, Stopped> {
        let limits = self.config.page;
        match self.log.page(&run.conversation, position, to, limits).await {
            Err(log::Error::Newer { found, .. }) if run.patience == Patience::IsOver => {
                let page = self.log.glance(&run.conversation, position, found.seq, limits).await;
                Ok(page.context("read what is buried")?)
            }
            page => Ok(page.context("read log")?),
        }
    }

    /// The journal begins anew behind records that nobody reads any more. What its headers do not name
    /// as ended becomes one dead letter, or none; the session is lost.
    pub(super) async fn begin_anew(
        &self,
        conversation: &Conversation,
        why: &str,
    ) -> anyhow::Result<Last> {
        let outline = self.journal.outline(conversation).await.context("outline the journal")?;
        let Some(outline) = outline else {
            bail!("the journal could not be read and has no record")
        };
        let mut step = Step::Noted;
        if outline.last > outline.ended {
            step = Step::Dead;
            let whole = PageLimits { entries_max: usize::MAX, bytes_max: usize::MAX };
            let entries = self.log.glance(conversation, outline.ended, outline.last, whole).await;
            let letter = DeadLetter {
                turn: TurnId { conversation: conversation.clone(), last: outline.last },
                reason: Reason::Decode,
                detail: why.into(),
                attempts: 0,
                failed: FailedAttempts::default(),
                asked: None,
                entries: entries.context("read what is buried")?,
            };
            self.dead.bury("dispatch", &letter).await.context("store the dead letter")?;
            let dead = metrics::Dead { stage: "dispatch", reason: letter.reason.as_str() };
            self.context.metrics.dead.get_or_create(&dead).inc();
        }
        let head = Head { position: outline.last, ..Head::default() };
        let (nonce, count) = (rand::random(), 1);
        let record = Record { nonce, count, step, head: head.clone(), answer: None };
        let seq = self.journal.append(conversation, outline.seq, &record).await;
        let seq = seq.context("begin the journal anew")?;
        tracing::warn!(conversation = %conversation, why, "began a journal anew");
        Ok(Last { seq, at: None, nonce, count, head })
    }
}

impl Turning<'_> {
    /// What was answered or is being buried needs its entries no more.
    pub(super) fn is_unreadable(&self, head: &Head) -> bool {
        let is_done =
            |turn: &OpenTurn| matches!(turn.phase, Phase::Sending(_) | Phase::Burying { .. });
        !head.turn.as_ref().is_some_and(is_done)
            && self.entries.iter().any(|logged| matches!(logged.entry, Entry::Undecodable { .. }))
    }
}
