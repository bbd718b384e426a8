//! What must always hold, checked with every record and every effect: the invariants I2 to I6.

use std::collections::{BTreeMap, BTreeSet};

use dingtalk_trigger::domain::entry::{Entry, Logged};
use dingtalk_trigger::domain::id::Seq;
use dingtalk_trigger::domain::turn::{Phase, Step, TurnKind};

use crate::broker::{Broker, Place, Record};

#[derive(Default)]
pub(crate) struct Oracle {
    /// What DingTalk has seen: the turn and segment of each post.
    sent: BTreeMap<Place, Vec<(Seq, u32)>>,
    pub(crate) doubled: u64,
    pub(crate) ambiguous: u64,
    /// Letters that a replay has answered.
    replayed: BTreeMap<Seq, u32>,
    /// What the run had read that answered the turn that begins here.
    answered: BTreeMap<(Place, Seq), BTreeSet<Seq>>,
    pub(crate) violation: Option<String>,
}

impl Oracle {
    pub(crate) fn blame(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn hold(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.blame(what());
        }
    }

    /// A record is about to stand behind `before`.
    pub(crate) fn recorded(
        &mut self,
        broker: &Broker,
        place: Place,
        before: &Record,
        now: &Record,
    ) {
        let Some(step) = now.step else { return };
        let (was, is) = (&before.head, &now.head);
        let is_end = matches!(step, Step::Delivered | Step::Stopped | Step::Lost | Step::Dead);
        let rest = broker.entries(place, was.position, Seq(u64::MAX));
        self.hold(is_end == (was.position != is.position), || {
            format!("I2: {step:?} moved the position from {} to {}", was.position, is.position)
        });
        if let Some(turn) = &is.turn {
            let first = rest.first().map(|logged| logged.seq);
            self.hold(Some(turn.first) == first, || {
                format!("I2: a turn begins at {}, the log goes on at {first:?}", turn.first)
            });
            let is_entry = rest.iter().any(|logged| logged.seq == turn.last);
            self.hold(is_entry, || format!("I2: a turn ends at {}, which is no entry", turn.last));
        }
        if let (Some(was), Some(is)) = (&was.turn, &is.turn) {
            let may_grow = matches!(step, Step::Merged | Step::Steered);
            let has_grown = may_grow && is.last > was.last;
            self.hold(was.first == is.first && (was.last == is.last || has_grown), || {
                format!("I2: an open turn changed from {was:?} to {is:?}")
            });
        }
        if let (Some(attempt), Some(turn)) = (now.answers, &was.turn) {
            let (current, last) = (turn.attempt, turn.last);
            self.hold(attempt == current, || {
                format!("I6: turn {last} took the answer of attempt {attempt} in attempt {current}")
            });
        }
        if is_end {
            self.ended(broker, place, before, now);
        }
    }

    fn ended(&mut self, broker: &Broker, place: Place, before: &Record, now: &Record) {
        let (Some(step), last) = (now.step, now.head.position) else { return };
        let rest = broker.entries(place, before.head.position, Seq(u64::MAX));
        let is_entry = rest.iter().any(|logged| logged.seq == last);
        self.hold(is_entry, || format!("I2: the position {last} is no entry"));
        match (step, &before.head.turn) {
            (Step::Delivered, Some(turn)) => {
                self.hold(turn.last == last, || format!("I2: turn {} ended at {last}", turn.last));
                if turn.kind == TurnKind::Messages && turn.asked.is_some() {
                    self.was_read(place, turn.first, &rest, last);
                }
                let Phase::Sending(sending) = &turn.phase else { return };
                let sent = self.sent.get(&place).cloned().unwrap_or_default();
                let is_said = (0..sending.segments).all(|s| sent.contains(&(last, s)));
                self.hold(is_said, || format!("I6: turn {last} is delivered and was not said"));
                if let (TurnKind::Replay { dead }, true) = (turn.kind, sending.segments > 0) {
                    let count = self.replayed.entry(dead).or_default();
                    *count += 1;
                    let count = *count;
                    self.hold(count == 1, || format!("I6: letter {dead} was answered twice"));
                }
            }
            (Step::Delivered, None) => {
                let is_silent = rest.first().is_some_and(|logged| {
                    matches!(logged.entry, Entry::Control(_) | Entry::Replay(_))
                });
                self.hold(is_silent, || format!("I6: turn {last} ended without a word"));
            }
            (Step::Stopped, _) => {
                let by = broker.control_after(place, last);
                self.hold(by.is_some(), || format!("I6: turn {last} was stopped by nobody"));
            }
            (Step::Dead, _) => {
                let has_letter = broker.buried.contains_key(&(place, last));
                self.hold(has_letter, || format!("I6: turn {last} is dead without a letter"));
            }
            _ => self.blame(format!("I2: {step:?} of {last}: nothing is lost here")),
        }
    }

    /// A run's answer is on record.
    pub(crate) fn answered(&mut self, place: Place, first: Seq, heard: BTreeSet<Seq>) {
        self.answered.insert((place, first), heard);
    }

    /// Each message is in the one turn whose run has read it.
    fn was_read(&mut self, place: Place, first: Seq, rest: &[Logged], last: Seq) {
        let heard = self.answered.get(&(place, first)).cloned().unwrap_or_default();
        let is_message = |logged: &&Logged| matches!(logged.entry, Entry::Message(_));
        let turn = rest.iter().filter(|logged| logged.seq <= last).filter(is_message);
        let turn: BTreeSet<_> = turn.map(|logged| logged.seq).collect();
        self.hold(turn == heard, || {
            format!("I2: the turn from {first} has {turn:?}, its expert has read {heard:?}")
        });
    }

    /// DingTalk takes a segment.
    pub(crate) fn sent(&mut self, place: Place, turn: Seq, segment: u32) {
        let sent = self.sent.entry(place).or_default();
        let last = sent.last().copied();
        let is_double = sent.contains(&(turn, segment));
        sent.push((turn, segment));
        self.doubled += u64::from(is_double);
        self.hold(last.is_none_or(|last| last <= (turn, segment)), || {
            format!("I4: segment {segment} of turn {turn} came after {last:?}")
        });
        let (doubled, ambiguous) = (self.doubled, self.ambiguous);
        self.hold(doubled <= ambiguous, || {
            format!("I6: {doubled} segments came twice, {ambiguous} were counted")
        });
    }
}
