//! Turns as ranges of the log: which entries after the position make the next turn.
//!
//! Turns tile the log: the first turn of a page begins with its first entry, and nothing in between is
//! left out.

use std::time::Duration;

use super::binding::FormerWindow;
use super::entry::{Entry, Logged};
use super::id::Seq;
use super::time::Timestamp;

/// What bounds one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub messages_max: usize,
    /// Of what is said, quoted and attached; one larger message is a turn of its own.
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
    /// Questions to the service, answered when they came.
    Query,
    /// Ended before they began by the control entry at this sequence.
    Stopped {
        by: Seq,
    },
    /// No release can read it.
    Undecodable,
    /// It is gone from the log.
    Gone,
}

/// The first turn of `page`, the entries of one conversation that follow its position in log order;
/// `beyond` is the first control entry behind the page, where one is known. `None` for an empty page.
pub fn plan(
    page: &[Logged],
    beyond: Option<Seq>,
    window: Duration,
    limits: Limits,
) -> Option<Planned> {
    let first = page.first()?;
    let control = page.iter().enumerate().find(|(_, l)| matches!(l.entry, Entry::Control(_)));
    let stopped = control.map(|(index, logged)| (index, logged.seq));
    let stopped = stopped.or_else(|| beyond.map(|by| (page.len(), by)));
    // Questions to the service itself were answered when they came: they go with what follows them.
    let skipped = page.iter().take_while(|logged| matches!(logged.entry, Entry::Query(_))).count();
    let rest = page.get(skipped..).unwrap_or_default();
    let (count, kind) = match (rest.first().map(|logged| &logged.entry), stopped) {
        (None | Some(Entry::Query(_)), _) => (skipped, PlannedKind::Query),
        (Some(Entry::Control(_)), _) => (skipped + 1, PlannedKind::Control),
        (Some(_), Some((index, by))) => (index, PlannedKind::Stopped { by }),
        (Some(Entry::Message(_)), None) => {
            (skipped + merged(rest, window, limits).count, PlannedKind::Messages)
        }
        (Some(Entry::Action(_)), None) => (skipped + 1, PlannedKind::Action),
        (Some(Entry::Replay(_)), None) => (skipped + 1, PlannedKind::Replay),
        (Some(Entry::Undecodable { .. }), None) => (skipped + 1, PlannedKind::Undecodable),
        (Some(Entry::Gone), None) => (skipped + 1, PlannedKind::Gone),
    };
    let last = page.get(count.saturating_sub(1)).unwrap_or(first);
    Some(Planned { count, first: first.seq, last: last.seq, kind })
}

/// The same, where `page` begins under a window that another one has followed.
///
/// What was said until then is planned as it was said. What follows is not looked at, but for the first
/// control entry.
pub fn plan_apart(
    page: &[Logged],
    beyond: Option<Seq>,
    former: FormerWindow,
    limits: Limits,
) -> Option<Planned> {
    let before = said_before(page, former.until);
    let mut after = page.iter().skip(before.len());
    let control = after.find(|logged| matches!(logged.entry, Entry::Control(_)));
    let beyond = control.map(|logged| logged.seq).or(beyond);
    plan(before, beyond, former.window, limits)
}

/// The entries at the head of `page` that were stored before `until`.
pub fn said_before(page: &[Logged], until: Timestamp) -> &[Logged] {
    let count = page.iter().take_while(|logged| logged.at < until).count();
    page.get(..count).unwrap_or_default()
}

/// The end of the first turn of `page` that a limit keeps from growing, where messages merge.
///
/// It need not wait for quiet. What is behind anything but messages and questions is left to those who
/// take that.
pub fn full(page: &[Logged], limits: Limits) -> Option<Seq> {
    let mut rest = page;
    loop {
        while let [Logged { entry: Entry::Query(_), .. }, behind @ ..] = rest {
            rest = behind;
        }
        let Some(Logged { entry: Entry::Message(_), .. }) = rest.first() else { return None };
        let Merged { count, is_full } = merged(rest, Duration::MAX, limits);
        let (turn, behind) = rest.split_at_checked(count)?;
        if is_full {
            return turn.last().map(|logged| logged.seq);
        }
        rest = behind;
    }
}

/// The same, where it is the newest entry of `page` that fills it: of all entries, one says so.
pub fn filled(page: &[Logged], limits: Limits) -> Option<Seq> {
    let (_, before) = page.split_last()?;
    if full(before, limits).is_some() { None } else { full(page, limits) }
}

/// A turn of messages at the head of a page.
struct Merged {
    /// Of entries: messages, and the questions between them.
    count: usize,
    /// No message can join it, whatever follows.
    is_full: bool,
}

fn merged(page: &[Logged], window: Duration, limits: Limits) -> Merged {
    if window == Duration::ZERO {
        return Merged { count: 1, is_full: true };
    }
    let (mut count, mut messages) = (0, 0);
    let mut bytes = 0;
    let mut sender = None;
    let mut is_full = false;
    for (index, logged) in page.iter().enumerate() {
        if matches!(logged.entry, Entry::Query(_)) {
            continue;
        }
        let Entry::Message(message) = &logged.entry else { break };
        let is_other = sender.is_some_and(|id| id != &message.sender.id);
        if messages > 0 && (is_other || message.is_unsupported()) {
            break;
        }
        bytes += message.bytes();
        if messages > 0 && (messages >= limits.messages_max || bytes > limits.bytes_max) {
            is_full = true;
            break;
        }
        messages += 1;
        count = index + 1;
        is_full = messages >= limits.messages_max || bytes >= limits.bytes_max;
        sender = Some(&message.sender.id);
        // What cannot be handed to an expert is answered by the service: it merges with nothing.
        if message.is_unsupported() {
            break;
        }
    }
    Merged { count: count.max(1), is_full }
}

#[cfg(test)]
mod tests;
