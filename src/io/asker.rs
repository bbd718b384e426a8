//! Who asked a turn, and where: read from the log, where it was asked.

use super::log::{Error, Log};
use crate::domain::entry::{Entry, Origin};
use crate::domain::id::{Conversation, Seq, TurnId};
use crate::domain::inbound::Message;

/// An action may answer the turn of an action, and so on; further back nobody looks.
const CHAIN_MAX: u32 = 16;

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
            Some(Entry::Replay(replay)) => return Ok(replay.messages.last().map(Message::origin)),
            Some(Entry::Action(earlier)) => turn = earlier.turn,
            Some(Entry::Control(_) | Entry::Query(_) | Entry::Undecodable { .. } | Entry::Gone)
            | None => return Ok(None),
        }
    }
    Ok(None)
}
