//! The runtime behind Xpert's public API: a thread per session, a run per turn, an event stream per run.
//!
//! Guarantees that a run's name is on the caller's record before its answer is taken, and that a second
//! try joins the run of the first instead of starting another. The stream may break at any event; the
//! run's state decides when the stream does not. Cancelling tells the server. What is said into a run is
//! said once, and counts as read when the run's events say so.

mod follow;
mod started;
mod steer;
pub(super) mod server;

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::domain::answer::{Failure, FailureClass};
use crate::domain::entry::ActionKind;
use crate::domain::id::Seq;
use crate::domain::invocation::{Content, TurnRequest};
use crate::domain::reason::Reason;
use crate::io::runtime::{Call, Fact, Outcome};
use crate::protocol::xpert::{Fold, Status, resume_body, send_body};

use follow::{End, follow};
use server::Server;
use started::started_run;

/// The stream of a run that does nothing more is read for so long.
const AT_REST_MAX: Duration = Duration::from_secs(3);

/// A run, and the last event before the part of its stream that belongs to this turn.
struct Joined {
    run: String,
    from: Option<String>,
    /// The last entry of the log that was said into the run, whether or not it was read there.
    offered: Seq,
    /// Whether this call started it or an earlier one did.
    origin: RunOrigin,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RunOrigin {
    New,
    Found,
}

impl Joined {
    fn new(run: String) -> Self {
        Self { run, from: None, offered: Seq(0), origin: RunOrigin::New }
    }

    /// As the journal keeps it: a resumed run has the name of the one it resumes, so where to go on is
    /// part of the name; and so is what was said into it, which is said once.
    fn to_name(&self, offered: Seq) -> String {
        let from = self.from.as_ref().map(|from| format!("#{from}")).unwrap_or_default();
        let offered = if offered > Seq(0) { format!("+{offered}") } else { String::new() };
        format!("{}{from}{offered}", self.run)
    }

