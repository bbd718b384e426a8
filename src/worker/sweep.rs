//! The sweep: finds what is stranded, ends waits and questions whose time has run out, repairs the list of
//! sessions in SQL, and makes room.
//!
//! Nothing strands by itself; killed brokers, purged timers, restored backups and operators' hands do it.
//! Whoever wins the pass looks at every conversation of the log that no timer, token or slot will bring back; at all
//! of them where room is to be made.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::gate::Gate;
use crate::context::Context;
use crate::domain::binding::Trigger;
use crate::domain::debounce::{TimerKind, Token};
use crate::domain::id::{Conversation, Seq};
use crate::domain::time::Timestamp;
use crate::domain::turn::{Head, OpenTurn, Phase};
use crate::io::journal::{self, Journal};
use crate::io::log::{self, Log};
use crate::io::nats::{self, Nats};
use crate::io::routing::Routing;
use crate::io::slot::Slots;
use crate::io::state;
use crate::io::store::conversations::Session;
use crate::io::store::writer::{Row, Writer};
use crate::io::store::{Store, dead, messages};
use crate::io::tick::Ticks;
use crate::io::timer::{self, Timers};
use crate::io::{handoff, slot};
use crate::protocol::subject;
use crate::protocol::token::Slot;

/// Conversations looked at side by side, and how often so many are: 400 a second. A pass over a hundred
/// thousand that have nothing on its way takes minutes; those whose timers fire meanwhile do not feel it.
const ABREAST: usize = 8;
const PACE: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub struct Sweep {
    pub context: Context,
    pub nats: Nats,
    pub store: Store,
    pub log: Log,
    pub journal: Journal,
    pub slots: Slots,
    pub timers: Timers,
    pub ticks: Ticks,
    pub routing: Routing,
    pub writer: Writer,
    /// From one pass to the next; an entry younger than this may be on its way.
    pub every: Duration,
    /// What is younger than this is kept, for the log's dedupe and for those who read after us.
    pub dedupe_window: Duration,
    pub gate: Gate,
}

