//! Runs: what an assistant does on a thread, as events, and the calls that start, join and cancel it.
//!
//! Guarantees that a run's events are appended to one list that is never cut, also when it is resumed. What is
//! said is `player`'s.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{Refusal, time_text};
use super::ask::{Ask, ask};
use super::fault::{self, Fault};
use super::player::Player;
use super::thread::{Message, Page, Thread};
use super::{Call, Server, stream};
use crate::sim::locked;
use crate::sim::script::{self, Act, End};
use crate::sim::server::cut;

#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    /// Absent on ordinary events.
    pub name: Option<&'static str>,
    pub data: String,
}

pub struct Run {
    pub id: String,
    pub thread: String,
    pub assistant: String,
    pub text: String,
    pub created_ms: i64,
    state: Mutex<Progress>,
    grown: watch::Sender<usize>,
    pub cancel: CancellationToken,
}

struct Progress {
    status: &'static str,
    events: Vec<Event>,
    /// Nothing comes any more until a resume.
    is_closed: bool,
    /// What was said into the run and not read yet.
    steered: Vec<Steered>,
}

/// Something said into a running run.
#[derive(Debug, Clone)]
pub struct Steered {
    pub name: Option<String>,
    pub text: String,
}

impl Run {
    fn new(thread: &str, assistant: &str, text: &str, created_ms: i64) -> Self {
        let state = Progress {
            status: "running",
            events: Vec::new(),
            is_closed: false,
            steered: Vec::new(),
        };
        Self {
            id: Uuid::new_v4().to_string(),
            thread: thread.to_owned(),
            assistant: assistant.to_owned(),
            text: text.to_owned(),
            created_ms,
            state: Mutex::new(state),
            grown: watch::Sender::new(0),
            cancel: CancellationToken::new(),
        }
    }

    pub fn status(&self) -> &'static str {
        locked(&self.state).status
    }

    /// Where the event with this id is.
    pub fn position(&self, id: &str) -> Option<usize> {
        locked(&self.state).events.iter().position(|event| event.id == id)
    }

    pub fn length(&self) -> usize {
        locked(&self.state).events.len()
    }

    /// The event at `index`, once it is there; `None` when the run ended without it.
    pub async fn event(&self, index: usize) -> Option<Event> {
        let mut grown = self.grown.subscribe();
        loop {
            {
                let state = locked(&self.state);
                if let Some(event) = state.events.get(index) {
                    return Some(event.clone());
                }
                if state.is_closed {
                    return None;
                }
            }
            grown.changed().await.ok()?;
        }
    }

    pub fn emit(&self, now_ms: i64, name: Option<&'static str>, data: &Value) {
        let mut state = locked(&self.state);
        let id = format!("{now_ms}-{}", state.events.len());
        state.events.push(Event { id, name, data: data.to_string() });
        self.grown.send_modify(|grown| *grown += 1);
    }

    pub fn close(&self, status: &'static str) {
        let mut state = locked(&self.state);
        state.status = status;
        state.is_closed = true;
        self.grown.send_modify(|grown| *grown += 1);
    }

    /// The status that a client sees as soon as the last event is out.
    pub fn become_status(&self, status: &'static str) {
        locked(&self.state).status = status;
    }

    /// The same name twice is one message, until it is read.
    fn steer(&self, steered: Steered) {
        let mut state = locked(&self.state);
        state.steered.retain(|waiting| waiting.name.is_none() || waiting.name != steered.name);
        state.steered.push(steered);
    }

    /// What the agent reads before its next step.
    pub fn read_steered(&self) -> Vec<Steered> {
        std::mem::take(&mut locked(&self.state).steered)
    }

    fn reopen(&self) {
        let mut state = locked(&self.state);
        state.status = "running";
        state.is_closed = false;
    }

    fn view(&self) -> Value {
        json!({
            "run_id": self.id,
            "thread_id": self.thread,
            "assistant_id": self.assistant,
            "created_at": time_text(self.created_ms),
            "updated_at": time_text(self.created_ms),
            "status": self.status(),
            "metadata": {},
        })
    }
}

