//! After a run: what follows it in the log, and what others read of it in SQL.
//!
//! Something ripe gets a slot or a timer before anybody forgets it, also where the broker is away for a
//! moment: what follows may have no timer of its own any more. What a kill leaves here, or a longer
//! absence, is the sweep's. Rows for SQL are offered and never waited for.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::Dispatch;
use super::deferring::is_of_broker;
use super::turning::{Turning, thread, turn_id};
use crate::domain;
use crate::domain::debounce::{TimerKind, Token, wait_max};
use crate::domain::entry::Entry;
use crate::domain::id::{Conversation, Seq};
use crate::domain::plan::{full, said_before};
use crate::domain::retry;
use crate::domain::turn::{Head, OpenTurn};
use crate::io::log::Found;
use crate::io::nats::trace;
use crate::io::slot::Offered;
use crate::io::store::conversations::Session;
use crate::io::store::messages::Trace;
use crate::io::store::writer::Row;
use crate::protocol::token::Slot;
use crate::worker::run::Run;

/// On a cluster an acknowledged slot disappears a moment later.
const SLOT_SETTLES: Duration = Duration::from_millis(200);
/// A broker that is away for longer has left more behind than this: the sweep looks for it.
const FOLLOW_MAX: Duration = Duration::from_mins(1);

