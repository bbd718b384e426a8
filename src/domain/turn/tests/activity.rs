//! What keeps a session: whatever its person says and is answered, by the expert or by the service.
//!
//! What the expert is asked keeps it by being asked; here is the rest. That only what is heard in time
//! counts is `session`'s own test.

use super::{run, session, told};
use crate::domain::id::Seq;
use crate::domain::time::Timestamp;
use crate::domain::turn::question::Closes;
use crate::domain::turn::{Availability, Ending, Event, Head, NewTurn, Opening, Parked, TurnKind};

const SAID: Timestamp = Timestamp(60_000);
const ANSWERED: Timestamp = Timestamp(70_000);
/// Of the session as it was, which an hour of silence ends.
const BEFORE: Timestamp = Timestamp(50_000);

/// When the session was active last, after a turn that heard its person at this time and said `SAID`.
fn active(kind: TurnKind, opening: Opening, heard_at: Option<Timestamp>) -> Option<Timestamp> {
    let state = Head { position: Seq(10), session: Some(session(5)), ..Head::default() };
    let accepted_at = heard_at.unwrap_or(SAID);
    let (first, last) = (Seq(11), Seq(11));
    let turn = NewTurn { first, last, kind, accepted_at, heard_at, opening };
    let opened = run(state, Event::Opened { turn, at: accepted_at });
    let sent = run(opened.head, Event::Sent { webhook_free_at: None, at: ANSWERED });
    sent.head.session.map(|session| session.last_activity)
}

#[test]
fn what_a_person_says_and_is_answered_keeps_the_session() {
    let says = |closes| Opening::Say { segments: 1, closes };
    let ends = |ending| Opening::End { ending, closes: Closes::Nothing };
    let delivered = || ends(Ending::Delivered);
    use TurnKind::{Action, Control, Messages};
    for (what, kind, opening, heard, expected) in [
        ("an unsupported kind", Messages, says(Closes::Nothing), Some(SAID), Some(ANSWERED)),
        ("a stop", Control, says(Closes::Question), Some(SAID), Some(ANSWERED)),
        ("an end", Control, says(Closes::Session), Some(SAID), None),
        ("a question to the service", Control, delivered(), Some(SAID), Some(SAID)),
        ("nothing of a person", Control, delivered(), None, Some(BEFORE)),
        ("somebody not listed", Messages, delivered(), None, Some(BEFORE)),
        ("a press that does not count", Action, says(Closes::Nothing), None, Some(BEFORE)),
    ] {
        assert_eq!(active(kind, opening, heard), expected, "{what}");
    }
}

#[test]
fn what_is_said_after_its_end_brings_no_session_back() {
    let late = Timestamp(50_000 + 3_600_001);
    let says = Opening::Say { segments: 1, closes: Closes::Nothing };
    assert_eq!(active(TurnKind::Messages, says, Some(late)), Some(BEFORE));
}

#[test]
fn a_question_to_the_service_leaves_the_wait_of_those_behind_it_alone() {
    let state = Head { position: Seq(10), is_told_away: true, ..Head::default() };
    let (first, last, heard_at) = (Seq(11), Seq(11), Some(SAID));
    let opening = Opening::End { ending: Ending::Delivered, closes: Closes::Nothing };
    let kind = TurnKind::Control;
    let turn = NewTurn { first, last, kind, accepted_at: SAID, heard_at, opening };
    let ended = run(state, Event::Opened { turn, at: SAID });
    assert_eq!(told(&ended), "delivered over: ");
    let runtime = Availability::Away(Parked::Missing);
    let opening = Opening::Ask { session: session(12), is_new: false, runtime };
    let (first, last) = (Seq(12), Seq(12));
    let kind = TurnKind::Messages;
    let turn = NewTurn { first, last, kind, accepted_at: SAID, heard_at, opening };
    assert_eq!(
        told(&run(ended.head, Event::Opened { turn, at: SAID })),
        "parked parked: index, arm x"
    );
}
