//! A run of one conversation, as `src/worker/dispatch.rs` has it: lease, fence, plan, and the commands of
//! the hand-off machine, each an effect after which the pod may be gone.

use std::time::Duration;

use dingtalk_trigger::domain::debounce::{TimerKind, Token};
use dingtalk_trigger::domain::entry::{Control, ControlKind, Entry, Logged};
use dingtalk_trigger::domain::id::Seq;
use dingtalk_trigger::domain::plan::{Limits, Planned, PlannedKind, plan};
use dingtalk_trigger::domain::poison::{is_poisoned, leaves_rest};
use dingtalk_trigger::domain::press::Standing;
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::session::Session;
use dingtalk_trigger::domain::turn::decide::decide;
use dingtalk_trigger::domain::turn::failed::Failed;
use dingtalk_trigger::domain::turn::question::Closes;
use dingtalk_trigger::domain::turn::{
    Asked, Availability, Command, Ending, Event, Head, NewTurn, OpenTurn, Opening, Parked, Phase,
    Purpose, Step, TurnKind,
};
use dingtalk_trigger::protocol::token::Slot;

use crate::acting::SESSION_TIMEOUT;
use crate::broker::{Held, Place, Record};
use crate::sending::{Way, is_question_next, way};
use crate::world::{Bug, Died, POLICY, World, conversation, expert};

/// Four fifths of the slots' `ack_wait`.
const LEASE_MS: i64 = 12_000;
const PAGE_MAX: usize = 6;
pub(crate) const LIMITS: Limits = Limits { messages_max: 4, bytes_max: 16 };

pub(crate) struct Run {
    pub(crate) place: Place,
    slot: u64,
    nonce: u64,
    count: u32,
    last: Record,
}

impl Run {
    pub(crate) fn head(&self) -> &Head {
        &self.last.head
    }

    pub(crate) fn open(&self) -> Option<&OpenTurn> {
        self.last.head.turn.as_ref()
    }
}

/// Lost or dead: in both cases nothing more is done.
pub(crate) struct Stopped;

impl From<Died> for Stopped {
    fn from(_: Died) -> Self {
        Self
    }
}

impl World {
    pub(crate) fn dispatch(&mut self, held: &Held<Slot>) {
        let nonce = self.rng.next();
        self.runs.insert(nonce, (held.place, self.now));
        let last = self.broker.last(held.place);
        let mut run = Run { place: held.place, slot: held.id, nonce, count: 0, last };
        let worked = self.work_through(&mut run, held.body, held.deliveries);
        let checked = worked.and_then(|()| self.check(&run));
        if checked.is_ok() {
            self.broker.slots.ack(held.id);
        }
        self.runs.remove(&nonce);
        let head = run.last.head;
        if checked.is_ok()
            && self.bug != Some(Bug::FollowForgotten)
            && head.turn.is_none()
            && self.follow(held.place, head.position).is_err()
        {
            self.excused.insert(held.place);
        }
    }

    /// Between two effects: the pod may die, others may act, and the lease may have run out.
    pub(crate) fn check(&mut self, run: &Run) -> Result<(), Stopped> {
        self.breathe()?;
        let confirmed = self.runs.get(&run.nonce).map_or(0, |(_, at)| *at);
        if self.now - confirmed >= LEASE_MS {
            return Err(Stopped);
        }
        let rivals = self.runs.iter().filter(|(nonce, (place, at))| {
            **nonce != run.nonce && *place == run.place && self.now - at < LEASE_MS
        });
        let rivals = rivals.count();
        if rivals > 0 {
            self.oracle.blame(format!("I3: {} runs hold conversation {}", rivals + 1, run.place));
        }
        self.runs.insert(run.nonce, (run.place, self.now));
        self.broker.slots.renew(run.slot, self.now);
        Ok(())
    }

    pub(crate) fn record(
        &mut self,
        run: &mut Run,
        step: Step,
        head: Head,
        answers: Option<u32>,
    ) -> Result<(), Stopped> {
        run.count += 1;
        let (nonce, count, step) = (run.nonce, run.count, Some(step));
        let record = Record { seq: Seq(0), nonce, count, step, head, answers };
        loop {
            self.check(run)?;
            let is_stored = self.store(run.place, &run.last, record.clone());
            // A time-out: nobody tells this run what became of its record.
            let is_told = !self.rng.once_in(30);
            self.breathe()?;
            let last = self.broker.last(run.place);
            if is_stored && is_told || last.nonce == nonce && last.count == count {
                run.last = last;
                return if run.last.nonce == nonce { Ok(()) } else { Err(Stopped) };
            }
            if last.seq != run.last.seq {
                return Err(Stopped);
            }
        }
    }

