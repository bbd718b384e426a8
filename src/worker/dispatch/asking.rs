//! Asking the expert: what a turn says to its runtime, and what comes back.
//!
//! While it waits, a control entry ends the call, a lost lease stops it without a word, and the
//! runtime's own name of its run is stored before the runtime goes on. What an outcome means is the
//! machine's.

use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Dispatch;
use super::attaching::Attaching;
use super::language;
use super::turning::{Turning, is_too_large, thread, turn_id};
use crate::domain::answer::{Failure, FailureClass};
use crate::domain::attachment::Spoken;
use crate::domain::entry::{Again, Entry, Logged, Replay};
use crate::domain::id::Seq;
use crate::domain::invocation::{Session, TurnRequest};
use crate::domain::turn::decide::decide;
use crate::domain::turn::failed::Failed;
use crate::domain::turn::question::Abandoned;
use crate::domain::turn::{Answered, Event, OpenTurn, TurnKind};
use crate::io::runtime::{Fact, Learned, Line, Outcome, can_steer};
use crate::protocol::subject;
use crate::worker::lease::ACK_WAIT;
use crate::worker::run::{Run, Stopped};

/// What ended the wait for a runtime.
enum Heard {
    Outcome(Result<Outcome, Failure>),
    Learned(Learned),
    /// Perhaps a control entry was logged.
    Hint,
    Lost,
    Draining,
}

