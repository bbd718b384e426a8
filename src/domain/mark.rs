//! The mark of the log: which log was there last, and how far it went.
//!
//! Positions, turns and sessions are sequences of the log. A log that was put back from a backup ends
//! below what they name: its next entries would have sequences that count as finished, and turns would
//! have names that were used before. What to do about that is decided here.

use std::time::Duration;

use super::id::Seq;
use super::time::Timestamp;
use super::turn::{Head, Step};

/// Entries may be newer than the mark by this much.
const MARK_AGE_MAX: Duration = Duration::from_mins(1);

/// Kept beside the log, and moved on while all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When the broker made the log: another time for a log that was made again or put back.
    pub made_at: Timestamp,
    /// No entry, position or turn of the past has a higher sequence.
    pub seq: Seq,
    /// Set while the log is one that was put back: its entries from here up to `seq` are new, and share
    /// their sequences with what is past.
    pub shared_from: Option<Seq>,
}

/// What the log and the conversations say now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub made_at: Timestamp,
    /// The sequence of the last entry that the log ever had.
    pub last: Seq,
    /// The first entry that was stored after the log was made.
    pub first_new: Option<Seq>,
    /// The highest sequence that the state of any conversation names.
    pub named: Seq,
}

/// Whether what a conversation names must be looked up before the mark can move on.
pub fn is_another(mark: Option<&Mark>, made_at: Timestamp) -> bool {
    mark.is_none_or(|mark| mark.made_at != made_at)
}

/// The mark as it is to be kept. Once it says that sequences are shared, only [`settled`] ends that.
pub fn moved_on(mark: Option<Mark>, view: &View) -> Mark {
    let View { made_at, last, first_new, named } = *view;
    let after_last = Seq(last.0.saturating_add(1));
    let (from, seq, before) = match mark {
        Some(mark) if mark.made_at == made_at && mark.shared_from.is_some() => return mark,
        Some(mark) if mark.made_at == made_at => {
            return Mark { seq: mark.seq.max(last), ..mark };
        }
        Some(mark) => (first_new.unwrap_or(after_last), named.max(mark.seq), mark.shared_from),
        // Which entries are new nobody knows: only an end that is too low shows itself.
        None => (after_last, named, None),
    };
    if from <= seq {
        let from = before.map_or(from, |before| before.min(from));
        return Mark { made_at, seq, shared_from: Some(from) };
    }
    Mark { made_at, seq: seq.max(last), shared_from: None }
}

/// The mark once the log ends at `last`, above all that is shared, and no position names what is shared.
pub fn settled(mark: Mark, last: Seq) -> Mark {
    Mark { seq: mark.seq.max(last), shared_from: None, ..mark }
}

/// Where a log begins that is made anew. Its sequences are microseconds, so that they never repeat, also
/// when the clock has gone back since `highest` was seen.
pub fn first_of_new(now: Timestamp, highest: Seq) -> Seq {
    let by_clock = u64::try_from(now.0).unwrap_or(0).saturating_mul(1000).max(1);
    if highest == Seq(0) {
        return Seq(by_clock);
    }
    let unseen = u64::try_from(MARK_AGE_MAX.as_micros()).unwrap_or(u64::MAX);
    Seq(by_clock.max(highest.0.saturating_add(unseen)))
}

