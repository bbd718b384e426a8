//! `POST /api/turns/{turnId}/reply`: the answer of a runtime that took a turn with 202.
//!
//! A small role of its own, because it is served beside two others: on the edge's address, which is what
//! `replyUrl` names, and on the console's. Guarantees that the first answer to a turn that waits for one
//! is on record before it is confirmed, that only a runtime with its secret or the admin token answers,
//! and that nothing is looked up or read for a request whose head cannot be right. It sends nothing: the next run of the slot does.

mod auth;
mod refusal;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::time::{Instant, sleep};

use self::auth::Claim;
use self::refusal::Refusal;
use crate::context::Context;
use crate::context::body::Readers;
use crate::domain::answer::Answer;
use crate::domain::binding::Language;
use crate::domain::debounce::{TimerKind, Token};
use crate::domain::id::{ExpertId, TurnId};
use crate::domain::reply;
use crate::domain::turn::decide::decide;
use crate::domain::turn::{Answered, Decision, Event, OpenTurn, Phase, Policy, Step};
use crate::io::admin::Admin;
use crate::io::journal::{AppendError, Journal, Last};
use crate::io::nats::Nats;
use crate::io::routing::Routing;
use crate::io::timer::Timers;
use crate::protocol::record::Record;
use crate::protocol::runtime;

/// A runtime may answer before its 202 is on record: so long the record is waited for, because an
/// answer in between would cost the run that holds the slot its lease.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often another writer of the journal may come first.
const ATTEMPTS_MAX: u32 = 5;

#[derive(Clone)]
pub struct Config {
    /// Without a token only signatures count.
    pub admin: Admin,
    /// `DT_SEGMENT_MAX_BYTES` and `DT_SEGMENTS_MAX`, as the worker has them.
    pub reply: reply::Limits,
    /// `DT_ANSWER_MAX_BYTES`.
    pub answer_max_bytes: usize,
    pub policy: Policy,
}

/// What a reply needs. Cheap to clone.
#[derive(Clone)]
pub struct Replies {
    pub context: Context,
    pub nats: Nats,
    pub routing: Routing,
    pub readers: Readers,
    pub config: Arc<Config>,
}

/// To be served beside a role's own routes.
pub fn router(replies: Replies) -> Router {
    Router::new().route("/api/turns/{turn}/reply", post(answer)).with_state(replies)
}

async fn answer(
    State(replies): State<Replies>,
    Path(turn): Path<String>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let (head, body) = request.into_parts();
    let claim = auth::claim(&replies, &turn, &head.headers).await?;
    let unknown = || match claim {
        Claim::Admin => Refusal::Unknown,
        Claim::Signed => Refusal::Unauthorized,
    };
    let id: TurnId = turn.parse().map_err(|_| unknown())?;
    let expert = replies.expert(&id).await?.ok_or_else(unknown)?;
    let max_bytes = runtime::body_max_bytes(replies.config.answer_max_bytes);
    let body = replies.readers.read(body, max_bytes).await?;
    if claim == Claim::Signed {
        auth::verify(&replies, &expert, &head.headers, &body.bytes).await?;
    }
    let answer =
        runtime::decode(&body.bytes).map_err(|error| Refusal::Malformed(error.to_string()))?;
    replies.accept(&id, answer).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Replies {
    /// Whom the turn asked, be it open or ended; `None` where there is no such turn.
    async fn expert(&self, id: &TurnId) -> Result<Option<ExpertId>, Refusal> {
        let journal = Journal::new(&self.nats);
        let last = journal.last(&id.conversation).await?;
        let open = last.head.turn.as_ref().filter(|turn| turn.last == id.last);
        if let Some(turn) = open {
            return Ok(turn.asked.as_ref().map(|asked| asked.expert.clone()));
        }
        if last.head.position < id.last {
            return Ok(None);
        }
        let records = journal.turn(id).await?;
        let asked = records.iter().find_map(|record| {
            let turn = record.head.turn.as_ref().filter(|turn| turn.last == id.last)?;
            turn.asked.as_ref()
        });
        Ok(asked.map(|asked| asked.expert.clone()))
    }

    /// Stores the answer behind the record it belongs to, or says why it comes too late.
    async fn accept(&self, id: &TurnId, answer: Answer) -> Result<(), Refusal> {
        let journal = Journal::new(&self.nats);
        let answer = self.cut(answer, id).await;
        let nonce = rand::random();
        for _ in 0..ATTEMPTS_MAX {
            let last = self.settled(&journal, id).await?;
            let turn = last.head.turn.clone().filter(|turn| turn.last == id.last);
            let turn = turn.ok_or(Refusal::Late)?;
            let Decision { head, record, .. } = self.decide(id, &last, &turn, &answer).await;
            let Some(step) = record.filter(|step| *step == Step::Answered) else {
                return Err(Refusal::Late);
            };
            let record = Record { nonce, count: 1, step, head, answer: Some(answer.clone()) };
            match journal.append(&id.conversation, last.seq, &record).await {
                Ok(_) => return self.wake(id).await,
                Err(AppendError::Conflict) => {}
                Err(AppendError::TooLarge) => return Err(Refusal::TooLarge),
                Err(error @ AppendError::Unknown(_)) => {
                    tracing::debug!(%error, turn.id = %id, "a late answer is looked for");
                    if journal.last(&id.conversation).await?.nonce == nonce {
                        return self.wake(id).await;
                    }
                }
            }
        }
        Err(Refusal::Unavailable)
    }

    /// The journal once the run that asked has recorded the 202, if it does so soon.
    async fn settled(&self, journal: &Journal, id: &TurnId) -> Result<Last, Refusal> {
        let until = Instant::now() + ACCEPTED_WITHIN;
        loop {
            let last = journal.last(&id.conversation).await?;
            let is_running = last
                .head
                .turn
                .as_ref()
                .is_some_and(|turn| turn.last == id.last && turn.phase == Phase::Running);
            if !is_running || Instant::now() >= until {
                return Ok(last);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn decide(&self, id: &TurnId, last: &Last, turn: &OpenTurn, answer: &Answer) -> Decision {
        let integration = self.routing.integration(&id.conversation.integration).await;
        let can_ask = integration.ok().flatten().is_some();
        let answered = Answered {
            segments: reply::count(answer, self.config.reply, can_ask),
            has_interrupt: answer.interrupt.is_some(),
            is_late: true,
            at: self.context.clock.now(),
        };
        let event = Event::Answered { attempt: turn.attempt, answered };
        decide(last.head.clone(), &id.conversation, event, self.config.policy)
    }

    /// Journal records stay below what the broker takes.
    async fn cut(&self, mut answer: Answer, id: &TurnId) -> Answer {
        let integration = self.routing.integration(&id.conversation.integration).await;
        let language = integration.ok().flatten().map_or(Language::ZhHans, |it| it.language);
        if reply::cut_answer(&mut answer, self.config.answer_max_bytes, language) {
            self.context.metrics.limit_breached("answer");
        }
        answer
    }

    /// Brings the conversation back at once. The answer is on record, and the timer of the wait is there
    /// if this fails.
    async fn wake(&self, id: &TurnId) -> Result<(), Refusal> {
        let window = Duration::ZERO;
        let token = Token { seq: id.last, kind: TimerKind::Now, window, refusals: 0 };
        let fired = Timers::new(&self.nats).fire(&id.conversation, &token).await;
        if let Err(error) = fired {
            tracing::warn!(%error, turn.id = %id, "a late answer goes out when its wait ends");
        }
        Ok(())
    }
}
