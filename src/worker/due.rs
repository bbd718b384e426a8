//! The due stage: a fired timer is a hint; journal and log decide whether its version is due.
//!
//! A token ends here in a slot, in another timer, or because something newer has taken its place; what
//! a newer release wrote is left to it.

use std::time::Duration;

use anyhow::Context as _;

use super::dispatch::leaving;
use super::driver::Disposition;
use super::queued::QueuedNotices;
use crate::context::Context;
use crate::domain::debounce::{self, Due, TimerKind, Token, View, wait_max};
use crate::domain::id::{Conversation, Seq};
use crate::domain::time::Timestamp;
use crate::io::journal::{self, Journal};
use crate::io::log::{self, Log};
use crate::io::nats::publish::PublishError;
use crate::io::nats::pull::Delivery;
use crate::io::slot::{Offered, Slots};
use crate::io::timer::{Left, Timers, left_since};
use crate::protocol::envelope;
use crate::protocol::subject;
use crate::protocol::token::{Slot, decode_token, encode_token};
use crate::telemetry::metrics::Stage;

#[derive(Clone)]
pub struct DueStage {
    pub context: Context,
    pub log: Log,
    pub journal: Journal,
    pub slots: Slots,
    pub timers: Timers,
    pub notices: QueuedNotices,
    /// `DT_NEWER_MAX_AGE`.
    pub newer_age_max: Duration,
    /// `DT_WINDOW_MAX_WAIT`.
    pub wait_least: Duration,
}

/// How a token came to be offered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// Its window has ended: nobody was told before that it waits.
    First,
    Again,
    /// It was left to a newer release since then.
    Left(Timestamp),
}

/// What a token is for, as far as this release can tell.
enum Found {
    Token {
        token: Token,
        view: View,
    },
    /// Token or journal are of a newer release.
    Newer,
}

impl DueStage {
    pub async fn handle(self, delivery: Delivery) -> anyhow::Result<Disposition> {
        let Some(conversation) = subject::conversation_of(&delivery.subject) else {
            return Ok(Disposition::foreign(&delivery));
        };
        let since = left_since(&delivery.headers);
        let token = match decode_token(&delivery.payload) {
            Err(error @ (envelope::Error::Empty | envelope::Error::Undecodable(_))) => {
                // It held no person's words: the log has them, and the sweep finds what is stranded.
                tracing::error!(%error, subject = delivery.subject, "a token cannot be read");
                return Ok(Disposition::Done);
            }
            Err(envelope::Error::Newer(_)) => None,
            Ok(token) => Some(token),
        };
        match self.find(&conversation, token).await? {
            Found::Token { token, view } => match debounce::due(&token, &view) {
                Due::Done | Due::Superseded => {}
                Due::Offer => {
                    let is_first = token.kind == TimerKind::Window && delivery.deliveries <= 1;
                    let came = match since {
                        Some(since) => Came::Left(since),
                        None if is_first => Came::First,
                        None => Came::Again,
                    };
                    self.offer(&conversation, &token, &view, came).await?;
                }
            },
            Found::Newer => self.leave(&conversation, &delivery, since).await?,
        }
        Ok(Disposition::Done)
    }

    async fn find(
        &self,
        conversation: &Conversation,
        token: Option<Token>,
    ) -> anyhow::Result<Found> {
        let Some(token) = token else { return Ok(Found::Newer) };
        let last = match self.journal.glance(conversation).await {
            Ok(last) => last,
            Err(journal::Error::Newer(_)) => return Ok(Found::Newer),
            Err(e) => return Err(e).context("read journal"),
        };
        let now = self.context.clock.now();
        let taken = last.head.turn.as_ref().map_or(last.head.position, |turn| turn.last);
        let mut view = View {
            position: last.head.position,
            taken,
            newest: token.seq,
            first_unfinished_at: None,
            wait_max: wait_max(token.window, self.wait_least),
            now,
        };
        // Only a window asks whether it was superseded.
        if token.kind == TimerKind::Window && token.seq > view.position {
            let newest = self.log.newest(conversation).await.context("read newest")?;
            view.newest = newest.map_or(token.seq, |found| found.seq);
            if view.newest > token.seq {
                view.first_unfinished_at = match self.log.first_after(conversation, taken).await {
                    Ok(first) => first.map(|logged| logged.at),
                    // What it says is of no interest here.
                    Err(log::Error::Newer { found, .. }) => Some(found.at),
                    Err(e) => return Err(e).context("read the first unfinished entry"),
                };
            }
        }
        Ok(Found::Token { token, view })
    }

