//! The client of Xpert's API against a simulated server: an ordinary turn, an interrupt, cancelling, and
//! time running out. What is known to trip clients up has its own file.
#![expect(clippy::unwrap_used, reason = "fixtures of tests")]

use std::time::Duration;

use dingtalk_trigger::domain::answer::{Failure, FailureClass};
use dingtalk_trigger::domain::binding::RuntimeKind;
use dingtalk_trigger::domain::entry::ActionKind;
use dingtalk_trigger::domain::invocation::TurnRequest;
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::io::runtime::{Config, Outcome};
use dingtalk_trigger::sim::xpert::Xpert;
use dingtalk_trigger::sim::xpert::fault::Fault;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::runtime::{Asked, Caller, answer, config, failure, impatient, turn};

mod gotchas;
mod steering;

const KEY: &str = "sk-x-simulated";
const NOW: FailureClass = FailureClass::Retryable { after: None };

/// A server, and a caller with short limits.
struct Bench {
    caller: Caller,
    xpert: Xpert,
    kind: RuntimeKind,
}

impl Bench {
    async fn start(config: Config) -> Self {
        let caller = Caller::new(config);
        let key = Secret::new(KEY);
        let xpert = Xpert::start(&caller.context, "127.0.0.1:0", key.clone()).await.unwrap();
        let base_url = xpert.url().to_owned();
        let kind = RuntimeKind::Xpert { base_url, api_key: key, organization_id: None };
        Self { caller, xpert, kind }
    }

    async fn ask(&self, turn: &TurnRequest) -> Asked {
        self.caller.ask(&self.kind, turn).await
    }

    /// Ends the caller in the middle of the turn, as the death of its pod does, once the run is on record.
    async fn ask_and_die(&self, turn: &TurnRequest) -> String {
        let begun = CancellationToken::new();
        let name = std::sync::Mutex::new(String::new());
        let learn = |run: &str| {
            run.clone_into(&mut name.lock().unwrap());
            begun.cancel();
            true
        };
        let never = CancellationToken::new();
        tokio::select! {
            biased;
            () = begun.cancelled() => {}
            asked = self.caller.ask_until(&self.kind, turn, &never, learn) => panic!("{asked:?}"),
        }
        name.into_inner().unwrap()
    }

    /// The run that interrupted itself to ask.
    async fn interrupted(&self) -> String {
        let (outcome, runs) = self.ask(&turn("confirm the payment")).await;
        let Ok(Outcome::Answer(answer)) = outcome else { panic!("no answer: {outcome:?}") };
        assert_eq!(answer.text, "You said: confirm the payment");
        assert!(answer.interrupt.unwrap().title.contains("Please confirm"));
        runs[0].clone()
    }

    /// The states of the thread's runs as the server has them, the newest first.
    async fn states(&self) -> Vec<String> {
        let thread = turn("").session.thread_id;
        let url = format!("{}/threads/{thread}/runs", self.xpert.url());
        let runs = reqwest::Client::new().get(url).header("x-api-key", KEY).send().await.unwrap();
        let runs: Vec<Value> = runs.json().await.unwrap();
        runs.iter().map(|run| run["status"].as_str().unwrap().to_owned()).collect()
    }

    /// The id of the last event of a run that carries a piece of the answer.
    async fn last_piece(&self, run: &str) -> String {
        let thread = turn("").session.thread_id;
        let url = format!("{}/threads/{thread}/runs/{run}/stream", self.xpert.url());
        let stream = reqwest::Client::new().get(url).header("x-api-key", KEY).send().await.unwrap();
        let stream = stream.text().await.unwrap();
        let piece = stream.rsplit("\n\n").find(|event| event.contains("\"text\""));
        piece.unwrap().lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
    }

    fn runs(&self) -> usize {
        self.xpert.calls().len()
    }
}

/// The turn of a person who pressed a button of the turn before.
fn decision(kind: ActionKind, run: &str) -> TurnRequest {
    TurnRequest { action: Some(kind), resumed_run: Some(run.to_owned()), ..turn("") }
}

/// The same turn tried again, with what is on record of the first try.
fn again(turn: &TurnRequest, run: Option<&str>) -> TurnRequest {
    TurnRequest { attempt: 2, is_repeat: true, run: run.map(ToOwned::to_owned), ..turn.clone() }
}

fn class(failure: &Failure) -> (FailureClass, Reason) {
    (failure.class, failure.reason)
}

#[tokio::test]
async fn a_turn_is_a_run_whose_name_is_recorded_and_whose_text_is_the_answer() {
    let bench = Bench::start(config()).await;
    let asked = bench.ask(&turn("hello there")).await;
    let calls = bench.xpert.calls();
    assert_eq!(asked.1, [calls[0].run.clone()]);
    assert_eq!(answer(asked).text, "You said: hello there");
    assert_eq!(calls[0].thread, turn("").session.thread_id);
    assert_eq!(calls[0].body["assistant_id"], "expert-1");
}

#[tokio::test]
async fn events_of_every_other_shape_say_nothing_but_text() {
    let bench = Bench::start(config()).await;
    let answer = answer(bench.ask(&turn("samples")).await);
    assert_eq!((answer.text.as_str(), answer.interrupt), ("plain text\n\nYou said: samples", None));
}

