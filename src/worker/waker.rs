//! The waker: brings conversations that wait for a busy expert back as its permits become free, first come
//! first served.
//!
//! A permit is kept before the index is read, and goes with the slot that is offered: a woken run never
//! parks again for want of it. Hints between workers may be lost; claims lapse, and the index is looked at
//! again every 10 s.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::bulkhead::{Bulkhead, Kept};
use crate::context::Context;
use crate::domain::id::{Conversation, ExpertId, Seq};
use crate::io::handoff::{Handoffs, Waiting};
use crate::io::lease;
use crate::io::live::Live;
use crate::io::nats::{self, Nats};
use crate::io::routing::{Change, Routing};
use crate::io::slot::{Offered, Slots, Woken};
use crate::protocol::subject;
use crate::protocol::token::Slot;

/// For conversations that another worker parked, and for lost hints.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The hand-off stage has begun by then.
const AFTER_CHANGE: Duration = Duration::from_secs(1);
const LAPSE_EVERY: Duration = Duration::from_secs(1);
/// A broker that does not answer is asked again after this time.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct Waker {
    context: Context,
    nats: Nats,
    handoffs: Handoffs,
    slots: Slots,
    routing: Routing,
    live: Live,
    bulkhead: Bulkhead,
    /// Names this process in the slots that it offers.
    worker: String,
}

impl Waker {
    pub fn new(context: &Context, nats: &Nats, routing: &Routing, bulkhead: Bulkhead) -> Self {
        Self {
            context: context.clone(),
            nats: nats.clone(),
            handoffs: Handoffs::new(nats),
            slots: Slots::new(nats),
            routing: routing.clone(),
            live: Live::new(nats),
            bulkhead,
            worker: format!("{:016x}", rand::random::<u64>()),
        }
    }

    /// A woken slot is here: its run has a permit from now on.
    pub async fn admit(&self, conversation: &Conversation, woken: &Woken) {
        self.bulkhead.admit(conversation, &woken.expert, woken.entry);
        if woken.worker != self.worker {
            let subject = subject::woken(&woken.worker, conversation);
            let entry = woken.entry.to_string();
            self.nats.hint(subject, entry.into()).await;
        }
    }

    /// The run of a woken slot has ended.
    pub fn settle(&self, conversation: &Conversation, woken: &Woken) {
        self.bulkhead.settle(conversation, woken.entry);
    }

