//! What makes a turn, by tables, and that turns tile the log, by random pages.
//!
//! A page is written as a word, a letter for each entry, and its turns as the same letters in groups.

use std::time::Duration;

use proptest::prelude::*;

use super::{Limits, Planned, PlannedKind, filled, full, plan, plan_apart};
use crate::domain::binding::FormerWindow;
use crate::domain::entry::{
    Action, ActionKind, Again, Control, ControlKind, Entry, Logged, Origin, Query, QueryKind,
    Replay,
};
use crate::domain::id::{ExpertId, MsgId, Seq};
use crate::domain::inbound::{Message, Part, Place, PlaceKind, Quote, Sender};
use crate::domain::time::Timestamp;

const WINDOW: Duration = Duration::from_secs(5);
const LIMITS: Limits = Limits { messages_max: 3, bytes_max: 10 };

fn sender(id: &str) -> Sender {
    Sender { id: id.to_owned(), staff_id: None, name: String::new(), corp_id: None }
}

fn message(from: &str, text: &str) -> Entry {
    let parts = if text.is_empty() { vec![] } else { vec![Part::Text(text.to_owned())] };
    Entry::Message(Message {
        msg_id: MsgId::parse("m").unwrap(),
        place: Place { id: "c".to_owned(), kind: PlaceKind::Group, title: None },
        sender: sender(from),
        robot_code: None,
        created_at: None,
        kind: "text".to_owned(),
        parts,
        quote: None,
        webhook: None,
    })
}

/// A message that says four bytes and quotes `quoted`.
fn quoting(quoted: &str) -> Entry {
    let Entry::Message(said) = message("a", "1234") else { panic!("not a message") };
    let quote = Quote { msg_id: None, parts: vec![Part::Text(quoted.to_owned())] };
    Entry::Message(Message { quote: Some(quote), ..said })
}

fn origin() -> Origin {
    let place = Place { id: "c".to_owned(), kind: PlaceKind::Group, title: None };
    Origin { place, sender: sender("a"), robot_code: None, webhook: None }
}

/// One letter, one entry: `a` and `b` are messages of two people, `L` a long one, `Q` one that is long by
/// what it quotes, `u` an unsupported one, `A` an action, `C` a control entry, `R` a replay, `q` a question to the service, `X` unreadable
/// bytes, `G` an entry that is gone.
fn entry(letter: char) -> Entry {
    match letter {
        'a' | 'b' => message(&letter.to_string(), "1234"),
        'L' => message("a", "12345678901"),
        'Q' => quoting("1234567"),
        'u' => message("a", ""),
        'A' => Entry::Action(Action {
            turn: "r.abcdefghijklmnopqrstuvwx23.7".parse().unwrap(),
            kind: ActionKind::Confirm,
            by: sender("a"),
            place: None,
            params: String::new(),
        }),
        'C' => Entry::Control(Control { kind: ControlKind::Stop, origin: None }),
        'R' => Entry::Replay(Replay {
            dead: Seq(1),
            expert: ExpertId::parse("e").unwrap(),
            epoch: Seq(1),
            again: Again::Messages(vec![]),
        }),
        'q' => Entry::Query(Query { kind: QueryKind::Help, origin: origin() }),
        'X' => Entry::Undecodable { bytes: vec![9], why: "a test".to_owned() },
        _ => Entry::Gone,
    }
}

fn page(letters: &str) -> Vec<Logged> {
    let logged = |(index, letter)| Logged {
        seq: Seq(10 + 3 * index as u64),
        at: Timestamp(0),
        trace: None,
        entry: entry(letter),
    };
    letters.chars().enumerate().map(logged).collect()
}

/// All turns of a page, each as its letters and a word.
fn turns(letters: &str, window: Duration) -> String {
    let all = page(letters);
    let mut rest = all.as_slice();
    let mut words = Vec::new();
    while let Some(Planned { count, kind, .. }) = plan(rest, None, window, LIMITS) {
        let begin = all.len() - rest.len();
        let said: String = letters.chars().skip(begin).take(count).collect();
        let word = match kind {
            PlannedKind::Messages => "messages",
            PlannedKind::Action => "action",
            PlannedKind::Control => "control",
            PlannedKind::Replay => "replay",
            PlannedKind::Query => "query",
            PlannedKind::Stopped { .. } => "stopped",
            PlannedKind::Undecodable => "undecodable",
            PlannedKind::Gone => "gone",
        };
        words.push(format!("{said}:{word}"));
        rest = &rest[count..];
    }
    words.join(" ")
}