impl Turning<'_> {
    /// One attempt. While the runtime works, control entries end it and a lost lease stops it.
    pub(super) async fn invoke(
        &mut self,
        run: &mut Run,
        turn: &OpenTurn,
    ) -> Result<Event, Stopped> {
        let hands = self.hands;
        let reach = self.reach.as_ref().and_then(|reach| reach.runtime.clone());
        let (Some(runtime), Some(request)) = (reach, self.request(run, turn)) else {
            let at = hands.context.clock.now();
            return Ok(Event::Taken { runtime: crate::domain::turn::Availability::Unknown, at });
        };
        let (learned, mut said) = mpsc::channel(1);
        let (steers, steered) = mpsc::channel(1);
        let line = Line { learned, cancel: CancellationToken::new(), steers: Mutex::new(steered) };
        let mut offered = Seq(0);
        let watching = hands.watch.conversation(&run.conversation);
        let attaching = Attaching {
            context: &hands.context,
            downloads: &hands.downloads,
            runtimes: &hands.runtimes,
            limits: hands.config.files,
            integration: self.integration,
            runtime: &runtime,
            line: &line,
        };
        let asked = attaching.ask(request, self.spoken());
        let drained = drained(hands);
        tokio::pin!(asked, drained);
        loop {
            // Every arm but the first only looks; the call itself goes on until it is dropped.
            let heard = tokio::select! {
                outcome = &mut asked => Heard::Outcome(outcome),
                Some(learned) = said.recv() => Heard::Learned(learned),
                () = watching.hinted() => Heard::Hint,
                () = sleep(ACK_WAIT / 5) => Heard::Hint,
                () = run.lease().lost() => Heard::Lost,
                () = &mut drained => Heard::Draining,
            };
            match heard {
                Heard::Outcome(outcome) => return self.outcome(turn, outcome).await,
                Heard::Learned(learned) => {
                    if let Some(event) = self.learn(run, turn, learned.fact).await? {
                        return Ok(event);
                    }
                    learned.stored.send(()).ok(); // a call that was dropped does not wait for it
                }
                Heard::Hint => {
                    let last = run.head().turn.as_ref().map_or(turn.last, |turn| turn.last);
                    let control = hands.control_after(run, last).await?;
                    if let Some(by) = control {
                        line.cancel.cancel();
                        // The runtime is told on the way out; its own limits bound the wait.
                        asked.await.ok();
                        return Ok(Event::Controlled { by });
                    }
                    if let Some(wider) = hands.wider(run, &self.entries).await?
                        && let Some(event) = hands.widened(&wider)
                    {
                        line.cancel.cancel();
                        asked.await.ok();
                        self.take_in(wider);
                        return Ok(event);
                    }
                    if can_steer(&runtime.kind)
                        && let Some(steer) = hands.steer(run, &self.entries, offered).await?
                    {
                        let last = steer.said.last().map_or(offered, |(seq, _)| *seq);
                        // A runtime that has not taken the one before is offered both later.
                        offered = if steers.try_send(steer).is_ok() { last } else { offered };
                    }
                }
                Heard::Lost => return Err(Stopped::Lost),
                Heard::Draining => return Err(Stopped::Draining),
            }
        }
    }

    /// Tells the runtime that nobody waits any more, also where it was told so as it was asked: that was of
    /// what worked then, and not of a run that waits for a decision. It may not hear of it: then it ends
    /// by itself, and nobody reads its answer.
    pub(super) async fn cancel(&self, run: &Run, abandoned: &Abandoned) {
        let runtime = match self.hands.routing.runtime(&abandoned.expert).await {
            Ok(Some(runtime)) => runtime,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(expert = %abandoned.expert, %error, "a run was not cancelled");
                return;
            }
        };
        let thread = subject::thread_id(&run.conversation, abandoned.epoch);
        let named = abandoned.run.as_deref();
        if let Err(failure) = self.hands.runtimes.cancel(&runtime, &thread, named).await {
            tracing::warn!(expert = %abandoned.expert, reason = failure.reason.as_str(), "a run was not cancelled");
        }
    }

    async fn outcome(
        &mut self,
        turn: &OpenTurn,
        outcome: Result<Outcome, Failure>,
    ) -> Result<Event, Stopped> {
        let at = self.hands.context.clock.now();
        let attempt = turn.attempt;
        Ok(match outcome {
            Ok(Outcome::Answer(answer)) => {
                let has_interrupt = answer.interrupt.is_some();
                self.answer = Some(answer);
                self.said = None;
                let segments = self.count_segments().await?;
                let answered = Answered { segments, has_interrupt, is_late: false, at };
                Event::Answered { attempt, answered }
            }
            Ok(Outcome::Accepted) => Event::Accepted { attempt, at },
            // Nobody cancels but the loop above, which does not ask for the outcome then.
            Ok(Outcome::Cancelled) => Event::Controlled { by: turn.last },
            Err(failure) => {
                let retry = match failure.class {
                    FailureClass::Permanent => None,
                    FailureClass::Retryable { after } => Some(after.unwrap_or_default()),
                };
                let failure = Failed { reason: failure.reason, detail: failure.detail, retry };
                Event::Failed { attempt, failure, at }
            }
        })
    }

    /// What the runtime says of its run goes on record before the runtime goes on.
    ///
    /// An event ends the turn: no record can hold what the runtime said.
    async fn learn(
        &mut self,
        run: &mut Run,
        turn: &OpenTurn,
        fact: Fact,
    ) -> Result<Option<Event>, Stopped> {
        let event = match fact {
            Fact::Run(name) => Event::RunNamed { attempt: turn.attempt, run: name },
            Fact::Read(last) => {
                let wider = self.hands.read_up_to(run, &self.entries, last).await?;
                let Some(wider) = wider else { return Ok(None) };
                let accepted_at = wider.last().map_or(turn.accepted_at, |logged| logged.at);
                self.take_in(wider);
                Event::Steered { last, accepted_at }
            }
        };
        let policy = self.hands.config.policy;
        let decision = decide(run.head().clone(), &run.conversation, event, policy);
        let Some(step) = decision.record else { return Ok(None) };
        match run.record(step, decision.head, None).await {
            Ok(()) => Ok(None),
            Err(Stopped::Failed(error)) if is_too_large(&error) => {
                Ok(Some(Event::Unrecordable { why: format!("{error:#}") }))
            }
            Err(stopped) => Err(stopped),
        }
    }

    /// `None` where the turn asks nobody.
    fn request(&self, run: &Run, turn: &OpenTurn) -> Option<TurnRequest> {
        let (asked, origin) = (turn.asked.as_ref()?, self.origin.clone()?);
        let action = self.entries.iter().rev().find_map(|logged| logged.entry.action());
        let id = turn_id(run, turn);
        Some(TurnRequest {
            reply_url: format!("{}/api/turns/{id}/reply", self.hands.config.public_url),
            turn: id,
            attempt: turn.attempt,
            expert: asked.expert.clone(),
            place: origin.place,
            sender: origin.sender,
            session: Session {
                thread_id: thread(run, turn),
                is_new: asked.is_new,
                expires_at: asked.expires_at,
            },
            action: action.map(|action| action.kind.clone()),
            params: action.map(|action| action.params.clone()),
            resumed_run: self.resumed_run(run, turn),
            resumes: action.map(|action| action.turn.clone()),
            // What the messages say stands with their files, which are not fetched yet.
            text: String::new(),
            messages: vec![],
            language: language(self.integration),
            started_at: turn.started_at,
            is_repeat: turn.is_repeat,
            run: turn.run.clone(),
        })
    }

    /// The run that waits for the press that the turn is.
    fn resumed_run(&self, run: &Run, turn: &OpenTurn) -> Option<String> {
        let interrupted = run.head().interrupted.as_ref();
        match (turn.kind, self.entries.last().map(|logged| &logged.entry)) {
            (TurnKind::Action, _) => interrupted.and_then(|it| it.run.clone()),
            // By now another question may be open.
            (_, Some(Entry::Replay(Replay { again: Again::Press { run, .. }, .. }))) => run.clone(),
            (_, Some(_) | None) => None,
        }
    }

    /// The messages that the turn asks about.
    fn spoken(&self) -> Vec<Spoken> {
        let of = |logged: &Logged| {
            let messages = logged.entry.messages().to_vec().into_iter();
            let at = logged.at;
            messages.map(move |message| Spoken { message, at })
        };
        self.entries.iter().flat_map(of).collect()
    }
}

/// Ends once the process has been told to stop and its time for runs is over.
async fn drained(hands: &Dispatch) {
    hands.context.stop().cancelled().await;
    sleep(hands.config.drain).await;
}
