//! What a conversation will be when a press is judged, as far as that hangs on what stands before it.
//!
//! The press and a worker look at it at different times: what the log has in between is weighed here by the
//! rules that the worker goes by. It knows nothing of answers that are still on their way: what an expert
//! will say or ask changes for no press whether its own question is open.

use super::binding::Trigger;
use super::entry::{ActionKind, ControlKind, Entry, Logged, Origin};
use super::press::{Press, Standing, standing};
use super::session::Session;
use super::time::Timestamp;
use super::turn::Head;

/// The head once `logged`, the next entry after it, has had its turn. `asker` asked the turn that it answers,
/// where it is a press.
pub fn after(
    mut head: Head,
    logged: &Logged,
    asker: Option<&Origin>,
    trigger: Option<&Trigger>,
) -> Head {
    let heard = |session| heard(session, logged.at, trigger);
    match &logged.entry {
        Entry::Message(message)
            if trigger.is_none_or(|it| it.allows(&message.place, &message.sender)) =>
        {
            head.session = heard(head.session);
            // The service answers what no expert can be asked, and the question stays.
            if !message.is_unsupported() {
                head.interrupted = None;
            }
        }
        Entry::Control(control) if trigger.is_none_or(|it| it.heeds(control)) => {
            head.interrupted = None;
            head.session = match control.kind {
                ControlKind::Stop => heard(head.session),
                ControlKind::New | ControlKind::End => None,
            };
        }
        Entry::Action(action) => {
            // Where a question is open, a press on an older turn stands behind it and is not the first.
            let press = Press { action, at: logged.at, asker, is_first: false };
            if standing(press, trigger, &head) == Standing::Counts {
                head.interrupted = None;
                head.session = match action.kind {
                    ActionKind::Confirm | ActionKind::Reject | ActionKind::Custom(_) => {
                        heard(head.session)
                    }
                    ActionKind::End => None,
                };
            }
        }
        // Asked in the session of its own time.
        Entry::Replay(replay) => {
            let is_current = head.session.as_ref().is_some_and(|it| it.epoch == replay.epoch);
            head.interrupted = head.interrupted.filter(|_| !is_current);
        }
        Entry::Message(_)
        | Entry::Control(_)
        | Entry::Query(_)
        | Entry::Undecodable { .. }
        | Entry::Gone => {}
    }
    head
}