    fn work_through(&mut self, run: &mut Run, slot: Slot, deliveries: u64) -> Result<(), Stopped> {
        self.check(run)?;
        let mut beyond = None;
        if let Some(turn) = run.last.head.turn.clone() {
            let at = self.clock();
            let control = self.control_after(run.place, &run.last.head, turn.last);
            let event = match control {
                _ if is_poisoned(deliveries) => Event::Poisoned { deliveries },
                Some(by) => Event::Controlled { by },
                None if turn.asked.is_none() => Event::Taken { runtime: Availability::Ready, at },
                None => {
                    let is_ready = self.availability == Availability::Ready;
                    let wider = if is_ready { self.wider(run) } else { None };
                    wider.unwrap_or(Event::Taken { runtime: self.availability, at })
                }
            };
            if let Event::Controlled { by } = event {
                beyond = Some(by);
            }
            self.drive(run, event)?;
            if leaves_rest(deliveries, &run.last.head, slot.to) {
                self.later(run.place, slot);
                return Ok(());
            }
        }
        loop {
            let Head { position, turn, .. } = &run.last.head;
            if turn.is_some() || *position >= slot.to {
                return Ok(());
            }
            let mut page = self.broker.entries(run.place, *position, slot.to);
            page.truncate(PAGE_MAX);
            let end = page.last().map_or(slot.to, |logged| logged.seq);
            beyond = match beyond {
                Some(known) if known > end => Some(known),
                _ if end < slot.to => self.control_after(run.place, &run.last.head, end),
                _ => None,
            };
            self.weigh(run.place, &run.last.head, &mut page);
            let Some(planned) = plan(&page, beyond, slot.window, LIMITS) else { return Ok(()) };
            page.truncate(planned.count);
            self.check(run)?;
            match self.resolve(run.place, &run.last.head, planned, &page) {
                Some(turn) => {
                    let at = self.clock();
                    self.drive(run, Event::Opened { turn, at })?;
                }
                None => {
                    self.later(run.place, slot);
                    return Ok(());
                }
            }
        }
    }

    fn later(&mut self, place: Place, slot: Slot) {
        let at = self.clock().after(Duration::from_secs(5));
        let Slot { to, window } = slot;
        let token = Token { seq: to, kind: TimerKind::Now, window, refusals: 0 };
        self.arm(place, format!("{to}lt{}", at.0), at, token);
    }

    /// As `src/worker/resolve.rs`; `None` while the database is away.
    fn resolve(
        &mut self,
        place: Place,
        head: &Head,
        planned: Planned,
        entries: &[Logged],
    ) -> Option<NewTurn> {
        let (first, newest) = (entries.first()?, entries.last()?);
        let end = |ending| Opening::End { ending, closes: Closes::Nothing };
        let timeout = SESSION_TIMEOUT;
        let (last_activity, runtime) = (newest.at, self.availability);
        let (kind, opening) = match (planned.kind, &newest.entry) {
            (PlannedKind::Stopped { .. }, _) => (TurnKind::Messages, end(Ending::Stopped)),
            (_, Entry::Query(_)) => (TurnKind::Control, end(Ending::Delivered)),
            (_, Entry::Control(control)) => (TurnKind::Control, obey(control)),
            (_, Entry::Action(action))
                if self.standing(place, head, newest, action) != Standing::Counts =>
            {
                (TurnKind::Action, Opening::Say { segments: 1, closes: Closes::Nothing })
            }
            (_, Entry::Replay(replay)) => {
                let kind = TurnKind::Replay { dead: replay.dead };
                if self.broker.dead.contains_key(&replay.dead.0) {
                    let epoch = replay.epoch;
                    let session = Session { epoch, expert: expert(), timeout, last_activity };
                    (kind, Opening::Ask { session, is_new: false, runtime })
                } else {
                    (kind, end(Ending::Delivered))
                }
            }
            (_, Entry::Message(message)) if message.is_unsupported() => {
                (TurnKind::Messages, Opening::Say { segments: 1, closes: Closes::Nothing })
            }
            _ => {
                let existing = head.session.clone().filter(|s| !s.is_expired(first.at));
                let is_new = existing.is_none();
                // Opening a session reads the binding from SQL.
                if is_new && !self.is_calm && self.rng.once_in(10) {
                    return None;
                }
                let opened = Session { epoch: first.seq, expert: expert(), timeout, last_activity };
                let session = existing.unwrap_or(opened).touched(newest.at);
                let is_action = planned.kind == PlannedKind::Action;
                let kind = if is_action { TurnKind::Action } else { TurnKind::Messages };
                (kind, Opening::Ask { session, is_new, runtime })
            }
        };
        let Planned { first, last, .. } = planned;
        let is_heard = match &newest.entry {
            Entry::Message(_) | Entry::Query(_) => true,
            Entry::Control(control) => control.origin.is_some(),
            _ => false,
        };
        let (accepted_at, heard_at) = (newest.at, is_heard.then_some(newest.at));
        Some(NewTurn { first, last, kind, accepted_at, heard_at, opening })
    }

