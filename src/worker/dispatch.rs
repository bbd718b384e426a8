//! The dispatch stage: one run of one conversation, strictly in order.
//!
//! The open turn of the journal comes first; then the log up to the slot's `to`, turn by turn. The slot
//! is acknowledged last, and only then is the log asked what follows.

pub mod acting;
pub mod asking;
pub mod merging;
pub mod attaching;
pub mod telling;
pub mod questioning;
pub mod turning;
pub mod spanning;
pub mod following;
pub mod leaving;
pub mod deferring;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::cards::Cards;
use super::driver::Disposition;
use super::lease::Lease;
use super::queued::QueuedNotices;
use super::resolve::{Question, Resolved, Resolver};
use super::run::{Patience, Run, Stopped};
use super::waker::Waker;
use super::watch::Watch;
use crate::context::Context;
use crate::domain::binding::{Integration, Language};
use crate::domain::entry::{Entry, Logged};
use crate::domain::id::{Conversation, Seq};
use crate::domain::plan::{self, Planned, plan, plan_apart};
use crate::domain::poison::{is_poisoned, leaves_rest};
use crate::domain::press::Standing;
use crate::domain::reply;
use crate::domain::turn::{Availability, Event, Head, Phase, Policy};
use crate::io::dead::DeadLetters;
use crate::io::dingtalk::media::Downloads;
use crate::io::dingtalk::send::Sender;
use crate::io::handoff::Handoffs;
use crate::io::journal::{self, Journal};
use crate::io::log::{Log, PageLimits};
use crate::io::nats::Nats;
use crate::io::nats::pull::Delivery;
use crate::io::routing::Routing;
use crate::io::runtime::Runtimes;
use crate::io::slot::{self, Slots, Woken};
use crate::io::store::writer::Writer;
use crate::io::timer::Timers;
use crate::protocol::envelope;
use crate::protocol::subject;
use crate::protocol::token::{Slot, decode_slot};
use turning::Turning;

#[derive(Debug, Clone)]
pub struct Config {
    pub plan: plan::Limits,
    pub page: PageLimits,
    pub reply: reply::Limits,
    pub files: attaching::Limits,
    pub policy: Policy,
    /// `DT_WINDOW_MAX_WAIT`: a window may keep a message so long, however short it is.
    pub wait_least: Duration,
    /// How long a run may go on after the process was told to stop.
    pub drain: Duration,
    /// `DT_WEBHOOK_RATE`: posts to one conversation's webhook in a minute; 0 is without a limit.
    pub webhook_rate: u32,
    /// `DT_NEWER_MAX_AGE`: how long what a newer release wrote is left to it.
    pub newer_age_max: Duration,
    /// `DT_PUBLIC_URL`: where action links and late answers come back to.
    pub public_url: String,
}

/// Everything a run needs; shared by all runs of the worker.
pub struct Dispatch {
    pub context: Context,
    pub config: Config,
    pub nats: Nats,
    pub log: Log,
    pub journal: Journal,
    pub slots: Slots,
    pub timers: Timers,
    pub handoffs: Handoffs,
    pub dead: DeadLetters,
    pub routing: Routing,
    pub resolver: Resolver,
    pub downloads: Downloads,
    pub runtimes: Runtimes,
    pub sender: Sender,
    pub cards: Cards,
    pub notices: QueuedNotices,
    pub writer: Writer,
    pub watch: Watch,
    pub waker: Waker,
    pub links: crate::protocol::action::Key,
}

/// How far a run got.
enum Worked {
    /// Up to `to`, or to a wait that has its timer or index entry.
    Through,
    /// The process drains: the rest is for another worker.
    Draining,
}

impl Dispatch {
    pub async fn handle(self: Arc<Self>, delivery: Delivery) -> anyhow::Result<Disposition> {
        let Some(conversation) = subject::conversation_of(&delivery.subject) else {
            return Ok(Disposition::foreign(&delivery));
        };
        let lease = Lease::hold(&self.context, &self.nats, &delivery);
        let held = lease.held().clone();
        let woken = slot::woken(&delivery.headers);
        if let Some(woken) = &woken {
            self.waker.admit(&conversation, woken).await;
        }
        let taken = self.take(&conversation, &delivery, lease).await;
        if let Some(woken) = &woken {
            self.waker.settle(&conversation, woken);
        }
        match taken {
            Err(error) if deferring::is_of_broker(&error) => {
                self.put_off(&conversation, &delivery, &held, error).await
            }
            outcome => outcome,
        }
    }

