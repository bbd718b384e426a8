//! The runtime behind an address of the operator's: one signed `POST` a turn (contract 6).
//!
//! The connection is the run: closing it, which cancelling does, is how such a runtime learns that
//! nobody waits any more. A stream that breaks before its `done` is a failure, not a short answer.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use crate::domain::answer::{Answer, Failure};
use crate::domain::invocation::TurnRequest;
use crate::domain::reason::Reason;
use crate::domain::secret::Secret;
use crate::io::nats::trace;
use crate::io::runtime::{Call, Outcome, broken, permanent, retryable, silent};
use crate::protocol::http::excerpt;
use crate::protocol::runtime as wire;
use crate::protocol::sse;
use crate::protocol::trace::HEADER;
use crate::protocol::webhook::Key;

pub(super) async fn invoke(
    call: &Call<'_>,
    url: &str,
    secret: &Secret,
    turn: &TurnRequest,
) -> Result<Outcome, Failure> {
    let key = Key::parse(secret)
        .map_err(|error| permanent(Reason::RuntimePermanent, format!("the runtime's {error}")))?;
    tokio::select! {
        biased;
        () = call.line.cancel.cancelled() => Ok(Outcome::Cancelled),
        outcome = ask(call, url, &key, turn) => outcome,
    }
}

async fn ask(
    call: &Call<'_>,
    url: &str,
    key: &Key,
    turn: &TurnRequest,
) -> Result<Outcome, Failure> {
    let body = wire::encode(turn);
    let id = turn.turn.to_string();
    let timestamp = call.context.clock.now().0.div_euclid(1000);
    let request = call
        .client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("webhook-id", &id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", key.sign(&id, timestamp, &body))
        .body(body);
    let request = match trace::current() {
        Some(trace) => request.header(HEADER, trace),
        None => request,
    };
    // A runtime may think before its first byte for as long as it may take in all.
    let response = match timeout_at(call.deadline, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if error.is_builder() => {
            return Err(permanent(Reason::RuntimePermanent, "the runtime's url is not one".into()));
        }
        Ok(Err(error)) => return Err(broken(&error)),
        Err(_) => return Err(silent()),
    };
    if response.status() == StatusCode::ACCEPTED {
        return Ok(Outcome::Accepted);
    }
    if !response.status().is_success() {
        return Err(call.refusal(response).await);
    }
    let answer = if is_stream(&response) {
        read_stream(call, response).await?
    } else {
        read_json(call, response).await?
    };
    Ok(Outcome::Answer(answer))
}

fn is_stream(response: &Response) -> bool {
    response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(
        |value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"),
    )
}

async fn read_json(call: &Call<'_>, mut response: Response) -> Result<Answer, Failure> {
    let body = call.body(&mut response).await?;
    wire::decode(&body).map_err(|error| {
        let status = response.status().as_u16();
        let detail = format!("the runtime answered {status}: {}; {error}", excerpt(&body));
        retryable(Reason::RuntimeExhausted, detail)
    })
}

async fn read_stream(call: &Call<'_>, mut response: Response) -> Result<Answer, Failure> {
    let mut parser = sse::Parser::default();
    let mut answer = Answer::default();
    loop {
        let limit = call.deadline.min(Instant::now() + call.config.idle_timeout);
        let chunk = match timeout_at(limit, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => {
                let detail = "the stream ended before {\"done\":true}".to_owned();
                return Err(retryable(Reason::RuntimeExhausted, detail));
            }
            Ok(Err(error)) => return Err(broken(&error)),
            Err(_) => return Err(silent()),
        };
        let unreadable = |detail: String| retryable(Reason::RuntimeExhausted, detail);
        for event in parser.push(&chunk).map_err(|error| unreadable(error.to_string()))? {
            let step =
                wire::decode_step(&event.data).map_err(|error| unreadable(error.to_string()))?;
            // One delta beyond the limit shows that the answer was longer; more would only be cut off.
            if answer.text.len() <= call.config.answer_max_bytes {
                answer.text.push_str(&step.delta);
            }
            if step.is_done {
                answer.interrupt = step.interrupt;
                return Ok(wire::whole(answer));
            }
        }
    }
}
