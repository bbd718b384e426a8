//! What people did and saw, from the simulated cloud's book: which messages the service accepted, and
//! what answers came when.

use std::collections::BTreeMap;
use std::sync::Arc;

use dingtalk_trigger::sim::dingtalk::Sim;
use dingtalk_trigger::sim::dingtalk::record::{Kind, Record};

use crate::load::{Mark, Part, parts_in};

/// A message as its sender and DingTalk know it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) robot: String,
    /// DingTalk's conversation.
    pub(crate) place: String,
    /// A word to stop has none.
    pub(crate) mark: Option<Mark>,
    /// All that an answer to it must say, in order.
    pub(crate) parts: Vec<Part>,
    /// Place in the order in which people wrote.
    pub(crate) said: u64,
    /// When the service said that it has it.
    pub(crate) accepted: Option<i64>,
    /// Each time it was pushed: over which connection.
    pub(crate) pushes: Vec<u64>,
    /// At least once there was nobody to push it to, or no good answer.
    pub(crate) was_undelivered: bool,
    pub(crate) was_given_up: bool,
}

impl Message {
    /// The way it came where it came at once: nothing can have overtaken it on that way.
    pub(crate) fn way(&self) -> Option<u64> {
        match self.pushes.as_slice() {
            [connection] if !self.was_undelivered => Some(*connection),
            _ => None,
        }
    }
}

/// What people read in one message of a robot, and each time that it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// DingTalk's conversation.
    pub(crate) place: String,
    pub(crate) parts: Vec<Part>,
    pub(crate) came: Vec<i64>,
}

impl Answer {
    /// What it answers, in order.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        let mut marks: Vec<_> = self.parts.iter().map(|part| part.mark).collect();
        marks.dedup();
        marks
    }
}

/// The index of an answer by its conversation and what it says.
type Known = BTreeMap<(String, Vec<Part>), usize>;

#[derive(Default)]
pub(crate) struct People {
    /// By robot and DingTalk's id.
    pub(crate) messages: BTreeMap<(String, String), Message>,
    /// In the order of their first coming.
    pub(crate) answers: Vec<Answer>,
    /// What no expert had finished.
    pub(crate) halves: Vec<String>,
}

impl People {
    pub(crate) fn of(cloud: &Sim) -> Self {
        let mut people = Self::default();
        let mut known = Known::new();
        for record in cloud.book().since(0, usize::MAX) {
            if record.kind == Kind::Reply {
                people.read(&record, &mut known);
            } else {
                people.note(&record);
            }
        }
        people
    }

    /// Messages that nobody has accepted and nobody has given up.
    pub(crate) fn on_their_way(&self) -> usize {
        let is_open = |message: &&Message| message.accepted.is_none() && !message.was_given_up;
        self.messages.values().filter(is_open).count()
    }

    /// Messages that DingTalk stopped to push, unaccepted.
    pub(crate) fn given_up(&self) -> usize {
        let is_gone = |message: &&Message| message.accepted.is_none() && message.was_given_up;
        self.messages.values().filter(is_gone).count()
    }

    fn note(&mut self, record: &Arc<Record>) {
        let id = (record.robot.clone(), record.msg_id.clone());
        if record.kind == Kind::Said {
            let message = self.messages.entry(id).or_default();
            message.robot.clone_from(&record.robot);
            message.place.clone_from(&record.conversation);
            message.parts = parts_in(&record.text);
            message.mark = message.parts.first().map(|part| part.mark);
            message.said = record.seq;
            return;
        }
        let Some(message) = self.messages.get_mut(&id) else { return };
        match record.kind {
            Kind::Pushed => message.pushes.push(record.connection),
            Kind::Undelivered => message.was_undelivered = true,
            Kind::Acked if record.detail == "200" => {
                message.accepted = message.accepted.or(Some(record.at_ms));
            }
            Kind::GaveUp => message.was_given_up = true,
            _ => {}
        }
    }

    fn read(&mut self, record: &Arc<Record>, known: &mut Known) {
        let parts = parts_in(&record.text);
        if parts.is_empty() {
            if record.text.contains("half ") {
                self.halves.push(record.text.clone());
            }
            return;
        }
        let place = record.conversation.clone();
        let key = (place.clone(), parts.clone());
        let index = *known.entry(key).or_insert_with(|| {
            self.answers.push(Answer { place, parts, came: vec![] });
            self.answers.len() - 1
        });
        self.answers[index].came.push(record.at_ms);
    }
}
