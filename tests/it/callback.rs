//! Callback runtimes over real sockets: what each way to answer, or not to, does to a turn.

use std::convert::Infallible;
use std::net::TcpListener;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use dingtalk_trigger::context::Clock;
use dingtalk_trigger::domain::answer::{Answer, Failure, FailureClass, Interrupt};
use dingtalk_trigger::domain::binding::RuntimeKind;
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::io::runtime::{Config, Outcome};
use dingtalk_trigger::sim::expert::{Expert, Next};
use futures_util::stream::{StreamExt, iter, pending, repeat};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::runtime::{Caller, SECRET, TURN, answer, config, failure, impatient, turn};
use crate::support::wait::wait_until;

const NOW: FailureClass = FailureClass::Retryable { after: None };
const LIMIT: Duration = Duration::from_secs(30);

async fn expert(caller: &Caller) -> (Expert, RuntimeKind) {
    let expert = Expert::start(&caller.context, "127.0.0.1:0", Secret::new(SECRET)).await;
    let expert = expert.expect("a free port");
    let kind = kind(expert.url().to_owned());
    (expert, kind)
}

fn kind(url: String) -> RuntimeKind {
    RuntimeKind::Callback { url, secret: Secret::new(SECRET) }
}

/// A runtime that gives every turn the same response.
async fn fixed(caller: &Caller, response: fn() -> Response) -> RuntimeKind {
    let app = Router::new().route("/turn", post(move || async move { response() }));
    kind(caller.serve(app).await)
}

fn stream(body: Body) -> Response {
    ([("content-type", "text/event-stream; charset=utf-8")], body).into_response()
}

fn class(failure: &Failure) -> (FailureClass, Reason) {
    (failure.class, failure.reason)
}

#[tokio::test]
async fn a_turn_is_signed_and_named_and_its_json_answer_is_read() {
    let caller = Caller::new(config());
    let (expert, kind) = expert(&caller).await;
    expert.next(Next::Json(json!({ "text": "hi", "mood": 1, "interrupt": { "title": "Pay?" } })));
    let interrupt = Some(Interrupt { title: "Pay?".into(), text: String::new() });
    let expected = Answer { text: "hi".into(), interrupt };
    assert_eq!(answer(caller.ask(&kind, &turn("hello")).await), expected);
    let calls = expert.calls();
    assert!(calls[0].is_signed);
    assert_eq!((calls[0].webhook_id.as_str(), &calls[0].body["turnId"]), (TURN, &json!(TURN)));
}

#[tokio::test]
async fn deltas_are_joined_and_an_interrupt_comes_with_their_end() {
    let caller = Caller::new(config());
    let (_expert, kind) = expert(&caller).await;
    let answer = answer(caller.ask(&kind, &turn("confirm it")).await);
    assert_eq!(answer.text, "You said: confirm it");
    assert_eq!(answer.interrupt.map(|interrupt| interrupt.text).as_deref(), Some("confirm it"));
}

#[tokio::test]
async fn a_runtime_may_accept_a_turn_and_answer_later() {
    let caller = Caller::new(config());
    let (expert, kind) = expert(&caller).await;
    expert.next(Next::Status { status: 202, retry_after: None, body: "later".into() });
    assert_eq!(caller.ask(&kind, &turn("hello")).await.0, Ok(Outcome::Accepted));
}

#[tokio::test]
async fn refusals_are_permanent_and_trouble_is_worth_another_attempt() {
    let caller = Caller::new(config());
    let (expert, kind) = expert(&caller).await;
    for status in [400, 401, 403, 404, 410, 413, 422] {
        expert.next(Next::Status { status, retry_after: None, body: "no\n  way".into() });
        let failure = failure(caller.ask(&kind, &turn("hello")).await);
        let expected = (FailureClass::Permanent, Reason::RuntimePermanent);
        assert_eq!(class(&failure), expected, "{status}");
        assert!(
            failure.detail.expose().contains(&format!("{status}: no way")),
            "{}",
            failure.detail.expose()
        );
    }
    for status in [302, 304, 408, 409, 425, 429, 500, 502, 503, 504] {
        expert.next(Next::Status { status, retry_after: None, body: String::new() });
        let failure = failure(caller.ask(&kind, &turn("hello")).await);
        assert_eq!(class(&failure), (NOW, Reason::RuntimeExhausted), "{status}");
    }
    assert_eq!(expert.calls().len(), 17, "nothing is tried twice here, and no redirect followed");
}

