//! Where an expert is asked: one way in for every kind of runtime.
//!
//! Guarantees that a call ends within the total time limit, and twice the time in which a run that is being
//! made is waited for and cancelled; that every failure is classified; and that an answer is never longer
//! than the journal can hold. Attempts, waiting and recording are the caller's; nothing is tried twice here
//! but reading a run that goes on by itself.

mod callback;
mod echo;
mod xpert;

use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::domain::answer::{Answer, Failure, FailureClass};
use crate::domain::binding::{Runtime, RuntimeKind};
use crate::domain::id::Seq;
use crate::domain::invocation::TurnRequest;
use crate::domain::reason::Reason;
use crate::domain::reply::cut_answer;
use crate::io::egress::{Egress, retry_after};
use crate::protocol::http::{excerpt, is_permanent};
use crate::protocol::runtime::body_max_bytes;

pub struct Config {
    /// A runtime has this long for a turn.
    pub total_timeout: Duration,
    /// A runtime that is silent for this long is given up, or asked how it fares.
    pub idle_timeout: Duration,
    /// Requests that are answered at once: threads, runs, their state.
    pub request_timeout: Duration,
    /// Each look for a run that nobody waits for any more: the person's command waits for it.
    pub cancel_timeout: Duration,
    /// One file.
    pub upload_timeout: Duration,
    pub answer_max_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            total_timeout: Duration::from_mins(10),
            idle_timeout: Duration::from_mins(2),
            request_timeout: Duration::from_secs(15),
            cancel_timeout: Duration::from_secs(5),
            upload_timeout: Duration::from_mins(1),
            answer_max_bytes: 600_000,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Answer(Answer),
    /// The runtime took the turn and posts the answer later.
    Accepted,
    /// The caller's token was cancelled; the runtime was told where it can be told.
    Cancelled,
}

/// What the runtime said that must be on record before its answer is.
#[derive(Debug)]
pub struct Learned {
    pub fact: Fact,
    /// To be answered once it is stored. Dropping it ends the call: the caller has lost the turn.
    pub stored: oneshot::Sender<()>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The runtime's own name of the run, to be handed back as [`TurnRequest::run`].
    Run(String),
    /// The run has read what was said into it, up to this entry of the log.
    Read(Seq),
}

/// Newer messages for the run that is under way, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steer {
    pub said: Vec<(Seq, String)>,
}

/// What a caller hands in beside the turn.
pub struct Line {
    pub learned: mpsc::Sender<Learned>,
    pub cancel: CancellationToken,
    /// Taken by runtimes that [`can_steer`] names. None is ever said twice; whether it was read, a
    /// [`Fact::Read`] tells, or nothing does.
    pub steers: Mutex<mpsc::Receiver<Steer>>,
}

/// Whether messages can be said into a run of this kind of runtime while it works.
pub fn can_steer(kind: &RuntimeKind) -> bool {
    match kind {
        RuntimeKind::Xpert { .. } => true,
        RuntimeKind::Callback { .. } | RuntimeKind::Echo => false,
    }
}

/// A file for a runtime that is given files ahead of the turn.
pub struct Upload {
    pub name: String,
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

#[derive(Clone)]
pub struct Runtimes {
    context: Context,
    egress: Egress,
    config: std::sync::Arc<Config>,
}

impl Runtimes {
    pub fn new(context: Context, egress: Egress, config: Config) -> Self {
        Self { context, egress, config: std::sync::Arc::new(config) }
    }

    /// Asks `runtime` for one turn, once.
    pub async fn invoke(
        &self,
        runtime: &Runtime,
        turn: &TurnRequest,
        line: &Line,
    ) -> Result<Outcome, Failure> {
        let call = Call {
            client: self.egress.client(),
            context: &self.context,
            config: &self.config,
            deadline: Instant::now() + self.config.total_timeout,
            line,
        };
        let outcome = match &runtime.kind {
            RuntimeKind::Echo => Ok(echo::answer(turn)),
            RuntimeKind::Callback { url, secret } => {
                callback::invoke(&call, url, secret, turn).await
            }
            RuntimeKind::Xpert { base_url, api_key, organization_id } => {
                let server =
                    xpert::server::Server::new(base_url, api_key, organization_id.as_deref());
                xpert::invoke(&call, &server, turn).await
            }
        };
        outcome.map(|outcome| self.within_limit(outcome, turn))
    }

    /// Tells the runtime that nobody waits for a thread any more: neither for `run`, nor for what works there
    /// under a name that never came. Only some kinds can be told, and twice does no harm.
    pub async fn cancel(
        &self,
        runtime: &Runtime,
        thread: &str,
        run: Option<&str>,
    ) -> Result<(), Failure> {
        let RuntimeKind::Xpert { base_url, api_key, organization_id } = &runtime.kind else {
            return Ok(());
        };
        let ((learned, _), (_, steers)) = (mpsc::channel(1), mpsc::channel(1));
        let steers = Mutex::new(steers);
        let line = Line { learned, cancel: CancellationToken::new(), steers };
        let call = Call {
            client: self.egress.client(),
            context: &self.context,
            config: &self.config,
            deadline: Instant::now() + self.config.cancel_timeout,
            line: &line,
        };
        let server = xpert::server::Server::new(base_url, api_key, organization_id.as_deref());
        xpert::cancel(&call, &server, thread, run).await
    }