/// A started run, and how many events it had before.
struct Started {
    run: Arc<Run>,
    from: usize,
}

fn start(server: &Arc<Server>, thread_id: &str, body: &Value) -> Result<Started, Refusal> {
    let assistant = body
        .get("assistant_id")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "path: assistant_id; Required"))?;
    let ask = ask(body.get("input").unwrap_or(&Value::Null))?;
    let mut threads = locked(&server.threads);
    let unknown = fault::take(server, |fault| *fault == Fault::UnknownThread).is_some();
    let thread = threads.get_mut(thread_id).filter(|_| !unknown).ok_or_else(|| {
        let message = "Cannot read properties of null (reading 'id')";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    let wrong = fault::take(server, |fault| *fault == Fault::WrongAssistant).is_some();
    if wrong || thread.assistant.as_deref().is_some_and(|own| own != assistant) {
        let message = "API key is not allowed to access this assistant.";
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    thread.assistant = Some(assistant.to_owned());
    let now_ms = server.now_ms();
    let (run, act) = match ask {
        Ask::Send { text } => send(server, thread, assistant, &text)?,
        Ask::Resume { run, decision } => {
            let known = thread.runs.iter().rev().find(|known| {
                known.status() == "interrupted" && run.as_ref().is_none_or(|id| *id == known.id)
            });
            let run = known.cloned().ok_or_else(|| {
                Refusal::new(StatusCode::BAD_REQUEST, "resume_target_not_interrupted")
            })?;
            (run, script::decided(decision))
        }
        Ask::Steer { run, steered } => {
            let known = thread.runs.iter().rev().find(|known| {
                known.status() == "running" && run.as_ref().is_none_or(|id| *id == known.id)
            });
            let run = known.cloned().ok_or_else(|| {
                let message = "Steer follow-up target execution is no longer running";
                Refusal::coded("steer_target_not_running", message)
            })?;
            if fault::take(server, |fault| *fault == Fault::SteerUnread).is_none() {
                run.steer(steered);
            }
            server.steered(Call {
                at_ms: now_ms,
                thread: thread_id.to_owned(),
                run: run.id.clone(),
                body: body.clone(),
            });
            let from = run.length();
            return Ok(Started { run, from });
        }
    };
    let from = run.length();
    run.reopen();
    server.called(Call {
        at_ms: now_ms,
        thread: thread_id.to_owned(),
        run: run.id.clone(),
        body: body.clone(),
    });
    let player = Player {
        server: server.clone(),
        run: run.clone(),
        conversation: thread.conversation.clone(),
    };
    drop(threads);
    drop(server.context.spawn(player.play(act)));
    Ok(Started { run, from })
}

fn send(
    server: &Server,
    thread: &mut Thread,
    assistant: &str,
    text: &str,
) -> Result<(Arc<Run>, Act), Refusal> {
    let act = script::answer(text);
    if act.end == End::Refuse {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "refused on request"));
    }
    if act.end == End::Cut {
        locked(&server.faults).push_back(Fault::CutStream { after: 4 });
    }
    if thread.runs.iter().any(|run| run.status() == "running") {
        server.overlaps.fetch_add(1, Ordering::Relaxed);
    }
    let now_ms = server.now_ms();
    let run = Arc::new(Run::new(&thread.id, assistant, text, now_ms));
    thread.runs.push(run.clone());
    let id = Uuid::new_v4().to_string();
    thread.add_message(Message {
        id: &id,
        role: "human",
        content: text,
        run: &run.id,
        at_ms: now_ms,
    });
    Ok((run, act))
}

