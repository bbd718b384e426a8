//! The simulated Xpert server's laws and faults, one test for each trap that clients are known to meet.
//!
//! A plain HTTP client meets each of them here; that our own client copes is shown in
//! `tests/it/xpert.rs`.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Xpert;
use super::fault::Fault;
use crate::context::{Clock, Context};
use crate::domain::secret::Secret;

struct Client {
    xpert: Xpert,
    http: reqwest::Client,
    thread: String,
}

impl Client {
    async fn start() -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let context = Context::new(Clock::system());
        let xpert = Xpert::start(&context, "127.0.0.1:0", Secret::new("sk-x-1")).await.unwrap();
        let client =
            Self { xpert, http: reqwest::Client::new(), thread: Uuid::new_v4().to_string() };
        let body = json!({ "thread_id": client.thread, "if_exists": "do_nothing" });
        let (status, thread) = client.call(Method::POST, "/threads", body).await;
        assert_eq!((status, thread["thread_id"].as_str()), (201, Some(client.thread.as_str())));
        client
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let path = path.replace("{t}", &self.thread);
        self.http
            .request(method, format!("{}{path}", self.xpert.url()))
            .header("x-api-key", "sk-x-1")
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let answer = self.request(method, path).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn run(&self, text: &str) -> (u16, Value) {
        self.call(Method::POST, "/threads/{t}/runs", run_body("expert", text)).await
    }

    async fn run_id(&self, text: &str) -> String {
        let (status, run) = self.run(text).await;
        assert_eq!(status, 201);
        run["run_id"].as_str().unwrap().to_owned()
    }

    async fn status(&self, run: &str) -> String {
        let (_, run) =
            self.call(Method::GET, &format!("/threads/{{t}}/runs/{run}"), json!({})).await;
        run["status"].as_str().unwrap().to_owned()
    }

    /// The stream's text, and whether it came to its proper end.
    async fn stream(&self, run: &str, last: Option<&str>) -> (String, bool) {
        let mut request = self.request(Method::GET, &format!("/threads/{{t}}/runs/{run}/stream"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let mut answer = request.send().await.unwrap();
        let mut text = String::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => text.push_str(&String::from_utf8_lossy(&chunk)),
                Ok(None) => return (text, true),
                Err(_) => return (text, false),
            }
        }
    }
}

fn run_body(assistant: &str, text: &str) -> Value {
    let input = json!({ "action": "send", "message": { "input": { "input": text } } });
    json!({ "assistant_id": assistant, "input": input })
}

fn resume(run: &str, decision: &str) -> Value {
    let input = json!({
        "action": "resume", "target": { "executionId": run }, "decision": { "type": decision },
    });
    json!({ "assistant_id": "expert", "input": input })
}

fn said(stream: &str) -> String {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter_map(|event| Some(event.pointer("/data/text")?.as_str()?.to_owned())).collect()
}

fn last_id(stream: &str) -> &str {
    stream.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap()
}

#[tokio::test]
async fn a_run_is_told_in_deltas_and_its_text_is_kept() {
    let client = Client::start().await;
    let run = client.run_id("hello").await;
    let (stream, is_whole) = client.stream(&run, None).await;
    assert!(is_whole && stream.starts_with('\n'), "{stream}");
    assert!(stream.contains("event: complete\n") && stream.contains("\"status\":\"idle\""));
    assert_eq!(said(&stream), "You said: hello");
    assert_eq!(client.status(&run).await, "success");
    let (_, thread) = client.call(Method::GET, "/threads/{t}", json!({})).await;
    let conversation = thread["metadata"]["id"].as_str().unwrap();
    let path = format!("/conversations/{conversation}/messages");
    let (_, messages) = client.call(Method::GET, &path, json!({})).await;
    assert_eq!(messages["items"][1]["content"], "You said: hello");
}

#[tokio::test]
async fn a_broken_stream_goes_on_after_the_last_event_seen() {
    let client = Client::start().await;
    client.xpert.fault(Fault::CutStream { after: 5 });
    let run = client.run_id("hello there, how are you").await;
    let (first, is_whole) = client.stream(&run, None).await;
    assert!(!is_whole);
    let (rest, is_whole) = client.stream(&run, Some(last_id(&first))).await;
    assert!(is_whole);
    assert_eq!(said(&first) + &said(&rest), "You said: hello there, how are you");
}

#[tokio::test]
async fn every_sample_of_the_stream_is_told_on_request() {
    let client = Client::start().await;
    let run = client.run_id("samples").await;
    let (stream, _) = client.stream(&run, None).await;
    for part in [
        "\"plain text\"",
        "\"reasoning\"",
        "\"component\"",
        "on_tool_message",
        "on_tool_error",
        "on_chat_event",
        "on_interrupt",
    ] {
        assert!(stream.contains(part), "{part} is missing in {stream}");
    }
}

