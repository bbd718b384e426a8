//! Newer messages for the turn that is under way, by the trigger's busy policy.
//!
//! The turn keeps its first entry and takes in what follows, so that turns still tile the log. With
//! `interrupt` the run is given up, the record `merged` widens the range, and the expert is asked anew
//! under the id of the new last entry. With `steer` the messages are said into the run, and the record
//! `steered` widens the range once the run has read them. Only messages of the same person join, within
//! the limits of one turn.

use anyhow::Context as _;

use super::Dispatch;
use crate::domain::attachment::{Quoting, Spoken, compose};
use crate::domain::binding::{BusyPolicy, Language};
use crate::domain::entry::{Entry, Logged};
use crate::domain::id::Seq;
use crate::domain::steer::{joining, offer};
use crate::domain::turn::Event;
use crate::io::log::PageLimits;
use crate::io::runtime::Steer;
use crate::worker::run::{Run, Stopped};

impl Dispatch {
    /// All entries of the wider turn where newer messages are to join the open one.
    pub(super) async fn wider(
        &self,
        run: &Run,
        entries: &[Logged],
    ) -> Result<Option<Vec<Logged>>, Stopped> {
        let newer = self.newer(run, entries, BusyPolicy::Interrupt).await?;
        Ok((!newer.is_empty()).then(|| entries.iter().cloned().chain(newer).collect()))
    }

    /// What the wider range means for the open turn.
    pub(super) fn widened(&self, entries: &[Logged]) -> Option<Event> {
        let last = entries.last()?;
        let at = self.context.clock.now();
        Some(Event::Widened { last: last.seq, accepted_at: last.at, at })
    }

    /// What is to be said into the run now, of what was not offered to it yet.
    pub(super) async fn steer(
        &self,
        run: &Run,
        entries: &[Logged],
        offered: Seq,
    ) -> Result<Option<Steer>, Stopped> {
        let newer = self.newer(run, entries, BusyPolicy::Steer).await?;
        let said: Vec<_> = offer(&newer, offered)
            .iter()
            .filter_map(|logged| match &logged.entry {
                Entry::Message(message) => {
                    let spoken = Spoken { message: message.clone(), at: logged.at };
                    // Without files nothing in it depends on the language.
                    let (quoting, language) = (Quoting::Before, Language::En);
                    let text = compose(&[spoken], [].into(), quoting, language).text;
                    Some((logged.seq, text))
                }
                Entry::Action(_)
                | Entry::Control(_)
                | Entry::Replay(_)
                | Entry::Query(_)
                | Entry::Undecodable { .. }
                | Entry::Gone => None,
            })
            .collect();
        Ok((!said.is_empty()).then_some(Steer { said }))
    }

    /// All entries of the turn once its run has read up to `last`; `None` where it has those already.
    pub(super) async fn read_up_to(
        &self,
        run: &Run,
        entries: &[Logged],
        last: Seq,
    ) -> Result<Option<Vec<Logged>>, Stopped> {
        let Some(known) = entries.last().filter(|known| known.seq < last) else { return Ok(None) };
        let whole = PageLimits { entries_max: usize::MAX, bytes_max: usize::MAX };
        let page = self.log.page(&run.conversation, known.seq, last, whole).await;
        let page = page.context("read what the run has read")?;
        Ok(Some(entries.iter().cloned().chain(page).collect()))
    }

    /// The messages behind the open turn that join it, where the trigger has this policy.
    async fn newer(
        &self,
        run: &Run,
        entries: &[Logged],
        policy: BusyPolicy,
    ) -> Result<Vec<Logged>, Stopped> {
        let trigger = self.routing.trigger_of(&run.conversation.integration);
        let trigger = trigger.filter(|trigger| trigger.busy_policy == policy);
        let (Some(trigger), Some(turn)) = (trigger, &run.head().turn) else { return Ok(vec![]) };
        if !turn.may_grow() {
            return Ok(vec![]);
        }
        let newest = self.log.newest(&run.conversation).await.context("read newest")?;
        let Some(newest) = newest.filter(|newest| newest.seq > turn.last) else {
            return Ok(vec![]);
        };
        let limits = self.config.page;
        let page = self.log.glance(&run.conversation, turn.last, newest.seq, limits).await;
        let mut newer = page.context("read newer messages")?;
        newer.truncate(joining(entries, &newer, self.config.plan));
        let is_allowed = match newer.last().map(|logged| &logged.entry) {
            Some(Entry::Message(message)) => trigger.allows(&message.place, &message.sender),
            Some(_) | None => false,
        };
        Ok(if is_allowed { newer } else { vec![] })
    }
}