/// Whoever asked may have left meanwhile.
async fn start_late(
    server: &Arc<Server>,
    thread: String,
    body: Value,
    ms: u64,
) -> Result<Started, Refusal> {
    let of = server.clone();
    let late = async move {
        sleep(Duration::from_millis(ms)).await;
        start(&of, &thread, &body)
    };
    let aborted = |_| Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "aborted"));
    server.context.spawn(late).await.unwrap_or_else(aborted)
}

/// `POST /threads/:t/runs`.
pub async fn create(
    State(server): State<Arc<Server>>,
    Path(thread): Path<String>,
    Json(body): Json<Value>,
) -> Result<Response, Refusal> {
    let started = match fault::take(&server, |fault| matches!(fault, Fault::SlowCreate { .. })) {
        Some(Fault::SlowCreate { ms }) => start_late(&server, thread, body, ms).await?,
        _ => start(&server, &thread, &body)?,
    };
    if fault::take(&server, |fault| *fault == Fault::LostCreate).is_some() {
        return Ok(cut());
    }
    Ok((StatusCode::CREATED, Json(started.run.view())).into_response())
}

/// `POST /threads/:t/runs/stream`.
pub async fn create_and_stream(
    State(server): State<Arc<Server>>,
    Path(thread): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Refusal> {
    if fault::take(&server, |fault| *fault == Fault::ErrorAfterAccept).is_some() {
        return Ok(stream::error("failed on request"));
    }
    let started = start(&server, &thread, &body)?;
    Ok(stream::replay(started.run, &headers, &server))
}

/// `POST /threads/:t/runs/wait`.
pub async fn create_and_wait(
    State(server): State<Arc<Server>>,
    Path(thread): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let Started { run, mut from } = start(&server, &thread, &body)?;
    let mut content = String::new();
    while let Some(event) = run.event(from).await {
        from += 1;
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        content.push_str(data.pointer("/data/text").and_then(Value::as_str).unwrap_or_default());
    }
    Ok(Json(json!({ "role": "ai", "content": content })))
}

fn find(server: &Server, thread: &str, run: &str) -> Result<Arc<Run>, Refusal> {
    let threads = locked(&server.threads);
    let thread = threads.get(thread).ok_or_else(|| Refusal::not_found("thread"))?;
    let found = thread.runs.iter().find(|known| known.id == run).cloned();
    found.ok_or_else(|| Refusal::not_found("run"))
}

/// `GET /threads/:t/runs`: the newest first.
pub async fn list(
    State(server): State<Arc<Server>>,
    Path(thread): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Refusal> {
    let threads = locked(&server.threads);
    let thread = threads.get(&thread).ok_or_else(|| Refusal::not_found("thread"))?;
    let runs = thread.runs.iter().rev().skip(page.offset).take(page.limit);
    Ok(Json(runs.map(|run| run.view()).collect()))
}

/// `GET /threads/:t/runs/:r`.
pub async fn show(
    State(server): State<Arc<Server>>,
    Path((thread, run)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(find(&server, &thread, &run)?.view()))
}

/// `GET /threads/:t/runs/:r/stream`.
pub async fn join(
    State(server): State<Arc<Server>>,
    Path((thread, run)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if fault::take(&server, |fault| *fault == Fault::ErrorAfterAccept).is_some() {
        return Ok(stream::error("failed on request"));
    }
    let run = find(&server, &thread, &run)?;
    Ok(stream::replay(run, &headers, &server))
}

/// `POST /threads/:t/runs/:r/cancel`.
pub async fn cancel(
    State(server): State<Arc<Server>>,
    Path((thread, run)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let run = find(&server, &thread, &run)?;
    let is_open = matches!(run.status(), "running" | "interrupted") && !run.cancel.is_cancelled();
    let canceled = if is_open { vec![run.id.clone()] } else { Vec::new() };
    run.cancel.cancel();
    locked(&server.cancelled).extend(canceled.clone());
    Ok((StatusCode::CREATED, Json(json!({ "canceledExecutionIds": canceled }))))
}
