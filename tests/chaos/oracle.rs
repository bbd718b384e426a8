//! The oracle: holds what people did and saw against what the log and the journal say.
//!
//! - *lost*: accepted and not in the log; in the log and in no ended turn; delivered and not read by whom it
//!   is for, all of it: each line of a long text.
//! - *doubled*: the same read twice. It is excused only where the journal has a record, written before
//!   the repetition, that this send is made again because its outcome is unknown (taken over from a run
//!   that ended, or repeated after a failure): one repetition for each such record.
//! - *reordered*: answers of a conversation in another order than its log, parts of an answer in another
//!   order than its text, or a log in another order than people wrote (messages that DingTalk pushed once,
//!   over one connection: others may overtake each other on their way to us).
//! - *broken*: all else, e.g. a turn stopped by nobody, or dead though it did not begin with what experts refuse.

use std::collections::BTreeMap;

use dingtalk_trigger::domain::dead::DeadLetter;
use dingtalk_trigger::domain::entry::{Entry, EntryKind};
use dingtalk_trigger::domain::id::{Conversation, Seq};
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::turn::Step;

use crate::history::{History, Turn};
use crate::load::{Mark, Part, REFUSE};
use crate::people::{Message, People};
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
    /// Messages whose turn was refused so often that its schedule made it wait for ten minutes, and what
    /// waited behind one: no measure of a recovery.
    pub(crate) worn: usize,
}

/// Of each kind: whoever reads them needs no more to see what broke.
const SHOWN: usize = 20;

impl Verdict {
    /// All that must not be, in words.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let findings =
            [("lost", &self.lost), ("doubled", &self.doubled), ("reordered", &self.reordered)];
        let broken = ("broken", self.broken.clone());
        let said = |finding: &Finding| format!("{} at {}", finding.what, finding.at);
        let found = findings.map(|(kind, list)| (kind, list.iter().map(said).collect()));
        let mut complaints = vec![];
        for (kind, list) in [broken].into_iter().chain(found) {
            complaints.extend(list.iter().take(SHOWN).map(|what| format!("{kind}: {what}")));
            if list.len() > SHOWN {
                complaints.push(format!("{kind}: {} in all", list.len()));
            }
        }
        complaints
    }
}

/// What people read of each message, in the order in which it first came.
type Read = BTreeMap<Mark, Vec<Part>>;

/// Where the log has a message.
struct Place {
    seq: Seq,
    turn: Option<Turn>,
    /// When the last turn up to its own ended that was refused too often.
    worn_until: Option<i64>,
}

