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
    /// When the broker made the log: another one for a log that was made again or put back.
    pub made_at: Timestamp,
    /// The newest entry seen.
    pub seq: Seq,
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

/// The log was put back from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Entries from here on are newer than what has this sequence in positions and names of turns.
    pub from: Seq,
    /// The log must go on above this one.
    pub until: Seq,
}

/// `None`: the log is the one that was there, or began above everything that is named.
pub fn judge(mark: Option<&Mark>, view: &View) -> Option<Behind> {
    let (from, until) = match mark {
        Some(mark) if mark.made_at == view.made_at => return None,
        Some(mark) => (view.first_new.unwrap_or(Seq(view.last.0 + 1)), view.named.max(mark.seq)),
        // Which entries are new nobody knows: only an end that is too low shows itself.
        None => (Seq(view.last.0 + 1), view.named),
    };
    (from <= until).then_some(Behind { from, until })
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
    use crate::domain::turn::{OpenTurn, Phase, TurnKind};

    const FIRST: Timestamp = Timestamp(1_000);
    const SECOND: Timestamp = Timestamp(2_000);

    fn view(made_at: Timestamp, last: u64, first_new: Option<u64>, named: u64) -> View {
        View { made_at, last: Seq(last), first_new: first_new.map(Seq), named: Seq(named) }
    }

    #[test]
    fn only_a_log_that_was_put_back_is_behind() {
        let mark = Mark { made_at: FIRST, seq: Seq(100) };
        let behind = |from, until| Some(Behind { from: Seq(from), until: Seq(until) });
        for (what, mark, view, expected) in [
            ("the same log", Some(mark), view(FIRST, 120, Some(1), 110), None),
            ("the same log, its entries removed", Some(mark), view(FIRST, 120, None, 110), None),
            ("a new log", Some(mark), view(SECOND, 5_000, Some(5_000), 110), None),
            ("a new log without entries", Some(mark), view(SECOND, 4_999, None, 110), None),
            ("put back, nothing new yet", Some(mark), view(SECOND, 40, None, 110), behind(41, 110)),
            ("put back, no state above it", Some(mark), view(SECOND, 40, None, 7), behind(41, 100)),
            ("put back, it goes on", Some(mark), view(SECOND, 60, Some(41), 110), behind(41, 110)),
            ("it is past the mark", Some(mark), view(SECOND, 990, Some(41), 110), behind(41, 110)),
            ("a backup of the whole", Some(mark), view(SECOND, 110, None, 110), None),
            ("no mark, nothing there", None, view(FIRST, 0, None, 0), None),
            ("no mark, all there", None, view(FIRST, 110, Some(1), 110), None),
            ("no mark, put back", None, view(FIRST, 40, None, 110), behind(41, 110)),
        ] {
            assert_eq!(judge(mark.as_ref(), &view), expected, "{what}");
        }
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
