//! Asking the expert, as `src/worker/dispatch/asking.rs` and `src/io/runtime/xpert` have it: the run at
//! the runtime outlives the pod that began it, and tells what it has read.

use std::collections::BTreeSet;
use std::time::Duration;

use dingtalk_trigger::domain::binding::BusyPolicy;
use dingtalk_trigger::domain::entry::{Entry, Logged};
use dingtalk_trigger::domain::id::Seq;
use dingtalk_trigger::domain::steer::{joining, offer};
use dingtalk_trigger::domain::turn::decide::decide;
use dingtalk_trigger::domain::turn::{Answered, Event, OpenTurn, Phase, TurnKind};

use crate::broker::Place;
use crate::run::{LIMITS, Run, Stopped, failed};
use crate::world::{Bug, Hearing, POLICY, Promise, World, busy_policy, conversation};

impl World {
    pub(crate) fn invoke(&mut self, run: &mut Run, turn: &OpenTurn) -> Result<Event, Stopped> {
        let attempt = turn.attempt;
        let Some((hearing, mut offered)) = self.join_or_begin(run, turn)? else {
            let (failure, at) = (failed(Some(Duration::ZERO)), self.clock());
            return Ok(Event::Failed { attempt, failure, at });
        };
        // Nothing is said behind what may not have arrived.
        let mut may_steer = offered <= run.open().map_or(turn.last, |turn| turn.last);
        for _ in 0..self.rng.below(4) {
            self.check(run)?;
            let last = run.open().map_or(turn.last, |turn| turn.last);
            if let Some(by) = self.control_after(run.place, run.head(), last) {
                return Ok(Event::Controlled { by });
            }
            if let Some(wider) = self.wider(run) {
                return Ok(wider);
            }
            if may_steer {
                (offered, may_steer) = self.steer(run, hearing, offered)?;
            }
        }
        self.learn_read(run, hearing)?;
        let (is_late, at) = (false, self.clock());
        let heard = self.hearings[hearing].heard.clone();
        let luck = if self.is_calm { 0 } else { self.rng.below(12) };
        if luck != 7 && luck != 8 {
            self.hearings[hearing].has_ended = true;
        }
        Ok(match luck {
            0..=6 => {
                let segments = u32::try_from(self.rng.below(4)).unwrap_or(0);
                let has_interrupt = segments > 0 && self.rng.once_in(3);
                let answered = Answered { segments, has_interrupt, is_late, at };
                self.oracle.answered(run.place, turn.first, heard);
                Event::Answered { attempt, answered }
            }
            7..=8 => {
                let turn = run.open().map_or(turn.last, |turn| turn.last);
                self.promised.push(Promise { place: run.place, turn, attempt, hearing, heard });
                Event::Accepted { attempt, at }
            }
            9 => Event::Failed { attempt, failure: failed(None), at },
            _ => Event::Failed { attempt, failure: failed(Some(Duration::ZERO)), at },
        })
    }

    /// The run on record, where it has not ended; else the one of this turn whose name was lost, or a new
    /// one, which is recorded. `None`: nobody heard whether there is a new one, and there is.
    fn join_or_begin(
        &mut self,
        run: &mut Run,
        turn: &OpenTurn,
    ) -> Result<Option<(usize, Seq)>, Stopped> {
        if let Some((hearing, offered)) = turn.run.as_deref().and_then(parse)
            && !self.hearings[hearing].has_ended
        {
            self.learn_read(run, hearing)?;
            return Ok(Some((hearing, offered)));
        }
        let (place, of) = (run.place, (turn.first, turn.started_at));
        let at_work = self.hearings.iter().rposition(|it| {
            let is_late = self.answered_late.contains(&(place, it.of.0));
            it.place == place && !it.has_ended && !is_late
        });
        let hearing = match at_work.filter(|it| turn.is_repeat && self.hearings[*it].of == of) {
            Some(hearing) => hearing,
            None => {
                if at_work.is_some() {
                    self.oracle.blame(format!("I3: two runs of conversation {place} work"));
                }
                let before = Seq(turn.first.0.saturating_sub(1));
                let heard = seqs(&self.broker.entries(place, before, turn.last));
                let (waiting, read, has_ended) = (vec![], vec![], false);
                self.hearings.push(Hearing { place, of, heard, waiting, read, has_ended });
                if !self.is_calm && self.rng.once_in(15) {
                    return Ok(None);
                }
                self.hearings.len() - 1
            }
        };
        self.note(run, Event::RunNamed { attempt: turn.attempt, run: format!("{hearing}+0") })?;
        Ok(Some((hearing, Seq(0))))
    }