#[test]
fn what_was_said_before_a_window_came_or_went_is_a_turn_of_its_own_time() {
    let window = Duration::from_secs;
    let merges = FormerWindow { window: window(9), until: Timestamp(2) };
    let splits = FormerWindow { window: window(0), until: Timestamp(2) };
    // One entry a millisecond.
    for (letters, former, beyond, count, kind) in [
        ("aaa", merges, None, 2, PlannedKind::Messages),
        ("aaa", splits, None, 1, PlannedKind::Messages),
        ("aaC", merges, None, 2, PlannedKind::Stopped { by: Seq(16) }),
        ("aaa", merges, Some(Seq(99)), 2, PlannedKind::Stopped { by: Seq(99) }),
        ("aaC", merges, Some(Seq(99)), 2, PlannedKind::Stopped { by: Seq(16) }),
        ("Aaa", merges, None, 1, PlannedKind::Action),
    ] {
        let mut page = page(letters);
        for (at, logged) in (0..).zip(&mut page) {
            logged.at = Timestamp(at);
        }
        let planned = plan_apart(&page, beyond, former, LIMITS).unwrap();
        assert_eq!((planned.count, planned.kind), (count, kind), "{letters} {former:?} {beyond:?}");
    }
}

#[test]
fn messages_merge_up_to_limits_senders_and_boundaries() {
    for (letters, expected) in [
        ("", ""),
        ("a", "a:messages"),
        ("aa", "aa:messages"),
        // The third would be over the bytes.
        ("aaa", "aa:messages a:messages"),
        ("L", "L:messages"),
        ("aLa", "a:messages L:messages a:messages"),
        ("QQa", "Q:messages Q:messages a:messages"),
        ("ab", "a:messages b:messages"),
        ("aua", "a:messages u:messages a:messages"),
        ("uu", "u:messages u:messages"),
        ("aAa", "a:messages A:action a:messages"),
        ("aRa", "a:messages R:replay a:messages"),
        ("aXa", "a:messages X:undecodable a:messages"),
        ("aaG", "aa:messages G:gone"),
        ("Ga", "G:gone a:messages"),
        // A question goes with what follows it, and is never the last of a turn that asks an expert.
        ("q", "q:query"),
        ("qq", "qq:query"),
        ("aqa", "aqa:messages"),
        ("qaqq", "qa:messages qq:query"),
        ("aqb", "a:messages qb:messages"),
        ("aqA", "a:messages qA:action"),
        ("aqC", "aq:stopped C:control"),
        ("qC", "qC:control"),
    ] {
        assert_eq!(turns(letters, WINDOW), expected, "{letters}");
    }
}

#[test]
fn a_turn_holds_no_more_messages_than_its_limit() {
    let limits = Limits { messages_max: 3, bytes_max: 1000 };
    assert_eq!(plan(&page("aaaa"), None, WINDOW, limits).unwrap().count, 3);
}

/// How many entries the first full turn of a page ends at.
fn full_at(letters: &str, limits: Limits) -> Option<usize> {
    let all = page(letters);
    let end = full(&all, limits)?;
    all.iter().position(|logged| logged.seq == end).map(|index| index + 1)
}

#[test]
fn a_turn_is_full_when_a_limit_lets_no_message_join_it() {
    let three = Limits { messages_max: 3, bytes_max: 1000 };
    let eight = Limits { messages_max: 99, bytes_max: 8 };
    for (letters, limits, expected) in [
        ("", three, None),
        ("aa", three, None),
        ("aaa", three, Some(3)),
        ("aaaaaaa", three, Some(3)),
        // At the limit, and by one that has no room.
        ("a", eight, None),
        ("aa", eight, Some(2)),
        ("aa", LIMITS, None),
        ("aaa", LIMITS, Some(2)),
        // One that is larger than a turn may be, before and behind another.
        ("L", eight, Some(1)),
        ("aL", eight, Some(1)),
        ("Q", eight, Some(1)),
        ("aQ", eight, Some(1)),
        // Neither a question nor another person fills a turn.
        ("qaqaq", three, None),
        ("qaqaqa", three, Some(6)),
        ("ab", three, None),
        ("abbb", three, Some(4)),
        ("au", three, None),
        // What brings its own slot takes all before it along.
        ("aAaaa", three, None),
        ("Caaa", three, None),
    ] {
        assert_eq!(full_at(letters, limits), expected, "{letters} {limits:?}");
    }
}

