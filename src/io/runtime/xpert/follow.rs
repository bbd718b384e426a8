//! Reading a run to its end: from its stream, which may break, and from its state, which decides.
//!
//! A stream that breaks is joined again after the last event seen, so no part of an answer is lost or
//! doubled. When to give a run up is the caller's deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::domain::answer::{Answer, Failure, FailureClass};
use crate::domain::invocation::TurnRequest;
use crate::domain::reason::Reason;
use crate::io::runtime::{Call, Fact, retryable, silent};
use crate::protocol::http::excerpt;
use crate::protocol::sse;
use crate::protocol::xpert::{self, Fold, Status, steered_turn};

use super::server::Server;
use super::{AT_REST_MAX, Heard, Joined, RunOrigin};

/// Between the end of a stream and the next try to join it.
const REJOIN_AFTER: Duration = Duration::from_millis(500);

/// `complete` follows the end of a conversation at once, where it follows at all.
const COMPLETE_AFTER: Duration = Duration::from_millis(300);

/// How a run ended. A failure here is the run's own: the server was there to tell it.
pub(super) enum End {
    Answer(Answer),
    Failed(Failure),
}

pub(super) async fn follow(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
    joined: &Joined,
) -> Result<Heard, Failure> {
    let thread = turn.session.thread_id.as_str();
    let mut is_wider = false;
    let mut fold = Fold::new(call.config.answer_max_bytes, joined.from.clone());
    let mut state = Status::Running;
    let mut heard_at = Instant::now();
    loop {
        if Instant::now() >= call.deadline {
            return Err(silent());
        }
        let was_at_rest = is_final(state);
        let patience = if was_at_rest { AT_REST_MAX } else { call.config.idle_timeout };
        let outcome = read(call, server, thread, &joined.run, (&mut fold, patience)).await;
        // Before the answer, and before any failure: what the run has read belongs to its turn.
        is_wider |= learn_read(call, turn, &mut fold).await?;
        match outcome {
            Err(failure) if failure.class == FailureClass::Permanent => return Err(failure),
            Ok(()) | Err(_) => {}
        }
        if fold.end.is_some() {
            let end = conclude(call, server, turn, joined, (state, fold)).await?;
            return Ok(Heard { end, is_wider });
        }
        match server.run(call, thread, &joined.run).await {
            Ok(run) => {
                state = run.status;
                heard_at = Instant::now();
            }
            Err(failure) if failure.class == FailureClass::Permanent => return Err(failure),
            Err(failure) if heard_at.elapsed() >= call.config.idle_timeout => return Err(failure),
            Err(_) => {}
        }
        // A run at rest is read once more: the stream may have broken before its last events.
        if is_final(state) && (fold.is_complete || was_at_rest) {
            let end = conclude(call, server, turn, joined, (state, fold)).await?;
            return Ok(Heard { end, is_wider });
        }
        fold.is_complete = false;
        sleep_until(call.deadline.min(Instant::now() + REJOIN_AFTER)).await;
    }
}

/// True where the run has read more than `turn` asks.
async fn learn_read(call: &Call<'_>, turn: &TurnRequest, fold: &mut Fold) -> Result<bool, Failure> {
    let mut is_wider = false;
    for name in std::mem::take(&mut fold.read) {
        let Some(read) = steered_turn(&name) else { continue };
        if read.conversation == turn.turn.conversation && read.last > turn.turn.last {
            call.learn(Fact::Read(read.last)).await?;
            is_wider = true;
        }
    }
    Ok(is_wider)
}

fn is_final(status: Status) -> bool {
    match status {
        Status::Success | Status::Error | Status::Timeout | Status::Interrupted => true,
        Status::Pending | Status::Running | Status::Unknown => false,
    }
}

/// Reads events into `fold` until the run has ended or no event came for as long as given. Comments do
/// not count: a server that lives may have lost the run.
pub(super) async fn read(
    call: &Call<'_>,
    server: &Server<'_>,
    thread: &str,
    run: &str,
    (fold, patience): (&mut Fold, Duration),
) -> Result<(), Failure> {
    let mut response = server.stream(call, thread, run, fold.last_event_id.as_deref()).await?;
    let mut parser = sse::Parser::default();
    let mut event_at = Instant::now();
    loop {
        let patience = if fold.end.is_some() { COMPLETE_AFTER } else { patience };
        let limit = call.deadline.min(event_at + patience);
        let Ok(Ok(Some(chunk))) = timeout_at(limit, response.chunk()).await else {
            return Ok(());
        };
        let events = parser
            .push(&chunk)
            .map_err(|error| retryable(Reason::RuntimeExhausted, error.to_string()))?;
        for event in &events {
            event_at = Instant::now();
            fold.push(event);
        }
        if fold.is_complete {
            return Ok(());
        }
    }
}

/// What the run's events, and where they are silent its state, make of it.
async fn conclude(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
    joined: &Joined,
    (state, mut fold): (Status, Fold),
) -> Result<End, Failure> {
    let failed = |detail: String| Ok(End::Failed(retryable(Reason::RuntimeExhausted, detail)));
    let end = match fold.end.take() {
        Some(end) => end,
        None => match state {
            Status::Success => xpert::End::Answered,
            Status::Error => xpert::End::Failed("the run failed".into()),
            Status::Interrupted => xpert::End::Cancelled,
            Status::Timeout => {
                let detail = "the run took too long for the server".into();
                return Ok(End::Failed(retryable(Reason::RuntimeTimeout, detail)));
            }
            Status::Pending | Status::Running | Status::Unknown => {
                return failed("the run has not ended".into());
            }
        },
    };
    let interrupt = match end {
        xpert::End::Interrupted(interrupt) => Some(interrupt),
        xpert::End::Answered => None,
        xpert::End::Cancelled => return failed("the run was cancelled at the server".into()),
        xpert::End::Failed(error) => {
            return failed(format!("the run failed: {}", excerpt(error.as_bytes())));
        }
    };
    // Whoever joins a run late may find its stream without a beginning; the conversation has it.
    let is_cut = joined.origin == RunOrigin::Found && fold.lacks_beginning();
    if !is_cut && (interrupt.is_some() || fold.has_text()) {
        return Ok(End::Answer(fold.into_answer(interrupt)));
    }
    let conversation = match fold.conversation.take() {
        Some(conversation) => conversation,
        None => server.conversation(call, &turn.session.thread_id).await?,
    };
    let heard = fold.into_answer(interrupt);
    let text = server.last_message(call, &conversation).await?.unwrap_or(heard.text);
    Ok(End::Answer(Answer { text, interrupt: heard.interrupt }))
}
