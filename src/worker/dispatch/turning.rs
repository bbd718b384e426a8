//! One turn in the hands of one run: an event is decided, its record stored, its commands carried out,
//! and what they bring is the next event.
//!
//! No command is carried out before its record is stored, and each is preceded by a look at the lease.

use std::sync::Arc;

use anyhow::Context as _;

use super::Dispatch;
use super::spanning::recorded;
use crate::domain::answer::Answer;
use crate::domain::binding::Integration;
use crate::domain::dead::DeadLetter;
use crate::domain::debounce::{TimerKind, Token};
use crate::domain::entry::{Action, Again, Entry, Logged, Origin};
use crate::domain::id::{Seq, TurnId};
use crate::domain::reason::Reason;
use crate::domain::reply::Segment;
use crate::domain::time::Timestamp;
use crate::domain::turn::decide::decide;
use crate::domain::turn::failed::Failed;
use crate::domain::turn::{
    Availability, Command, Event, Notice, OpenTurn, Parked, Phase, Purpose, Step,
};
use crate::domain::words::Word;
use crate::io::dead::Buried;
use crate::io::{journal, timer};
use crate::protocol::subject;
use crate::telemetry::metrics;
use crate::telemetry::traces::Work;
use crate::worker::resolve::Reach;
use crate::worker::run::{Run, Stopped};

pub struct Turning<'a> {
    pub hands: &'a Dispatch,
    pub integration: Option<&'a Integration>,
    /// The turn's range of the log.
    pub entries: Vec<Logged>,
    pub origin: Option<Origin>,
    /// The expert's runtime and a place among its runs.
    pub reach: Option<Reach>,
    /// The answer, once it is known.
    pub answer: Option<Answer>,
    /// The messages of the answer's text, once one was needed: made once a run, because a long answer costs
    /// as much for each of its messages.
    pub said: Option<Arc<[Segment]>>,
    /// When the answer that asks the person was stored: the same whenever the question is sent.
    pub asked_at: Option<Timestamp>,
    /// What was asked by a card may have been asked by a message before.
    pub is_card_doubted: bool,
    /// The control entry that ended the turn, and ends all before it.
    pub stopped_by: Option<Seq>,
}

impl<'a> Turning<'a> {
    pub fn new(
        hands: &'a Dispatch,
        integration: Option<&'a Integration>,
        entries: Vec<Logged>,
    ) -> Self {
        let origin = entries.iter().rev().find_map(|logged| origin(&logged.entry));
        Self {
            hands,
            integration,
            entries,
            origin,
            reach: None,
            answer: None,
            said: None,
            asked_at: None,
            is_card_doubted: false,
            stopped_by: None,
        }
    }

    /// The turn's range has grown.
    pub(super) fn take_in(&mut self, entries: Vec<Logged>) {
        self.origin = entries.iter().rev().find_map(|logged| origin(&logged.entry));
        self.entries = entries;
    }

    /// Event after event; see [`Turning::drive`].
    pub(super) async fn decide_and_do(
        &mut self,
        run: &mut Run,
        first: Event,
        work: &mut Work,
    ) -> Result<(), Stopped> {
        let mut event = first;
        loop {
            let before = run.head().turn.clone();
            if let (Event::Controlled { by }, Some(turn)) = (&event, &before)
                && *by > turn.last
            {
                self.stopped_by = Some(*by);
            }
            let session = run.head().session.clone();
            let policy = self.hands.config.policy;
            let decision = decide(run.head().clone(), &run.conversation, event, policy);
            if let Some(step) = decision.record {
                let answer = journal::brings_answer(step).then(|| self.answer.clone()).flatten();
                match run.record(step, decision.head, answer).await {
                    Err(Stopped::Failed(error))
                        if step == Step::Answered && is_too_large(&error) =>
                    {
                        // Asked again the expert would say it again.
                        event = self.unrecordable(run, &error);
                        continue;
                    }
                    // Every run would come to it again, so the turn ends now.
                    Err(Stopped::Failed(error)) if is_too_large(&error) && can_bury(run) => {
                        event = Event::Unrecordable { why: format!("{error:#}") };
                        continue;
                    }
                    stored => stored?,
                }
                recorded(work, run, step);
                self.note(run, step, before.as_ref());
                self.project_session(run, session, before.as_ref());
            }
            let mut next = None;
            for command in decision.commands {
                run.check()?;
                if next.is_some() && command == Command::Tell(Notice::ExpertAway) {
                    // It came while the turn was parked.
                    continue;
                }
                // The turn as it stood before the decision is what an ended turn still needs.
                let turn = run.head().turn.clone().or_else(|| before.clone());
                next = self.carry_out(run, turn.as_ref(), command).await?.or(next);
            }
            match next {
                Some(event_after) => event = event_after,
                None => return Ok(()),
            }
        }
    }

