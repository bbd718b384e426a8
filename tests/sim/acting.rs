//! Presses, as `src/worker/dispatch/acting.rs` and `src/io/asker.rs` have them: who asked, whether one
//! counts, and when an end becomes a control entry.

use std::time::Duration;

use dingtalk_trigger::domain::binding::{ActBy, QueuedNotice, Trigger};
use dingtalk_trigger::domain::entry::{
    Action, ActionKind, Again, Control, ControlKind, Entry, Logged, Origin, Replay,
};
use dingtalk_trigger::domain::id::{IntegrationId, Seq};
use dingtalk_trigger::domain::inbound::Message;
use dingtalk_trigger::domain::press::{Press, Standing, may_act, standing};
use dingtalk_trigger::domain::turn::Head;

use crate::broker::{Broker, Place};
use crate::world::{Bug, World, busy_policy, expert, window};

const CHAIN_MAX: u32 = 16;
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(900);

impl World {
    /// The first control entry after `last`, as a run that has this head finds it.
    pub(crate) fn control_after(&self, place: Place, head: &Head, last: Seq) -> Option<Seq> {
        let mut rest = self.broker.entries(place, last, Seq(u64::MAX));
        self.weigh(place, head, &mut rest);
        rest.iter().find(|l| matches!(l.entry, Entry::Control(_))).map(|l| l.seq)
    }

    /// Makes the first end that counts a control entry.
    pub(crate) fn weigh(&self, place: Place, head: &Head, page: &mut [Logged]) {
        for logged in page {
            match &logged.entry {
                Entry::Control(_) => return,
                Entry::Action(action)
                    if action.kind == ActionKind::End
                        && self.standing(place, head, logged, action) == Standing::Counts =>
                {
                    let origin = asker(&self.broker, place, action);
                    logged.entry = Entry::Control(Control { kind: ControlKind::End, origin });
                    return;
                }
                _ => {}
            }
        }
    }

    pub(crate) fn standing(
        &self,
        place: Place,
        head: &Head,
        logged: &Logged,
        action: &Action,
    ) -> Standing {
        let trigger = trigger(place);
        let asker = asker(&self.broker, place, action);
        let is_first =
            asker.as_ref().is_some_and(|asker| self.is_first(place, logged.seq, action, asker));
        let press = Press { action, at: logged.at, asker: asker.as_ref(), is_first };
        match standing(press, Some(&trigger), head) {
            Standing::Over if self.bug == Some(Bug::UsedPressCounts) && head.session.is_some() => {
                Standing::Counts
            }
            standing => standing,
        }
    }

    fn is_first(&self, place: Place, seq: Seq, action: &Action, asker: &Origin) -> bool {
        let trigger = trigger(place);
        let answers = |logged: &Logged| match &logged.entry {
            Entry::Query(_) => false,
            Entry::Action(other) => {
                other.turn == action.turn && may_act(&other.by, asker, Some(&trigger))
            }
            _ => true,
        };
        let between = self.broker.entries(place, action.turn.last, Seq(seq.0.saturating_sub(1)));
        !between.iter().any(answers)
    }
}

/// Who asked the turn that a press answers.
pub(crate) fn asker(broker: &Broker, place: Place, action: &Action) -> Option<Origin> {
    let mut last = action.turn.last;
    for _ in 0..CHAIN_MAX {
        match broker.at(place, last)?.entry.clone() {
            Entry::Message(message) => return Some(message.origin()),
            Entry::Replay(Replay { again: Again::Messages(messages), .. }) => {
                return messages.last().map(Message::origin);
            }
            Entry::Replay(Replay { again: Again::Press { action, .. }, .. }) => {
                last = action.turn.last;
            }
            Entry::Action(earlier) => last = earlier.turn.last,
            Entry::Control(_) | Entry::Query(_) | Entry::Undecodable { .. } | Entry::Gone => {
                return None;
            }
        }
    }
    None
}

/// The trigger of a conversation: its window, its busy policy, and who may press.
pub(crate) fn trigger(place: Place) -> Trigger {
    Trigger {
        expert: expert(),
        integration: IntegrationId::parse("robot").expect("an integration's id"),
        is_enabled: true,
        session_timeout: SESSION_TIMEOUT,
        summary_window: window(place),
        former_window: None,
        busy_policy: busy_policy(place),
        queued_notice: QueuedNotice::None,
        allow_conversations: vec![],
        allow_senders: vec![],
        corp_id: None,
        mention_asker: true,
        act_by: if place == 1 { ActBy::Anyone } else { ActBy::Asker },
    }
}
