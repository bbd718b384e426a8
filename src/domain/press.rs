//! Whether a press counts: who may act on a turn, and for how long.
//!
//! A press that does not count changes nothing and is answered with a friendly word. The same press
//! judged again gives the same standing as long as nothing ended in between.

use super::binding::{ActBy, Trigger};
use super::entry::{Action, ActionKind, Origin};
use super::id::Seq;
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

/// A press, and what is known of the turn it answers.
#[derive(Debug, Clone, Copy)]
pub struct Press<'a> {
    pub action: &'a Action,
    /// When it was stored.
    pub at: Timestamp,
    /// Who asked the turn, and where; `None` where the log no longer knows.
    pub asker: Option<&'a Origin>,
    /// Nothing stands between the turn and the press that would have answered the turn.
    pub is_first: bool,
}

/// `trigger` says who may act, and how long the session lasts, where there is one.
pub fn standing(press: Press<'_>, trigger: Option<&Trigger>, head: &Head) -> Standing {
    let Press { action, at, is_first, .. } = press;
    let Some(asker) = press.asker else { return Standing::Over };
    if !may_act(&action.by, asker, trigger) {
        return Standing::Foreign;
    }
    if !is_current(action.turn.last, at, trigger, head) {
        return Standing::Over;
    }
    let is_awaited = is_awaited(action.turn.last, at, trigger, head);
    let is_open = match action.kind {
        ActionKind::Confirm | ActionKind::Reject => is_awaited,
        // The expert may offer more than it waits for, but once.
        ActionKind::Custom(_) => is_awaited || is_first,
        ActionKind::End => true,
    };
    if is_open { Standing::Counts } else { Standing::Over }
}

/// Whether the question of the turn that ended at `turn` is open.
pub fn is_awaited(turn: Seq, at: Timestamp, trigger: Option<&Trigger>, head: &Head) -> bool {
    let is_asked = head.interrupted.as_ref().is_some_and(|interrupted| interrupted.turn == turn);
    is_asked && is_current(turn, at, trigger, head)
}

/// Whether the session of the turn still lasts: a turn of an older one comes before the entry that opened
/// this one.
fn is_current(turn: Seq, at: Timestamp, trigger: Option<&Trigger>, head: &Head) -> bool {
    let session = head.session.clone().map(|session| session.under(trigger));
    session.is_some_and(|session| !session.is_expired(at) && turn >= session.epoch)
}

/// The asker may, and by setting everybody whom the expert listens to.
pub fn may_act(by: &Sender, asker: &Origin, trigger: Option<&Trigger>) -> bool {
    let is_open =
        |trigger: &Trigger| trigger.act_by == ActBy::Anyone && trigger.allows(&asker.place, by);
    is_same(by, &asker.sender) || trigger.is_some_and(is_open)
}

/// Nobody knows who follows a link: a group is shown one only where all who may read it may act.
pub fn may_all_act(trigger: Option<&Trigger>) -> bool {
    trigger.is_some_and(|it| it.act_by == ActBy::Anyone && it.allow_senders.is_empty())
}

