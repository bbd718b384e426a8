//! The busy policy `interrupt`: a newer message joins the turn that is under way.
//!
//! The turn keeps its first entry and takes in what follows, so that turns still tile the log: the run
//! is given up, the record `merged` widens the range, and the expert is asked anew under the id of the
//! new last entry. Only messages of the same person join, within the limits of one turn.

use std::time::Duration;

use anyhow::Context as _;

use super::Dispatch;
use crate::domain::binding::BusyPolicy;
use crate::domain::entry::{Entry, Logged};
use crate::domain::plan::{PlannedKind, plan};
use crate::domain::turn::{Event, Phase, TurnKind};
use crate::worker::run::{Run, Stopped};

impl Dispatch {
    /// All entries of the wider turn where newer messages are to join the open one.
    pub(super) async fn wider(
        &self,
        run: &Run,
        entries: &[Logged],
    ) -> Result<Option<Vec<Logged>>, Stopped> {
        let trigger = self.routing.trigger_of(&run.conversation.integration);
        let trigger = trigger.filter(|trigger| trigger.busy_policy == BusyPolicy::Interrupt);
        let (Some(trigger), Some(turn)) = (trigger, &run.head().turn) else { return Ok(None) };
        let is_under_way = matches!(turn.phase, Phase::Running | Phase::Waiting { .. });
        if turn.kind != TurnKind::Messages || !is_under_way {
            return Ok(None);
        }
        let newest = self.log.newest(&run.conversation).await.context("read newest")?;
        let Some(newest) = newest.filter(|newest| newest.seq > turn.last) else { return Ok(None) };
        let limits = self.config.page;
        let page = self.log.glance(&run.conversation, turn.last, newest.seq, limits).await;
        let mut all = entries.to_vec();
        all.extend(page.context("read newer messages")?);
        // Messages that arrive while one is answered belong together, however long ago it was asked.
        let planned = plan(&all, Duration::MAX, self.config.plan);
        let Some(planned) = planned.filter(|planned| planned.kind == PlannedKind::Messages) else {
            return Ok(None);
        };
        all.truncate(planned.count);
        let is_allowed = match all.last().map(|logged| &logged.entry) {
            Some(Entry::Message(message)) => trigger.allows(&message.place, &message.sender),
            _ => false,
        };
        Ok((planned.last > turn.last && is_allowed).then_some(all))
    }

    /// What the wider range means for the open turn.
    pub(super) fn widened(&self, entries: &[Logged]) -> Option<Event> {
        let last = entries.last()?;
        let at = self.context.clock.now();
        Some(Event::Widened { last: last.seq, accepted_at: last.at, at })
    }
}
