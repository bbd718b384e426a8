//! What people do, and how DingTalk passes it on: messages that are pushed until they are acknowledged,
//! commands, and presses on what they were shown.
//!
//! The edge is `src/edge/accept.rs`: the log first, then the answer to DingTalk.

use dingtalk_trigger::domain::entry::{
    Action, ActionKind, Again, Control, ControlKind, Entry, Origin, Query, QueryKind, Replay,
};
use dingtalk_trigger::domain::id::{MsgId, Seq, TurnId};
use dingtalk_trigger::domain::inbound::{Message, Part, Place as Where, PlaceKind, Sender};

use crate::broker::Place;
use crate::world::{Bug, Died, World, conversation, expert};

/// DingTalk gives up after this long, well within the time in which the log knows a message again.
const PUSHED_FOR_MS: i64 = 300_000;

/// A message that DingTalk believes to be not acknowledged.
#[derive(Clone)]
pub(crate) struct Pushed {
    place: Place,
    message: Message,
    until: i64,
}

impl World {
    pub(crate) fn say(&mut self, place: Place) {
        let text = "x".repeat(1 + usize::try_from(self.rng.below(8)).unwrap_or(0));
        let parts = if self.rng.once_in(15) { vec![] } else { vec![Part::Text(text)] };
        self.said += 1;
        let person = if self.rng.once_in(6) { "b" } else { "a" };
        let Origin { place: at, sender, .. } = origin(person);
        let message = Message {
            msg_id: MsgId::parse(&format!("m{}", self.said)).expect("a message id"),
            place: at,
            sender,
            robot_code: None,
            created_at: None,
            kind: "text".to_owned(),
            parts,
            quote: None,
            webhook: None,
        };
        let pushed = Pushed { place, message, until: self.now + PUSHED_FOR_MS };
        self.pushed.push(pushed.clone());
        self.take(&pushed).ok();
    }

    /// DingTalk pushes once more what it has no answer for.
    pub(crate) fn push_again(&mut self) {
        let now = self.now;
        self.pushed.retain(|pushed| pushed.until > now);
        let pick = usize::try_from(self.rng.next()).unwrap_or(0);
        let Some(pushed) = self.pushed.get(pick % self.pushed.len().max(1)).cloned() else {
            return;
        };
        self.take(&pushed).ok();
    }

    /// The edge takes a push.
    fn take(&mut self, pushed: &Pushed) -> Result<(), Died> {
        let Pushed { place, message, until } = pushed;
        let id = message.msg_id.as_str();
        if self.bug == Some(Bug::AnsweredEarly) {
            self.acknowledge(id);
        }
        self.breathe()?;
        // The log may not take it: DingTalk is told so, and pushes again.
        if self.now > *until || !self.is_calm && self.rng.once_in(20) {
            return Ok(());
        }
        self.publish(*place, id, Entry::Message(message.clone()));
        self.breathe()?;
        // The answer may be lost on its way.
        if self.is_calm || !self.rng.once_in(6) {
            self.acknowledge(id);
        }
        Ok(())
    }

    fn acknowledge(&mut self, id: &str) {
        // Now and then DingTalk pushes again all the same.
        if self.is_calm || !self.rng.once_in(10) {
            self.pushed.retain(|pushed| pushed.message.msg_id.as_str() != id);
        }
        if !self.broker.has_stored(id) {
            self.oracle.blame(format!("I1: {id} was acknowledged and is not in the log"));
        }
    }

    /// The log takes each id once.
    fn publish(&mut self, place: Place, id: &str, entry: Entry) {
        let is_known = self.broker.has_stored(id);
        self.broker.note_stored(id);
        if is_known && self.bug != Some(Bug::DuplicateStored) {
            self.faults += 1;
            return;
        }
        self.broker.append(place, self.now, entry);
    }

    pub(crate) fn command(&mut self, place: Place) {
        let person = if self.rng.once_in(4) { "b" } else { "a" };
        let kind = match self.rng.below(5) {
            0 | 1 => ControlKind::Stop,
            2 => ControlKind::New,
            3 => ControlKind::End,
            _ => {
                let (kind, origin) = (QueryKind::Status, origin(person));
                self.broker.append(place, self.now, Entry::Query(Query { kind, origin }));
                return;
            }
        };
        // An operator's hand has nobody to answer.
        let origin = (!self.rng.once_in(3)).then(|| origin(person));
        self.broker.append(place, self.now, Entry::Control(Control { kind, origin }));
    }

    /// Somebody presses what they see, or what they saw long ago, or saw somebody else be asked.
    pub(crate) fn press(&mut self) {
        let pick = usize::try_from(self.rng.next()).unwrap_or(0);
        let shown = match self.shown.len() {
            0 => None,
            count if self.rng.once_in(3) => self.shown.get(pick % count),
            _ => self.shown.last(),
        };
        let Some((place, turn)) = shown.copied() else { return };
        let kind = match self.rng.below(8) {
            0..=2 => ActionKind::Confirm,
            3 => ActionKind::Reject,
            4..=5 => ActionKind::Custom("more".to_owned()),
            _ => ActionKind::End,
        };
        let by = origin(if self.rng.once_in(4) { "b" } else { "a" }).sender;
        let id = format!("press {place} {turn} {kind:?} {}", by.id);
        let turn = TurnId { conversation: conversation(place), last: turn };
        let action = Action { turn, kind, by, place: None, params: "{}".to_owned() };
        self.publish(place, &id, Entry::Action(action));
    }

    pub(crate) fn press_replay(&mut self) {
        let letters: Vec<_> = self.broker.dead.iter().map(|(seq, of)| (*seq, *of)).collect();
        let pick = usize::try_from(self.rng.next()).unwrap_or(0);
        let Some((dead, (place, turn))) = letters.get(pick % letters.len().max(1)) else { return };
        let (dead, epoch, again) = (Seq(*dead), *turn, Again::Messages(vec![]));
        let replay = Replay { dead, expert: expert(), epoch, again };
        self.broker.append(*place, self.now, Entry::Replay(replay));
    }
}

fn origin(person: &str) -> Origin {
    Origin {
        place: Where { id: "c".to_owned(), kind: PlaceKind::Group, title: None },
        sender: Sender {
            id: person.to_owned(),
            staff_id: None,
            name: String::new(),
            corp_id: None,
        },
        robot_code: None,
        webhook: None,
    }
}