#[test]
fn without_a_window_each_message_is_a_turn() {
    assert_eq!(turns("aab", Duration::ZERO), "a:messages a:messages b:messages");
    assert_eq!(turns("aqaq", Duration::ZERO), "a:messages qa:messages q:query");
}

#[test]
fn a_control_entry_ends_everything_before_it() {
    for (letters, expected) in [
        ("C", "C:control"),
        ("aabARXGC", "aabARXG:stopped C:control"),
        ("aCaCa", "a:stopped C:control a:stopped C:control a:messages"),
        ("CC", "C:control C:control"),
    ] {
        for window in [WINDOW, Duration::ZERO] {
            assert_eq!(turns(letters, window), expected, "{letters}");
        }
    }
    let planned = plan(&page("aaC"), None, WINDOW, LIMITS).unwrap();
    assert_eq!(planned.kind, PlannedKind::Stopped { by: Seq(16) }, "the turn names who ended it");
}

proptest! {
    #[test]
    fn a_turn_that_is_asked_early_is_the_turn_that_it_would_be_later(letters in "[abLuq]{0,20}") {
        let all = page(&letters);
        let fillers: Vec<_> =
            (1..=all.len()).filter_map(|count| filled(&all[..count], LIMITS)).collect();
        prop_assert_eq!(fillers.len(), usize::from(full(&all, LIMITS).is_some()));
        let Some(end) = fillers.first() else { return Ok(()) };
        let mut rest = all.as_slice();
        let mut ends = Vec::new();
        while let Some(planned) = plan(rest, None, WINDOW, LIMITS) {
            ends.push(planned.last);
            rest = &rest[planned.count..];
        }
        prop_assert!(ends.contains(end), "{:?} is no end among {:?}", end, ends);
    }

    #[test]
    fn turns_tile_the_log_whatever_page_they_are_planned_from(
        letters in "[abLuACRXGq]{0,40}",
        page_max in 1_usize..8,
        has_window in any::<bool>(),
    ) {
        let all = page(&letters);
        let window = if has_window { WINDOW } else { Duration::ZERO };
        let mut covered = Vec::new();
        while covered.len() < all.len() {
            let rest = &all[covered.len()..];
            let rest = &rest[..rest.len().min(page_max)];
            let planned = plan(rest, None, window, LIMITS).expect("a page that is not empty has a turn");
            prop_assert!((1..=rest.len()).contains(&planned.count));
            prop_assert_eq!(planned.first, rest[0].seq);
            prop_assert_eq!(planned.last, rest[planned.count - 1].seq);
            let is_message = |logged: &&Logged| matches!(logged.entry, Entry::Message(_));
            let messages = rest[..planned.count].iter().filter(is_message).count();
            let is_merged = planned.kind == PlannedKind::Messages && messages > 1;
            prop_assert!(!is_merged || has_window && messages <= LIMITS.messages_max);
            covered.extend(rest[..planned.count].iter().map(|logged| logged.seq));
        }
        prop_assert_eq!(covered, all.iter().map(|logged| logged.seq).collect::<Vec<_>>());
    }
}

#[test]
fn a_control_entry_behind_the_page_ends_all_that_is_on_it() {
    for letters in ["aaa", "ab", "A", "aRXG", "qa", "aq"] {
        let page = page(letters);
        let planned = plan(&page, Some(Seq(99)), WINDOW, LIMITS).unwrap();
        assert_eq!(planned.kind, PlannedKind::Stopped { by: Seq(99) }, "{letters}");
        assert_eq!(planned.count, page.len(), "{letters}");
    }
    // One on the page comes first, and a question was answered when it came.
    let by = |letters: &str| plan(&page(letters), Some(Seq(99)), WINDOW, LIMITS).unwrap().kind;
    assert!(matches!(by("aaCa"), PlannedKind::Stopped { by } if by < Seq(99)));
    assert_eq!((by("Ca"), by("q")), (PlannedKind::Control, PlannedKind::Query));
}
