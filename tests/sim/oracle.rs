//! What must always hold, checked with every record and every effect: the invariants I2 to I6.

use std::collections::{BTreeMap, BTreeSet};

use dingtalk_trigger::domain::entry::{Action, ActionKind, Control, ControlKind, Entry, Logged};
use dingtalk_trigger::domain::id::Seq;
use dingtalk_trigger::domain::turn::{Asked, OpenTurn, Phase, Step, TurnKind};

use crate::acting::asker;
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
    /// The messages of ended turns, by their ids.
    ended: BTreeSet<String>,
    /// The newest session of each conversation, and where one was last ended.
    sessions: BTreeMap<Place, (Seq, Seq)>,
    /// The turns that a press has answered.
    pressed: BTreeSet<(Place, Seq)>,
    pub(crate) presses: u64,
    /// The questions that their asker has in private.
    asides: BTreeSet<(Place, Seq)>,
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
        if let (None, Some(turn)) = (&was.turn, &is.turn)
            && let Some(asked) = &turn.asked
        {
            self.asked(broker, place, turn, asked);
        }
        if is_end {
            self.ended(broker, place, before, now);
        }
    }

    /// A turn goes to its expert for the first time.
    fn asked(&mut self, broker: &Broker, place: Place, turn: &OpenTurn, asked: &Asked) {
        if matches!(turn.kind, TurnKind::Replay { .. }) {
            return;
        }
        let (first, epoch) = (turn.first, asked.epoch);
        let (newest, ended_at) = self.sessions.get(&place).copied().unwrap_or_default();
        self.hold(epoch > ended_at && epoch >= newest, || {
            format!(
                "session: {first} is asked in {epoch}, after {newest} and the end at {ended_at}"
            )
        });
        self.hold(asked.is_new == (epoch == first) && epoch <= first, || {
            format!("session: {first} opens {epoch}")
        });
        self.sessions.insert(place, (epoch, ended_at));
        if let Some(Entry::Action(action)) = broker.at(place, turn.last).map(|l| &l.entry) {
            self.answered_by_press(broker, place, action, epoch);
        }
    }

    /// A press has reached the expert: once, by who may, and in the session of its question.
    fn answered_by_press(&mut self, broker: &Broker, place: Place, press: &Action, epoch: Seq) {
        let question = press.turn.last;
        self.presses += 1;
        let is_first = self.pressed.insert((place, question));
        self.hold(is_first, || format!("question: {question} was answered twice"));
        self.hold(question >= epoch, || format!("question: {question} is older than {epoch}"));
        let by = asker(broker, place, press).map(|asker| asker.sender.id);
        let may = place == 1 || by.as_deref() == Some(press.by.id.as_str());
        self.hold(may, || format!("question: {question} of {by:?} was answered by {:?}", press.by));
    }

    fn ended(&mut self, broker: &Broker, place: Place, before: &Record, now: &Record) {
        let (Some(step), last) = (now.step, now.head.position) else { return };
        let rest = broker.entries(place, before.head.position, Seq(u64::MAX));
        let is_entry = rest.iter().any(|logged| logged.seq == last);
        self.hold(is_entry, || format!("I2: the position {last} is no entry"));
        for logged in rest.iter().filter(|logged| logged.seq <= last) {
            let Entry::Message(message) = &logged.entry else { continue };
            let is_first = self.ended.insert(message.msg_id.to_string());
            self.hold(is_first, || format!("I2: {} is in two turns", message.msg_id));
        }
        let ends_session = match broker.at(place, last).map(|logged| &logged.entry) {
            Some(Entry::Control(Control { kind, .. })) => *kind != ControlKind::Stop,
            // One that does not count is answered as an action.
            Some(Entry::Action(Action { kind: ActionKind::End, .. })) => {
                before.head.turn.as_ref().is_some_and(|turn| turn.kind == TurnKind::Control)
            }
            _ => false,
        };
        if ends_session {
            self.sessions.entry(place).or_default().1 = last;
        }
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
                    matches!(logged.entry, Entry::Control(_) | Entry::Replay(_) | Entry::Query(_))
                });
                self.hold(is_silent, || format!("I6: turn {last} ended without a word"));
            }
            (Step::Stopped, _) => {
                let may_stop = |logged: &Logged| match &logged.entry {
                    Entry::Control(_) => true,
                    Entry::Action(action) => action.kind == ActionKind::End,
                    _ => false,
                };
                let is_stopped = rest.iter().any(|logged| logged.seq > last && may_stop(logged));
                self.hold(is_stopped, || format!("I6: turn {last} was stopped by nobody"));
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
        self.is_counted();
    }

    fn is_counted(&mut self) {
        let (doubled, ambiguous) = (self.doubled, self.ambiguous);
        self.hold(doubled <= ambiguous, || {
            format!("I6: {doubled} segments came twice, {ambiguous} were counted")
        });
    }

    pub(crate) fn has_said(&self, place: Place, turn: Seq) -> bool {
        self.sent.get(&place).is_some_and(|sent| sent.iter().any(|(of, _)| *of == turn))
    }

    /// The same card again is the same card.
    pub(crate) fn card_shown(&mut self, place: Place, turn: Seq, segment: u32) {
        if !self.sent.get(&place).is_some_and(|sent| sent.contains(&(turn, segment))) {
            self.sent(place, turn, segment);
        }
    }

    /// The asker of a turn gets its question in private.
    pub(crate) fn asked_aside(&mut self, place: Place, turn: Seq) {
        self.doubled += u64::from(!self.asides.insert((place, turn)));
        self.is_counted();
    }

    /// A group is told where the links are.
    pub(crate) fn told_of_links(&mut self, place: Place, turn: Seq) {
        let is_asked = self.asides.contains(&(place, turn));
        self.hold(is_asked, || format!("question: nobody has the links of {turn}"));
    }
}
