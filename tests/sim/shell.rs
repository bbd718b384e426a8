//! The stages of a worker as `src/worker` has them, over the model of the broker: every decision is the
//! service's own, every effect is the model's.

use std::time::Duration;

use dingtalk_trigger::domain::debounce::{self, Due, Intake, TimerKind, Token, View};
use dingtalk_trigger::domain::entry::{Entry, Logged};
use dingtalk_trigger::domain::id::Seq;
use dingtalk_trigger::domain::plan::{filled, full};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::decide::decide;
use dingtalk_trigger::domain::turn::{Answered, Availability, Event, OpenTurn, Phase, Step};
use dingtalk_trigger::protocol::token::Slot;

use crate::broker::{Held, Place, Record};
use crate::run::LIMITS;
use crate::world::{Bug, Died, POLICY, Promise, WAIT_LEAST, World, conversation, window};

pub(crate) fn is_parked(turn: &OpenTurn) -> bool {
    matches!(turn.phase, Phase::Parked { .. })
}

impl World {
    pub(crate) fn arm(&mut self, place: Place, purpose: String, at: Timestamp, token: Token) {
        if self.bug == Some(Bug::TimerLost) && self.rng.once_in(10) {
            return;
        }
        self.broker.timers.insert((place, purpose), (at, token));
    }

    /// False: occupied.
    pub(crate) fn offer(&mut self, place: Place, slot: Slot) -> bool {
        if self.broker.slots.has(place) && self.bug != Some(Bug::SlotIgnored) {
            return false;
        }
        self.broker.slots.put(place, slot);
        true
    }

    pub(crate) fn intake(&mut self, held: &Held<Logged>) -> Result<(), Died> {
        self.breathe()?;
        let (place, seq) = (held.place, held.body.seq);
        let window = window(place);
        let token = Token { seq, kind: TimerKind::Window, window, refusals: 0 };
        match debounce::intake(held.body.entry.kind(), window) {
            Intake::ArmWindow => {
                self.arm(place, seq.to_string(), held.body.at.after(window), token);
                self.breathe()?;
                if let Some(seq) = self.filled(place, seq) {
                    self.offer_now(place, Token { seq, ..token })?;
                }
            }
            Intake::OfferSlot => {
                self.offer_now(place, token)?;
            }
        }
        self.breathe()?;
        self.broker.intake.ack(held.id);
        Ok(())
    }

    fn offer_now(&mut self, place: Place, token: Token) -> Result<(), Died> {
        let Token { seq, window, .. } = token;
        if !self.offer(place, Slot { to: seq, window }) {
            self.breathe()?;
            let at = self.clock().after(Duration::from_secs(1));
            let again = Token { kind: TimerKind::Now, ..token };
            self.arm(place, format!("{seq}b0t{}", at.0), at, again);
        }
        Ok(())
    }

    /// The end of the turn that the message at `seq` fills.
    fn filled(&self, place: Place, seq: Seq) -> Option<Seq> {
        let head = self.broker.last(place).head;
        let page = self.broker.entries(place, head.position, seq);
        if head.turn.is_some() { None } else { filled(&page, LIMITS) }
    }

    pub(crate) fn due(&mut self, held: &Held<Token>) -> Result<(), Died> {
        self.breathe()?;
        let (place, token) = (held.place, held.body);
        let head = self.broker.last(place).head;
        let taken = head.turn.as_ref().map_or(head.position, |turn| turn.last);
        let now = self.clock();
        let mut view = View {
            position: head.position,
            taken,
            newest: token.seq,
            first_unfinished_at: None,
            wait_max: debounce::wait_max(token.window, WAIT_LEAST),
            now,
        };
        self.breathe()?;
        if token.kind == TimerKind::Window && token.seq > view.position {
            view.newest = self.broker.newest(place).map_or(token.seq, |newest| newest.seq);
            let rest = self.broker.entries(place, taken, Seq(u64::MAX));
            view.first_unfinished_at = rest.first().map(|logged| logged.at);
        }
        let slot = Slot { to: token.seq, window: token.window };
        if debounce::due(&token, &view) == Due::Offer && !self.offer(place, slot) {
            self.breathe()?;
            let newest = self.broker.newest(place).map_or(token.seq, |newest| newest.seq);
            if let Some(wait) = debounce::refused(&token, newest, taken) {
                let refusals = token.refusals + 1;
                let at = now.after(wait);
                let again = Token { kind: TimerKind::Now, refusals, ..token };
                self.arm(place, format!("{}b{refusals}t{}", token.seq, at.0), at, again);
            }
        }
        self.breathe()?;
        self.broker.due.ack(held.id);
        Ok(())
    }

