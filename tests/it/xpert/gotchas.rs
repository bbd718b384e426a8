//! What Xpert's API is known to do to its clients, each as a test of ours.

use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use dingtalk_trigger::domain::answer::FailureClass;
use dingtalk_trigger::domain::binding::RuntimeKind;
use dingtalk_trigger::domain::entry::ActionKind;
use dingtalk_trigger::domain::id::ExpertId;
use dingtalk_trigger::domain::invocation::TurnRequest;
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::io::runtime::Outcome;
use dingtalk_trigger::sim::xpert::fault::Fault;
use futures_util::future::join_all;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Bench, KEY, NOW, again, class, decision};
use crate::runtime::{Caller, answer, config, failure, impatient, turn};
use crate::support::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_lost_answer_to_a_create_makes_the_next_attempt_look_for_the_run() {
    let bench = Bench::start(config()).await;
    bench.xpert.fault(Fault::LostCreate);
    let first = turn("hello");
    let (outcome, runs) = bench.ask(&first).await;
    assert_eq!(class(&outcome.unwrap_err()), (NOW, Reason::RuntimeExhausted));
    assert!(runs.is_empty(), "nobody knows its name");
    let (outcome, runs) = bench.ask(&again(&first, None)).await;
    assert_eq!(runs, [bench.xpert.calls()[0].run.clone()]);
    assert_eq!(answer((outcome, runs)).text, "You said: hello");
    assert_eq!(bench.runs(), 1);
}

#[tokio::test]
async fn a_run_whose_name_was_lost_is_looked_for_behind_one_that_failed_too() {
    let bench = Bench::start(config()).await;
    bench.xpert.fault(Fault::ErrorEvent);
    let first = turn("slow 2");
    let (outcome, runs) = bench.ask(&first).await;
    assert_eq!(class(&outcome.unwrap_err()), (NOW, Reason::RuntimeExhausted));
    bench.xpert.fault(Fault::LostCreate);
    let again = again(&first, Some(&runs[0]));
    assert_eq!(class(&failure(bench.ask(&again).await)), (NOW, Reason::RuntimeExhausted));
    assert_eq!(answer(bench.ask(&again).await).text, "You said: slow 2");
    assert_eq!((bench.runs(), bench.xpert.overlaps()), (2, 0));
}

#[tokio::test]
async fn a_run_that_works_on_behind_an_error_gets_no_second_one_beside_it() {
    let bench = Bench::start(config()).await;
    let first = turn("slow 2");
    bench.xpert.fault(Fault::ErrorAfterAccept);
    let (outcome, runs) = bench.ask(&first).await;
    assert_eq!(class(&outcome.unwrap_err()), (NOW, Reason::RuntimeExhausted));
    let again = again(&first, Some(&runs[0]));
    bench.xpert.fault(Fault::ErrorAfterAccept);
    assert_eq!(class(&failure(bench.ask(&again).await)), (NOW, Reason::RuntimeExhausted));
    assert_eq!(answer(bench.ask(&again).await).text, "You said: slow 2");
    assert_eq!((bench.runs(), bench.xpert.overlaps()), (1, 0));
}

#[tokio::test]
async fn a_decision_whose_run_fails_is_not_asked_anew_without_a_word() {
    let bench = Bench::start(config()).await;
    let run = bench.interrupted().await;
    let confirm = decision(ActionKind::Confirm, &run);
    bench.xpert.fault(Fault::ErrorEvent);
    let (outcome, names) = bench.ask(&confirm).await;
    assert_eq!(class(&outcome.unwrap_err()), (NOW, Reason::RuntimeExhausted));
    let late = failure(bench.ask(&again(&confirm, Some(&names[0]))).await);
    assert_eq!(class(&late), (FailureClass::Permanent, Reason::RuntimePermanent));
    assert_eq!(bench.runs(), 2, "the question and the decision");
}

