//! Messages that join the turn that is under way, by the busy policies `interrupt` and `steer`.
//!
//! A message that is said into a run at work is at first only offered: it belongs to the turn once the
//! run shows that it has read it, and to the next turn where the run ends without. So each message is in
//! one turn, and the expert of that turn has read it.

use std::time::Duration;

use super::attachment::{Spoken, wanted};
use super::entry::{Entry, Logged};
use super::id::Seq;
use super::plan::{Limits, PlannedKind, plan};

/// How many of the entries that follow the open turn may join it.
///
/// Messages of the same person do, within the limits of one turn. The window is not asked what belongs
/// together: it came while one is answered.
pub fn joining(turn: &[Logged], following: &[Logged], limits: Limits) -> usize {
    let all: Vec<_> = turn.iter().chain(following).cloned().collect();
    let planned = plan(&all, None, Duration::MAX, limits);
    let planned = planned.filter(|planned| planned.kind == PlannedKind::Messages);
    planned.map_or(0, |planned| planned.count.saturating_sub(turn.len()))
}

/// Which of the joining entries are offered to the run now, after those up to `offered`.
///
/// A message that cannot be said in words alone waits for a turn of its own, and what follows it with it.
pub fn offer(joining: &[Logged], offered: Seq) -> &[Logged] {
    let has_files = |logged: &Logged| match &logged.entry {
        Entry::Message(message) => {
            !wanted(&[Spoken { message: message.clone(), at: logged.at }]).is_empty()
        }
        Entry::Action(_)
        | Entry::Control(_)
        | Entry::Replay(_)
        | Entry::Query(_)
        | Entry::Undecodable { .. }
        | Entry::Gone => false,
    };
    let end = joining.iter().position(has_files).unwrap_or(joining.len());
    let begin = joining.iter().take_while(|logged| logged.seq <= offered).count();
    let is_message = |logged: &Logged| matches!(logged.entry, Entry::Message(_));
    let offer = joining.get(begin..end).unwrap_or_default();
    // A question to the service behind the last message goes with what follows it.
    let said = offer.iter().rposition(is_message).map_or(0, |last| last + 1);
    offer.get(..said).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entry::{Control, ControlKind, Origin, Query, QueryKind};
    use crate::domain::id::MsgId;
    use crate::domain::inbound::{Media, MediaKind, Message, Part, Place, PlaceKind, Sender};
    use crate::domain::time::Timestamp;

    const LIMITS: Limits = Limits { messages_max: 4, bytes_max: 100 };

    /// `a` and `b` are messages of two people, `f` one of `a` with a file, `q` a question to the
    /// service, `C` a control entry.
    fn entry(letter: char) -> Entry {
        let place = Place { id: "c".to_owned(), kind: PlaceKind::Group, title: None };
        let sender = |id: &str| Sender {
            id: id.to_owned(),
            staff_id: None,
            name: String::new(),
            corp_id: None,
        };
        let part = match letter {
            'q' => {
                let origin = Origin { place, sender: sender("a"), robot_code: None, webhook: None };
                return Entry::Query(Query { kind: QueryKind::Help, origin });
            }
            'C' => return Entry::Control(Control { kind: ControlKind::Stop, origin: None }),
            'f' => Part::Media(Media {
                kind: MediaKind::File,
                code: "code".to_owned(),
                name: None,
                recognition: None,
            }),
            _ => Part::Text("words".to_owned()),
        };
        Entry::Message(Message {
            msg_id: MsgId::parse("m").unwrap(),
            place,
            sender: sender(if letter == 'b' { "b" } else { "a" }),
            robot_code: None,
            created_at: None,
            kind: "text".to_owned(),
            parts: vec![part],
            quote: None,
            webhook: None,
        })
    }

    fn log(letters: &str, first: u64) -> Vec<Logged> {
        let entries = (first..).zip(letters.chars());
        entries
            .map(|(seq, letter)| Logged {
                seq: Seq(seq),
                at: Timestamp(0),
                trace: None,
                entry: entry(letter),
            })
            .collect()
    }

    #[test]
    fn only_words_of_the_same_person_are_said_into_a_run_and_each_once() {
        // The turn, what follows it, what was offered, what joins, and what is offered now.
        for (turn, following, offered, joins, now) in [
            ("a", "", 0, 0, &[][..]),
            ("a", "a", 0, 1, &[2][..]),
            ("a", "aa", 0, 2, &[2, 3][..]),
            ("a", "aa", 2, 2, &[3][..]),
            ("a", "aa", 3, 2, &[][..]),
            ("a", "aaaa", 0, 3, &[2, 3, 4][..]),
            ("aaaa", "a", 0, 0, &[][..]),
            ("a", "ba", 0, 0, &[][..]),
            ("a", "aba", 0, 1, &[2][..]),
            ("a", "fa", 0, 2, &[][..]),
            ("a", "afa", 0, 3, &[2][..]),
            ("a", "aqa", 0, 3, &[2, 3, 4][..]),
            ("a", "aqf", 0, 3, &[2][..]),
            ("a", "q", 0, 0, &[][..]),
            ("a", "aC", 0, 0, &[][..]),
        ] {
            let following = log(following, 1 + turn.len() as u64);
            let count = joining(&log(turn, 1), &following, LIMITS);
            assert_eq!(count, joins, "{turn} {following:?}");
            let said = offer(&following[..count], Seq(offered));
            let said: Vec<_> = said.iter().map(|logged| logged.seq.0).collect();
            assert_eq!(said, now, "{turn} {offered}");
        }
    }
}