impl Dispatch {
    /// Sees to what follows. The slot is acknowledged, so nobody else does: what the broker cannot do for
    /// now is tried here again.
    pub(super) async fn follow_up(&self, conversation: &Conversation, head: &Head) {
        let begun = Instant::now();
        for wait in retry::soon() {
            let Err(error) = self.follow(conversation, head).await else { return };
            let is_over = begun.elapsed() >= FOLLOW_MAX || self.context.is_stopping();
            if is_over || !is_of_broker(&error) {
                let error = format!("{error:#}");
                tracing::warn!(%conversation, error, "what follows a run is left to the sweep");
                return;
            }
            tracing::debug!(%conversation, error = %format!("{error:#}"), "what follows is looked at again");
            tokio::select! {
                () = self.context.stop().cancelled() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Offers the slot again where something ripe follows; what waits for quiet has its own timer, and
    /// so has an open turn.
    async fn follow(&self, conversation: &Conversation, head: &Head) -> anyhow::Result<()> {
        if head.turn.is_some() {
            return Ok(());
        }
        let newest = self.log.newest(conversation).await.context("read what follows")?;
        let Some(newest) = newest.filter(|newest| newest.seq > head.position) else {
            return Ok(());
        };
        let trace = newest.trace;
        let Some(slot) = self.next(conversation, head.position, newest).await? else {
            return Ok(());
        };
        // The slot bears the trace of what it is for.
        trace::of(trace, self.offer_again(conversation, slot)).await
    }

    /// What is ripe of that which follows, under the window of its time.
    async fn next(
        &self,
        conversation: &Conversation,
        position: Seq,
        newest: Found,
    ) -> anyhow::Result<Option<Slot>> {
        let trigger = self.routing.trigger_of(&conversation.integration);
        let window =
            trigger.as_ref().map_or(Duration::ZERO, |trigger| trigger.window_at(newest.at));
        // What was said before another window was published is not for that one to merge or to split.
        if let Some(former) = trigger.and_then(|trigger| trigger.former_window)
            && former.until <= newest.at
        {
            let page = self.log.glance(conversation, position, newest.seq, self.config.page).await;
            let page = page.context("read what was said before")?;
            if let Some(to) = said_before(&page, former.until).last().map(|logged| logged.seq) {
                return Ok(Some(Slot { to, window: former.window }));
            }
        }
        let to = self.ripe(conversation, position, newest, window).await?;
        Ok(to.map(|to| Slot { to, window }))
    }

    async fn offer_again(&self, conversation: &Conversation, slot: Slot) -> anyhow::Result<()> {
        let Slot { to, window } = slot;
        let until = Instant::now() + SLOT_SETTLES;
        while self.slots.offer(conversation, &slot).await.context("offer slot")?
            == Offered::Occupied
        {
            if Instant::now() >= until {
                let at = self.context.clock.now().after(Duration::from_secs(1));
                let token = Token { seq: to, kind: TimerKind::Now, window, refusals: 0 };
                let purpose = format!("{to}ft{}", at.0);
                return self
                    .timers
                    .arm(conversation, &purpose, at, &token)
                    .await
                    .context("arm now");
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Up to where it need not wait for quiet.
    async fn ripe(
        &self,
        conversation: &Conversation,
        position: Seq,
        newest: Found,
        window: Duration,
    ) -> anyhow::Result<Option<Seq>> {
        let now = self.context.clock.now();
        if window == Duration::ZERO || now.since(newest.at) >= window {
            return Ok(Some(newest.seq));
        }
        let page = self.log.glance(conversation, position, newest.seq, self.config.page).await;
        let page = page.context("read what follows")?;
        let is_message = |entry: &Entry| matches!(entry, Entry::Message(_) | Entry::Query(_));
        let longest = wait_max(window, self.config.wait_least);
        let has_waited = page.first().is_some_and(|first| now.since(first.at) >= longest);
        if has_waited || page.iter().any(|logged| !is_message(&logged.entry)) {
            return Ok(Some(newest.seq));
        }
        Ok(full(&page, self.config.plan))
    }
}

impl Turning<'_> {
    /// Rows for the projections: never waited for; the sweep repairs those of sessions.
    pub(super) fn project(&self, run: &Run, before: Option<&OpenTurn>) {
        let open = run.head().turn.as_ref().or(before);
        for logged in &self.entries {
            let Entry::Message(message) = &logged.entry else { continue };
            self.hands.writer.offer(Row::Message(Trace {
                msg_id: message.msg_id.clone(),
                conversation: run.conversation.clone(),
                seq: logged.seq,
                turn: open.map(|turn| turn_id(run, turn)),
                at: logged.at,
            }));
        }
        let (Some(turn), Some(origin)) = (open, &self.origin) else { return };
        let Some(asked) = &turn.asked else { return };
        let current = run.head().session.as_ref().filter(|session| session.epoch == asked.epoch);
        self.hands.writer.offer(Row::Conversation(Session {
            conversation: run.conversation.clone(),
            expert: asked.expert.clone(),
            thread: thread(run, turn),
            epoch: asked.epoch,
            last_activity: current.map_or(turn.accepted_at, |session| session.last_activity),
            timeout: current.map_or(Duration::ZERO, |session| session.timeout),
            place_id: origin.place.id.clone(),
            place_title: origin.place.title.clone(),
            sender_id: origin.sender.user_id().to_owned(),
            sender_name: origin.sender.name.clone(),
            is_ended: current.is_none(),
        }));
    }

    /// A session that a turn of the service itself has ended or kept: nothing else will tell the list so.
    pub(super) fn project_session(
        &self,
        run: &Run,
        was: Option<domain::session::Session>,
        before: Option<&OpenTurn>,
    ) {
        let now = run.head().session.as_ref();
        let turn = run.head().turn.as_ref().or(before);
        let is_own = turn.is_none_or(|turn| turn.asked.is_none());
        let session = match (was, now) {
            (Some(ended), None) => ended,
            (Some(was), Some(now)) if is_own && now.last_activity > was.last_activity => {
                now.clone()
            }
            _ => return,
        };
        let mut row = Session::of_journal(&run.conversation, &session);
        row.is_ended = now.is_none();
        if let Some(origin) = &self.origin {
            row.place_id.clone_from(&origin.place.id);
            row.place_title.clone_from(&origin.place.title);
            row.sender_id = origin.sender.user_id().to_owned();
            row.sender_name.clone_from(&origin.sender.name);
        }
        self.hands.writer.offer(Row::Conversation(row));
    }
}