#[tokio::test]
async fn a_run_that_is_being_made_when_nobody_waits_any_more_is_cancelled_as_well() {
    let bench = Bench::start(config()).await;
    bench.xpert.fault(Fault::SlowCreate { ms: 500 });
    let cancel = CancellationToken::new();
    let stop = async {
        wait_until("the run is asked for", LIMIT, async || bench.xpert.faults() == 0).await;
        cancel.cancel();
    };
    let hang = turn("hang");
    let asked = bench.caller.ask_until(&bench.kind, &hang, &cancel, |_| true);
    let (asked, ()) = tokio::join!(asked, stop);
    assert_eq!(asked.0, Ok(Outcome::Cancelled));
    assert!(bench.xpert.called(1, LIMIT).await, "it began all the same");
    wait_until("no run works", LIMIT, async || bench.xpert.working().is_empty()).await;
    assert_eq!(bench.xpert.cancelled(), [bench.xpert.calls()[0].run.clone()]);
}

#[tokio::test]
async fn a_run_of_an_earlier_turn_is_not_taken_for_that_of_a_later_one() {
    let bench = Bench::start(config()).await;
    answer(bench.ask(&turn("first")).await);
    let second = again(&turn("second"), None);
    assert_eq!(answer(bench.ask(&second).await).text, "You said: second");
    assert_eq!(bench.runs(), 2);
}

#[tokio::test]
async fn runs_are_told_apart_by_the_server_s_own_clock() {
    let try_at = async |ahead_ms: i64| {
        let bench = Bench::start(config()).await;
        bench.xpert.set_ahead_ms(ahead_ms);
        answer(bench.ask(&turn("first")).await);
        // Nothing came of it: the earlier turn's run is not this one's.
        let second = again(&turn("second"), None);
        assert_eq!(answer(bench.ask(&second).await).text, "You said: second", "{ahead_ms}");
        // The run is there, and only its name was lost.
        bench.xpert.fault(Fault::LostCreate);
        let third = turn("third");
        failure(bench.ask(&third).await);
        assert_eq!(answer(bench.ask(&again(&third, None)).await).text, "You said: third");
        assert_eq!(bench.runs(), 3, "{ahead_ms}: none of them is asked twice");
    };
    join_all([0, 400, -400, 90_000, -90_000, 3_600_000].map(try_at)).await;
}

#[tokio::test]
async fn b_a_decision_whose_caller_died_is_joined_behind_the_old_end_and_not_posted_twice() {
    let bench = Bench::start(config()).await;
    let run = bench.interrupted().await;
    let confirm = decision(ActionKind::Confirm, &run);
    // Posted: the caller was there until the run had its decision.
    let decided = bench.ask(&confirm).await;
    let name = decided.1[0].clone();
    assert!(name.starts_with(&format!("{run}#")), "{name} names where to go on");
    let joined = answer(bench.ask(&again(&confirm, Some(&name))).await);
    assert_eq!(joined, answer(decided));
    assert_eq!(bench.runs(), 2, "a question and a decision");
}

#[tokio::test]
async fn b_a_decision_that_was_recorded_and_not_posted_is_posted_by_the_next_attempt() {
    let bench = Bench::start(config()).await;
    let run = bench.interrupted().await;
    let confirm = decision(ActionKind::Confirm, &run);
    let never = CancellationToken::new();
    let lost = bench.caller.ask_until(&bench.kind, &confirm, &never, |_| false).await;
    assert_eq!(bench.runs(), 1, "nothing is decided before it is on record");
    let name = lost.1[0].clone();
    assert_eq!(class(&failure(lost)), (NOW, Reason::RuntimeExhausted));
    let decided = answer(bench.ask(&again(&confirm, Some(&name))).await);
    assert!(decided.text.starts_with("Confirmed"), "{}", decided.text);
    assert_eq!(bench.runs(), 2);
}

#[tokio::test]
async fn b_a_decision_that_comes_after_another_is_refused_for_good() {
    let bench = Bench::start(config()).await;
    let run = bench.interrupted().await;
    let confirmed = bench.ask(&decision(ActionKind::Confirm, &run)).await;
    // The name of a resumed run carries a position, which is not part of the run's own name.
    let late = failure(bench.ask(&decision(ActionKind::Reject, &confirmed.1[0])).await);
    assert_eq!(class(&late), (FailureClass::Permanent, Reason::RuntimePermanent));
}