#[tokio::test]
async fn an_interrupt_is_confirmed_or_rejected_and_the_old_text_is_not_said_again() {
    let table = [
        (ActionKind::Confirm, "Confirmed, and done. · 已确认。"),
        (ActionKind::Reject, "Rejected, nothing was done. · 已拒绝。"),
    ];
    for (kind, expected) in table {
        let bench = Bench::start(config()).await;
        let run = bench.interrupted().await;
        let decided = answer(bench.ask(&decision(kind, &run)).await);
        assert_eq!((decided.text.as_str(), decided.interrupt), (expected, None));
        assert_eq!(bench.states().await, ["success"], "the run went on, none was begun");
    }
}

#[tokio::test]
async fn a_run_that_fails_is_worth_another_attempt_which_asks_anew() {
    let bench = Bench::start(config()).await;
    let first = turn("fail please");
    let (outcome, runs) = bench.ask(&first).await;
    let failed = outcome.unwrap_err();
    assert_eq!(class(&failed), (NOW, Reason::RuntimeExhausted));
    assert!(failed.detail.expose().contains("failed on request"), "{}", failed.detail.expose());
    let (_, second) = bench.ask(&again(&first, Some(&runs[0]))).await;
    assert_eq!(bench.runs(), 2);
    assert_ne!(second[0], runs[0]);
}

#[tokio::test]
async fn refusals_have_their_class_and_retry_after_is_honoured() {
    let bench = Bench::start(config()).await;
    let after = FailureClass::Retryable { after: Some(Duration::from_secs(9)) };
    let table = [
        (400, None, (FailureClass::Permanent, Reason::RuntimePermanent)),
        (401, None, (FailureClass::Permanent, Reason::RuntimePermanent)),
        (409, None, (NOW, Reason::RuntimeExhausted)),
        (429, Some(9), (after, Reason::RuntimeExhausted)),
        (503, None, (NOW, Reason::RuntimeExhausted)),
    ];
    for (status, retry_after, expected) in table {
        bench.xpert.fault(Fault::Status { status, retry_after });
        assert_eq!(class(&failure(bench.ask(&turn("hello")).await)), expected, "{status}");
    }
    let refused = failure(bench.ask(&turn("refuse this")).await);
    assert_eq!(refused.class, FailureClass::Permanent);
    assert!(!refused.detail.expose().contains(KEY));
}

#[tokio::test]
async fn cancelling_a_turn_cancels_its_run_at_the_server() {
    let bench = Bench::start(config()).await;
    let cancel = CancellationToken::new();
    let stop = |_: &str| {
        cancel.cancel();
        true
    };
    let asked = bench.caller.ask_until(&bench.kind, &turn("hang"), &cancel, stop).await;
    assert_eq!(asked.0, Ok(Outcome::Cancelled));
    assert_eq!(answer(bench.ask(&turn("hello")).await).text, "You said: hello");
    assert_eq!(bench.states().await, ["success", "interrupted"]);
}

#[tokio::test]
async fn a_run_without_end_is_given_up_after_the_total_time_and_cancelled() {
    // Long enough for the run to begin.
    let total_timeout = Duration::from_secs(3);
    let bench = Bench::start(Config { total_timeout, ..impatient() }).await;
    let started = Instant::now();
    let asked = failure(bench.ask(&turn("hang")).await);
    assert_eq!(class(&asked), (NOW, Reason::RuntimeTimeout));
    assert!(started.elapsed() >= total_timeout);
    assert!(
        started.elapsed() > impatient().idle_timeout,
        "silence alone does not end a run that works"
    );
    assert_eq!(answer(bench.ask(&turn("hello")).await).text, "You said: hello");
    assert_eq!(bench.states().await, ["success", "interrupted"]);
}

#[tokio::test]
async fn a_server_that_goes_away_is_given_up_after_the_idle_time() {
    let bench = Bench::start(impatient()).await;
    let stop = |_: &str| {
        bench.xpert.stop();
        true
    };
    let started = Instant::now();
    let never = CancellationToken::new();
    let asked = bench.caller.ask_until(&bench.kind, &turn("hang"), &never, stop).await;
    assert_eq!(class(&failure(asked)), (NOW, Reason::RuntimeExhausted));
    assert!(started.elapsed() >= impatient().idle_timeout);
    assert!(started.elapsed() < impatient().total_timeout);
}

#[tokio::test]
async fn a_call_that_gets_no_answer_is_given_up_after_its_own_time() {
    let bench = Bench::start(impatient()).await;
    bench.xpert.fault(Fault::Hang);
    let started = Instant::now();
    assert_eq!(class(&failure(bench.ask(&turn("hello")).await)), (NOW, Reason::RuntimeTimeout));
    assert!(started.elapsed() < impatient().total_timeout);
    assert_eq!(bench.runs(), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_cut_with_a_notice_and_counted() {
    let bench = Bench::start(Config { answer_max_bytes: 1000, ..config() }).await;
    let answer = answer(bench.ask(&turn("long 5000")).await);
    assert!(answer.text.len() <= 1000 && answer.text.ends_with("the rest is not shown.)"));
    assert_eq!(bench.caller.cuts(), 1);
}
