//! What people did and saw, from the simulated cloud's book: which messages the service accepted, and
//! what answers came when.

use std::collections::BTreeMap;
use std::sync::Arc;

use dingtalk_trigger::sim::dingtalk::Sim;
use dingtalk_trigger::sim::dingtalk::record::{Kind, Record};

use crate::load::marks_in;

/// A message as its sender and DingTalk know it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) robot: String,
    /// Conversation and number; a word to stop has none.
    pub(crate) mark: Option<(usize, usize)>,
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

/// One text that a person read, and each time that it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) marks: Vec<(usize, usize)>,
    pub(crate) text: String,
    pub(crate) came: Vec<i64>,
}

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
        let mut known: BTreeMap<(String, String), usize> = BTreeMap::new();
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
            let mark = marks_in(&record.text).first().copied();
            let message = self.messages.entry(id).or_default();
            message.robot.clone_from(&record.robot);
            message.mark = mark;
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

    fn read(&mut self, record: &Arc<Record>, known: &mut BTreeMap<(String, String), usize>) {
        let marks = marks_in(&record.text);
        if marks.is_empty() {
            if record.text.contains("half ") {
                self.halves.push(record.text.clone());
            }
            return;
        }
        let key = (record.conversation.clone(), record.text.clone());
        let index = *known.entry(key).or_insert_with(|| {
            self.answers.push(Answer { marks, text: record.text.clone(), came: vec![] });
            self.answers.len() - 1
        });
        self.answers[index].came.push(record.at_ms);
    }
}
