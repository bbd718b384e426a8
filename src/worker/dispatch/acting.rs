//! Presses on buttons and links: whose turn they answer, and whether they count.
//!
//! An end that counts is a control entry from here on. One that does not stays an action, which is
//! answered with a word and changes nothing.

use anyhow::Context as _;

use super::Dispatch;
use super::turning::Turning;
use crate::domain::binding::Integration;
use crate::domain::entry::{
    Action, ActionKind, Control, ControlKind, Entry, Logged, Origin, Query, QueryKind,
};
use crate::domain::id::Seq;
use crate::domain::press::{self, Press, Standing};
use crate::io::asker::{asker, standing};
use crate::io::log::{self, PageLimits};
use crate::protocol::token::Slot;
use crate::worker::run::{Patience, Run, Stopped};

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
        slot: Slot,
        known: Option<Seq>,
    ) -> Result<Option<Seq>, Stopped> {
        match page.last().map(|logged| logged.seq) {
            Some(last) if known.is_some_and(|known| known > last) => Ok(known),
            Some(last) if last < slot.to => self.control_after(run, last).await,
            Some(_) | None => Ok(None),
        }
    }

    /// Makes the first end that counts a control entry, and none of a command that does not. What follows
    /// a control entry is judged when that one has done its work: the session may be another then.
    pub(super) async fn weigh(&self, run: &Run, page: &mut [Logged]) -> Result<(), Stopped> {
        for logged in page {
            match &logged.entry {
                Entry::Control(control) => match self.unheeded(run, control) {
                    None => return Ok(()),
                    Some(query) => logged.entry = Entry::Query(query),
                },
                Entry::Action(action) if action.kind == ActionKind::End => {
                    let asker = self.asker(run, action).await?;
                    let standing = self.judge(run, logged, action, asker.as_ref()).await?;
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

    fn unheeded(&self, run: &Run, control: &Control) -> Option<Query> {
        let trigger = self.routing.trigger_of(&run.conversation.integration)?;
        let origin = control.origin.as_ref().filter(|_| !trigger.heeds(control))?;
        Some(Query { kind: QueryKind::Unheeded, origin: origin.clone() })
    }

    /// Whether the action that a planned turn is counts now.
    pub(super) async fn standing(
        &self,
        run: &Run,
        entries: &[Logged],
    ) -> Result<Standing, Stopped> {
        let is_unheeded = |logged: &&Logged| match &logged.entry {
            Entry::Query(query) => query.kind == QueryKind::Unheeded,
            _ => false,
        };
        for _ in entries.iter().filter(is_unheeded) {
            self.context.metrics.limit_breached("allow_list");
        }
        let Some(logged) = entries.last() else { return Ok(Standing::Counts) };
        let Entry::Action(action) = &logged.entry else { return Ok(Standing::Counts) };
        let asker = self.asker(run, action).await?;
        let standing = self.judge(run, logged, action, asker.as_ref()).await?;
        if standing == Standing::Foreign {
            self.context.metrics.limit_breached("act_by");
        }
        Ok(standing)
    }

    async fn judge(
        &self,
        run: &Run,
        logged: &Logged,
        action: &Action,
        asker: Option<&Origin>,
    ) -> Result<Standing, Stopped> {
        let trigger = self.routing.trigger_of(&run.conversation.integration);
        let press = Press { action, at: logged.at, asker, is_first: false };
        let found = standing(&self.log, press, trigger.as_deref(), run.head(), logged.seq).await;
        Ok(found.context("read what came before a press")?)
    }

    async fn asker(&self, run: &Run, action: &Action) -> Result<Option<Origin>, Stopped> {
        match asker(&self.log, &run.conversation, &action.turn).await {
            // Nobody will ever say who asked.
            Err(log::Error::Newer { .. }) if run.patience == Patience::IsOver => Ok(None),
            found => Ok(found.context("read who asked")?),
        }
    }

    /// A turn in the hands of a run. An action is answered where its turn was asked, also one that is asked
    /// again.
    pub(super) async fn turning<'a>(
        &'a self,
        run: &Run,
        integration: Option<&'a Integration>,
        entries: Vec<Logged>,
    ) -> Result<Turning<'a>, Stopped> {
        let mut turning = Turning::new(self, integration, entries);
        if let Some(action) = turning.entries.last().and_then(|logged| logged.entry.action())
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