    fn parse(name: &str) -> Self {
        let (rest, offered) = match name.rsplit_once('+') {
            Some((rest, seq)) => (rest, seq.parse().map_or(Seq(0), Seq)),
            None => (name, Seq(0)),
        };
        let (run, from) = match rest.split_once('#') {
            Some((run, from)) => (run, Some(from.to_owned())),
            None => (rest, None),
        };
        Self { run: run.to_owned(), from, offered, origin: RunOrigin::Found }
    }
}

pub(super) async fn invoke(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
) -> Result<Outcome, Failure> {
    let asked = ask(call, server, turn);
    tokio::pin!(asked);
    let outcome = tokio::select! {
        biased;
        () = call.line.cancel.cancelled() => {
            // A run that is being asked for would begin behind the list of what is to be cancelled.
            let posted = async {
                tokio::select! {
                    biased;
                    () = server.posted() => {}
                    outcome = &mut asked => drop(outcome), // nobody waits for it any more
                }
            };
            timeout(call.config.cancel_timeout, posted).await.ok(); // it may begin after all
            Ok(Outcome::Cancelled)
        }
        outcome = &mut asked => outcome,
    };
    let is_overdue = Instant::now() >= call.deadline;
    if matches!(outcome, Ok(Outcome::Cancelled)) || (outcome.is_err() && is_overdue) {
        // Best effort: what is not reached here ends by itself, and nobody reads its answer. The turn's
        // own time may be over, so this has a little of its own.
        let last = Call { deadline: Instant::now() + call.config.cancel_timeout, ..*call };
        if let Err(error) = cancel_runs(&last, server, &turn.session.thread_id).await {
            tracing::warn!(reason = error.reason.as_str(), "a run could not be cancelled");
        }
    }
    outcome
}

/// Cancels the run that has this name, which may wait for a decision, and what works in the thread: a later
/// attempt may have begun a run whose name never came.
pub(super) async fn cancel(
    call: &Call<'_>,
    server: &Server<'_>,
    thread: &str,
    name: Option<&str>,
) -> Result<(), Failure> {
    let named = match name.map(Joined::parse) {
        Some(joined) => server.cancel(call, thread, &joined.run).await,
        None => Ok(()),
    };
    cancel_runs(call, server, thread).await.and(named)
}

/// Cancels what runs in the thread, which is this turn's: a thread has one run at a time.
async fn cancel_runs(call: &Call<'_>, server: &Server<'_>, thread: &str) -> Result<(), Failure> {
    for run in server.runs(call, thread).await? {
        if is_working(run.status) {
            server.cancel(call, thread, &run.id).await?;
        }
    }
    Ok(())
}

fn is_working(status: Status) -> bool {
    matches!(status, Status::Pending | Status::Running)
}

async fn ask(call: &Call<'_>, server: &Server<'_>, turn: &TurnRequest) -> Result<Outcome, Failure> {
    let joined = match &turn.run {
        Some(name) => rejoin(call, server, turn, Joined::parse(name)).await?,
        None => begin(call, server, turn).await?,
    };
    match hear(call, server, turn, &joined).await? {
        Heard { end: End::Answer(answer), .. } => Ok(Outcome::Answer(answer)),
        // The failure belongs to an earlier attempt; this one asks anew. Not where the run has read more
        // than this attempt would ask: the next one asks for all of it.
        Heard { end: End::Failed(failure), is_wider: false }
            if joined.origin == RunOrigin::Found =>
        {
            let run = server.run(call, &turn.session.thread_id, &joined.run).await?;
            if is_working(run.status) {
                // A word about an error is not its end.
                return Err(failure);
            }
            if decision(turn).is_some() {
                // It was made for this run alone, and there is nothing else to ask.
                let (class, reason) = (FailureClass::Permanent, Reason::RuntimePermanent);
                return Err(Failure { class, reason, ..failure });
            }
            let joined = find_or_create(call, server, turn, Some(&joined.run)).await?;
            match hear(call, server, turn, &joined).await?.end {
                End::Answer(answer) => Ok(Outcome::Answer(answer)),
                End::Failed(failure) => Err(failure),
            }
        }
        Heard { end: End::Failed(failure), .. } => Err(failure),
    }
}

/// How a run ended, and whether it read more than the turn it was asked.
pub(super) struct Heard {
    end: End,
    is_wider: bool,
}

/// Follows the run to its end; what comes meanwhile is said into it.
async fn hear(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
    joined: &Joined,
) -> Result<Heard, Failure> {
    tokio::select! {
        heard = follow(call, server, turn, joined) => heard,
        never = steer::steer(call, server, turn, joined) => match never {},
    }
}

/// Finds or starts the run of this turn and has it recorded.
async fn begin(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
) -> Result<Joined, Failure> {
    // A run on an unknown thread is a server error, and making one twice is none.
    server.create_thread(call, &turn.session.thread_id, turn.expert.as_str()).await?;
    if decision(turn).is_some() {
        return resume(call, server, turn).await;
    }
    find_or_create(call, server, turn, None).await
}

/// The run that an earlier try began and could not name, which is another than `known`, or a new one.
async fn find_or_create(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
    known: Option<&str>,
) -> Result<Joined, Failure> {
    let is_repeat = turn.is_repeat || turn.attempt > 1;
    let found = if is_repeat { started_run(call, server, turn).await? } else { None };
    match found.filter(|run| known != Some(run)) {
        Some(run) => {
            let joined = Joined { origin: RunOrigin::Found, ..Joined::new(run) };
            call.learn(Fact::Run(joined.to_name(Seq(0)))).await?;
            Ok(joined)
        }
        None => create(call, server, turn).await,
    }
}

async fn create(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
) -> Result<Joined, Failure> {
    let body = send_body(turn.expert.as_str(), &turn.turn.to_string(), &said(turn), &files(turn));
    let run = server.create_run(call, &turn.session.thread_id, &body).await?;
    let joined = Joined::new(run);
    call.learn(Fact::Run(joined.to_name(Seq(0)))).await?;
    Ok(joined)
}

/// The decision that this turn brings to an interrupted run.
fn decision(turn: &TurnRequest) -> Option<&ActionKind> {
    match &turn.action {
        Some(kind @ (ActionKind::Confirm | ActionKind::Reject)) => Some(kind),
        Some(ActionKind::Custom(_) | ActionKind::End) | None => None,
    }
}

/// A custom action says its own name, and what its button carries, where nothing else was said.
fn said(turn: &TurnRequest) -> Cow<'_, str> {
    match (&turn.action, turn.params.as_deref()) {
        (Some(ActionKind::Custom(name)), None | Some("" | "{}")) if turn.text.is_empty() => {
            Cow::Borrowed(name)
        }
        (Some(ActionKind::Custom(name)), Some(params)) if turn.text.is_empty() => {
            Cow::Owned(format!("{name}\n{params}"))
        }
        (Some(_) | None, _) => Cow::Borrowed(&turn.text),
    }
}