    async fn take(
        &self,
        conversation: &Conversation,
        delivery: &Delivery,
        lease: Lease,
    ) -> anyhow::Result<Disposition> {
        let patience = self.patience(delivery);
        let slot = match decode_slot(&delivery.payload) {
            Ok(slot) => slot,
            Err(envelope::Error::Newer(_)) if patience == Patience::Lasts => {
                return self.leave(conversation, delivery).await;
            }
            // The log has the messages; what the slot said is looked up there.
            Err(_) => {
                let newest = self.log.newest(conversation).await.context("read newest")?;
                Slot { to: newest.map_or(Seq(0), |found| found.seq), window: Duration::ZERO }
            }
        };
        let mut last = match self.journal.last(conversation).await {
            Ok(last) => last,
            Err(journal::Error::Newer(_)) if patience == Patience::Lasts => {
                return self.leave(conversation, delivery).await;
            }
            Err(journal::Error::Newer(_)) => self.begin_anew(conversation, leaving::WHY).await?,
            Err(error @ journal::Error::Unreadable { .. }) => {
                self.begin_anew(conversation, &error.to_string()).await?
            }
            Err(e) => return Err(e).context("read journal"),
        };
        let trigger = self.routing.trigger_of(&conversation.integration);
        last.head.session = last.head.session.map(|session| session.under(trigger.as_deref()));
        let mut run = Run::new(conversation.clone(), self.journal.clone(), last, lease);
        run.patience = patience;
        self.tell_queued(&run, slot, delivery);
        if let Some(woken) = slot::woken(&delivery.headers) {
            self.clear_stale(&run, &woken).await?;
        }
        match self.work(&mut run, slot, delivery.deliveries).await {
            Ok(Worked::Through) => {
                run.check()?;
                if let Err(error) = self.nats.ack_confirmed(delivery).await {
                    // Delivered again, whoever has it looks at what follows; a timer for `to` would not.
                    tracing::warn!(%conversation, %error, "a slot was not acknowledged");
                    return Ok(Disposition::Left);
                }
                let head = run.head().clone();
                drop(run);
                self.follow_up(conversation, &head).await;
                Ok(Disposition::Settled)
            }
            Ok(Worked::Draining) | Err(Stopped::Draining) => {
                // Another worker may have it already: nothing more is done to it.
                if let Err(error) = self.nats.hand_back(delivery).await {
                    tracing::warn!(%conversation, %error, "a slot was not handed back");
                    return Ok(Disposition::Left);
                }
                Ok(Disposition::Settled)
            }
            Err(Stopped::Lost) => {
                self.context.metrics.runs_lost.inc();
                tracing::warn!(conversation = %conversation, "run lost, another one has it");
                Ok(Disposition::Left)
            }
            Err(Stopped::Failed(error)) if leaving::is_newer(&error) => {
                drop(run);
                self.leave(conversation, delivery).await
            }
            Err(Stopped::Failed(error)) => Err(error),
        }
    }

    /// Takes out the index entry of a run that died: nothing else would, and it would be woken for ever.
    async fn clear_stale(&self, run: &Run, woken: &Woken) -> anyhow::Result<()> {
        let turn = run.head().turn.as_ref();
        if turn.is_some_and(|turn| matches!(turn.phase, Phase::Parked { .. })) {
            return Ok(());
        }
        self.handoffs.clear(woken.entry).await.context("clear the hand-off index")
    }

    /// A message that came behind an open turn waits, also where that one had released its slot.
    fn tell_queued(&self, run: &Run, slot: Slot, delivery: &Delivery) {
        let is_behind = run.head().turn.as_ref().is_some_and(|turn| turn.last < slot.to);
        if is_behind && delivery.deliveries <= 1 && slot::is_first(&delivery.headers) {
            self.notices.offer(&run.conversation, slot.to);
        }
    }

    async fn work(&self, run: &mut Run, slot: Slot, deliveries: u64) -> Result<Worked, Stopped> {
        let Ok(integration) = self.routing.integration(&run.conversation.integration).await else {
            // The database is away: waiting is a timer, and only crashes count as deliveries.
            self.later(&run.conversation, slot).await?;
            return Ok(Worked::Through);
        };
        let mut page: Vec<Logged> = Vec::new();
        let mut beyond = None;
        if run.head().turn.is_some() {
            if is_poisoned(deliveries) {
                self.poisoned(run, integration.as_deref(), deliveries).await?;
            } else {
                beyond = self.resume(run, integration.as_deref()).await?;
            }
            if leaves_rest(deliveries, run.head(), slot.to) {
                self.later(&run.conversation, slot).await?;
                return Ok(Worked::Through);
            }
        }
        loop {
            if run.head().turn.is_some() {
                return Ok(Worked::Through);
            }
            let position = run.head().position;
            if position >= slot.to {
                self.idle(run, integration.as_deref()).await?;
                return Ok(Worked::Through);
            }
            if self.context.is_stopping() {
                return Ok(Worked::Draining);
            }
            if page.is_empty() {
                page = self.page(run, position, slot.to).await?;
                beyond = self.control_beyond(run, &page, slot, beyond).await?;
            }
            self.weigh(run, &mut page).await?;
            let Some(planned) = self.plan(run, &page, beyond, slot.window) else {
                return Ok(Worked::Through);
            };
            let rest = page.split_off(planned.count);
            let entries = std::mem::replace(&mut page, rest);
            let standing = self.standing(run, &entries).await?;
            let question = Question {
                conversation: &run.conversation,
                head: run.head(),
                planned,
                entries: &entries,
                language: language(integration.as_deref()),
                standing,
                now: self.context.clock.now(),
            };
            match self.resolver.resolve(&question).await {
                Resolved::Unknown => {
                    self.later(&run.conversation, slot).await?;
                    return Ok(Worked::Through);
                }
                Resolved::Turn { turn, reach, says } => {
                    let mut turning = self.turning(run, integration.as_deref(), entries).await?;
                    turning.reach = reach;
                    turning.answer = says;
                    let at = self.context.clock.now();
                    turning.drive(run, Event::Opened { turn: *turn, at }).await?;
                    beyond = turning.stopped_by.or(beyond);
                    if standing == Standing::Over {
                        turning.close_pressed();
                    }
                }
            }
        }
    }

