//! The oracle: holds what people did and saw against what the log and the journal say.
//!
//! - *lost*: accepted and not in the log; in the log and in no ended turn; delivered and nobody read it.
//! - *doubled*: the same text read twice. It is excused only where the journal has a record, written before
//!   the repetition, that this send is made again because its outcome is unknown (taken over from a run
//!   that ended, or repeated after a failure): one repetition for each such record.
//! - *reordered*: answers of a conversation in another order than its log, parts of an answer in another
//!   order than its text, or a log in another order than people wrote (messages that DingTalk pushed once,
//!   over one connection: others may overtake each other on their way to us).

use std::collections::{BTreeMap, BTreeSet};

use dingtalk_trigger::domain::id::{Conversation, Seq};
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::turn::Step;

use crate::history::{History, Turn};
use crate::people::{Answer, Message, People};
use crate::scribe::Written;

/// The attempts between which the schedule waits for two minutes at most.
const ATTEMPTS_SOON: u32 = 5;

/// Something that must not be, and when it happened.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) at: i64,
    pub(crate) what: String,
}

#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) accepted: usize,
    /// What DingTalk stopped to push: the service never said that it had it.
    pub(crate) given_up: usize,
    pub(crate) delivered: usize,
    pub(crate) stopped: usize,
    pub(crate) dead: usize,
    pub(crate) lost: Vec<Finding>,
    /// Read more than once, with the service knowing that it might be.
    pub(crate) ambiguous: Vec<Finding>,
    pub(crate) doubled: Vec<Finding>,
    pub(crate) reordered: Vec<Finding>,
    /// What does not fit together at all.
    pub(crate) broken: Vec<String>,
    /// Of each message that was accepted: when it was, and when its turn ended.
    pub(crate) spans: Vec<(i64, i64)>,
    /// Messages whose turn was refused so often that its schedule made it wait for ten minutes: no measure
    /// of a recovery.
    pub(crate) worn: usize,
}

/// Where the log has a message.
struct Place {
    seq: Seq,
    turn: Option<Turn>,
}

pub(crate) fn judge(people: &People, written: &Written) -> Verdict {
    let history = History::of(written);
    let mut verdict = Verdict { given_up: people.given_up(), ..Verdict::default() };
    let advisories = written.advisories.iter();
    verdict.broken.extend(advisories.map(|(what, count)| format!("given up: {what}: {count}")));
    verdict.broken.extend(history.faults.iter().cloned());
    verdict.broken.extend(history.unfinished.iter().map(|what| format!("unfinished: {what}")));
    verdict.broken.extend(people.halves.iter().map(|text| format!("somebody read {text:?}")));
    verdict.broken.extend(written.unreadable.iter().map(|what| format!("unreadable: {what}")));
    let places = verdict.places(people, written, &history);
    let read: BTreeSet<_> = people.answers.iter().flat_map(|answer| answer.marks.clone()).collect();
    let mut by_mark = BTreeMap::new();
    for (id, message) in &people.messages {
        let place = places.get(id);
        verdict.weigh(message, place, &read);
        if let (Some(mark), Some(place)) = (message.mark, place) {
            by_mark.insert(mark, place);
        }
    }
    verdict.check_doubles(people, &by_mark);
    verdict.check_order(people, &by_mark);
    verdict.check_arrival(people, &by_mark);
    verdict.check_dead(written, &history);
    verdict
}

impl Verdict {
    fn places(
        &mut self,
        people: &People,
        written: &Written,
        history: &History,
    ) -> BTreeMap<(String, String), Place> {
        let mut places = BTreeMap::new();
        let mut controls: BTreeMap<&str, usize> = BTreeMap::new();
        for logged in &written.log {
            let robot = logged.conversation.integration.as_str();
            let Some(msg_id) = &logged.msg_id else {
                *controls.entry(robot).or_default() += 1;
                continue;
            };
            let seq = logged.seq;
            let turn = history.turn_of(&logged.conversation, seq);
            let id = (robot.to_owned(), msg_id.clone());
            if !people.messages.contains_key(&id) {
                self.broken.push(format!("the log has {msg_id}, which nobody wrote"));
            }
            if places.insert(id, Place { seq, turn }).is_some() {
                self.broken.push(format!("the log has {msg_id} twice"));
            }
        }
        // A word to stop keeps no id in the log: they are counted.
        for (robot, logged) in controls {
            let said = || people.messages.values().filter(|m| m.mark.is_none() && m.robot == robot);
            let accepted = said().filter(|message| message.accepted.is_some()).count();
            if !(accepted..=said().count()).contains(&logged) {
                self.broken.push(format!("{robot}: {logged} stops logged, {accepted} accepted"));
            }
        }
        places
    }