#[tokio::test]
async fn c_a_thread_without_a_checkpoint_is_not_asked_for() {
    let bench = Bench::start(config()).await;
    bench.xpert.fault(Fault::NoCheckpoint);
    assert_eq!(answer(bench.ask(&turn("hello")).await).text, "You said: hello");
}

#[tokio::test]
async fn d_a_busy_thread_gets_no_second_run_of_the_same_turn() {
    let bench = Bench::start(config()).await;
    let first = turn("slow 1");
    let name = bench.ask_and_die(&first).await;
    assert_eq!(bench.states().await, ["running"]);
    // Whether its name was still recorded or not.
    let (recorded, unknown) = (again(&first, Some(&name)), again(&first, None));
    let (one, other) = tokio::join!(bench.ask(&recorded), bench.ask(&unknown));
    assert_eq!((one.1.len(), other.1.as_slice()), (0, [name].as_slice()));
    assert_eq!((answer(one).text.as_str(), bench.runs()), ("You said: slow 1", 1));
    assert_eq!((answer(other).text.as_str(), bench.xpert.overlaps()), ("You said: slow 1", 0));
}

#[tokio::test]
async fn e_where_the_end_is_missing_the_state_of_the_run_decides() {
    let bench = Bench::start(impatient()).await;
    bench.xpert.fault(Fault::EndMissing);
    assert_eq!(answer(bench.ask(&turn("hello")).await).text, "You said: hello");
    assert_eq!(bench.runs(), 1);
}

#[tokio::test]
async fn f_a_thread_belongs_to_one_expert() {
    let bench = Bench::start(config()).await;
    bench.xpert.fault(Fault::WrongAssistant);
    let refused = (FailureClass::Permanent, Reason::RuntimePermanent);
    assert_eq!(class(&failure(bench.ask(&turn("hello")).await)), refused);
    answer(bench.ask(&turn("hello")).await);
    let other = TurnRequest { expert: ExpertId::parse("expert-2").unwrap(), ..turn("hello") };
    assert_eq!(class(&failure(bench.ask(&other).await)), refused);
}

#[tokio::test]
async fn g_an_error_in_an_accepted_stream_is_a_failure_and_the_next_attempt_joins_the_run() {
    let bench = Bench::start(config()).await;
    bench.xpert.fault(Fault::ErrorAfterAccept);
    let first = turn("hello");
    let (outcome, runs) = bench.ask(&first).await;
    let failed = outcome.unwrap_err();
    assert_eq!(class(&failed), (NOW, Reason::RuntimeExhausted));
    assert!(failed.detail.expose().contains("failed on request"), "{}", failed.detail.expose());
    assert_eq!(answer(bench.ask(&again(&first, Some(&runs[0]))).await).text, "You said: hello");
    assert_eq!(bench.runs(), 1);
}

#[tokio::test]
async fn h_a_thread_is_made_before_its_first_run_and_an_unknown_one_is_worth_another_attempt() {
    let bench = Bench::start(config()).await;
    bench.xpert.fault(Fault::UnknownThread);
    let first = turn("hello");
    assert_eq!(class(&failure(bench.ask(&first).await)), (NOW, Reason::RuntimeExhausted));
    assert_eq!(answer(bench.ask(&again(&first, None)).await).text, "You said: hello");
    assert_eq!(bench.runs(), 1);
}

#[tokio::test]
async fn a_cut_stream_is_joined_after_the_last_event_wherever_it_was_cut() {
    // Three events come before the first of four pieces, four after the last.
    let cut = async |after: usize| {
        let bench = Bench::start(config()).await;
        bench.xpert.fault(Fault::CutStream { after });
        let asked = answer(bench.ask(&turn("hello there, how are you")).await);
        assert_eq!(asked.text, "You said: hello there, how are you", "cut after {after}");
        assert_eq!(bench.runs(), 1);
    };
    join_all([0, 3, 5, 7, 8, 9, 10].map(cut)).await;
}

