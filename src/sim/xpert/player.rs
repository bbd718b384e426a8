//! Plays what `script` says as the events of a run: start, deltas, end, and on request every other shape
//! of event that a client may meet.
//!
//! What it tells is kept with the run, so that a client which joins late reads the same.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Server;
use super::fault::{self, Fault};
use super::run::Run;
use super::thread::Message;
use crate::sim::locked;
use crate::sim::script::{Act, End};

/// A piece of the answer. All pieces of a run are one text.
pub fn delta(run: &Run, text: &str) -> Value {
    json!({
        "type": "message",
        "data": { "type": "text", "text": text, "id": format!("s-{}", run.id), "executionId": run.id },
    })
}

/// Turns an act into the events of a run.
pub struct Player {
    pub server: Arc<Server>,
    pub run: Arc<Run>,
    pub conversation: String,
}

impl Player {
    pub async fn play(self, act: Act) {
        let message = Uuid::new_v4().to_string();
        self.event("on_conversation_start", json!({ "id": self.conversation, "status": "busy" }));
        let thinking = json!({
            "id": message, "role": "ai", "conversationId": self.conversation,
            "executionId": self.run.id, "status": "thinking",
        });
        self.event("on_message_start", thinking);
        self.event("on_agent_start", json!({ "id": self.run.id, "agentKey": "Agent_sim" }));
        if self.run.text.starts_with("samples") {
            self.samples();
        }
        let mut said = String::new();
        for text in &act.deltas {
            tokio::select! {
                () = tokio::time::sleep(act.pause) => {}
                () = self.run.cancel.cancelled() => return self.end("interrupted", json!({})),
                () = self.server.stop.cancelled() => return,
            }
            said.push_str(text);
            self.emit(None, &delta(&self.run, text));
            said.push_str(&self.read_steered());
        }
        if act.end == End::Hang {
            tokio::select! {
                () = self.run.cancel.cancelled() => return self.end("interrupted", json!({})),
                () = self.server.stop.cancelled() => return,
            }
        }
        self.remember(&message, &said);
        if fault::take(&self.server, |fault| *fault == Fault::EndMissing).is_some() {
            return self.run.close("success");
        }
        if fault::take(&self.server, |fault| *fault == Fault::ErrorEvent).is_some() {
            self.event("on_error", json!({ "error": "failed on request" }));
            return self.run.close("error");
        }
        match act.end {
            End::Interrupt { title, text } => self.end("interrupted", operation(&title, &text)),
            End::Fail => self.end("error", json!({ "error": "failed on request" })),
            End::Done | End::Refuse | End::Hang | End::Cut => self.end("idle", json!({})),
        }
    }

    /// What was said into the run is told to be read, and answered behind what was said before.
    fn read_steered(&self) -> String {
        let mut said = String::new();
        for steered in self.run.read_steered() {
            let read = json!({
                "type": "follow_up_consumed", "mode": "steer", "executionId": self.run.id,
                "messageIds": [Uuid::new_v4().to_string()], "clientMessageIds": [steered.name],
            });
            self.event("on_chat_event", read);
            let text = format!(" And you said: {}", steered.text);
            self.emit(None, &delta(&self.run, &text));
            said.push_str(&text);
        }
        said
    }

    /// Every other shape of event that a client may meet.
    fn samples(&self) {
        for data in [
            json!("plain text"),
            json!({ "type": "reasoning", "text": "thinking…", "id": "r-1" }),
            json!({ "type": "component", "id": "call-1", "data": {
                "category": "Tool", "toolset": "sim", "tool": "look", "title": "Look",
                "status": "running", "input": {},
            } }),
            json!({ "type": "component", "id": "call-1", "data": { "status": "success", "output": "seen" } }),
        ] {
            self.emit(None, &json!({ "type": "message", "data": data }));
        }
        for event in [
            "on_tool_message",
            "on_tool_error",
            "on_chat_event",
            "on_retriever_start",
            "on_retriever_end",
            "on_client_effect",
            "on_interrupt",
        ] {
            self.event(event, json!({ "id": "e-1", "title": "sample", "error": "sample" }));
        }
    }

    fn emit(&self, name: Option<&'static str>, data: &Value) {
        self.run.emit(self.server.now_ms(), name, data);
    }

    #[expect(clippy::needless_pass_by_value, reason = "every caller builds the value in place")]
    fn event(&self, event: &str, data: Value) {
        self.emit(None, &json!({ "type": "event", "event": event, "data": data }));
    }

    fn remember(&self, id: &str, text: &str) {
        let at_ms = self.server.now_ms();
        if let Some(thread) = locked(&self.server.threads).get_mut(&self.run.thread) {
            let message = Message { id, role: "ai", content: text, run: &self.run.id, at_ms };
            thread.add_message(message);
        }
    }

    /// The last events. `status` is the conversation's; `more` joins its data.
    fn end(&self, status: &'static str, more: Value) {
        let own = if status == "idle" { "success" } else { status };
        self.event(
            "on_agent_end",
            json!({ "id": self.run.id, "agentKey": "Agent_sim", "status": own }),
        );
        self.event(
            "on_message_end",
            json!({ "executionId": self.run.id, "role": "ai", "status": own }),
        );
        let mut data = json!({ "id": self.conversation, "status": status });
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
            data.extend(more);
        }
        self.event("on_conversation_end", data);
        // The status first: a client that has seen `complete` may ask for it at once.
        let name = Some("complete");
        let now_ms = self.server.now_ms();
        self.run.become_status(own);
        self.run.emit(now_ms, name, &json!({ "type": "complete" }));
        self.run.close(own);
    }
}

fn operation(title: &str, text: &str) -> Value {
    json!({ "operation": { "tasks": [{
        "name": "pay",
        "type": "tool",
        "info": { "name": "pay", "title": title, "description": text },
        "parameters": [{ "name": "text", "title": "Text", "type": "string", "description": "" }],
        "call": { "id": "call-1", "name": "pay", "args": { "text": text } },
    }] } })
}
