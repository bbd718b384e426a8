//! The hand-off stage: brings conversations back whose missing or paused expert can be asked again, and
//! those of a busy expert when it is gone.
//!
//! Hints are fast and may be lost; the index is read every 10 s anyway. The conversation that has waited
//! longest comes first. Conversations of a busy expert are woken by its freed permits, see `waker`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::context::Context;
use crate::domain::debounce::{TimerKind, Token};
use crate::domain::id::{Conversation, ExpertId, IntegrationId, Seq};
use crate::domain::turn::{Parked, Phase};
use crate::io::handoff::Handoffs;
use crate::io::journal::{self, Journal};
use crate::io::lease;
use crate::io::live::Live;
use crate::io::nats;
use crate::io::routing::{Change, Routing};
use crate::io::tick::Ticks;
use crate::io::timer::Timers;
use crate::telemetry::metrics::{Reason, Stage};

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// While an expert is away nearly all know it, and who does not loses nothing in a minute.
const LOOK_EVERY_AWAY: Duration = Duration::from_secs(60);
/// Two hints within this time are one.
const HINT_INTERVAL: Duration = Duration::from_millis(300);
/// Entries of the index that one request brings.
const PAGE: usize = 100;
/// Experts whose oldest conversation is looked up for the metrics; those of further experts are counted only.
const MEASURED_MAX: usize = 100;
/// One token in this time: 50 a second for each expert.
const PACE: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub struct HandoffStage {
    pub context: Context,
    pub handoffs: Handoffs,
    pub journal: Journal,
    pub timers: Timers,
    pub ticks: Ticks,
    pub routing: Routing,
    pub live: Live,
}