#[tokio::test]
async fn retry_after_is_honoured_as_seconds_and_as_a_date() {
    let caller = Caller::new(config());
    let (expert, kind) = expert(&caller).await;
    expert.next(Next::Status { status: 429, retry_after: Some(7), body: String::new() });
    let told = failure(caller.ask(&kind, &turn("hello")).await);
    assert_eq!(told.class, FailureClass::Retryable { after: Some(Duration::from_secs(7)) });
    let dated = fixed(&caller, || {
        let in_a_minute = Clock::system().now().0 / 1000 + 60;
        let date = OffsetDateTime::from_unix_timestamp(in_a_minute).unwrap();
        let date = date.format(&Rfc2822).unwrap().replace("+0000", "GMT");
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", date)]).into_response()
    });
    let FailureClass::Retryable { after: Some(after) } =
        failure(caller.ask(&dated.await, &turn("hello")).await).class
    else {
        panic!("no wait was read from the date");
    };
    assert!((30..=60).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure_and_never_an_empty_text() {
    let caller = Caller::new(config());
    let table: [fn() -> Response; 6] = [
        || "<html>".into_response(),
        || "{}".into_response(),
        || "".into_response(),
        || stream("data: {\"delta\":\"half\"}\n\n".into()),
        || stream("data: {\"delta\":\"half\"}\n\ndata: oops\n\n".into()),
        || stream("".into()),
    ];
    for (index, response) in table.into_iter().enumerate() {
        let kind = fixed(&caller, response).await;
        let failure = failure(caller.ask(&kind, &turn("hello")).await);
        assert_eq!(class(&failure), (NOW, Reason::RuntimeExhausted), "case {index}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_without_the_keys_that_stand_in_it() {
    const KEY: &str = "sk-1234567890abcdef";
    let caller = Caller::new(config());
    let table: [fn() -> Response; 4] = [
        || format!(r#"{{"text":"ok","interrupt":"Bearer {KEY}"}}"#).into_response(),
        || format!(r#""Bearer {KEY}""#).into_response(),
        || stream(format!("data: {{\"delta\":\"a\",\"interrupt\":\"Bearer {KEY}\"}}\n\n").into()),
        || stream(format!("data: \"Bearer {KEY}\"\n\n").into()),
    ];
    for (index, response) in table.into_iter().enumerate() {
        let kind = fixed(&caller, response).await;
        let failure = failure(caller.ask(&kind, &turn("hello")).await);
        assert_eq!(class(&failure), (NOW, Reason::RuntimeExhausted), "case {index}");
        assert!(
            failure.detail.expose().contains("other fields or types"),
            "{}",
            failure.detail.expose()
        );
        assert!(!failure.detail.expose().contains(KEY), "{}", failure.detail.expose());
    }
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_is_a_failure_worth_another_attempt() {
    let caller = Caller::new(config());
    let (_expert, kind) = expert(&caller).await;
    let cut = failure(caller.ask(&kind, &turn("cut it")).await);
    assert_eq!(class(&cut), (NOW, Reason::RuntimeExhausted));
    assert!(cut.detail.expose().contains("broke"), "{}", cut.detail.expose());
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_worth_another_attempt_and_its_address_is_not_told() {
    let caller = Caller::new(config());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kind = kind(format!("http://{closed}/turn?key=hidden"));
    let failure = failure(caller.ask(&kind, &turn("hello")).await);
    assert_eq!(class(&failure), (NOW, Reason::RuntimeExhausted));
    assert!(!failure.detail.expose().contains("hidden"), "{}", failure.detail.expose());
}

#[tokio::test]
async fn a_runtime_that_falls_silent_is_given_up_after_the_idle_time() {
    let caller = Caller::new(impatient());
    let (_expert, kind) = expert(&caller).await;
    let silent_json: fn() -> Response = || {
        let begin = iter([Ok::<_, Infallible>(Bytes::from_static(b"{\"text\":"))]);
        Body::from_stream(begin.chain(pending())).into_response()
    };
    for kind in [kind, fixed(&caller, silent_json).await] {
        let started = Instant::now();
        let failure = failure(caller.ask(&kind, &turn("hang")).await);
        assert_eq!(class(&failure), (NOW, Reason::RuntimeTimeout));
        assert!(started.elapsed() >= impatient().idle_timeout);
        assert!(started.elapsed() < impatient().total_timeout);
    }
}

#[tokio::test]
async fn a_runtime_that_never_ends_is_given_up_after_the_total_time() {
    let total_timeout = Duration::from_millis(600);
    let caller = |config| Caller::new(Config { total_timeout, ..config });
    let drops: fn() -> Response = || {
        let drop = Bytes::from_static(b"data: {\"delta\":\".\"}\n\n");
        let drops = repeat(drop).then(async |drop| {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok::<_, Infallible>(drop)
        });
        stream(Body::from_stream(drops))
    };
    let (patient, impatient) = (caller(config()), caller(impatient()));
    let thinks = Router::new().route("/turn", post(std::future::pending::<Response>));
    let drops = fixed(&patient, drops).await;
    let thinks = kind(impatient.serve(thinks).await);
    for (caller, kind) in [(patient, drops), (impatient, thinks)] {
        let started = Instant::now();
        let failure = failure(caller.ask(&kind, &turn("hello")).await);
        assert_eq!(class(&failure), (NOW, Reason::RuntimeTimeout));
        assert!(
            started.elapsed() >= total_timeout,
            "a first byte may take longer than the idle time"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_cut_with_a_notice_and_counted() {
    let caller = Caller::new(Config { answer_max_bytes: 1000, ..config() });
    let (expert, kind) = expert(&caller).await;
    expert.next(Next::Json(json!({ "text": "好".repeat(1000) })));
    for (text, cuts) in [("hello", 1), ("long 5000", 2)] {
        let answer = answer(caller.ask(&kind, &turn(text)).await);
        assert!(answer.text.len() <= 1000, "{} bytes", answer.text.len());
        assert!(answer.text.ends_with("the rest is not shown.)"), "{}", answer.text);
        assert_eq!(caller.cuts(), cuts);
    }
    let short = answer(caller.ask(&kind, &turn("hello")).await);
    assert_eq!((short.text.as_str(), caller.cuts()), ("You said: hello", 2));
}

#[tokio::test]
async fn a_response_without_measure_is_not_read_to_its_end() {
    let caller = Caller::new(Config { answer_max_bytes: 1000, ..config() });
    let endless = fixed(&caller, || {
        let bytes = Bytes::from(vec![b' '; 64 * 1024]);
        Body::from_stream(repeat(bytes).map(Ok::<_, Infallible>)).into_response()
    });
    let failure = failure(caller.ask(&endless.await, &turn("hello")).await);
    assert_eq!(class(&failure), (FailureClass::Permanent, Reason::Limit));
    assert_eq!(caller.cuts(), 1);
    let line = fixed(&caller, || {
        let bytes = Bytes::from(vec![b'x'; 64 * 1024]);
        stream(Body::from_stream(repeat(bytes).map(Ok::<_, Infallible>)))
    });
    let failure = crate::runtime::failure(caller.ask(&line.await, &turn("hello")).await);
    assert_eq!(class(&failure), (NOW, Reason::RuntimeExhausted));
}

#[tokio::test]
async fn cancelling_closes_the_connection_which_is_how_the_runtime_learns_of_it() {
    let caller = Caller::new(config());
    let (begun, closed) = (CancellationToken::new(), CancellationToken::new());
    let respond = {
        let (begun, closed) = (begun.clone(), closed.clone());
        move || async move {
            let at_the_end = closed.drop_guard();
            begun.cancel();
            let body = pending::<Result<Bytes, Infallible>>().map(move |item| {
                let _is_open = &at_the_end;
                item
            });
            stream(Body::from_stream(body))
        }
    };
    let kind = kind(caller.serve(Router::new().route("/turn", post(respond))).await);
    let (outcome, _) = caller.ask_until(&kind, &turn("hello"), &begun, |_| true).await;
    assert_eq!(outcome, Ok(Outcome::Cancelled));
    wait_until("the runtime sees the end", LIMIT, async || closed.is_cancelled()).await;
}
