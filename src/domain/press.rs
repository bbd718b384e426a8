//! Whether a press counts: who may act on a turn, and for how long.
//!
//! A press that does not count changes nothing and is answered with a friendly word. The same press
//! judged again gives the same standing as long as nothing ended in between.

use super::binding::ActBy;
use super::entry::{Action, ActionKind};
use super::inbound::Sender;
use super::time::Timestamp;
use super::turn::Head;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Counts,
    /// The turn belongs to somebody else.
    Foreign,
    /// It was answered already, or its session is no more.
    Over,
}

/// `asker` asked the turn that `action` answers; `None` where the log no longer knows. `at` is when the
/// press was stored.
pub fn standing(
    action: &Action,
    asker: Option<&Sender>,
    act_by: ActBy,
    head: &Head,
    at: Timestamp,
) -> Standing {
    let Some(asker) = asker else { return Standing::Over };
    if act_by == ActBy::Asker && !is_same(&action.by, asker) {
        return Standing::Foreign;
    }
    let current = head.session.as_ref().filter(|session| !session.is_expired(at));
    // A turn of an older session comes before the entry that opened this one.
    if current.is_none_or(|session| action.turn.last < session.epoch) {
        return Standing::Over;
    }
    let is_awaited =
        head.interrupted.as_ref().is_some_and(|interrupted| interrupted.turn == action.turn.last);
    match action.kind {
        ActionKind::Confirm | ActionKind::Reject if !is_awaited => Standing::Over,
        ActionKind::Confirm | ActionKind::Reject | ActionKind::Custom(_) | ActionKind::End => {
            Standing::Counts
        }
    }
}

/// A card names its presser by the staff id or by another one.
pub fn is_same(presser: &Sender, asker: &Sender) -> bool {
    let is_staff = |id: &str| asker.staff_id.as_deref() == Some(id);
    presser.id == asker.id
        || is_staff(&presser.id)
        || presser.staff_id.as_deref().is_some_and(is_staff)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::id::{ExpertId, Seq};
    use crate::domain::session::Session;
    use crate::domain::turn::Interrupted;

    fn sender(id: &str, staff_id: Option<&str>) -> Sender {
        let staff_id = staff_id.map(ToOwned::to_owned);
        Sender { id: id.to_owned(), staff_id, name: String::new() }
    }

    fn action(kind: ActionKind, turn: u64, by: &Sender) -> Action {
        let turn = format!("robot.abcdefghijklmnopqrstuvwx23.{turn}").parse().unwrap();
        Action { turn, kind, by: by.clone(), place: None, params: "{}".to_owned() }
    }

    fn head(interrupted: Option<u64>) -> Head {
        Head {
            position: Seq(12),
            session: Some(Session {
                epoch: Seq(10),
                expert: ExpertId::parse("e").unwrap(),
                timeout: Duration::from_secs(60),
                last_activity: Timestamp(0),
            }),
            interrupted: interrupted.map(|turn| Interrupted { turn: Seq(turn), run: None }),
            ..Head::default()
        }
    }

    #[test]
    fn a_press_counts_once_by_the_right_person_in_its_own_session() {
        use ActionKind::{Confirm, Custom, End, Reject};
        use Standing::{Counts, Foreign, Over};
        let asker = sender("$:ann", Some("ann"));
        let bob = sender("bob", Some("bob"));
        let card = sender("ann", Some("ann"));
        let custom = || Custom("more".to_owned());
        let cases = [
            // kind, turn, by, who may, interrupted, seconds later, expected
            (Confirm, 12, &asker, ActBy::Asker, Some(12), 1, Counts),
            (Reject, 12, &card, ActBy::Asker, Some(12), 60, Counts),
            (Confirm, 12, &bob, ActBy::Asker, Some(12), 1, Foreign),
            (Confirm, 12, &bob, ActBy::Anyone, Some(12), 1, Counts),
            (Confirm, 12, &asker, ActBy::Asker, None, 1, Over),
            (Confirm, 11, &asker, ActBy::Asker, Some(12), 1, Over),
            (Confirm, 12, &asker, ActBy::Asker, Some(12), 61, Over),
            (custom(), 11, &asker, ActBy::Asker, None, 1, Counts),
            (custom(), 9, &asker, ActBy::Asker, None, 1, Over),
            (custom(), 11, &bob, ActBy::Asker, None, 1, Foreign),
            (End, 11, &asker, ActBy::Asker, None, 1, Counts),
            (End, 9, &asker, ActBy::Asker, None, 1, Over),
            (End, 11, &bob, ActBy::Asker, None, 1, Foreign),
            (End, 11, &asker, ActBy::Asker, None, 61, Over),
        ];
        for (kind, turn, by, act_by, interrupted, seconds, expected) in cases {
            let action = action(kind, turn, by);
            let at = Timestamp(seconds * 1000);
            let found = standing(&action, Some(&asker), act_by, &head(interrupted), at);
            assert_eq!(found, expected, "{action:?} {act_by:?}");
            let ended = Head { session: None, ..head(interrupted) };
            let found = standing(&action, Some(&asker), ActBy::Anyone, &ended, at);
            assert_eq!(found, Over, "{action:?} after the end");
        }
        let unknown = action(Confirm, 12, &asker);
        let found = standing(&unknown, None, ActBy::Anyone, &head(Some(12)), Timestamp(1));
        assert_eq!(found, Over);
    }
}