    /// Gives a file to the runtime ahead of its turn: the runtime's own record of it, in JSON.
    pub async fn upload(
        &self,
        runtime: &Runtime,
        file: Upload,
        line: &Line,
    ) -> Result<String, Failure> {
        let RuntimeKind::Xpert { base_url, api_key, organization_id } = &runtime.kind else {
            let detail = "this kind of runtime takes no files ahead of a turn".to_owned();
            return Err(permanent(Reason::RuntimePermanent, detail));
        };
        let call = Call {
            client: self.egress.client(),
            context: &self.context,
            config: &self.config,
            deadline: Instant::now() + self.config.upload_timeout,
            line,
        };
        let server = xpert::server::Server::new(base_url, api_key, organization_id.as_deref());
        server.upload(&call, runtime.expert.as_str(), file).await
    }

    fn within_limit(&self, outcome: Outcome, turn: &TurnRequest) -> Outcome {
        match outcome {
            Outcome::Answer(mut answer) => {
                if cut_answer(&mut answer, self.config.answer_max_bytes, turn.language) {
                    self.context.metrics.limit_breached("answer");
                }
                Outcome::Answer(answer)
            }
            Outcome::Accepted | Outcome::Cancelled => outcome,
        }
    }
}

/// One call as the kinds of runtimes see it.
struct Call<'a> {
    client: &'a reqwest::Client,
    context: &'a Context,
    config: &'a Config,
    deadline: Instant,
    line: &'a Line,
}

impl Call<'_> {
    /// Waits until the caller has stored what the runtime said.
    async fn learn(&self, fact: Fact) -> Result<(), Failure> {
        let (stored, is_stored) = oneshot::channel();
        let lost = || retryable(Reason::RuntimeExhausted, "the run could not be recorded".into());
        self.line.learned.send(Learned { fact, stored }).await.map_err(|_| lost())?;
        is_stored.await.map_err(|_| lost())
    }

    /// Sends a request that is answered at once.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        let limit = self.deadline.min(Instant::now() + self.config.request_timeout);
        match timeout_at(limit, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(silent()),
        }
    }

    /// The body of a response, unless it stalls or is absurdly long.
    async fn body(&self, response: &mut reqwest::Response) -> Result<Vec<u8>, Failure> {
        let max = body_max_bytes(self.config.answer_max_bytes);
        let mut body = Vec::new();
        loop {
            let limit = self.deadline.min(Instant::now() + self.config.idle_timeout);
            match timeout_at(limit, response.chunk()).await {
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() <= max => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Ok(Some(_))) => {
                    self.context.metrics.limit_breached("answer");
                    let detail = format!("the response is longer than {max} bytes");
                    return Err(permanent(Reason::Limit, detail));
                }
                Ok(Ok(None)) => return Ok(body),
                Ok(Err(error)) => return Err(broken(&error)),
                Err(_) => return Err(silent()),
            }
        }
    }

    /// A response that is not 2xx, as a failure.
    async fn refusal(&self, mut response: reqwest::Response) -> Failure {
        let status = response.status().as_u16();
        let after = retry_after(&response, self.context.clock.now());
        let body = self.body(&mut response).await.unwrap_or_default();
        let detail = format!("the runtime answered {status}: {}", excerpt(&body));
        if is_permanent(status) {
            return permanent(Reason::RuntimePermanent, detail);
        }
        let class = FailureClass::Retryable { after };
        Failure { class, reason: Reason::RuntimeExhausted, detail: detail.into() }
    }
}

fn permanent(reason: Reason, detail: String) -> Failure {
    Failure { class: FailureClass::Permanent, reason, detail: detail.into() }
}

fn retryable(reason: Reason, detail: String) -> Failure {
    Failure { class: FailureClass::Retryable { after: None }, reason, detail: detail.into() }
}

fn silent() -> Failure {
    retryable(Reason::RuntimeTimeout, "the runtime did not answer in time".into())
}

fn broken(error: &reqwest::Error) -> Failure {
    let what = if error.is_connect() {
        "the runtime could not be reached"
    } else {
        "the connection to the runtime broke"
    };
    let reason = if error.is_timeout() { Reason::RuntimeTimeout } else { Reason::RuntimeExhausted };
    retryable(reason, format!("{what}: {}", cause(error)))
}

/// The innermost cause; the outer ones repeat the address, which may hold a token.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(cause, error) { "no cause given".into() } else { cause.to_string() }
}