/// `left`: what was still to be done when all should have been.
pub(crate) fn judge(people: &People, written: &Written, left: &[String]) -> Verdict {
    let history = History::of(written);
    let mut verdict = Verdict { given_up: people.given_up(), ..Verdict::default() };
    let advisories = written.advisories.iter();
    verdict.broken.extend(advisories.map(|(what, count)| format!("given up: {what}: {count}")));
    verdict.broken.extend(history.faults.iter().cloned());
    verdict.broken.extend(left.iter().map(|what| format!("left over: {what}")));
    verdict.broken.extend(history.unfinished.iter().map(|what| format!("unfinished: {what}")));
    verdict.broken.extend(people.halves.iter().map(|text| format!("somebody read {text:?}")));
    verdict.broken.extend(written.unreadable.iter().map(|what| format!("unreadable: {what}")));
    let places = verdict.places(people, written, &history);
    let read = verdict.read(people);
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
                if logged.kind == EntryKind::Control {
                    *controls.entry(robot).or_default() += 1;
                } else {
                    let (seq, kind) = (logged.seq, logged.kind.as_str());
                    self.broken.push(format!("the log has {kind} {seq}, which nobody made"));
                }
                continue;
            };
            let seq = logged.seq;
            let turn = history.turn_of(&logged.conversation, seq);
            let id = (robot.to_owned(), msg_id.clone());
            if !people.messages.contains_key(&id) {
                self.broken.push(format!("the log has {msg_id}, which nobody wrote"));
            }
            let worn_until = turn.and_then(|turn| {
                let turns = history.turns[&logged.conversation].range(..=turn.last);
                let worn = turns.filter(|(_, turn)| turn.attempts > ATTEMPTS_SOON);
                worn.map(|(_, turn)| turn.ended).max()
            });
            if places.insert(id, Place { seq, turn, worn_until }).is_some() {
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

    /// What people read where it belongs.
    fn read(&mut self, people: &People) -> Read {
        let marked = people.messages.values().filter_map(|message| Some((message.mark?, message)));
        let places: BTreeMap<Mark, &str> =
            marked.map(|(mark, message)| (mark, message.place.as_str())).collect();
        let mut read = Read::new();
        for answer in &people.answers {
            for part in &answer.parts {
                if places.get(&part.mark) == Some(&answer.place.as_str()) {
                    read.entry(part.mark).or_default().push(*part);
                } else {
                    self.broken.push(format!("{:?} was read in {}", part.mark, answer.place));
                }
            }
        }
        read
    }

    /// One message: accepted means in the log, in one turn, and that turn ended well.
    fn weigh(&mut self, message: &Message, place: Option<&Place>, read: &Read) {
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
        if place.worn_until.is_some_and(|until| at < until) {
            self.worn += 1;
        } else if message.accepted.is_some() {
            self.spans.push((at, turn.ended));
        }
        match turn.step {
            Step::Delivered => {
                let read = read.get(&mark).map(Vec::as_slice).unwrap_or_default();
                self.weigh_answer(message, turn.ended, read);
            }
            Step::Stopped => self.stopped += 1,
            Step::Dead => self.dead += 1,
            step => self.lost(turn.ended, mark, step.as_str()),
        }
    }

    /// All that was to be said was read, once and in order, however many messages it took.
    fn weigh_answer(&mut self, message: &Message, ended: i64, read: &[Part]) {
        let said = message.parts.as_slice();
        let is_missing = |part: &&Part| read.iter().all(|read| read != *part);
        let what = |why: String| format!("{:?}: {why}", message.mark);
        if read == said {
            self.delivered += 1;
        } else if let Some(part) = said.iter().find(is_missing) {
            let (read, said) = (read.len(), said.len());
            let why = format!("delivered, and {read} of {said} were read, not {:?}", part.line);
            self.lost.push(Finding { at: ended, what: what(why) });
        } else if read.len() > said.len() {
            let why = format!("{} parts were read as {}", said.len(), read.len());
            self.doubled.push(Finding { at: ended, what: what(why) });
        } else {
            let why = "its parts were read in another order".to_owned();
            self.reordered.push(Finding { at: ended, what: what(why) });
        }
    }

    fn lost(&mut self, at: i64, mark: Mark, why: &str) {
        self.lost.push(Finding { at, what: format!("{mark:?}: {why}") });
    }

    fn check_doubles(&mut self, people: &People, by_mark: &BTreeMap<Mark, &Place>) {
        // One record excuses one repetition of one message, however many messages the answer is.
        let mut excused: BTreeMap<(usize, Seq), usize> = BTreeMap::new();
        for answer in &people.answers {
            let [first, repeated @ ..] = answer.came.as_slice() else { continue };
            let marks = answer.marks();
            let turn = marks.first().and_then(|mark| by_mark.get(mark)?.turn);
            for _ in repeated {
                // What happened to the first is why there is another.
                let what = format!("{marks:?} came at {:?}: {turn:?}", answer.came);
                let finding = Finding { at: *first, what };
                let excused =
                    turn.map(|turn| (turn, excused.entry((marks[0].0, turn.last)).or_default()));
                match excused {
                    Some((turn, count)) if *count < turn.resends => {
                        *count += 1;
                        self.ambiguous.push(finding);
                    }
                    _ => self.doubled.push(finding),
                }
            }
        }
    }

    /// Answers in the order of the log, and parts of an answer in the order of its text.
    fn check_order(&mut self, people: &People, by_mark: &BTreeMap<Mark, &Place>) {
        let mut newest: BTreeMap<usize, (Seq, Seq, Option<usize>)> = BTreeMap::new();
        for answer in &people.answers {
            let Some(first) = answer.parts.first() else { continue };
            let Some(place) = by_mark.get(&first.mark) else { continue };
            let Some(turn) = place.turn else { continue };
            let part = (turn.last, place.seq, first.line);
            let before = newest.entry(first.mark.0).or_default();
            if part < *before {
                let what = format!("{:?} came after {before:?}", answer.marks());
                self.reordered.push(Finding { at: answer.came[0], what });
            }
            *before = part;
        }
    }

    /// The log has them as people wrote them.
    fn check_arrival(&mut self, people: &People, by_mark: &BTreeMap<Mark, &Place>) {
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
    /// may be dead, for that reason: no fault here is worth less than another attempt.
    fn check_dead(&mut self, written: &Written, history: &History) {
        let mut letters: BTreeMap<(Conversation, Seq), usize> = BTreeMap::new();
        for letter in &written.dead {
            let key = (letter.turn.conversation.clone(), letter.turn.last);
            *letters.entry(key).or_default() += 1;
            if letter.reason != Reason::RuntimePermanent || !begins_with_a_refusal(letter) {
                let (turn, reason) = (&letter.turn, letter.reason.as_str());
                self.broken
                    .push(format!("{turn} was buried: {reason}: {}", letter.detail.expose()));
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

/// The experts look at the first word alone.
fn begins_with_a_refusal(letter: &DeadLetter) -> bool {
    let mut messages = letter.entries.iter().filter_map(|logged| match &logged.entry {
        Entry::Message(message) => Some(message),
        _ => None,
    });
    messages.next().is_some_and(|message| message.text().starts_with(REFUSE))
}

#[cfg(test)]
mod tests;