    /// One message: accepted means in the log, in one turn, and that turn ended well.
    fn weigh(&mut self, message: &Message, place: Option<&Place>, read: &BTreeSet<(usize, usize)>) {
        let Some(mark) = message.mark else { return };
        let Some(place) = place else {
            if let Some(at) = message.accepted {
                self.accepted += 1;
                self.lost(at, mark, "accepted and not in the log");
            }
            return;
        };
        self.accepted += usize::from(message.accepted.is_some());
        let at = message.accepted.unwrap_or_default();
        let Some(turn) = place.turn else { return self.lost(at, mark, "in no ended turn") };
        if turn.attempts > ATTEMPTS_SOON {
            self.worn += 1;
        } else if message.accepted.is_some() {
            self.spans.push((at, turn.ended));
        }
        match turn.step {
            Step::Delivered if !read.contains(&mark) => {
                self.lost(turn.ended, mark, "delivered, and nobody read it");
            }
            Step::Delivered => self.delivered += 1,
            Step::Stopped => self.stopped += 1,
            Step::Dead => self.dead += 1,
            step => self.lost(turn.ended, mark, step.as_str()),
        }
    }

    fn lost(&mut self, at: i64, mark: (usize, usize), why: &str) {
        self.lost.push(Finding { at, what: format!("{mark:?}: {why}") });
    }

    fn check_doubles(&mut self, people: &People, by_mark: &BTreeMap<(usize, usize), &Place>) {
        for answer in &people.answers {
            let [first, repeated @ ..] = answer.came.as_slice() else { continue };
            let turn = turn_of(answer, by_mark);
            let known = turn.map_or(0, |turn| turn.resends);
            for index in 0..repeated.len() {
                // What happened to the first is why there is another.
                let what = format!("{:?} came at {:?}: {turn:?}", answer.marks, answer.came);
                let finding = Finding { at: *first, what };
                if index < known {
                    self.ambiguous.push(finding);
                } else {
                    self.doubled.push(finding);
                }
            }
        }
    }

    /// Answers in the order of the log, and parts of an answer in the order of its text.
    fn check_order(&mut self, people: &People, by_mark: &BTreeMap<(usize, usize), &Place>) {
        let mut newest: BTreeMap<usize, (Seq, Seq, String)> = BTreeMap::new();
        for answer in &people.answers {
            let Some(mark) = answer.marks.first() else { continue };
            let Some(place) = by_mark.get(mark) else { continue };
            let Some(turn) = place.turn else { continue };
            let part = (turn.last, place.seq, first_line(&answer.text));
            let before = newest.entry(mark.0).or_default();
            if part < *before {
                let what = format!("{:?} came after {before:?}", answer.marks);
                self.reordered.push(Finding { at: answer.came[0], what });
            }
            *before = part;
        }
    }

    /// The log has them as people wrote them.
    fn check_arrival(&mut self, people: &People, by_mark: &BTreeMap<(usize, usize), &Place>) {
        let mut by_conversation: BTreeMap<usize, Vec<&Message>> = BTreeMap::new();
        for message in people.messages.values() {
            if let (Some((conversation, _)), Some(_)) = (message.mark, message.way()) {
                by_conversation.entry(conversation).or_default().push(message);
            }
        }
        for mut list in by_conversation.into_values() {
            list.sort_by_key(|message| message.said);
            for pair in list.windows(2) {
                let seq = |message: &Message| Some(by_mark.get(&message.mark?)?.seq);
                let (Some(one), Some(next)) = (seq(pair[0]), seq(pair[1])) else { continue };
                if pair[0].way() == pair[1].way() && one > next {
                    let what = format!("{:?} is logged before {:?}", pair[1].mark, pair[0].mark);
                    self.reordered.push(Finding { at: pair[1].accepted.unwrap_or(0), what });
                }
            }
        }
    }

    /// A turn that is dead has one letter, and one that is not has none. Only what was refused on request
    /// may be dead: everything else here is worth another attempt.
    fn check_dead(&mut self, written: &Written, history: &History) {
        let mut letters: BTreeMap<(Conversation, Seq), usize> = BTreeMap::new();
        for letter in &written.dead {
            let key = (letter.turn.conversation.clone(), letter.turn.last);
            *letters.entry(key).or_default() += 1;
            if letter.reason != Reason::RuntimePermanent {
                let (turn, reason) = (&letter.turn, letter.reason.as_str());
                self.broken.push(format!("{turn} was buried: {reason}: {}", letter.detail));
            }
        }
        for (conversation, turns) in &history.turns {
            for turn in turns.values().filter(|turn| turn.step == Step::Dead) {
                let count = letters.remove(&(conversation.clone(), turn.last)).unwrap_or(0);
                if count != 1 {
                    let name = format!("{conversation}.{}", turn.last);
                    self.broken.push(format!("{name} is dead and has {count} letters"));
                }
            }
        }
        for (conversation, last) in letters.into_keys() {
            self.broken.push(format!("{conversation}.{last} has a letter and is not dead"));
        }
    }
}

fn turn_of(answer: &Answer, by_mark: &BTreeMap<(usize, usize), &Place>) -> Option<Turn> {
    by_mark.get(answer.marks.first()?)?.turn
}

/// The number of the first line of a long text; of any other nothing.
fn first_line(text: &str) -> String {
    let number = text.split("line ").nth(1).unwrap_or_default();
    number.chars().take_while(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests;