/// The state of a conversation without what it says of its first new entry and later ones.
///
/// `None` where it says nothing of them. A turn whose last entry the log has no longer is lost.
pub fn lowered(head: &Head, from: Seq) -> Option<(Step, Head)> {
    let named = head.turn.as_ref().map_or(head.position, |turn| turn.last.max(head.position));
    if named < from {
        return None;
    }
    let mut head = head.clone();
    let lost = head.turn.take_if(|turn| turn.last >= from);
    head.position = head.position.min(Seq(from.0.saturating_sub(1)));
    Some((if lost.is_some() { Step::Lost } else { Step::Noted }, head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::turn::failed::FailedAttempts;
    use crate::domain::turn::{OpenTurn, Phase, TurnKind};

    const FIRST: Timestamp = Timestamp(1_000);
    const SECOND: Timestamp = Timestamp(2_000);

    fn view(made_at: Timestamp, last: u64, first_new: Option<u64>, named: u64) -> View {
        View { made_at, last: Seq(last), first_new: first_new.map(Seq), named: Seq(named) }
    }

    fn mark(made_at: Timestamp, seq: u64, shared_from: Option<u64>) -> Mark {
        Mark { made_at, seq: Seq(seq), shared_from: shared_from.map(Seq) }
    }

    #[test]
    fn only_a_log_that_was_put_back_shares_sequences() {
        let kept = Some(mark(FIRST, 100, None));
        let shared = Some(mark(FIRST, 100, Some(30)));
        let put_back = mark(SECOND, 110, Some(41));
        for (what, kept, view, expected) in [
            ("the same log", kept, view(FIRST, 120, Some(1), 110), mark(FIRST, 120, None)),
            ("its entries removed", kept, view(FIRST, 120, None, 110), mark(FIRST, 120, None)),
            ("a new log", kept, view(SECOND, 5_000, Some(5_000), 110), mark(SECOND, 5_000, None)),
            ("a new empty log", kept, view(SECOND, 4_999, None, 110), mark(SECOND, 4_999, None)),
            ("put back, nothing new yet", kept, view(SECOND, 40, None, 110), put_back),
            ("no state above it", kept, view(SECOND, 40, None, 7), mark(SECOND, 100, Some(41))),
            ("put back, it goes on", kept, view(SECOND, 60, Some(41), 110), put_back),
            ("it is past the mark", kept, view(SECOND, 990, Some(41), 110), put_back),
            ("a backup of it all", kept, view(SECOND, 110, None, 110), mark(SECOND, 110, None)),
            ("still shared", shared, view(FIRST, 990, None, 0), mark(FIRST, 100, Some(30))),
            ("put back again", shared, view(SECOND, 40, None, 9), mark(SECOND, 100, Some(30))),
            ("no mark, nothing there", None, view(FIRST, 0, None, 0), mark(FIRST, 0, None)),
            ("no mark, all there", None, view(FIRST, 120, Some(1), 110), mark(FIRST, 120, None)),
            ("no mark, put back", None, view(SECOND, 40, None, 110), put_back),
        ] {
            assert_eq!(moved_on(kept, &view), expected, "{what}");
        }
        assert_eq!(settled(put_back, Seq(130)), mark(SECOND, 130, None));
    }

    #[test]
    fn a_new_log_begins_above_everything_seen_whatever_the_clock_says() {
        let minute = 60_000_000;
        for (now, highest, expected) in [
            (Timestamp(7_000), 0, 7_000_000),
            (Timestamp(0), 0, 1),
            (Timestamp(-5), 9, 9 + minute),
            (Timestamp(7_000), 7_000_100, 7_000_100 + minute),
            (Timestamp(70_000), 100, 70_000_000),
        ] {
            assert_eq!(first_of_new(now, Seq(highest)), Seq(expected), "{now:?} {highest}");
        }
    }

    fn head(position: u64, turn: Option<(u64, u64)>) -> Head {
        let turn = turn.map(|(first, last)| OpenTurn {
            first: Seq(first),
            last: Seq(last),
            kind: TurnKind::Messages,
            asked: None,
            accepted_at: FIRST,
            started_at: FIRST,
            attempt: 1,
            is_repeat: false,
            run: None,
            phase: Phase::Running,
            failed: FailedAttempts::default(),
        });
        Head { position: Seq(position), turn, ..Head::default() }
    }

    #[test]
    fn a_conversation_forgets_what_it_says_of_sequences_that_are_new() {
        for (what, before, expected) in [
            ("below", head(9, None), None),
            ("an open turn below", head(5, Some((6, 9))), None),
            ("the position", head(30, None), Some((Step::Noted, head(9, None)))),
            ("at the edge", head(10, None), Some((Step::Noted, head(9, None)))),
            ("position and turn", head(30, Some((31, 33))), Some((Step::Lost, head(9, None)))),
            ("the turn alone", head(9, Some((12, 13))), Some((Step::Lost, head(9, None)))),
            ("half of a turn", head(7, Some((8, 11))), Some((Step::Lost, head(7, None)))),
        ] {
            assert_eq!(lowered(&before, Seq(10)), expected, "{what}");
        }
        let (_, again) = lowered(&head(30, None), Seq(10)).unwrap();
        assert_eq!(lowered(&again, Seq(10)), None, "moving again moves nothing");
    }
}