    /// What an answer comes to that no record can hold.
    fn unrecordable(&self, run: &Run, error: &anyhow::Error) -> Event {
        let attempt = run.head().turn.as_ref().map_or(0, |turn| turn.attempt);
        let failure =
            Failed { reason: Reason::Limit, detail: format!("{error:#}").into(), retry: None };
        Event::Failed { attempt, failure, at: self.hands.context.clock.now() }
    }

    async fn carry_out(
        &mut self,
        run: &mut Run,
        turn: Option<&OpenTurn>,
        command: Command,
    ) -> Result<Option<Event>, Stopped> {
        match (command, turn) {
            (Command::Close { question, how }, _) => self.close(run, question, how),
            (Command::CancelRun(abandoned), _) => self.cancel(run, &abandoned).await,
            // What ended as it began needs nothing else.
            (_, None) => {}
            (Command::Invoke, Some(turn)) => return self.ask(run, turn).await.map(Some),
            (Command::Send { segment }, Some(turn)) => {
                // A long answer takes its time: what was said meanwhile may end it.
                if segment > 0
                    && let Some(by) = self.hands.control_after(run, turn.last).await?
                {
                    return Ok(Some(Event::Controlled { by }));
                }
                return self.say(run, turn, segment).await.map(Some);
            }
            (Command::CountAmbiguous, Some(turn)) => {
                self.is_card_doubted = self.is_card_next(turn);
                if !self.is_card_doubted {
                    self.hands.context.metrics.ambiguous_sends.inc();
                }
            }
            (Command::Arm { at, purpose }, Some(turn)) => self.arm(run, turn, at, purpose).await?,
            (Command::Index, Some(_)) => return self.index(run).await,
            (Command::Unindex { has_expiry }, Some(turn)) => {
                if let Some(asked) = &turn.asked {
                    let left = self.hands.handoffs.leave(&asked.expert, &run.conversation).await;
                    left.context("leave the hand-off index")?;
                }
                if has_expiry {
                    let disarmed = self.hands.timers.disarm_expiry(&run.conversation).await;
                    disarmed.context("take back the end of the wait")?;
                }
            }
            (Command::Bury, Some(turn)) => {
                self.bury(run, turn).await?;
                return Ok(Some(Event::Buried));
            }
            (Command::SettleDead { dead }, Some(_)) => {
                self.settle_dead(run, dead).await?;
                return Ok(Some(Event::DeadSettled { at: self.hands.context.clock.now() }));
            }
            (Command::Tell(notice), Some(turn)) => {
                self.remark(run, turn, Word::from(notice)).await;
            }
        }
        Ok(None)
    }

    async fn arm(
        &self,
        run: &Run,
        turn: &OpenTurn,
        at: Timestamp,
        purpose: Purpose,
    ) -> Result<(), Stopped> {
        let window = std::time::Duration::ZERO;
        let token = Token { seq: turn.last, kind: TimerKind::Now, window, refusals: 0 };
        let word = match purpose {
            Purpose::Retry { attempt } => format!("{}r{attempt}", turn.last),
            Purpose::SendRetry { sent, attempt } => format!("{}s{sent}r{attempt}", turn.last),
            Purpose::Expiry => format!("{}{}", turn.last, timer::EXPIRY),
        };
        // The time stands in the subject as well: no subject is ever armed at two times.
        let word = format!("{word}t{}", at.0);
        let armed = self.hands.timers.arm(&run.conversation, &word, at, &token).await;
        Ok(armed.context("arm timer")?)
    }

    /// Enters the index, then looks at the expert once more: it may have come between.
    async fn index(&mut self, run: &Run) -> Result<Option<Event>, Stopped> {
        let Some(turn) = &run.head().turn else { return Ok(None) };
        let Phase::Parked { why, .. } = turn.phase else { return Ok(None) };
        let Some(asked) = &turn.asked else { return Ok(None) };
        let handoffs = &self.hands.handoffs;
        let entered = handoffs.enter(&asked.expert, &run.conversation, turn, why).await;
        let entry = entered.context("enter the hand-off index")?;
        let resolver = &self.hands.resolver;
        if why == Parked::Busy {
            // A permit may have been freed before the entry was there to be woken.
            resolver.bulkhead.parked(&asked.expert, entry);
            return Ok(None);
        }
        let reach = resolver.reach(&run.conversation, &asked.expert, run.head()).await;
        if reach.availability != Availability::Ready {
            return Ok(None);
        }
        let (runtime, at) = (reach.availability, self.hands.context.clock.now());
        self.reach = Some(reach);
        Ok(Some(Event::Taken { runtime, at }))
    }