    async fn offer(
        &self,
        conversation: &Conversation,
        token: &Token,
        view: &View,
        came: Came,
    ) -> anyhow::Result<()> {
        let slot = Slot { to: token.seq, window: token.window };
        let mut offered = self.offer_slot(conversation, &slot, came).await;
        // What occupies it may be a slot that nobody will ever get.
        if matches!(offered, Ok(Offered::Occupied)) && self.slots.clear().await? > 0 {
            offered = self.offer_slot(conversation, &slot, came).await;
        }
        if offered.context("offer slot")? == Offered::Taken {
            return Ok(());
        }
        // What was left to a newer release waits for that one, whatever else there is.
        let newest = match came {
            Came::First | Came::Again => {
                self.log.newest(conversation).await.context("read newest")?
            }
            Came::Left(_) => None,
        };
        let newest = newest.map_or(view.newest, |found| found.seq);
        let Some(wait) = debounce::refused(token, newest, view.taken) else { return Ok(()) };
        if came == Came::First {
            self.notices.offer(conversation, token.seq);
        }
        let refusals = token.refusals + 1;
        let again = Token { kind: TimerKind::Now, refusals, ..*token };
        let at = view.now.after(wait);
        let purpose = format!("{}b{refusals}t{}", token.seq, at.0);
        let armed = match came {
            Came::First | Came::Again => self.timers.arm(conversation, &purpose, at, &again).await,
            Came::Left(since) => {
                let left = Left { token: encode_token(&again).into(), since };
                self.timers.leave(conversation, &purpose, at, left).await
            }
        };
        armed.context("arm again")
    }

    async fn offer_slot(
        &self,
        conversation: &Conversation,
        slot: &Slot,
        came: Came,
    ) -> Result<Offered, PublishError> {
        match came {
            Came::First => self.slots.offer_first(conversation, slot).await,
            Came::Again => self.slots.offer(conversation, slot).await,
            Came::Left(since) => self.slots.offer_left(conversation, slot, since).await,
        }
    }

    /// The bytes stay as they are: only the release that wrote them knows what they say. Past all
    /// patience the newest entry is offered, for dispatch to judge what can be read.
    async fn leave(
        &self,
        conversation: &Conversation,
        delivery: &Delivery,
        since: Option<Timestamp>,
    ) -> anyhow::Result<()> {
        let now = self.context.clock.now();
        if let Some(since) = since
            && now.since(since) > self.newer_age_max
        {
            let newest = self.log.newest(conversation).await.context("read newest")?;
            let Some(newest) = newest else { return Ok(()) };
            let (window, refusals) = (Duration::ZERO, 0);
            let token = Token { seq: newest.seq, kind: TimerKind::Now, window, refusals };
            let view = View {
                position: Seq(0),
                taken: Seq(0),
                newest: newest.seq,
                first_unfinished_at: None,
                wait_max: Duration::ZERO,
                now,
            };
            return self.offer(conversation, &token, &view, Came::Left(since)).await;
        }
        let at = now.after(leaving::EVERY);
        let purpose = format!("{}n", delivery.seq);
        let left = Left { token: delivery.payload.clone(), since: since.unwrap_or(now) };
        self.timers.leave(conversation, &purpose, at, left).await.context("leave token")?;
        self.context.metrics.newer_left.get_or_create(&Stage { stage: "due" }).inc();
        Ok(())
    }
}
