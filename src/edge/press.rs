//! What a press will come to, for the answer that is shown at once.
//!
//! A look ahead and no more: the log keeps the press and a worker judges it. What was judged already is
//! told as it was. What cannot be told in time is left open, and the worker's own word comes a moment
//! later.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::accept::Decision;
use super::repeat::Arrival;
use super::{Edge, Taken};
use crate::domain::binding::{Integration, Trigger};
use crate::domain::entry::{Action, Entry};
use crate::domain::foresight;
use crate::domain::id::{Seq, TurnId};
use crate::domain::press::{self, Press, Standing};
use crate::domain::turn::question::{self, Interrupted};
use crate::domain::turn::{Head, OpenTurn, Phase, TurnKind};
use crate::domain::words;
use crate::io::asker::{self, asker};
use crate::io::log::{self, PageLimits};
use crate::protocol::card;
use crate::protocol::card::question::closed;

/// DingTalk waits 2 s for the whole answer, and the press itself comes first.
const PATIENCE: Duration = Duration::from_millis(500);
/// Of what stands before a press and is not done yet.
const BETWEEN: PageLimits = PageLimits { entries_max: 200, bytes_max: 1024 * 1024 };

impl Edge {
    /// Takes a press like everything else, and says what its card shows from now on.
    pub(super) async fn take_press(
        &self,
        integration: &Integration,
        decision: Decision,
        arrival: Arrival,
    ) -> Result<Value, log::Error> {
        let Some(action) = pressed(&decision).cloned() else {
            self.take(integration, decision, arrival).await?;
            return Ok(json!({}));
        };
        let (taken, head) = self.take_action(integration, decision, arrival, &action).await?;
        let foreseen = self.foresee(&action, head, taken).await;
        let result = match foreseen {
            Some(Standing::Counts) => Some(words::pressed(integration.language, &action.kind)),
            // It shows buttons that mean nothing any more.
            Some(Standing::Over) => None,
            Some(Standing::Foreign) | None => return Ok(json!({})),
        };
        Ok(card::response(&closed(integration.language, result.as_deref())))
    }

    /// Takes a press, and gives the conversation as it was before. What arrives while that is read waits
    /// behind the press.
    pub(super) async fn take_action(
        &self,
        integration: &Integration,
        decision: Decision,
        arrival: Arrival,
        action: &Action,
    ) -> Result<(Taken, Option<Head>), log::Error> {
        let place = self.order.enter(&action.turn.conversation).await;
        let head = self.head(action).await;
        let taken = self.take_in(integration, decision, arrival, Some(place)).await?;
        Ok((taken, head))
    }

    /// The conversation as it is before the press.
    pub(super) async fn head(&self, action: &Action) -> Option<Head> {
        let read = self.journal.last(&action.turn.conversation);
        let mut head = timeout(PATIENCE, read).await.ok()?.ok()?.head;
        let asks = |turn: &mut OpenTurn| match &turn.phase {
            Phase::Sending(sending) => turn.last == action.turn.last && sending.asks.is_question(),
            _ => false,
        };
        // Who presses has read the question, though its turn is not on record as delivered yet.
        if let Some(turn) = head.turn.take_if(asks) {
            head.position = turn.last;
            head.interrupted = Some(Interrupted { turn: turn.last, run: turn.run });
        }
        // It stays on record while the turn that closes it is open.
        if head.turn.as_ref().is_some_and(|turn| question::close(&head, turn).is_some()) {
            head.interrupted = None;
        }
        (head.position >= action.turn.last).then_some(head)
    }

    /// `None` where it cannot be told.
    pub(super) async fn foresee(
        &self,
        action: &Action,
        head: Option<Head>,
        taken: Taken,
    ) -> Option<Standing> {
        timeout(PATIENCE, self.judge(action, head, taken)).await.ok()?
    }

    async fn judge(&self, action: &Action, head: Option<Head>, taken: Taken) -> Option<Standing> {
        let conversation = &action.turn.conversation;
        let trigger = self.routing.trigger_of(&conversation.integration);
        let (trigger, at) = (trigger.as_deref(), self.context.clock.now());
        let seq = match taken {
            Taken::Stored(seq) => Some(seq),
            Taken::Duplicate(seq) => match self.judged(action, head.as_ref(), seq).await? {
                Judged::Counted => return Some(Standing::Counts),
                // Whatever is published since: it stays without effect, and a question that is open stays so.
                Judged::InVain => {
                    let is_open = press::is_awaited(action.turn.last, at, trigger, &head?);
                    return (!is_open).then_some(Standing::Over);
                }
                Judged::NotYet => Some(seq),
            },
            Taken::Ignored => None,
        };
        let head = head?;
        let asker = asker(&self.log, conversation, &action.turn).await.ok()?;
        let press = Press { action, at, asker: asker.as_ref(), is_first: false };
        let Some(seq) = seq else { return Some(press::standing(press, trigger, &head)) };
        let head = self.until(head, press, trigger, seq).await.ok()??;
        asker::standing(&self.log, press, trigger, &head, seq).await.ok()
    }

    /// The conversation as it will be when the press at `seq` is judged. `None`: too much is to be done
    /// before.
    async fn until(
        &self,
        mut head: Head,
        press: Press<'_>,
        trigger: Option<&Trigger>,
        seq: Seq,
    ) -> Result<Option<Head>, log::Error> {
        let turn = &press.action.turn;
        // What is done by now the head knows.
        let done = head.position.max(turn.last);
        let page = self.log.glance(&turn.conversation, done, seq, BETWEEN).await?;
        if page.last().is_some_and(|last| last.seq < seq) {
            return Ok(None);
        }
        for logged in page.iter().filter(|logged| logged.seq < seq) {
            head = match &logged.entry {
                Entry::Action(other) if other.turn != *turn => {
                    let asker = asker(&self.log, &turn.conversation, &other.turn).await?;
                    foresight::after(head, logged, asker.as_ref(), trigger)
                }
                _ => foresight::after(head, logged, press.asker, trigger),
            };
        }
        Ok(Some(head))
    }

    /// What the worker has made of the press at `seq`; `None` where it cannot be told.
    async fn judged(&self, action: &Action, head: Option<&Head>, seq: Seq) -> Option<Judged> {
        let turn = TurnId { conversation: action.turn.conversation.clone(), last: seq };
        let records = self.journal.history(&turn).await.ok()?;
        let mut turns = records.iter().filter_map(|record| record.head.turn.as_ref());
        if turns.any(|turn| turn.asked.is_some() || turn.kind == TurnKind::Control) {
            return Some(Judged::Counted);
        }
        let is_over = !records.is_empty() || head.is_some_and(|head| head.position >= seq);
        Some(if is_over { Judged::InVain } else { Judged::NotYet })
    }
}

/// What became of a press that came before.
enum Judged {
    NotYet,
    InVain,
    /// It asked the expert, or ended the session.
    Counted,
}

/// The action that a payload or a link turned out to be.
pub(super) fn pressed(decision: &Decision) -> Option<&Action> {
    match decision {
        Decision::Publish(publish) => match &publish.entry {
            Entry::Action(action) => Some(action),
            _ => None,
        },
        Decision::Ignore(_) => None,
    }
}