    /// Nobody waits for what works for a conversation: it is cancelled, or ends by itself.
    pub(crate) fn end_hearings(&mut self, place: Place) {
        for hearing in self.hearings.iter_mut().filter(|it| it.place == place) {
            hearing.has_ended = true;
        }
    }

    pub(crate) fn wider(&mut self, run: &Run) -> Option<Event> {
        let newer = self.newer(run, BusyPolicy::Interrupt)?;
        let last = newer.last()?;
        let at = self.clock();
        Some(Event::Widened { last: last.seq, accepted_at: last.at, at })
    }

    /// The messages behind the open turn that join it, where the trigger has this policy.
    fn newer(&self, run: &Run, policy: BusyPolicy) -> Option<Vec<Logged>> {
        let turn = run.open().filter(|turn| turn.kind == TurnKind::Messages)?;
        if !matches!(turn.phase, Phase::Running | Phase::Waiting { .. }) {
            return None;
        }
        let before = Seq(turn.first.0.saturating_sub(1));
        let entries = self.broker.entries(run.place, before, turn.last);
        let mut newer = self.broker.entries(run.place, turn.last, Seq(u64::MAX));
        newer.truncate(joining(&entries, &newer, LIMITS));
        (busy_policy(run.place) == policy).then_some(newer)
    }

    /// Says what is new into the run, once; the run reads it or does not.
    /// False with it: it was refused.
    fn steer(
        &mut self,
        run: &mut Run,
        hearing: usize,
        offered: Seq,
    ) -> Result<(Seq, bool), Stopped> {
        let newer = self.newer(run, BusyPolicy::Steer).unwrap_or_default();
        let said = offer(&newer, offered);
        let Some(last) = said.last().cloned() else { return Ok((offered, true)) };
        let attempt = run.open().map_or(0, |turn| turn.attempt);
        let name = format!("{hearing}+{}", last.seq);
        let said = said.to_vec();
        self.note(run, Event::RunNamed { attempt, run: name })?;
        self.check(run)?;
        // Now and then the run is said to have ended, or does before it reads on.
        let is_taken = !self.rng.once_in(4);
        if is_taken {
            self.hearings[hearing].waiting.extend(seqs(&said));
        }
        if self.bug == Some(Bug::OfferTakenForRead) {
            self.note(run, Event::Steered { last: last.seq, accepted_at: last.at })?;
        }
        if !self.rng.once_in(3) {
            let hearing = &mut self.hearings[hearing];
            hearing.read.extend(hearing.waiting.last());
            hearing.heard.extend(std::mem::take(&mut hearing.waiting));
        }
        self.check(run)?;
        if self.rng.once_in(2) {
            self.learn_read(run, hearing)?;
        }
        Ok((last.seq, is_taken))
    }

    /// What the run tells to have read is recorded before its answer is taken.
    fn learn_read(&mut self, run: &mut Run, hearing: usize) -> Result<(), Stopped> {
        if self.bug == Some(Bug::ReadForgotten) {
            return Ok(());
        }
        for last in self.hearings[hearing].read.clone() {
            let known = run.open().map_or(Seq(0), |turn| turn.last);
            let Some(entry) = self.broker.entries(run.place, known, last).pop() else { continue };
            self.note(run, Event::Steered { last, accepted_at: entry.at })?;
        }
        Ok(())
    }

    /// Records what changes nothing else.
    fn note(&mut self, run: &mut Run, event: Event) -> Result<(), Stopped> {
        let decision = decide(run.head().clone(), &conversation(run.place), event, POLICY);
        match decision.record {
            Some(step) => self.record(run, step, decision.head, None),
            None => Ok(()),
        }
    }
}

/// The run and what was said into it, as the journal names it.
fn parse(name: &str) -> Option<(usize, Seq)> {
    let (hearing, offered) = name.split_once('+')?;
    Some((hearing.parse().ok()?, Seq(offered.parse().ok()?)))
}

/// Of the messages among the entries.
fn seqs(entries: &[Logged]) -> BTreeSet<Seq> {
    let is_message = |logged: &&Logged| matches!(logged.entry, Entry::Message(_));
    entries.iter().filter(is_message).map(|logged| logged.seq).collect()
}