#[tokio::test]
async fn the_last_message_is_the_answer_where_the_stream_has_lost_it() {
    let bench = Bench::start(config()).await;
    let first = turn("hello");
    let (_, runs) = bench.ask(&first).await;
    let last = bench.last_piece(&runs[0]).await;
    let late = again(&first, Some(&format!("{}#{last}", runs[0])));
    assert_eq!(answer(bench.ask(&late).await).text, "You said: hello");
}

#[tokio::test]
async fn a_run_that_is_joined_late_is_answered_whole_though_its_stream_has_lost_its_beginning() {
    // Three events come before the first of four pieces, four after the last.
    let join = async |text: &str, events: usize| {
        let bench = Bench::start(config()).await;
        let first = turn(text);
        let name = bench.ask_and_die(&first).await;
        for recorded in [Some(name.as_str()), None] {
            bench.xpert.fault(Fault::Trimmed { events });
            let joined = answer(bench.ask(&again(&first, recorded)).await);
            let said = format!("You said: {text}");
            assert_eq!((joined.text, bench.runs()), (said, 1), "without {events}");
            assert_eq!(joined.interrupt.is_some(), text.starts_with("confirm"));
        }
    };
    let all = |text| [1, 3, 4, 5, 7, 9].map(|events| join(text, events));
    join_all(all("hello there").into_iter().chain(all("confirm it"))).await;
}

#[tokio::test]
async fn an_error_among_the_events_is_a_failure_and_the_next_attempt_asks_anew() {
    let bench = Bench::start(config()).await;
    bench.xpert.fault(Fault::ErrorEvent);
    let first = turn("hello");
    let (outcome, runs) = bench.ask(&first).await;
    let failed = outcome.unwrap_err();
    assert_eq!(class(&failed), (NOW, Reason::RuntimeExhausted));
    assert_eq!(failed.detail.expose(), "the run failed: failed on request");
    assert_eq!(answer(bench.ask(&again(&first, Some(&runs[0]))).await).text, "You said: hello");
    assert_eq!(bench.runs(), 2);
}

#[derive(Deserialize)]
struct Page {
    limit: usize,
    offset: usize,
}

#[tokio::test]
async fn the_last_of_many_messages_is_the_answer_where_nothing_is_left_of_the_stream() {
    const RUN: &str = r#"{"run_id":"r","status":"success","created_at":"2026-01-01T00:00:00Z"}"#;
    let messages = |State(()): State<()>, Query(page): Query<Page>| async move {
        let item = |number| serde_json::json!({ "role": "ai", "content": format!("no. {number}") });
        let items: Vec<_> = (0..70).map(item).skip(page.offset).take(page.limit).collect();
        serde_json::json!({ "items": items, "total": 70 }).to_string()
    };
    let thread = turn("").session.thread_id;
    let app = Router::new()
        .route(&format!("/api/ai/threads/{thread}"), get(|| async { r#"{"metadata":{"id":"c"}}"# }))
        .route("/api/ai/threads", post(|| async { (StatusCode::CREATED, "{}") }))
        .route(&format!("/api/ai/threads/{thread}/runs/r"), get(|| async { RUN }))
        .route(
            &format!("/api/ai/threads/{thread}/runs/r/stream"),
            get(|| async { ([("content-type", "text/event-stream")], "\n").into_response() }),
        )
        .route("/api/ai/conversations/c/messages", get(messages));
    let caller = Caller::new(config());
    let url = caller.serve(app).await;
    let base_url = url.trim_end_matches("/turn").to_owned();
    let kind = RuntimeKind::Xpert { base_url, api_key: Secret::new(KEY), organization_id: None };
    let late = again(&turn("hello"), Some("r"));
    assert_eq!(answer(caller.ask(&kind, &late).await).text, "no. 69");
}