/// A card tells who pressed it by the staff id: where its asker has none, somebody else must be allowed to.
pub fn may_card_be_pressed(asker: &Sender, trigger: Option<&Trigger>) -> bool {
    asker.staff_id.is_some() || trigger.is_some_and(|it| it.act_by == ActBy::Anyone)
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
    use crate::domain::binding::{BusyPolicy, QueuedNotice};
    use crate::domain::id::{ExpertId, IntegrationId};
    use crate::domain::inbound::{Place, PlaceKind};
    use crate::domain::session::Session;
    use crate::domain::turn::question::Interrupted;

    fn sender(id: &str, staff_id: Option<&str>) -> Sender {
        let staff_id = staff_id.map(ToOwned::to_owned);
        Sender { id: id.to_owned(), staff_id, name: String::new(), corp_id: None }
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

    fn asked_by(sender: &Sender) -> Origin {
        let place = Place { id: "cid".to_owned(), kind: PlaceKind::Group, title: None };
        Origin { place, sender: sender.clone(), robot_code: None, webhook: None }
    }

    fn trigger(act_by: ActBy, allowed: &[&str]) -> Trigger {
        Trigger {
            expert: ExpertId::parse("e").unwrap(),
            integration: IntegrationId::parse("robot").unwrap(),
            is_enabled: true,
            session_timeout: Duration::from_secs(60),
            summary_window: Duration::ZERO,
            former_window: None,
            busy_policy: BusyPolicy::Queue,
            queued_notice: QueuedNotice::None,
            allow_conversations: vec![],
            allow_senders: allowed.iter().map(|id| (*id).to_owned()).collect(),
            corp_id: None,
            mention_asker: true,
            act_by,
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
            (custom(), 12, &asker, ActBy::Asker, Some(12), 1, Counts),
            (custom(), 11, &asker, ActBy::Asker, None, 1, Over),
            (custom(), 9, &asker, ActBy::Asker, None, 1, Over),
            (custom(), 11, &bob, ActBy::Asker, None, 1, Foreign),
            (End, 11, &asker, ActBy::Asker, None, 1, Counts),
            (End, 9, &asker, ActBy::Asker, None, 1, Over),
            (End, 11, &bob, ActBy::Asker, None, 1, Foreign),
            (End, 11, &asker, ActBy::Asker, None, 61, Over),
        ];
        let origin = asked_by(&asker);
        for (kind, turn, by, act_by, interrupted, seconds, expected) in cases {
            let action = action(kind, turn, by);
            let at = Timestamp(seconds * 1000);
            let press = Press { action: &action, at, asker: Some(&origin), is_first: false };
            let found = standing(press, Some(&trigger(act_by, &[])), &head(interrupted));
            assert_eq!(found, expected, "{action:?} {act_by:?}");
            let ended = Head { session: None, ..head(interrupted) };
            let found = standing(press, Some(&trigger(ActBy::Anyone, &[])), &ended);
            assert_eq!(found, Over, "{action:?} after the end");
            let unknown = Press { asker: None, ..press };
            let found = standing(unknown, Some(&trigger(ActBy::Anyone, &[])), &head(interrupted));
            assert_eq!(found, Over, "{action:?} of nobody");
        }
    }

    #[test]
    fn a_press_counts_for_as_long_as_the_session_lasts_by_what_is_published_now() {
        let asker = sender("$:ann", Some("ann"));
        let (origin, action) = (asked_by(&asker), action(ActionKind::Confirm, 12, &asker));
        for (timeout_s, later_s, expected) in [
            (60, 61, Standing::Over),
            (3600, 61, Standing::Counts),
            (1, 1, Standing::Counts),
            (1, 2, Standing::Over),
        ] {
            let at = Timestamp(later_s * 1000);
            let press = Press { action: &action, at, asker: Some(&origin), is_first: false };
            let session_timeout = Duration::from_secs(timeout_s);
            let published = Trigger { session_timeout, ..trigger(ActBy::Asker, &[]) };
            let found = standing(press, Some(&published), &head(Some(12)));
            assert_eq!(found, expected, "{timeout_s} s, after {later_s} s");
        }
    }

    #[test]
    fn what_the_expert_offers_without_waiting_for_it_counts_once() {
        let asker = sender("$:ann", Some("ann"));
        let (origin, at) = (asked_by(&asker), Timestamp(1));
        for (kind, is_first, expected) in [
            (ActionKind::Custom("more".to_owned()), true, Standing::Counts),
            (ActionKind::Custom("more".to_owned()), false, Standing::Over),
            (ActionKind::Confirm, true, Standing::Over),
        ] {
            let action = action(kind, 12, &asker);
            let press = Press { action: &action, at, asker: Some(&origin), is_first };
            assert_eq!(standing(press, None, &head(None)), expected, "{action:?} {is_first}");
        }
    }

    #[test]
    fn anyone_is_anyone_the_expert_listens_to() {
        let (ann, bob) = (sender("$:ann", Some("ann")), sender("bob", Some("bob")));
        let origin = asked_by(&ann);
        for (trigger, by, expected) in [
            (trigger(ActBy::Anyone, &[]), &bob, true),
            (trigger(ActBy::Anyone, &["ann"]), &bob, false),
            (trigger(ActBy::Anyone, &["bob"]), &ann, true),
            (trigger(ActBy::Asker, &["bob"]), &bob, false),
        ] {
            assert_eq!(may_act(by, &origin, Some(&trigger)), expected, "{by:?}");
        }
        assert!(may_act(&ann, &origin, None) && !may_act(&bob, &origin, None));
    }

    #[test]
    fn who_has_no_staff_id_gets_a_card_only_where_others_may_press_it() {
        let (ann, guest) = (sender("$:ann", Some("ann")), sender("$:guest", None));
        for (asker, trigger, expected) in [
            (&ann, None, true),
            (&ann, Some(trigger(ActBy::Asker, &[])), true),
            (&guest, None, false),
            (&guest, Some(trigger(ActBy::Asker, &[])), false),
            (&guest, Some(trigger(ActBy::Anyone, &[])), true),
            (&guest, Some(trigger(ActBy::Anyone, &["bob"])), true),
        ] {
            assert_eq!(may_card_be_pressed(asker, trigger.as_ref()), expected, "{asker:?}");
        }
    }

    #[test]
    fn a_group_is_shown_links_where_every_reader_may_follow_them() {
        assert!(may_all_act(Some(&trigger(ActBy::Anyone, &[]))));
        for (trigger, why) in [
            (None, "nobody says who may"),
            (Some(trigger(ActBy::Asker, &[])), "one of them may"),
            (Some(trigger(ActBy::Anyone, &["bob"])), "some of them may"),
        ] {
            assert!(!may_all_act(trigger.as_ref()), "{why}");
        }
    }
}