/// What is said in time keeps a session; what comes later opens another one.
fn heard(session: Option<Session>, at: Timestamp, trigger: Option<&Trigger>) -> Option<Session> {
    let session = session.map(|session| session.under(trigger));
    session.filter(|session| !session.is_expired(at)).map(|session| session.touched(at))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::binding::{ActBy, BusyPolicy, QueuedNotice};
    use crate::domain::entry::{Action, Again, Control, Query, QueryKind, Replay};
    use crate::domain::id::{ExpertId, IntegrationId, MsgId, Seq};
    use crate::domain::inbound::{Message, Part, Place, PlaceKind, Sender};
    use crate::domain::turn::question::Interrupted;

    const QUESTION: u64 = 12;

    fn origin(of: &str) -> Origin {
        let sender =
            Sender { id: of.to_owned(), staff_id: None, name: String::new(), corp_id: None };
        let place = Place { id: "cid".to_owned(), kind: PlaceKind::Group, title: None };
        Origin { place, sender, robot_code: None, webhook: None }
    }

    fn message(of: &str, text: &str) -> Entry {
        let Origin { place, sender, .. } = origin(of);
        Entry::Message(Message {
            msg_id: MsgId::parse("m").unwrap(),
            place,
            sender,
            robot_code: None,
            created_at: None,
            kind: "text".to_owned(),
            parts: vec![Part::Text(text.to_owned())],
            quote: None,
            webhook: None,
        })
    }

    fn control(kind: ControlKind, of: Option<&str>) -> Entry {
        Entry::Control(Control { kind, origin: of.map(origin) })
    }

    fn press(kind: ActionKind, turn: u64, of: &str) -> Action {
        let turn = format!("robot.abcdefghijklmnopqrstuvwx23.{turn}").parse().unwrap();
        Action { turn, kind, by: origin(of).sender, place: None, params: "{}".to_owned() }
    }

    fn action(kind: ActionKind, turn: u64, of: &str) -> Entry {
        Entry::Action(press(kind, turn, of))
    }

    fn replay(epoch: u64) -> Entry {
        let expert = ExpertId::parse("e").unwrap();
        Entry::Replay(Replay {
            dead: Seq(1),
            expert,
            epoch: Seq(epoch),
            again: Again::Messages(vec![]),
        })
    }

    fn head() -> Head {
        Head {
            position: Seq(QUESTION),
            session: Some(Session {
                epoch: Seq(10),
                expert: ExpertId::parse("e").unwrap(),
                timeout: Duration::from_secs(60),
                last_activity: Timestamp(0),
            }),
            interrupted: Some(Interrupted { turn: Seq(QUESTION), run: None }),
            ..Head::default()
        }
    }

    /// Ann and bob are listened to, and each answers what they asked.
    fn trigger() -> Trigger {
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
            allow_senders: vec!["ann".to_owned(), "bob".to_owned()],
            corp_id: None,
            mention_asker: true,
            act_by: ActBy::Asker,
        }
    }

    /// What the log has between a question of ann's and her press, second by second.
    fn judged(between: &[Entry], kind: ActionKind) -> Standing {
        let (trigger, ann) = (trigger(), origin("ann"));
        let mut head = head();
        let mut at = Timestamp(0);
        for (seq, entry) in (QUESTION + 1..).zip(between) {
            at = at.after(Duration::from_secs(1));
            let logged = Logged { seq: Seq(seq), at, trace: None, entry: entry.clone() };
            head = after(head, &logged, Some(&ann), Some(&trigger));
        }
        let action = press(kind, QUESTION, "ann");
        let press = Press { action: &action, at, asker: Some(&ann), is_first: false };
        standing(press, Some(&trigger), &head)
    }

    #[test]
    fn a_press_counts_unless_something_answers_or_ends_its_question_before() {
        use ActionKind::{Confirm, Custom, End, Reject};
        use Standing::{Counts, Over};
        let query = |kind, of| Entry::Query(Query { kind, origin: origin(of) });
        let cases = [
            // between, a decision, an end
            (vec![], Counts, Counts),
            (vec![message("ann", "hm")], Over, Counts),
            (vec![message("bob", "hm")], Over, Counts),
            (vec![message("ann", "")], Counts, Counts),
            (vec![message("mallory", "hm")], Counts, Counts),
            (vec![query(QueryKind::Status, "ann")], Counts, Counts),
            (vec![control(ControlKind::Stop, Some("bob"))], Over, Counts),
            (vec![control(ControlKind::Stop, None)], Over, Counts),
            (vec![control(ControlKind::New, Some("ann"))], Over, Over),
            (vec![control(ControlKind::End, None)], Over, Over),
            (vec![control(ControlKind::Stop, Some("mallory"))], Counts, Counts),
            (vec![control(ControlKind::End, Some("mallory"))], Counts, Counts),
            (vec![action(Confirm, QUESTION, "ann")], Over, Counts),
            (vec![action(Custom("more".to_owned()), QUESTION, "ann")], Over, Counts),
            (vec![action(Custom("more".to_owned()), 11, "ann")], Counts, Counts),
            (vec![action(Reject, QUESTION, "bob")], Counts, Counts),
            (vec![action(End, QUESTION, "bob")], Counts, Counts),
            (vec![action(Reject, 11, "ann")], Counts, Counts),
            (vec![action(End, 9, "ann")], Counts, Counts),
            (vec![action(End, QUESTION, "ann")], Over, Over),
            (vec![action(End, 11, "ann")], Over, Over),
            (vec![action(Confirm, QUESTION, "ann"), action(End, QUESTION, "ann")], Over, Over),
            (vec![replay(10)], Over, Counts),
            (vec![replay(8)], Counts, Counts),
            (vec![Entry::Undecodable { bytes: vec![], why: String::new() }], Counts, Counts),
            (vec![Entry::Gone], Counts, Counts),
        ];
        for (between, decision, end) in cases {
            for (kind, expected) in [(Confirm, decision), (Reject, decision), (End, end)] {
                assert_eq!(judged(&between, kind.clone()), expected, "{kind:?} after {between:?}");
            }
        }
    }

    #[test]
    fn what_is_said_before_it_keeps_the_session_of_a_press_or_opens_another_one() {
        for (said_s, pressed_s, expected) in
            [(50, 61, Standing::Counts), (50, 111, Standing::Over), (61, 62, Standing::Over)]
        {
            let (trigger, ann) = (trigger(), origin("ann"));
            let (said, at) = (Timestamp(said_s * 1000), Timestamp(pressed_s * 1000));
            let entry = message("ann", "");
            let logged = Logged { seq: Seq(QUESTION + 1), at: said, trace: None, entry };
            let head = after(head(), &logged, None, Some(&trigger));
            let action = press(ActionKind::Confirm, QUESTION, "ann");
            let press = Press { action: &action, at, asker: Some(&ann), is_first: false };
            let found = standing(press, Some(&trigger), &head);
            assert_eq!(found, expected, "said after {said_s} s, pressed after {pressed_s} s");
        }
    }
}
