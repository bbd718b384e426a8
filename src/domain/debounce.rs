//! What intake and due decide: a timer or a slot for each entry, and whether a fired timer still counts.
//!
//! Pure and total. A timer is only a hint: what is decided here looks at the log and the position, so a
//! lost, late or doubled one changes no outcome.

use std::time::Duration;

use super::entry::EntryKind;
use super::id::Seq;
use super::time::Timestamp;

/// Why a timer was armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerKind {
    /// The conversation's quiet window since this version.
    Window,
    /// As soon as possible: the log is to be looked at, whatever the window says.
    Now,
}

/// A hint that a version may be due. The log decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub seq: Seq,
    pub kind: TimerKind,
    /// The window that merges earlier messages, as the binding had it at intake.
    pub window: Duration,
    /// How often the slot was occupied when this token came.
    pub refusals: u32,
}

/// What follows from an entry that intake took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    ArmWindow,
    OfferSlot,
}

/// A plain message waits for quiet where the binding has a window; everything else is looked at now.
pub fn intake(kind: EntryKind, window: Duration) -> Intake {
    match kind {
        // A question to the service must not hurry the messages that wait before it.
        EntryKind::Message | EntryKind::Query if window > Duration::ZERO => Intake::ArmWindow,
        EntryKind::Message
        | EntryKind::Query
        | EntryKind::Action
        | EntryKind::Control
        | EntryKind::Replay => Intake::OfferSlot,
    }
}

/// No window keeps a message longer than ten times itself, or than `least` where that is longer.
pub fn wait_max(window: Duration, least: Duration) -> Duration {
    (window * 10).max(least)
}

/// What due reads from journal and log before it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The end of what is finished.
    pub position: Seq,
    pub newest: Seq,
    /// When the first entry was stored that is neither finished nor part of a running turn.
    pub first_unfinished_at: Option<Timestamp>,
    /// No window keeps a message longer.
    pub wait_max: Duration,
    pub now: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The version is finished.
    Done,
    /// A newer entry has a timer of its own, and nobody has waited too long.
    Superseded,
    Offer,
}

pub fn due(token: &Token, view: &View) -> Due {
    if token.seq <= view.position {
        return Due::Done;
    }
    let waited = view.first_unfinished_at.map_or(Duration::ZERO, |at| view.now.since(at));
    match token.kind {
        TimerKind::Window if view.newest > token.seq && waited < view.wait_max => Due::Superseded,
        TimerKind::Window | TimerKind::Now => Due::Offer,
    }
}

/// What a token does whose slot is occupied: end, or come back after this long.
pub fn refused(token: &Token, newest: Seq) -> Option<Duration> {
    match token.kind {
        // The newer entry has its own timer, and the run that holds the slot looks at what follows.
        TimerKind::Window if newest > token.seq => None,
        TimerKind::Window | TimerKind::Now => {
            let seconds = [1, 2, 4, 8].get(usize::try_from(token.refusals).unwrap_or(4));
            Some(Duration::from_secs(seconds.copied().unwrap_or(15)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(5);

    fn token(kind: TimerKind) -> Token {
        Token { seq: Seq(10), kind, window: WINDOW, refusals: 0 }
    }

    fn view(position: u64, newest: u64, first_s: i64, now_s: i64) -> View {
        View {
            position: Seq(position),
            newest: Seq(newest),
            first_unfinished_at: Some(Timestamp(first_s * 1000)),
            wait_max: wait_max(WINDOW, Duration::from_secs(60)),
            now: Timestamp(now_s * 1000),
        }
    }

    #[test]
    fn only_plain_messages_wait_for_quiet() {
        assert_eq!(intake(EntryKind::Message, WINDOW), Intake::ArmWindow);
        assert_eq!(intake(EntryKind::Query, WINDOW), Intake::ArmWindow);
        assert_eq!(intake(EntryKind::Message, Duration::ZERO), Intake::OfferSlot);
        for kind in [EntryKind::Action, EntryKind::Control, EntryKind::Replay] {
            assert_eq!(intake(kind, WINDOW), Intake::OfferSlot, "{kind:?}");
        }
    }

    #[test]
    fn a_fired_timer_is_only_a_hint() {
        use Due::{Done, Offer, Superseded};
        use TimerKind::{Now, Window};
        for (kind, view, expected) in [
            (Window, view(10, 10, 0, 5), Done),
            (Window, view(12, 12, 0, 5), Done),
            (Window, view(9, 10, 0, 5), Offer),
            (Window, view(9, 11, 0, 5), Superseded),
            (Window, view(9, 11, 0, 59), Superseded),
            (Window, view(9, 11, 0, 60), Offer),
            (Now, view(9, 11, 0, 5), Offer),
            (Now, view(10, 11, 0, 5), Done),
        ] {
            assert_eq!(due(&token(kind), &view), expected, "{kind:?} {view:?}");
        }
    }

    #[test]
    fn an_occupied_slot_is_asked_again_ever_more_slowly() {
        let waits: Vec<_> = (0..6)
            .map(|refusals| {
                let token = Token { refusals, ..token(TimerKind::Now) };
                refused(&token, Seq(99)).map(|wait| wait.as_secs())
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 15, 15].map(Some));
        assert_eq!(refused(&token(TimerKind::Window), Seq(11)), None);
        assert_eq!(refused(&token(TimerKind::Window), Seq(10)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_window_keeps_nothing_longer_than_ten_times_itself_or_the_least_there_is() {
        for (window_s, least_s, expected_s) in [(1, 60, 60), (5, 60, 60), (7, 60, 70), (1, 1, 10)] {
            let wait = wait_max(Duration::from_secs(window_s), Duration::from_secs(least_s));
            assert_eq!(wait, Duration::from_secs(expected_s), "{window_s} s");
        }
    }
}