    /// The next turn of `page`. What was said before a window came or went is planned by itself.
    fn plan(
        &self,
        run: &Run,
        page: &[Logged],
        beyond: Option<Seq>,
        window: Duration,
    ) -> Option<Planned> {
        let trigger = self.routing.trigger_of(&run.conversation.integration);
        match trigger.and_then(|trigger| trigger.former_at(page.first()?.at, window)) {
            Some(former) => plan_apart(page, beyond, former, self.config.plan),
            None => plan(page, beyond, window, self.config.plan),
        }
    }

    /// Where nothing follows, a question whose session has run out is closed.
    async fn idle(&self, run: &mut Run, integration: Option<&Integration>) -> Result<(), Stopped> {
        let at = self.context.clock.now();
        let Head { position, session, interrupted, .. } = run.head();
        let is_over = session.as_ref().is_none_or(|session| session.is_expired(at));
        if interrupted.is_none() || !is_over {
            return Ok(());
        }
        let position = *position;
        let newest = self.log.newest(&run.conversation).await.context("read newest")?;
        // What came in time and waits for its turn still finds it open.
        if newest.is_some_and(|newest| newest.seq > position) {
            return Ok(());
        }
        Turning::new(self, integration, vec![]).drive(run, Event::Idle { at }).await
    }

    /// The open turn, with the range that its record fixed.
    async fn opened<'a>(
        &'a self,
        run: &Run,
        integration: Option<&'a Integration>,
    ) -> Result<Option<Turning<'a>>, Stopped> {
        let Some(turn) = &run.head().turn else { return Ok(None) };
        let before = Seq(turn.first.0.saturating_sub(1));
        let whole = PageLimits { entries_max: usize::MAX, bytes_max: usize::MAX };
        let entries = match run.patience {
            Patience::Lasts => self.log.page(&run.conversation, before, turn.last, whole).await,
            Patience::IsOver => self.log.glance(&run.conversation, before, turn.last, whole).await,
        };
        let entries = entries.context("read the open turn's entries")?;
        self.turning(run, integration, entries).await.map(Some)
    }

    /// Gives the control entry that ended the turn, if one did.
    async fn resume(
        &self,
        run: &mut Run,
        integration: Option<&Integration>,
    ) -> Result<Option<Seq>, Stopped> {
        let Some(mut turning) = self.opened(run, integration).await? else { return Ok(None) };
        let last = run.head().turn.as_ref().map_or(Seq(0), |turn| turn.last);
        let control = self.control_after(run, last).await?;
        let is_gone = turning.entries.last().is_some_and(|logged| logged.entry == Entry::Gone);
        let event = match (control, run.head().turn.as_ref().and_then(|t| t.asked.as_ref())) {
            _ if is_gone => Event::Vanished,
            _ if run.patience == Patience::IsOver && turning.is_unreadable(run.head()) => {
                Event::Unreadable { why: leaving::WHY.to_owned() }
            }
            (Some(by), _) => Event::Controlled { by },
            (None, None) => {
                Event::Taken { runtime: Availability::Ready, at: self.context.clock.now() }
            }
            (None, Some(asked)) => {
                let reach = self.resolver.reach(&run.conversation, &asked.expert, run.head()).await;
                let runtime = reach.availability;
                turning.reach = Some(reach);
                // Who cannot be asked now is asked for all of it later.
                let wider = match runtime {
                    Availability::Ready => self.wider(run, &turning.entries).await?,
                    Availability::Away(_) | Availability::Unknown => None,
                };
                match wider.as_deref().and_then(|entries| self.widened(entries)).zip(wider) {
                    Some((event, entries)) => {
                        turning.take_in(entries);
                        event
                    }
                    None => Event::Taken { runtime, at: self.context.clock.now() },
                }
            }
        };
        turning.drive(run, event).await?;
        Ok(turning.stopped_by)
    }

    async fn poisoned(
        &self,
        run: &mut Run,
        integration: Option<&Integration>,
        deliveries: u64,
    ) -> Result<(), Stopped> {
        let Some(mut turning) = self.opened(run, integration).await? else { return Ok(()) };
        turning.drive(run, Event::Poisoned { deliveries }).await
    }
}

fn language(integration: Option<&Integration>) -> Language {
    integration.map_or(Language::ZhHans, |integration| integration.language)
}