    /// The hand-off stage: tokens for all that wait, oldest first.
    pub(crate) fn hand_off(&mut self) -> Result<(), Died> {
        if self.availability != Availability::Ready {
            return Ok(());
        }
        let mut waiting: Vec<_> =
            self.broker.index.iter().map(|(place, (seq, _))| (*seq, *place)).collect();
        waiting.sort_unstable();
        for (seq, place) in waiting {
            self.breathe()?;
            let mut parked = self.broker.last(place).head.turn.filter(is_parked);
            self.breathe()?;
            if parked.is_none() {
                // Left behind by a run that died; a later entry stays. A run that came to wait again
                // meanwhile may have relied on it.
                self.broker.index.retain(|of, (at, _)| *of != place || *at != seq);
                if self.breathe().is_err() {
                    self.excused.insert(place);
                    return Err(Died);
                }
                parked = self.broker.last(place).head.turn.filter(is_parked);
            }
            if let Some(turn) = parked {
                let (window, kind) = (Duration::ZERO, TimerKind::Now);
                self.broker.due.put(place, Token { seq: turn.last, kind, window, refusals: 0 });
            }
        }
        Ok(())
    }

    /// A runtime that answered 202 answers by itself, perhaps twice, perhaps much too late.
    pub(crate) fn answer_late(&mut self) {
        let pick = usize::try_from(self.rng.next()).unwrap_or(0);
        let count = self.promised.len();
        let Some(promise) = self.promised.get(pick % count.max(1)).cloned() else { return };
        let Promise { place, turn, attempt, hearing, heard } = promise;
        self.hearings[hearing].has_ended = true;
        if !self.rng.once_in(4) {
            self.promised.remove(pick % count);
        }
        let last = self.broker.last(place);
        let Some(open) = last.head.turn.as_ref().filter(|open| open.last == turn) else {
            if self.bug == Some(Bug::LateAnswerSaid) && !self.oracle.has_said(place, turn) {
                self.oracle.sent(place, turn, 0);
            }
            return;
        };
        let counted =
            if self.bug == Some(Bug::StaleAttemptAccepted) { open.attempt } else { attempt };
        let segments = u32::try_from(1 + self.rng.below(2)).unwrap_or(1);
        let at = self.clock();
        let has_interrupt = self.rng.once_in(3);
        let answered = Answered { segments, has_interrupt, is_late: true, at };
        let event = Event::Answered { attempt: counted, answered };
        let decision = decide(last.head.clone(), &conversation(place), event, POLICY);
        let Some(step) = decision.record else { return };
        let record = Record {
            nonce: self.rng.next(),
            step: Some(step),
            head: decision.head,
            answers: Some(attempt),
            ..Record::default()
        };
        let first = open.first;
        if self.breathe().is_err() || !self.store(place, &last, record) {
            return;
        }
        self.oracle.answered(place, first, heard);
        self.answered_late.insert((place, first));
        if self.breathe().is_ok() {
            let window = Duration::ZERO;
            let token = Token { seq: turn, kind: TimerKind::Now, window, refusals: 0 };
            self.broker.due.put(place, token);
        }
    }

    /// True: it stands behind `after`, and the oracle has seen it.
    pub(crate) fn store(&mut self, place: Place, after: &Record, mut record: Record) -> bool {
        if self.bug == Some(Bug::PositionMovedEarly)
            && record.step == Some(Step::Started)
            && let Some(turn) = &record.head.turn
        {
            record.head.position = turn.last;
        }
        let before = self.broker.last(place);
        if self.bug == Some(Bug::SessionRevived) && record.step == Some(Step::Delivered) {
            let asked = before.head.turn.as_ref().and_then(|turn| turn.asked.as_ref());
            record.head.session = asked.map(crate::run::session_of).or(record.head.session);
        }
        if !self.broker.compare_and_set(place, after.seq, record.clone()) {
            return false;
        }
        self.oracle.recorded(&self.broker, place, &before, &record);
        true
    }

    /// What follows a run in the log.
    pub(crate) fn follow(&mut self, place: Place, position: Seq) -> Result<(), Died> {
        self.breathe()?;
        let rest = self.broker.entries(place, position, Seq(u64::MAX));
        let (Some(first), Some(newest)) = (rest.first(), rest.last()) else { return Ok(()) };
        let (now, window) = (self.clock(), window(place));
        let all = window == Duration::ZERO
            || now.since(newest.at) >= window
            || now.since(first.at) >= debounce::wait_max(window, WAIT_LEAST)
            || rest.iter().any(|l| !matches!(l.entry, Entry::Message(_) | Entry::Query(_)));
        let to = if all { Some(newest.seq) } else { full(&rest, LIMITS) };
        let Some(to) = to else { return Ok(()) };
        self.breathe()?;
        if !self.offer(place, Slot { to, window }) {
            self.breathe()?;
            let at = now.after(Duration::from_secs(1));
            let kind = TimerKind::Now;
            let token = Token { seq: to, kind, window, refusals: 0 };
            self.arm(place, format!("{to}ft{}", at.0), at, token);
        }
        Ok(())
    }
}