impl Sweep {
    pub async fn run(self) {
        let mut every = interval(self.every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.context.stop().cancelled() => return,
                _ = every.tick() => {}
            }
            if let Err(error) = self.clear().await {
                tracing::warn!(%error, "what is acknowledged is taken out later");
            }
            if !self.gate.is_open() {
                continue;
            }
            if let Err(error) = self.pass().await {
                tracing::warn!(error = %format!("{error:#}"), "the sweep is done later");
            }
        }
    }

    /// Every pod and at once at its start: a broker that was killed may hold what nobody will ever get.
    async fn clear(&self) -> Result<(), nats::Error> {
        self.slots.clear().await?;
        self.timers.clear().await?;
        Ok(())
    }

    async fn pass(&self) -> anyhow::Result<()> {
        let now = self.context.clock.now();
        if self.ticks.win("sweep", self.every.mul_f64(0.9), now).await.context("win the tick")? {
            self.sweep().await?;
            self.forget(now).await?;
        }
        Ok(())
    }

    /// What is older than its stream in SQL goes as well.
    async fn forget(&self, now: Timestamp) -> anyhow::Result<()> {
        let before = |kept: Duration| Timestamp(now.0 - millis(kept));
        let forgotten = self.store.forget_messages(before(messages::KEPT)).await;
        forgotten.context("forget messages")?;
        self.store.forget_dead(before(dead::KEPT)).await.context("forget dead letters")?;
        Ok(())
    }

    /// One pass over all conversations. Gives how many it brought back.
    pub async fn sweep(&self) -> anyhow::Result<usize> {
        let floor = match state::consumer(&self.nats, log::STREAM, "intake").await {
            Ok(intake) => intake.ack_floor,
            // Nothing went through it: all of the log is on its way to it once it is there again.
            Err(error) if error.is_not_found() => Seq(0),
            Err(error) => return Err(error.into()),
        };
        let (of_log, log_max) = state::stream(&self.nats, log::STREAM).await?;
        let (of_journal, journal_max) = state::stream(&self.nats, journal::STREAM).await?;
        let pressed = Pressed {
            log: is_pressed(of_log.bytes, log_max),
            journal: is_pressed(of_journal.bytes, journal_max),
        };
        let mut conversations = self.named(log::STREAM, "dt.in.>").await?;
        if !pressed.log && !pressed.journal {
            self.leave_out(&mut conversations).await?;
        }
        let conversations: Vec<_> = conversations.into_iter().collect();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stranded = 0;
        for some in conversations.chunks(ABREAST) {
            tokio::select! {
                () = self.context.stop().cancelled() => return Ok(stranded),
                _ = pace.tick() => {}
            }
            let looked = some.iter().map(|conversation| async move {
                let looked = self.look(conversation, floor, pressed).await;
                looked.unwrap_or_else(|error| {
                    let error = format!("{error:#}");
                    tracing::debug!(%conversation, error, "swept later");
                    false
                })
            });
            stranded +=
                join_all(looked).await.into_iter().filter(|is_stranded| *is_stranded).count();
        }
        if stranded > 0 {
            tracing::warn!(stranded, "brought stranded conversations back");
        }
        Ok(stranded)
    }

    /// The conversations that a stream's subjects name.
    async fn named(&self, stream: &str, filter: &str) -> anyhow::Result<BTreeSet<Conversation>> {
        let subjects = state::subjects(&self.nats, stream, filter).await?;
        let subjects = subjects.into_keys().filter(|subject| !timer::is_expiry(subject));
        Ok(subjects.filter_map(|text| subject::conversation_of(&text)).collect())
    }

    /// What a timer, a token or a slot will bring back needs no look: with a hundred thousand open
    /// windows that is nearly all of them.
    async fn leave_out(&self, conversations: &mut BTreeSet<Conversation>) -> anyhow::Result<()> {
        for (stream, filter) in
            [(timer::STREAM, "dt.timer.>"), (timer::STREAM, "dt.due.>"), (slot::STREAM, "dt.run.>")]
        {
            for conversation in self.named(stream, filter).await? {
                conversations.remove(&conversation);
            }
        }
        Ok(())
    }

    async fn look(
        &self,
        conversation: &Conversation,
        floor: Seq,
        pressed: Pressed,
    ) -> anyhow::Result<bool> {
        let now = self.context.clock.now();
        let Some(newest) = self.log.newest(conversation).await? else { return Ok(false) };
        let last = self.journal.glance(conversation).await?;
        // Whoever opened it may have been killed before SQL had it.
        if let Some(session) = &last.head.session {
            self.writer.repair(Row::Conversation(Session::of_journal(conversation, session)));
        }
        let is_waiting = newest.seq > last.head.position;
        if pressed.log {
            let finished = Seq(last.head.position.0 + 1);
            self.make_room(log::STREAM, &subject::log(conversation), finished).await?;
        }
        if pressed.journal && last.head.turn.is_none() {
            self.make_room(journal::STREAM, &subject::journal(conversation), last.seq).await?;
        }
        let overdue = overdue(&last.head, now);
        let trigger = self.routing.trigger_of(&conversation.integration);
        let asks_in_vain = asks_in_vain(&last.head, trigger.as_deref(), now);
        let in_vain = (!is_waiting && asks_in_vain).then_some(newest.seq);
        if let Some(to) = overdue.or(in_vain) {
            // Who holds the slot looks at it; where somebody does already, that is as good.
            let slot = Slot { to, window: Duration::ZERO };
            self.slots.offer(conversation, &slot).await?;
            return Ok(false);
        }
        let is_old = now.since(newest.at) > self.every && newest.seq <= floor;
        let is_parked = is_parked(last.head.turn.as_ref());
        if !is_waiting || !is_old || self.is_on_its_way(conversation, is_parked).await? {
            return Ok(false);
        }
        // It may have come to its end while we looked for what would bring it there.
        if self.journal.glance(conversation).await?.head.position >= newest.seq {
            return Ok(false);
        }
        let window = Duration::ZERO;
        let token = Token { seq: newest.seq, kind: TimerKind::Now, window, refusals: 0 };
        let purpose = format!("{}wt{}", newest.seq, now.0);
        self.timers.arm(conversation, &purpose, now, &token).await?;
        Ok(true)
    }

    /// Whether a slot, a token, a timer or the index will bring the conversation back. A turn that waits
    /// for its expert is brought back by the index alone: its timer is the end of its patience.
    async fn is_on_its_way(
        &self,
        conversation: &Conversation,
        is_parked: bool,
    ) -> anyhow::Result<bool> {
        let third = match is_parked {
            true => (handoff::STREAM, format!("dt.handoff.*.{conversation}")),
            false => (timer::STREAM, subject::timer(conversation, "*")),
        };
        for (stream, filter) in [
            third,
            (timer::STREAM, subject::due(conversation)),
            (slot::STREAM, subject::slot(conversation)),
        ] {
            let found = state::subjects(&self.nats, stream, &filter).await?;
            if found.keys().any(|found| !timer::is_expiry(found)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what a conversation has before `kept`, as far as the dedupe window allows: one waiting
    /// conversation never fills a stream for all. What was stored since somebody looked stays, e.g. an
    /// answer of which the next record knows nothing but its place.
    async fn make_room(&self, stream: &str, subject: &str, kept: Seq) -> anyhow::Result<()> {
        let since = Timestamp(self.context.clock.now().0 - millis(self.dedupe_window));
        let young = self.nats.first_since(stream, since, subject).await?;
        let before = young.map_or(kept, |record| record.seq.min(kept));
        if before == Seq(0) {
            // The broker would take it for no bound at all.
            return Ok(());
        }
        let filter = json!({ "filter": subject, "seq": before.0 });
        Ok(self.nats.purge(stream, &filter).await?)
    }
}

/// Which streams are over 70 % of what they may hold.
#[derive(Clone, Copy)]
struct Pressed {
    log: bool,
    journal: bool,
}

/// A question is open whose session has run out: its card still shows buttons.
fn asks_in_vain(head: &Head, trigger: Option<&Trigger>, now: Timestamp) -> bool {
    let session = head.session.clone().map(|session| session.under(trigger));
    let is_over = session.is_none_or(|session| session.is_expired(now));
    head.turn.is_none() && head.interrupted.is_some() && is_over
}

/// The turn that has waited for its expert for as long as it may.
fn overdue(head: &Head, now: Timestamp) -> Option<Seq> {
    head.turn.as_ref().filter(|turn| turn.is_overdue(now)).map(|turn| turn.last)
}

fn is_parked(turn: Option<&OpenTurn>) -> bool {
    turn.is_some_and(|turn| matches!(turn.phase, Phase::Parked { .. }))
}

fn is_pressed(bytes: u64, max: i64) -> bool {
    u64::try_from(max).is_ok_and(|max| max > 0 && bytes / 7 > max / 10)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