impl HandoffStage {
    pub async fn run(self) {
        let mut changes = self.routing.changes();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Cancel safe: a change that is not taken stays in its channel.
            let (experts, every) = tokio::select! {
                () = self.context.stop().cancelled() => return,
                _ = look.tick() => (self.waiting().await, LOOK_EVERY / 2),
                change = changes.recv() => match change {
                    Ok(Change::Runtime(expert)) => (BTreeSet::from([expert]), HINT_INTERVAL),
                    Ok(Change::Integration(id)) => (self.waiting_of(&id).await, HINT_INTERVAL),
                    Ok(Change::Trigger(_)) => continue,
                    Err(RecvError::Lagged(_)) => (self.waiting().await, HINT_INTERVAL),
                    Err(RecvError::Closed) => return,
                },
            };
            for expert in experts {
                let stage = self.clone();
                self.context.spawn(async move {
                    if let Err(error) = stage.resume(&expert, every).await {
                        let error = format!("{error:#}");
                        tracing::warn!(%expert, error, "waiting conversations are looked at later");
                    }
                });
            }
        }
    }

    async fn waiting(&self) -> BTreeSet<ExpertId> {
        match self.handoffs.waiting().await {
            Ok(waiting) => {
                self.measure(&waiting).await;
                waiting.into_keys().map(|(expert, _)| expert).collect()
            }
            Err(error) => {
                tracing::debug!(%error, "the index of waiting conversations does not answer");
                BTreeSet::new()
            }
        }
    }

    /// How many wait, why, and since when the first of them.
    async fn measure(&self, waiting: &BTreeMap<(ExpertId, IntegrationId), usize>) {
        let mut parked = BTreeMap::<_, (usize, u64)>::new();
        let now = self.context.clock.now();
        let mut before = None;
        let mut oldest = BTreeMap::new();
        for ((expert, integration), count) in waiting {
            let why = self.reason(expert, integration).await;
            let (all, seconds) = parked.entry(why).or_default();
            *all += count;
            if before.replace(expert) == Some(expert) || oldest.len() >= MEASURED_MAX {
                continue;
            }
            if let Ok(page) = self.handoffs.page(expert, Seq(0), 1).await
                && let Some(first) = page.waiting.first()
            {
                *seconds = (*seconds).max(now.since(first.at).as_secs());
                oldest.insert(expert, first.at);
            }
        }
        let metrics = &self.context.metrics;
        for why in [Parked::Missing, Parked::Busy, Parked::Paused] {
            let (count, seconds) = parked.remove(&why).unwrap_or_default();
            let label = Reason { reason: why.as_str() };
            metrics.parked.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
            let oldest = i64::try_from(seconds).unwrap_or(i64::MAX);
            metrics.parked_oldest.get_or_create(&label).set(oldest);
        }
        let seconds = oldest.into_values().min().map_or(0, |at| now.since(at).as_secs());
        let oldest = metrics.stage_oldest.get_or_create(&Stage { stage: "handoff" }).clone();
        oldest.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Why conversations of this integration wait for this expert now.
    async fn reason(&self, expert: &ExpertId, integration: &IntegrationId) -> Parked {
        if self.is_paused(integration).await {
            return Parked::Paused;
        }
        match self.routing.runtime(expert).await {
            Ok(Some(runtime)) if runtime.is_paused => Parked::Paused,
            Ok(Some(runtime)) => {
                let alive = lease::is_alive(&self.live, &runtime, self.context.clock.now()).await;
                if alive.unwrap_or(true) { Parked::Busy } else { Parked::Missing }
            }
            Ok(None) | Err(_) => Parked::Missing,
        }
    }

    async fn waiting_of(&self, integration: &IntegrationId) -> BTreeSet<ExpertId> {
        self.handoffs.experts_of(integration).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the index of waiting conversations does not answer");
            BTreeSet::new()
        })
    }

    /// Paused: it stays in the index until its integration is resumed.
    async fn is_paused(&self, integration: &IntegrationId) -> bool {
        let found = self.routing.integration(integration).await;
        found.ok().flatten().is_some_and(|integration| integration.is_paused)
    }

    /// Whether this worker is the one to look. A hint soon after another look is not lost: the second
    /// try loses only to somebody who began to look after the hint.
    async fn win(&self, expert: &ExpertId, every: Duration) -> Result<bool, nats::Error> {
        let name = format!("handoff-{expert}");
        if self.ticks.win(&name, every, self.context.clock.now()).await? {
            return Ok(true);
        }
        if every > HINT_INTERVAL {
            return Ok(false);
        }
        sleep(HINT_INTERVAL).await;
        self.ticks.win(&name, every, self.context.clock.now()).await
    }

    /// The end of the turn that waits, and for what. An entry without one was left by a run that died, and
    /// goes; the turn may have come to wait again meanwhile and relied on it.
    async fn parked(
        &self,
        conversation: &Conversation,
        entry: Seq,
    ) -> anyhow::Result<Option<(Seq, Parked)>> {
        let read = async || match self.journal.glance(conversation).await {
            // It waits for a worker of the release that parked it.
            Err(journal::Error::Newer(_)) => anyhow::Ok(None),
            last => {
                let turn = last.context("read journal")?.head.turn;
                Ok(Some(turn.and_then(|turn| match turn.phase {
                    Phase::Parked { why, .. } => Some((turn.last, why)),
                    Phase::Running
                    | Phase::Waiting { .. }
                    | Phase::Retry { .. }
                    | Phase::Sending(_)
                    | Phase::Burying { .. } => None,
                })))
            }
        };
        match read().await? {
            Some(None) => {}
            parked => return Ok(parked.flatten()),
        }
        self.handoffs.clear(entry).await.context("clear the index")?;
        Ok(read().await?.flatten())
    }

    /// Tokens for all that wait for `expert`, if it is there. If it is away, for those that do not know it
    /// yet: they wait because it was busy or paused, and are to wait for an expert that is missing.
    async fn resume(&self, expert: &ExpertId, every: Duration) -> anyhow::Result<()> {
        if self.handoffs.page(expert, Seq(0), 1).await.context("read the index")?.last.is_none() {
            return Ok(());
        }
        let runtime = self.routing.runtime_fresh(expert).await.context("read runtime")?;
        if runtime.as_ref().is_some_and(|runtime| runtime.is_paused) {
            return Ok(());
        }
        // After a time without the broker it is not known whether a lease has lapsed. Who waits needs no
        // guess: the next heartbeat tells.
        let now = self.context.clock.now();
        let is_there = match &runtime {
            Some(runtime) => {
                lease::is_alive(&self.live, runtime, now).await.context("read lease")?
            }
            None => false,
        };
        let is_hinted = every <= HINT_INTERVAL;
        let every = if is_there || is_hinted { every } else { LOOK_EVERY_AWAY };
        if !self.win(expert, every).await.context("win the tick")? {
            return Ok(());
        }
        let mut after = Seq(0);
        let mut due = Instant::now();
        loop {
            let page = self.handoffs.page(expert, after, PAGE).await.context("read the index")?;
            for waiting in &page.waiting {
                // An expert that is there and busy wakes its own by freed permits: see `waker`.
                if (is_there && waiting.is_busy)
                    || self.is_paused(&waiting.conversation.integration).await
                {
                    continue;
                }
                let parked = self.parked(&waiting.conversation, waiting.entry).await?;
                let Some((to, why)) = parked else { continue };
                if (why == Parked::Missing && !is_there) || (why == Parked::Busy && is_there) {
                    continue;
                }
                let window = Duration::ZERO;
                let token = Token { seq: to, kind: TimerKind::Now, window, refusals: 0 };
                self.timers.fire(&waiting.conversation, &token).await.context("fire token")?;
                due += PACE;
                tokio::select! {
                    () = self.context.stop().cancelled() => return Ok(()),
                    () = sleep_until(due) => {}
                }
            }
            let Some(last) = page.last else { return Ok(()) };
            after = last;
        }
    }
}
