//! What the log knows of a press: who asked the turn that it answers and where, and whether something
//! else answered that turn before.
//!
//! Read from the leader, so that it says what is stored; whether the press counts is judged in
//! [`crate::domain::press`], and here is read what it needs for that.

use super::log::{Error, Log, PageLimits};
use crate::domain::binding::Trigger;
use crate::domain::entry::{Action, ActionKind, Again, Entry, Origin, Replay};
use crate::domain::id::{Conversation, Seq, TurnId};
use crate::domain::inbound::Message;
use crate::domain::press::{self, Press, Standing};
use crate::domain::turn::Head;

/// An action may answer the turn of an action, and so on; further back nobody looks.
const CHAIN_MAX: u32 = 16;
/// More than that between a turn and a press answers it for certain.
const BETWEEN: PageLimits = PageLimits { entries_max: 200, bytes_max: 1024 * 1024 };

/// `None` where the log no longer knows, or where nobody asked.
pub async fn asker(
    log: &Log,
    conversation: &Conversation,
    turn: &TurnId,
) -> Result<Option<Origin>, Error> {
    let mut turn = turn.clone();
    for _ in 0..CHAIN_MAX {
        if turn.conversation != *conversation {
            return Ok(None);
        }
        let before = Seq(turn.last.0.saturating_sub(1));
        let found = log.first_after(conversation, before).await?;
        match found.filter(|logged| logged.seq == turn.last).map(|logged| logged.entry) {
            Some(Entry::Message(message)) => return Ok(Some(message.origin())),
            Some(Entry::Replay(Replay { again: Again::Messages(messages), .. })) => {
                return Ok(messages.last().map(Message::origin));
            }
            Some(Entry::Replay(Replay { again: Again::Press { action, .. }, .. })) => {
                turn = action.turn;
            }
            Some(Entry::Action(earlier)) => turn = earlier.turn,
            Some(Entry::Control(_) | Entry::Query(_) | Entry::Undecodable { .. } | Entry::Gone)
            | None => return Ok(None),
        }
    }
    Ok(None)
}

/// Whether the press at `seq` counts in a conversation with this head. The log is read for one that the
/// expert may have offered without waiting for it.
pub async fn standing(
    log: &Log,
    press: Press<'_>,
    trigger: Option<&Trigger>,
    head: &Head,
    seq: Seq,
) -> Result<Standing, Error> {
    let found = press::standing(press, trigger, head);
    let (ActionKind::Custom(_), Standing::Over, Some(asker)) =
        (&press.action.kind, found, press.asker)
    else {
        return Ok(found);
    };
    let is_first = is_first(log, press.action, asker, trigger, seq).await?;
    Ok(press::standing(Press { is_first, ..press }, trigger, head))
}

/// Whether nothing stands between the turn and the press at `seq` that would have answered the turn: at
/// most a question to the service, or the press of somebody who may not.
async fn is_first(
    log: &Log,
    action: &Action,
    asker: &Origin,
    trigger: Option<&Trigger>,
    seq: Seq,
) -> Result<bool, Error> {
    let page = log.glance(&action.turn.conversation, action.turn.last, seq, BETWEEN).await?;
    let answers = |entry: &Entry| match entry {
        Entry::Query(_) => false,
        Entry::Action(other) => {
            other.turn == action.turn && press::may_act(&other.by, asker, trigger)
        }
        Entry::Message(_)
        | Entry::Control(_)
        | Entry::Replay(_)
        | Entry::Undecodable { .. }
        | Entry::Gone => true,
    };
    Ok(!page.iter().any(|logged| logged.seq < seq && answers(&logged.entry)))
}