    fn drive(&mut self, run: &mut Run, first: Event) -> Result<(), Stopped> {
        let mut event = first;
        loop {
            let before = run.last.head.turn.clone();
            let answers = match &event {
                Event::Answered { attempt, .. } => Some(*attempt),
                _ => None,
            };
            let decision = decide(run.last.head.clone(), &conversation(run.place), event, POLICY);
            // Whoever asks is told before the record stands.
            let cancels = |command: &Command| matches!(command, Command::CancelRun(_));
            if decision.commands.iter().any(cancels) && self.bug != Some(Bug::RunLeft) {
                self.end_hearings(run.place);
            }
            if let Some(step) = decision.record {
                self.record(run, step, decision.head, answers)?;
            }
            let mut next = None;
            for command in decision.commands {
                self.check(run)?;
                let Some(turn) = run.last.head.turn.clone().or_else(|| before.clone()) else {
                    continue;
                };
                next = self.carry_out(run, &turn, &command)?.or(next);
            }
            match next {
                Some(after) => event = after,
                None => return Ok(()),
            }
        }
    }

    fn carry_out(
        &mut self,
        run: &mut Run,
        turn: &OpenTurn,
        command: &Command,
    ) -> Result<Option<Event>, Stopped> {
        let place = run.place;
        match command {
            Command::Invoke => return self.invoke(run, turn).map(Some),
            Command::Send { segment } => return Ok(Some(self.send(place, turn, *segment))),
            Command::CountAmbiguous => {
                // The same card twice is one card.
                if way(place) != Way::Card || !is_question_next(turn) {
                    self.oracle.ambiguous += 1;
                }
            }
            Command::Arm { at, purpose } => {
                let word = match purpose {
                    Purpose::Retry { attempt } => format!("r{attempt}"),
                    Purpose::SendRetry { sent, attempt } => format!("s{sent}r{attempt}"),
                    Purpose::Expiry => "x".to_owned(),
                };
                let window = Duration::ZERO;
                let token = Token { seq: turn.last, kind: TimerKind::Now, window, refusals: 0 };
                self.arm(place, format!("{}{word}t{}", turn.last, at.0), *at, token);
            }
            Command::Index => {
                let Phase::Parked { why, .. } = turn.phase else { return Ok(None) };
                self.broker.enter(place, turn.first);
                self.check(run)?;
                if why == Parked::Missing && self.availability == Availability::Ready {
                    let (runtime, at) = (self.availability, self.clock());
                    return Ok(Some(Event::Taken { runtime, at }));
                }
            }
            Command::Unindex { .. } => {
                self.broker.index.remove(&place);
            }
            Command::Bury => {
                self.broker.bury(place, turn.last);
                self.end_hearings(place);
                return Ok(Some(Event::Buried));
            }
            Command::SettleDead { dead } => {
                self.broker.dead.remove(&dead.0);
                return Ok(Some(Event::DeadSettled { at: self.clock() }));
            }
            Command::CancelRun(_) | Command::Close { .. } | Command::Tell(_) => {}
        }
        Ok(None)
    }
}

/// The session that a turn was asked in.
pub(crate) fn session_of(asked: &Asked) -> Session {
    let (expert, timeout) = (asked.expert.clone(), SESSION_TIMEOUT);
    Session { epoch: asked.epoch, expert, timeout, last_activity: asked.expires_at }
}

fn obey(control: &Control) -> Opening {
    let closes = match control.kind {
        ControlKind::Stop => Closes::Question,
        ControlKind::New | ControlKind::End => Closes::Session,
    };
    match control.origin {
        Some(_) => Opening::Say { segments: 1, closes },
        None => Opening::End { ending: Ending::Delivered, closes },
    }
}

pub(crate) fn failed(retry: Option<Duration>) -> Failed {
    Failed { reason: Reason::RuntimePermanent, detail: "".into(), retry }
}
