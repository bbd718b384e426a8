//! Threads and their conversations, assistants, and files put into a context.
//!
//! Kept in memory until the process ends, in the forms that the real server gives. What runs in a
//! thread is `run`'s.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Multipart, Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Server;
use super::answer::{Refusal, time_text};
use super::fault::{self, Fault};
use super::run::Run;
use crate::sim::locked;

pub struct Thread {
    pub id: String,
    /// Set by the first run, and never changed.
    pub assistant: Option<String>,
    pub conversation: String,
    pub title: String,
    pub created_ms: i64,
    pub runs: Vec<Arc<Run>>,
    pub messages: Vec<Value>,
}

impl Thread {
    fn view(&self) -> Value {
        let status = self.runs.last().map_or("idle", |run| match run.status() {
            "running" | "pending" => "busy",
            "interrupted" => "interrupted",
            "error" => "error",
            _ => "idle",
        });
        json!({
            "thread_id": self.id,
            "status": status,
            "created_at": time_text(self.created_ms),
            "updated_at": time_text(self.created_ms),
            "metadata": {
                "id": self.conversation,
                "title": self.title,
                "assistant_id": self.assistant,
            },
            "values": {},
        })
    }

    /// A thread has a checkpoint once a run of it has ended.
    fn has_checkpoint(&self) -> bool {
        self.runs.iter().any(|run| run.status() != "running")
    }

    /// A message of the conversation.
    pub fn add_message(&mut self, message: Message<'_>) {
        let Message { id, role, content, run, at_ms } = message;
        self.messages.push(json!({
            "id": id,
            "conversationId": self.conversation,
            "role": role,
            "content": content,
            "status": "success",
            "executionId": run,
            "createdAt": time_text(at_ms),
        }));
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub id: &'a str,
    /// `human` or `ai`.
    pub role: &'static str,
    pub content: &'a str,
    pub run: &'a str,
    pub at_ms: i64,
}

#[derive(Deserialize)]
pub struct Create {
    thread_id: Option<String>,
    assistant_id: Option<String>,
    #[serde(default)]
    metadata: Value,
    if_exists: Option<String>,
}

/// `POST /threads`: an id of the caller's own makes it idempotent.
pub async fn create(
    State(server): State<Arc<Server>>,
    Json(asked): Json<Create>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let id = asked.thread_id.unwrap_or_else(|| Uuid::new_v4().to_string());
    if Uuid::parse_str(&id).is_err() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "thread_id must be a UUID"));
    }
    let mut threads = locked(&server.threads);
    if threads.contains_key(&id) && asked.if_exists.as_deref() == Some("raise") {
        return Err(Refusal::new(StatusCode::CONFLICT, "thread exists"));
    }
    let title = asked.metadata.get("title").and_then(Value::as_str).unwrap_or_default().to_owned();
    let thread = threads.entry(id.clone()).or_insert_with(|| Thread {
        id,
        assistant: asked.assistant_id,
        conversation: Uuid::new_v4().to_string(),
        title,
        created_ms: server.now_ms(),
        runs: Vec::new(),
        messages: Vec::new(),
    });
    Ok((StatusCode::CREATED, Json(thread.view())))
}

/// `GET /threads/:t` fails until there is a checkpoint.
pub async fn show(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let forced = fault::take(&server, |fault| *fault == Fault::NoCheckpoint).is_some();
    let threads = locked(&server.threads);
    let thread = threads.get(&id).ok_or_else(|| Refusal::not_found("thread"))?;
    if forced || !thread.has_checkpoint() {
        let message = "Cannot read properties of undefined (reading 'checkpoint')";
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message));
    }
    Ok(Json(thread.view()))
}

/// `DELETE /threads/:t`.
pub async fn delete(State(server): State<Arc<Server>>, Path(id): Path<String>) -> StatusCode {
    locked(&server.threads).remove(&id);
    StatusCode::ACCEPTED
}

fn assistant_view(id: &str) -> Value {
    json!({
        "assistant_id": id,
        "graph_id": id,
        "name": id,
        "description": "simulated",
        "version": 1,
        "metadata": { "slug": id, "type": "agent", "title": id },
        "config": {},
        "context": null,
    })
}

/// `GET /assistants/:id`: every name is an assistant.
pub async fn assistant(Path(id): Path<String>) -> Json<Value> {
    Json(assistant_view(&id))
}

/// `POST /assistants/search`: those that threads were made for.
pub async fn assistants(State(server): State<Arc<Server>>) -> Json<Value> {
    let threads = locked(&server.threads);
    let names: BTreeSet<&str> = threads.values().filter_map(|t| t.assistant.as_deref()).collect();
    Json(names.into_iter().map(assistant_view).collect())
}

fn with_conversation<T>(
    server: &Server,
    id: &str,
    read: impl FnOnce(&Thread) -> T,
) -> Result<T, Refusal> {
    let threads = locked(&server.threads);
    let found = threads.values().find(|thread| thread.conversation == id);
    found.map(read).ok_or_else(|| Refusal::not_found("record"))
}

/// `GET /conversations/:id`.
pub async fn conversation(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    with_conversation(&server, &id, |thread| {
        let view = thread.view();
        Json(json!({
            "id": thread.conversation,
            "threadId": thread.id,
            "title": thread.title,
            "status": view["status"],
            "xpertId": thread.assistant,
        }))
    })
}

#[derive(Deserialize)]
pub struct Page {
    #[serde(default = "page_size")]
    pub limit: usize,
    #[serde(default)]
    pub offset: usize,
}

fn page_size() -> usize {
    50
}

/// `GET /conversations/:id/messages`: oldest first.
pub async fn messages(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Refusal> {
    with_conversation(&server, &id, |thread| {
        let items = thread.messages.iter().skip(page.offset).take(page.limit);
        let items: Vec<&Value> = items.collect();
        Json(json!({ "items": items, "total": thread.messages.len() }))
    })
}

/// `POST /contexts/file`: what comes back goes into `input.files`.
pub async fn file(mut form: Multipart) -> Result<(StatusCode, Json<Value>), Refusal> {
    while let Ok(Some(field)) = form.next_field().await {
        if field.name() != Some("file") {
            continue;
        }
        let name = field.file_name().unwrap_or("file").to_owned();
        let kind = field.content_type().unwrap_or("application/octet-stream").to_owned();
        let Ok(bytes) = field.bytes().await else { break };
        let id = Uuid::new_v4().to_string();
        let file = json!({
            "id": id,
            "fileId": id,
            "name": name,
            "originalName": name,
            "mimeType": kind,
            "size": bytes.len(),
        });
        return Ok((StatusCode::CREATED, Json(file)));
    }
    Err(Refusal::new(StatusCode::BAD_REQUEST, "file is required"))
}
