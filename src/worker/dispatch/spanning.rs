//! What a run does for one turn, as spans in the trace of the turn's newest entry.
//!
//! Whatever is stored or asked meanwhile bears that trace, also where the slot came with another
//! entry's. A span holds ids and words of ours; it changes nothing about the turn.

use crate::domain::entry::Entry;
use crate::domain::id::TurnId;
use crate::domain::span::{Kind, Spot};
use crate::domain::turn::{Event, OpenTurn, Phase, Step};
use crate::domain::words::Word;
use crate::io::nats::trace;
use crate::telemetry::traces::{self, Work};
use crate::worker::dispatch::turning::{Turning, turn_id};
use crate::worker::run::{Run, Stopped};

impl Turning<'_> {
    /// Until the turn ends or waits.
    pub async fn drive(&mut self, run: &mut Run, first: Event) -> Result<(), Stopped> {
        let newest = self.entries.last().and_then(|logged| logged.trace);
        trace::of(newest, self.drive_in_trace(run, first)).await
    }

    async fn drive_in_trace(&mut self, run: &mut Run, first: Event) -> Result<(), Stopped> {
        let mut work = self.hands.context.traces.begin("run", Kind::Internal, parent);
        if work.spot().is_some() {
            self.describe(run, &mut work);
        }
        let spot = work.spot();
        let driven = traces::under(spot, self.decide_and_do(run, first, &mut work)).await;
        if let Some(step) = work.last_moment() {
            work.note("outcome", step);
        }
        if let Err(stopped) = &driven {
            work.failed(why(stopped));
        }
        driven
    }

    /// One attempt at asking the expert, who is told of this span.
    pub(super) async fn ask(&mut self, run: &mut Run, turn: &OpenTurn) -> Result<Event, Stopped> {
        let work = self.call("invoke", run, turn);
        let event = traces::under(work.spot(), self.invoke(run, turn)).await;
        ended(work, event)
    }

    /// One segment of the answer to the person.
    pub(super) async fn say(
        &mut self,
        run: &Run,
        turn: &OpenTurn,
        segment: u32,
    ) -> Result<Event, Stopped> {
        let mut work = self.call("send", run, turn);
        work.number("segment", segment);
        let event = traces::under(work.spot(), self.send(run, turn, segment)).await;
        ended(work, event)
    }

    /// One of the service's own words to the person.
    pub(super) async fn remark(&self, run: &Run, turn: &OpenTurn, word: Word) {
        let work = self.call("notice", run, turn);
        traces::under(work.spot(), self.tell(run, word)).await;
    }

    fn call(&self, name: &'static str, run: &Run, turn: &OpenTurn) -> Work {
        let mut work = self.hands.context.traces.begin(name, Kind::Client, traces::current);
        if work.spot().is_some() {
            work.note("integration.id", &run.conversation.integration);
            work.note("turn.id", turn_id(run, turn));
            note_turn(&mut work, turn);
        }
        work
    }

    fn describe(&self, run: &Run, work: &mut Work) {
        work.note("integration.id", &run.conversation.integration);
        work.note("conversation.id", &run.conversation.key);
        let Some(last) = self.entries.last() else { return };
        work.note("turn.id", TurnId { conversation: run.conversation.clone(), last: last.seq });
        if let Entry::Message(message) = &last.entry {
            work.note("message.id", &message.msg_id);
        }
        let others = self.entries.iter().filter(|logged| logged.seq != last.seq);
        work.link(others.filter_map(|logged| logged.trace));
        if let Some(turn) = &run.head().turn {
            note_turn(work, turn);
        }
    }
}

/// The record that a turn has just got.
pub(super) fn recorded(work: &mut Work, run: &Run, step: Step) {
    work.moment(step.as_str());
    let Some(turn) = &run.head().turn else { return };
    note_turn(work, turn);
    match &turn.phase {
        Phase::Parked { why, .. } => work.note("reason", why.as_str()),
        Phase::Burying { reason, .. } => work.failed(reason.as_str()),
        Phase::Running | Phase::Waiting { .. } | Phase::Retry { .. } | Phase::Sending(_) => {}
    }
}

fn note_turn(work: &mut Work, turn: &OpenTurn) {
    work.number("attempt", turn.attempt);
    if let Some(asked) = &turn.asked {
        work.note("expert.id", &asked.expert);
    }
}

fn ended(mut work: Work, event: Result<Event, Stopped>) -> Result<Event, Stopped> {
    match &event {
        Ok(Event::Failed { failure, .. } | Event::SendFailed { failure, .. }) => {
            work.note("outcome", if failure.retry.is_some() { "retryable" } else { "permanent" });
            work.failed(failure.reason.as_str());
        }
        Ok(event) => work.note("outcome", word(event)),
        Err(stopped) => work.failed(why(stopped)),
    }
    event
}

/// What came of a call.
fn word(event: &Event) -> &'static str {
    match event {
        Event::Answered { .. } => "answered",
        Event::Accepted { .. } => "accepted",
        Event::Sent { .. } => "sent",
        Event::SendHeld { .. } => "held",
        Event::Controlled { .. } => "stopped",
        Event::Widened { .. } => "merged",
        _ => "not_called",
    }
}

fn why(stopped: &Stopped) -> &'static str {
    match stopped {
        Stopped::Lost => "lost",
        Stopped::Draining => "draining",
        Stopped::Failed(_) => "failed",
    }
}

/// The delivery at hand, or the beginning of the trace where that delivery came with another one.
fn parent() -> Option<Spot> {
    let beginning = trace::current_beginning()?;
    let delivery = traces::current().filter(|delivery| delivery.trace == beginning.trace);
    Some(delivery.unwrap_or(beginning))
}
