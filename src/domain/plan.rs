//! Turns as ranges of the log: which entries after the position make the next turn.
//!
//! Turns tile the log: the first turn of a page begins with its first entry, and nothing in between is
//! left out.

use std::time::Duration;

use super::entry::{Entry, Logged};
use super::id::Seq;

/// What bounds one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub messages_max: usize,
    /// Of text; one larger message is a turn of its own.
    pub bytes_max: usize,
}

/// The next turn: the first `count` entries of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    pub count: usize,
    pub first: Seq,
    pub last: Seq,
    pub kind: PlannedKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedKind {
    /// One or several messages for the expert.
    Messages,
    Action,
    Control,
    Replay,
    /// Ended before they began by the control entry at this sequence.
    Stopped {
        by: Seq,
    },
    /// No release can read it.
    Undecodable,
    /// It is gone from the log.
    Gone,
}

/// The first turn of `page`, the entries of one conversation that follow its position in log order.
/// `None` for an empty page.
pub fn plan(page: &[Logged], window: Duration, limits: Limits) -> Option<Planned> {
    let first = page.first()?;
    let stopped = page.iter().position(|logged| matches!(logged.entry, Entry::Control(_)));
    let (count, kind) = match (&first.entry, stopped) {
        (Entry::Control(_), _) => (1, PlannedKind::Control),
        (_, Some(index)) => {
            let by = page.get(index).map_or(first.seq, |control| control.seq);
            (index, PlannedKind::Stopped { by })
        }
        (Entry::Message(_), None) => (merged(page, window, limits), PlannedKind::Messages),
        (Entry::Action(_), None) => (1, PlannedKind::Action),
        (Entry::Replay(_), None) => (1, PlannedKind::Replay),
        (Entry::Undecodable { .. }, None) => (1, PlannedKind::Undecodable),
        (Entry::Gone, None) => (1, PlannedKind::Gone),
    };
    let last = page.get(count.saturating_sub(1)).unwrap_or(first);
    Some(Planned { count, first: first.seq, last: last.seq, kind })
}

/// How many messages at the head of the page are one turn.
fn merged(page: &[Logged], window: Duration, limits: Limits) -> usize {
    if window == Duration::ZERO {
        return 1;
    }
    let mut count = 0;
    let mut bytes = 0;
    let mut sender = None;
    for logged in page {
        let Entry::Message(message) = &logged.entry else { break };
        bytes += message.text().len();
        let is_over = count >= limits.messages_max || bytes > limits.bytes_max;
        let is_other = sender.is_some_and(|id| id != &message.sender.id);
        if count > 0 && (is_over || is_other || message.is_unsupported()) {
            break;
        }
        count += 1;
        sender = Some(&message.sender.id);
        // What cannot be handed to an expert is answered by the service: it merges with nothing.
        if message.is_unsupported() {
            break;
        }
    }
    count.max(1)
}

#[cfg(test)]
mod tests;
