//! Presses on buttons and links: whose turn they answer, and whether they count.
//!
//! An end that counts is a control entry from here on. One that does not stays an action, which is
//! answered with a word and changes nothing.

use anyhow::Context as _;

use super::Dispatch;
use super::turning::Turning;
use crate::domain::binding::{ActBy, Integration};
use crate::domain::entry::{Action, ActionKind, Control, ControlKind, Entry, Logged, Origin};
use crate::domain::id::Seq;
use crate::domain::inbound::Message;
use crate::domain::press::{self, Standing};
use crate::domain::turn::Head;
use crate::io::log::{self, PageLimits};
use crate::worker::run::{Patience, Run, Stopped};

/// An action may answer the turn of an action, and so on; further back nobody looks.
const CHAIN_MAX: u32 = 16;
/// How much of the log is looked through at once.
const LOOK: PageLimits = PageLimits { entries_max: 500, bytes_max: 4 << 20 };

impl Dispatch {
    /// The first control entry after `last`, if there is one.
    pub(super) async fn control_after(&self, run: &Run, last: Seq) -> Result<Option<Seq>, Stopped> {
        let newest = self.log.newest(&run.conversation).await.context("read newest")?;
        let Some(newest) = newest.filter(|newest| newest.seq > last) else { return Ok(None) };
        let mut after = last;
        while after < newest.seq {
            // A control entry of a newer release is none to this one: it waits for its turn.
            let page = self.log.glance(&run.conversation, after, newest.seq, LOOK).await;
            let mut page = page.context("look for control entries")?;
            self.weigh(run, &mut page).await?;
            let control = page.iter().find(|logged| matches!(logged.entry, Entry::Control(_)));
            if let Some(control) = control {
                return Ok(Some(control.seq));
            }
            after = page.last().map_or(newest.seq, |logged| logged.seq);
        }
        Ok(None)
    }

    /// The first control entry behind a page that does not hold all that the slot names: it ends what is
    /// on the page. `known` is what was found behind the page before.
    pub(super) async fn control_beyond(
        &self,
        run: &Run,
        page: &[Logged],
        to: Seq,
        known: Option<Seq>,
    ) -> Result<Option<Seq>, Stopped> {
        match page.last().map(|logged| logged.seq) {
            Some(last) if known.is_some_and(|known| known > last) => Ok(known),
            Some(last) if last < to => self.control_after(run, last).await,
            Some(_) | None => Ok(None),
        }
    }

    /// Makes the first end that counts a control entry. What follows a control entry is judged when that
    /// one has done its work: the session may be another then.
    pub(super) async fn weigh(&self, run: &Run, page: &mut [Logged]) -> Result<(), Stopped> {
        for logged in page {
            match &logged.entry {
                Entry::Control(_) => return Ok(()),
                Entry::Action(action) if action.kind == ActionKind::End => {
                    let asker = self.asker(run, action).await?;
                    let standing = self.judge(run.head(), logged, action, asker.as_ref());
                    if standing == Standing::Counts {
                        let origin = asker.map(|asker| acting(action, asker));
                        logged.entry = Entry::Control(Control { kind: ControlKind::End, origin });
                        return Ok(());
                    }
                }
                Entry::Message(_)
                | Entry::Action(_)
                | Entry::Replay(_)
                | Entry::Query(_)
                | Entry::Undecodable { .. }
                | Entry::Gone => {}
            }
        }
        Ok(())
    }

    /// Whether the action that a planned turn is counts now.
    pub(super) async fn standing(
        &self,
        run: &Run,
        entries: &[Logged],
    ) -> Result<Standing, Stopped> {
        let Some(logged) = entries.last() else { return Ok(Standing::Counts) };
        let Entry::Action(action) = &logged.entry else { return Ok(Standing::Counts) };
        let asker = self.asker(run, action).await?;
        Ok(self.judge(run.head(), logged, action, asker.as_ref()))
    }

    fn judge(
        &self,
        head: &Head,
        logged: &Logged,
        action: &Action,
        asker: Option<&Origin>,
    ) -> Standing {
        let trigger = self.routing.trigger_of(&action.turn.conversation.integration);
        let act_by = trigger.map_or(ActBy::Asker, |trigger| trigger.act_by);
        press::standing(action, asker.map(|origin| &origin.sender), act_by, head, logged.at)
    }

    /// Who asked the turn that an action answers, and where: read from the log, where it was asked.
    async fn asker(&self, run: &Run, action: &Action) -> Result<Option<Origin>, Stopped> {
        let conversation = &run.conversation;
        let mut turn = action.turn.clone();
        for _ in 0..CHAIN_MAX {
            if turn.conversation != *conversation {
                return Ok(None);
            }
            let before = Seq(turn.last.0.saturating_sub(1));
            let found = match self.log.first_after(conversation, before).await {
                // Nobody will ever say who asked.
                Err(log::Error::Newer { .. }) if run.patience == Patience::IsOver => None,
                found => found.context("read who asked")?,
            };
            match found.filter(|logged| logged.seq == turn.last).map(|logged| logged.entry) {
                Some(Entry::Message(message)) => return Ok(Some(message.origin())),
                Some(Entry::Replay(replay)) => {
                    return Ok(replay.messages.last().map(Message::origin));
                }
                Some(Entry::Action(earlier)) => turn = earlier.turn,
                Some(
                    Entry::Control(_) | Entry::Query(_) | Entry::Undecodable { .. } | Entry::Gone,
                )
                | None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// A turn in the hands of a run. An action is answered where its turn was asked.
    pub(super) async fn turning<'a>(
        &'a self,
        run: &Run,
        integration: Option<&'a Integration>,
        entries: Vec<Logged>,
    ) -> Result<Turning<'a>, Stopped> {
        let mut turning = Turning::new(self, integration, entries);
        if let Some(Entry::Action(action)) = turning.entries.last().map(|logged| &logged.entry)
            && let Some(asker) = self.asker(run, action).await?
        {
            turning.origin = Some(acting(action, asker));
        }
        Ok(turning)
    }
}

/// The presser, in the place of who asked.
fn acting(action: &Action, asker: Origin) -> Origin {
    if press::is_same(&action.by, &asker.sender) {
        return asker;
    }
    Origin { sender: action.by.clone(), ..asker }
}
