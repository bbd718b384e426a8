//! The calls of Xpert's API that a turn needs, each of them once.
//!
//! No call is repeated here, and a failure says whether it is worth it. The order of the calls, and
//! what was asked before a crash, is `xpert`'s.

use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use crate::domain::answer::Failure;
use crate::domain::reason::Reason;
use crate::domain::secret::Secret;
use crate::domain::skew::Stamp;
use crate::io::nats::trace;
use crate::io::runtime::{Call, Upload, broken, retryable, silent};
use crate::protocol::http::{excerpt, http_date};
use crate::protocol::trace::HEADER;
use crate::protocol::xpert::{
    Run, decode_file, decode_last_message, decode_run, decode_runs, decode_thread, thread_body,
};

const API: &str = "/api/ai";
/// More runs than this are not looked through.
const RUNS_MAX: u32 = 20;

pub(in crate::io::runtime) struct Server<'a> {
    base: String,
    key: &'a Secret,
    organization: Option<&'a str>,
    /// Held while a run is asked for.
    posting: Mutex<()>,
}

impl<'a> Server<'a> {
    /// `base_url` with or without the path of the API.
    pub(in crate::io::runtime) fn new(
        base_url: &str,
        key: &'a Secret,
        organization: Option<&'a str>,
    ) -> Self {
        let base = base_url.trim_end_matches('/');
        let base = if base.ends_with(API) { base.to_owned() } else { format!("{base}{API}") };
        Self { base, key, organization, posting: Mutex::new(()) }
    }

    pub(super) async fn create_thread(
        &self,
        call: &Call<'_>,
        thread: &str,
        expert: &str,
    ) -> Result<(), Failure> {
        let request =
            self.request(call, Method::POST, "/threads").json(&thread_body(thread, expert));
        self.answer(call, request).await.map(drop)
    }

    /// The id of the new run.
    pub(super) async fn create_run(
        &self,
        call: &Call<'_>,
        thread: &str,
        body: &Value,
    ) -> Result<String, Failure> {
        let _posting = self.posting.lock().await;
        let request =
            self.request(call, Method::POST, &format!("/threads/{thread}/runs")).json(body);
        let answer = self.answer(call, request).await?;
        decode_run(&answer).map(|run| run.id).ok_or_else(|| unreadable("a run", &answer))
    }

    /// Waits until no run is being asked for.
    pub(super) async fn posted(&self) {
        drop(self.posting.lock().await);
    }

    pub(super) async fn runs(&self, call: &Call<'_>, thread: &str) -> Result<Vec<Run>, Failure> {
        self.runs_stamped(call, thread).await.map(|(runs, _)| runs)
    }

    /// The runs, and the time that the server's answer is stamped with.
    pub(super) async fn runs_stamped(
        &self,
        call: &Call<'_>,
        thread: &str,
    ) -> Result<(Vec<Run>, Option<Stamp>), Failure> {
        let path = format!("/threads/{thread}/runs?limit={RUNS_MAX}&offset=0");
        let sent = call.context.clock.now();
        let mut response = call.send(self.request(call, Method::GET, &path)).await?;
        let received = call.context.clock.now();
        if !response.status().is_success() {
            return Err(call.refusal(response).await);
        }
        let date = response.headers().get("date").and_then(|value| value.to_str().ok());
        let stamp = date.and_then(http_date).map(|theirs| Stamp { sent, received, theirs });
        let answer = call.body(&mut response).await?;
        let runs = decode_runs(&answer).ok_or_else(|| unreadable("a list of runs", &answer))?;
        Ok((runs, stamp))
    }

    pub(super) async fn run(
        &self,
        call: &Call<'_>,
        thread: &str,
        run: &str,
    ) -> Result<Run, Failure> {
        let path = format!("/threads/{thread}/runs/{run}");
        let answer = self.answer(call, self.request(call, Method::GET, &path)).await?;
        decode_run(&answer).ok_or_else(|| unreadable("a run", &answer))
    }

    pub(super) async fn cancel(
        &self,
        call: &Call<'_>,
        thread: &str,
        run: &str,
    ) -> Result<(), Failure> {
        let path = format!("/threads/{thread}/runs/{run}/cancel");
        self.answer(call, self.request(call, Method::POST, &path)).await.map(drop)
    }

    /// The conversation of a thread. It can be asked for once a run has ended there, and not before.
    pub(super) async fn conversation(
        &self,
        call: &Call<'_>,
        thread: &str,
    ) -> Result<String, Failure> {
        let path = format!("/threads/{thread}");
        let answer = self.answer(call, self.request(call, Method::GET, &path)).await?;
        decode_thread(&answer).ok_or_else(|| unreadable("a thread", &answer))
    }

    /// What the expert said last in a conversation.
    pub(super) async fn last_message(
        &self,
        call: &Call<'_>,
        conversation: &str,
    ) -> Result<Option<String>, Failure> {
        // The list begins with the oldest and comes in pages: their number says where the last one is.
        let page = async |offset: u64| {
            let path = format!("/conversations/{conversation}/messages?limit=1&offset={offset}");
            let answer = self.answer(call, self.request(call, Method::GET, &path)).await?;
            Ok(decode_last_message(&answer))
        };
        let (total, _) = page(0).await?;
        let (_, said) = page(total.saturating_sub(1)).await?;
        Ok(said)
    }

    /// The server's record of the file, for `input.files`.
    pub(in crate::io::runtime) async fn upload(
        &self,
        call: &Call<'_>,
        expert: &str,
        file: Upload,
    ) -> Result<String, Failure> {
        let part = Part::bytes(file.bytes).file_name(file.name).mime_str(file.content_type);
        let part = part.expect("content types are constants of ours and are well formed");
        let form = Form::new()
            .text("xpertId", expert.to_owned())
            .text("purpose", "chat_attachment")
            .part("file", part);
        let request = self.request(call, Method::POST, "/contexts/file").multipart(form);
        // The file may take as long as it may, not only as long as an answer.
        let mut response = match timeout_at(call.deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(broken(&error)),
            Err(_) => return Err(silent()),
        };
        if !response.status().is_success() {
            return Err(call.refusal(response).await);
        }
        let answer = call.body(&mut response).await?;
        decode_file(&answer).ok_or_else(|| unreadable("a file", &answer))
    }

    /// The events of a run after the one named, or all that there are.
    pub(super) async fn stream(
        &self,
        call: &Call<'_>,
        thread: &str,
        run: &str,
        after: Option<&str>,
    ) -> Result<Response, Failure> {
        let path = format!("/threads/{thread}/runs/{run}/stream");
        let request = self.request(call, Method::GET, &path).header("accept", "text/event-stream");
        let request = match after {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let response = call.send(request).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(call.refusal(response).await)
        }
    }

    fn request(&self, call: &Call<'_>, method: Method, path: &str) -> RequestBuilder {
        let request = call
            .client
            .request(method, format!("{}{path}", self.base))
            .header("x-api-key", self.key.expose());
        let request = match trace::current() {
            Some(trace) => request.header(HEADER, trace),
            None => request,
        };
        match self.organization {
            Some(organization) => request.header("organization-id", organization),
            None => request,
        }
    }

    async fn answer(&self, call: &Call<'_>, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let mut response = call.send(request).await?;
        if response.status().is_success() {
            call.body(&mut response).await
        } else {
            Err(call.refusal(response).await)
        }
    }
}

fn unreadable(what: &str, answer: &[u8]) -> Failure {
    let detail = format!("the server's answer is not {what}: {}", excerpt(answer));
    retryable(Reason::RuntimeExhausted, detail)
}