#[tokio::test]
async fn a_the_answer_to_a_create_is_lost_and_the_run_is_there() {
    let client = Client::start().await;
    client.xpert.fault(Fault::LostCreate);
    let lost = client.request(Method::POST, "/threads/{t}/runs").json(&run_body("expert", "hello"));
    assert!(lost.send().await.is_err());
    let (_, runs) = client.call(Method::GET, "/threads/{t}/runs", json!({})).await;
    assert_eq!(runs.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn b_a_resumed_run_replays_its_old_end_to_who_names_no_last_event() {
    let client = Client::start().await;
    let run = client.run_id("confirm the payment").await;
    let (before, _) = client.stream(&run, None).await;
    assert!(before.contains("\"status\":\"interrupted\"") && before.contains("\"operation\""));
    assert_eq!(client.status(&run).await, "interrupted");
    let (status, resumed) =
        client.call(Method::POST, "/threads/{t}/runs", resume(&run, "confirm")).await;
    assert_eq!((status, resumed["run_id"].as_str()), (201, Some(run.as_str())));
    let (replayed, _) = client.stream(&run, None).await;
    assert_eq!(replayed, before);
    let (after, _) = client.stream(&run, Some(last_id(&before))).await;
    assert!(said(&after).starts_with("Confirmed"), "{after}");
    let (status, _) = client.call(Method::POST, "/threads/{t}/runs", resume(&run, "confirm")).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn c_a_thread_without_a_checkpoint_cannot_be_shown() {
    let client = Client::start().await;
    let (status, _) = client.call(Method::GET, "/threads/{t}", json!({})).await;
    assert_eq!(status, 500);
    let run = client.run_id("hello").await;
    client.stream(&run, None).await;
    let (status, _) = client.call(Method::GET, "/threads/{t}", json!({})).await;
    assert_eq!(status, 200);
    client.xpert.fault(Fault::NoCheckpoint);
    let (status, _) = client.call(Method::GET, "/threads/{t}", json!({})).await;
    assert_eq!(status, 500);
}

#[tokio::test]
async fn d_a_busy_thread_takes_another_run_and_it_is_counted() {
    let client = Client::start().await;
    let first = client.run_id("hang").await;
    assert_eq!(client.xpert.overlaps(), 0);
    client.run_id("hello").await;
    assert_eq!(client.xpert.overlaps(), 1);
    let path = format!("/threads/{{t}}/runs/{first}/cancel");
    let (_, canceled) = client.call(Method::POST, &path, json!({})).await;
    assert_eq!(canceled["canceledExecutionIds"], json!([first]));
    let (stream, _) = client.stream(&first, None).await;
    assert!(stream.contains("\"status\":\"interrupted\""));
    assert!(client.xpert.called(2, Duration::from_secs(5)).await);
}

#[tokio::test]
async fn e_a_stream_ends_without_its_end_and_the_status_decides() {
    let client = Client::start().await;
    client.xpert.fault(Fault::EndMissing);
    let run = client.run_id("hello").await;
    let (stream, _) = client.stream(&run, None).await;
    assert!(!stream.contains("on_conversation_end") && !stream.contains("complete"));
    assert_eq!(client.status(&run).await, "success");
}

#[tokio::test]
async fn f_a_thread_never_changes_its_assistant() {
    let client = Client::start().await;
    client.run_id("hello").await;
    let other = run_body("another", "hello");
    let (status, _) = client.call(Method::POST, "/threads/{t}/runs", other).await;
    assert_eq!(status, 403);
    client.xpert.fault(Fault::WrongAssistant);
    assert_eq!(client.run("hello").await.0, 403);
}

#[tokio::test]
async fn g_an_accepted_stream_may_carry_nothing_but_an_error() {
    let client = Client::start().await;
    client.xpert.fault(Fault::ErrorAfterAccept);
    let request = client.request(Method::POST, "/threads/{t}/runs/stream");
    let answer = request.json(&run_body("expert", "hello")).send().await.unwrap();
    assert!(answer.status().is_success());
    assert!(answer.text().await.unwrap().contains("event: error\n"));
}

#[tokio::test]
async fn h_a_run_on_an_unknown_thread_is_a_server_error() {
    let mut client = Client::start().await;
    client.xpert.fault(Fault::UnknownThread);
    assert_eq!(client.run("hello").await.0, 500);
    client.thread = Uuid::new_v4().to_string();
    assert_eq!(client.run("hello").await.0, 500);
}

#[tokio::test]
async fn keys_inputs_and_refusals_are_answered_as_the_real_server_does() {
    let client = Client::start().await;
    let unknown =
        client.http.get(format!("{}/threads/x", client.xpert.url())).send().await.unwrap();
    assert_eq!(unknown.status(), 401);
    let empty = json!({ "assistant_id": "expert", "input": { "action": "send", "message": {} } });
    let (status, refused) = client.call(Method::POST, "/threads/{t}/runs", empty).await;
    assert_eq!((status, refused["statusCode"].as_u64()), (400, Some(400)));
    client.xpert.fault(Fault::Status { status: 429, retry_after: Some(7) });
    assert_eq!(client.run("hello").await.0, 429);
    let steer = json!({ "assistant_id": "expert", "input": {
        "action": "follow_up", "mode": "steer", "message": { "input": { "input": "left" } },
        "target": { "executionId": "none" },
    } });
    let (_, refused) = client.call(Method::POST, "/threads/{t}/runs", steer).await;
    assert_eq!(refused["code"], "steer_target_not_running");
    let (_, failed) =
        client.call(Method::POST, "/threads/{t}/runs/wait", run_body("expert", "hi")).await;
    assert_eq!(failed["content"], "You said: hi");
}