    async fn bury(&self, run: &Run, turn: &OpenTurn) -> Result<(), Stopped> {
        let Phase::Burying { reason, detail } = &turn.phase else { return Ok(()) };
        let letter = DeadLetter {
            turn: TurnId { conversation: run.conversation.clone(), last: turn.last },
            reason: *reason,
            detail: detail.clone(),
            attempts: turn.attempt,
            failed: turn.failed.clone(),
            asked: turn.asked.clone(),
            entries: self.entries.clone(),
        };
        self.hands.dead.bury("dispatch", &letter).await.context("store the dead letter")?;
        let (stage, reason) = ("dispatch", reason.as_str());
        let dead = metrics::Dead { stage, reason };
        self.hands.context.metrics.dead.get_or_create(&dead).inc();
        tracing::warn!(turn.id = %letter.turn, reason, "turn buried");
        Ok(())
    }

    /// By now another letter may have its number.
    async fn settle_dead(&self, run: &Run, dead: Seq) -> Result<(), Stopped> {
        let found = self.hands.dead.at(dead).await.context("read the dead letter")?;
        let is_it = |buried: &Buried| match self.entries.last().map(|logged| &logged.entry) {
            Some(Entry::Replay(replay)) => buried.is_asked_by(&run.conversation, replay),
            Some(_) | None => buried.conversation.as_ref() == Some(&run.conversation),
        };
        if found.as_ref().is_some_and(is_it) {
            self.hands.dead.delete(dead).await.context("delete the dead letter")?;
        }
        Ok(())
    }

    /// What others read of a turn: metrics, and the projections in SQL.
    fn note(&self, run: &Run, step: Step, before: Option<&OpenTurn>) {
        let metrics = &self.hands.context.metrics;
        let is_end = Step::ENDS.contains(&step);
        if is_end {
            let result = step.as_str();
            metrics.turns.get_or_create(&metrics::Outcome { result }).inc();
            let accepted_at = self.entries.last().map(|logged| logged.at);
            if let (Step::Delivered, Some(at)) = (step, accepted_at) {
                let now = self.hands.context.clock.now();
                metrics.turn_seconds.observe(now.since(at).as_secs_f64());
            }
        }
        if step == Step::Lost {
            metrics.entries_gone.inc();
        }
        let is_start = before.is_none() && !is_end;
        if is_start || is_end {
            self.project(run, before);
        }
    }
}

/// A turn is open, and is not being buried.
fn can_bury(run: &Run) -> bool {
    let turn = run.head().turn.as_ref();
    turn.is_some_and(|turn| !matches!(turn.phase, Phase::Burying { .. }))
}

pub(super) fn is_too_large(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(journal::AppendError::TooLarge))
}

/// Whom an entry's answer goes to, and where.
fn origin(entry: &Entry) -> Option<Origin> {
    match entry {
        Entry::Message(message) => Some(message.origin()),
        Entry::Control(control) => control.origin.clone(),
        Entry::Action(action) => pressed(action),
        Entry::Replay(replay) => match &replay.again {
            Again::Messages(messages) => {
                messages.last().map(crate::domain::inbound::Message::origin)
            }
            Again::Press { action, .. } => pressed(action),
        },
        // It was answered when it came.
        Entry::Query(_) | Entry::Undecodable { .. } | Entry::Gone => None,
    }
}

/// Where it was pressed, if that was anywhere.
fn pressed(action: &Action) -> Option<Origin> {
    let (sender, place) = (action.by.clone(), action.place.clone()?);
    Some(Origin { place, sender, robot_code: None, webhook: None })
}

/// The turn's name, as runtimes and logs know it.
pub fn turn_id(run: &Run, turn: &OpenTurn) -> TurnId {
    TurnId { conversation: run.conversation.clone(), last: turn.last }
}

/// The runtime's thread of the session that a turn belongs to.
pub fn thread(run: &Run, turn: &OpenTurn) -> String {
    let epoch = turn.asked.as_ref().map_or(turn.first, |asked| asked.epoch);
    subject::thread_id(&run.conversation, epoch)
}