    pub async fn run(self) {
        let mut changes = self.routing.changes();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lapse = interval(LAPSE_EVERY);
        lapse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.context.spawn(self.clone().hear());
        loop {
            // Cancel safe: permits that are not taken stay kept, a change stays in its channel.
            tokio::select! {
                () = self.context.stop().cancelled() => return,
                kept = self.bulkhead.kept() => {
                    for kept in kept {
                        let waker = self.clone();
                        self.context.spawn(async move { waker.wake(kept).await });
                    }
                }
                _ = lapse.tick() => self.bulkhead.lapse(),
                _ = look.tick() => self.look().await,
                change = changes.recv() => match change {
                    Ok(change @ (Change::Runtime(_) | Change::Integration(_))) => {
                        let waker = self.clone();
                        self.context.spawn(async move { waker.follow(change).await });
                    }
                    Ok(Change::Trigger(_)) => {}
                    Err(RecvError::Lagged(_)) => self.look().await,
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    /// Conversations may wait for a busy expert behind one that was missing or paused. The hand-off stage
    /// brings the latter back, in order and at its own pace: it goes first.
    async fn follow(&self, change: Change) {
        tokio::select! {
            () = self.context.stop().cancelled() => return,
            () = sleep(AFTER_CHANGE) => {}
        }
        let experts = match change {
            Change::Runtime(expert) => BTreeSet::from([expert]),
            Change::Integration(id) => self.known(self.handoffs.experts_of(&id).await),
            Change::Trigger(_) => return,
        };
        self.bulkhead.look_again(experts);
    }

    async fn look(&self) {
        let found = self.handoffs.waiting().await;
        self.bulkhead.look_again(
            self.known(found.map(|found| found.into_keys().map(|(expert, _)| expert).collect())),
        );
    }

    fn known(&self, found: Result<BTreeSet<ExpertId>, nats::Error>) -> BTreeSet<ExpertId> {
        found.unwrap_or_else(|error| {
            tracing::debug!(%error, "the index of waiting conversations does not answer");
            BTreeSet::new()
        })
    }

    /// Other workers took slots whose permits are kept here.
    async fn hear(self) {
        let subscribed = self.nats.client().subscribe(format!("dt.woken.{}.>", self.worker)).await;
        let mut hints = match subscribed {
            Ok(hints) => hints,
            Err(error) => {
                tracing::warn!(%error, "no hints of woken conversations; their claims lapse");
                return;
            }
        };
        loop {
            // Cancel safe: a hint that is not taken stays in the subscription.
            let hint = tokio::select! {
                () = self.context.stop().cancelled() => return,
                hint = hints.next() => hint,
            };
            let Some(message) = hint else { return };
            let entry =
                std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
            if let (Some(conversation), Some(entry)) =
                (subject::conversation_of(&message.subject), entry)
            {
                self.bulkhead.settle(&conversation, Seq(entry));
            }
        }
    }

    async fn wake(self, kept: Kept) {
        match self.claim(&kept).await {
            Ok(Some(last)) => self.bulkhead.claimed_up_to(&kept.expert, last),
            Ok(None) => self.bulkhead.none_waits(&kept),
            Err(error) => {
                let (expert, error) = (&kept.expert, format!("{error:#}"));
                tracing::warn!(%expert, error, "failed to wake waiting conversations; retrying");
                tokio::select! {
                    () = self.context.stop().cancelled() => {}
                    () = sleep(PAUSE) => {}
                }
                self.bulkhead.claimed_up_to(&kept.expert, kept.after);
            }
        }
    }

    /// Offers the slots of the oldest conversations, one for each kept permit. Gives the last entry that it
    /// looked at; `None`: no conversation waits, or the expert cannot be asked.
    async fn claim(&self, kept: &Kept) -> anyhow::Result<Option<Seq>> {
        if !self.is_there(&kept.expert).await? {
            return Ok(None);
        }
        let page = self.handoffs.page(&kept.expert, kept.after, kept.count).await;
        let page = page.context("read the index")?;
        let offers = page.waiting.iter().map(|waiting| self.offer(&kept.expert, waiting));
        for offered in join_all(offers).await {
            offered?;
        }
        Ok(page.last)
    }

    async fn offer(&self, expert: &ExpertId, waiting: &Waiting) -> anyhow::Result<()> {
        let Waiting { entry, conversation, first, .. } = waiting;
        let integration = self.routing.integration(&conversation.integration).await;
        // It stays in the index until its integration is resumed.
        if integration.ok().flatten().is_some_and(|integration| integration.is_paused) {
            return Ok(());
        }
        // The run may begin before the broker has answered: its permit must be there.
        if !self.bulkhead.claim(expert, conversation, *entry) {
            return Ok(());
        }
        let worker = self.worker.clone();
        let woken = Woken { worker, entry: *entry, expert: expert.clone() };
        let slot = Slot { to: *first, window: Duration::ZERO };
        let offered = self.slots.wake(conversation, &slot, &woken).await;
        if !matches!(offered, Ok(Offered::Taken)) {
            // Occupied: a run has the conversation, and parks it again if it must.
            self.bulkhead.unclaim(conversation, *entry);
        }
        offered.context("offer slot").map(|_| ())
    }

    /// An expert that is missing or paused is the hand-off stage's: its conversations wait for that.
    async fn is_there(&self, expert: &ExpertId) -> anyhow::Result<bool> {
        let Some(runtime) = self.routing.runtime(expert).await.context("read runtime")? else {
            return Ok(false);
        };
        let now = self.context.clock.now();
        Ok(!runtime.is_paused
            && lease::is_alive(&self.live, &runtime, now).await.context("read lease")?)
    }
}