/// The server's own records of the files that it was given for this turn, in reading order.
fn files(turn: &TurnRequest) -> Vec<Value> {
    let all = turn.messages.iter().flat_map(|message| {
        message.quoted.iter().flat_map(|quoted| &quoted.files).chain(&message.files)
    });
    all.filter_map(|file| match &file.content {
        Content::Uploaded(record) => serde_json::from_str(record).ok(),
        Content::Inline(_) | Content::Url { .. } | Content::Unfetched | Content::Unread(_) => None,
    })
    .collect()
}

/// Goes on with the interrupted run. Its stream holds the old events up to a `complete`, so their last
/// id is recorded before the decision is posted: joining without it would read the old answer again.
async fn resume(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
) -> Result<Joined, Failure> {
    let thread = turn.session.thread_id.as_str();
    let run = match turn.resumed_run.as_deref().map(Joined::parse) {
        Some(joined) => joined.run,
        None => interrupted_run(call, server, thread).await?,
    };
    let from = last_event(call, server, thread, &Joined::parse(&run)).await?;
    let joined = Joined { from, ..Joined::new(run) };
    call.learn(Fact::Run(joined.to_name(Seq(0)))).await?;
    decide(call, server, turn, &joined.run).await?;
    Ok(joined)
}

/// Joins the run on record. A decision is posted again where the run shows no sign of it.
async fn rejoin(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
    joined: Joined,
) -> Result<Joined, Failure> {
    let thread = turn.session.thread_id.as_str();
    if decision(turn).is_some()
        && server.run(call, thread, &joined.run).await?.status == Status::Interrupted
        && last_event(call, server, thread, &joined).await? == joined.from
    {
        decide(call, server, turn, &joined.run).await?;
    }
    Ok(joined)
}

async fn decide(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
    run: &str,
) -> Result<(), Failure> {
    let expert = turn.expert.as_str();
    if let Some(body) = decision(turn).and_then(|kind| resume_body(expert, run, kind)) {
        server.create_run(call, &turn.session.thread_id, &body).await?;
    }
    Ok(())
}

async fn interrupted_run(
    call: &Call<'_>,
    server: &Server<'_>,
    thread: &str,
) -> Result<String, Failure> {
    let runs = server.runs(call, thread).await?;
    let newest = runs
        .into_iter()
        .filter(|run| run.status == Status::Interrupted)
        .max_by_key(|run| run.created_at);
    newest.map(|run| run.id).ok_or_else(|| Failure {
        class: FailureClass::Permanent,
        reason: Reason::RuntimePermanent,
        detail: "no run of the thread waits for a decision".into(),
    })
}

/// The id of the last event that a run at rest has in its stream.
async fn last_event(
    call: &Call<'_>,
    server: &Server<'_>,
    thread: &str,
    joined: &Joined,
) -> Result<Option<String>, Failure> {
    let mut fold = Fold::new(0, joined.from.clone());
    follow::read(call, server, thread, &joined.run, (&mut fold, AT_REST_MAX)).await?;
    Ok(fold.last_event_id)
}
