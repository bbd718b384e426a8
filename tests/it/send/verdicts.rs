//! What DingTalk's answers, and their absence, mean for a message that was sent.

use std::net::TcpListener;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use dingtalk_trigger::domain::entry::Origin;
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::io::dingtalk::failure::SendClass;
use dingtalk_trigger::io::governor::Api;
use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::record::Kind;
use futures_util::future::join_all;
use serde_json::json;

use super::{Bench, done, told};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_complaint_about_the_rate_halves_it_and_says_when_to_come_again() {
    let bench = Bench::start().await;
    let direct = Origin { webhook: None, ..bench.alone() };
    let group = Origin { webhook: None, ..bench.grouped() };
    // Only the webhook is open.
    let mut alone = bench.alone();
    alone.sender.staff_id = None;
    let table = [
        (Fault::preset("oto", "qps"), &direct, Api::Direct, SECOND),
        (Fault::preset("group", "tooMany"), &group, Api::Group, SECOND),
        (Fault::preset("webhook", "tooFast"), &alone, Api::Webhook, 10 * SECOND),
    ];
    for (fault, origin, api, after) in table {
        let name = format!("{fault:?}");
        bench.sim.fault(fault);
        let failed = bench.send(origin).await.unwrap_err();
        assert_eq!(failed.class, SendClass::Retryable { after: Some(after) }, "{name}");
        assert!(!failed.is_ambiguous, "{name}");
        assert_eq!(bench.slowed(api).await, (500, after.min(2 * SECOND)), "{name}");
    }
    assert!(bench.seen().is_empty());
}

#[tokio::test]
async fn retry_after_is_honoured_and_holds_the_app_back_for_two_seconds_at_most() {
    let too_many =
        || async { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response() };
    let app = Router::new()
        .route(
            "/v1.0/oauth2/accessToken",
            post(|| async { r#"{"accessToken":"t","expireIn":7200}"# }),
        )
        .route("/v1.0/robot/oToMessages/batchSend", post(too_many));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let bench = Bench::with(|_| api.clone()).await;
    drop(bench.context.spawn(async move { axum::serve(listener, app).await }));
    let failed = bench.send(&Origin { webhook: None, ..bench.alone() }).await.unwrap_err();
    assert_eq!(failed.class, SendClass::Retryable { after: Some(7 * SECOND) });
    assert_eq!(bench.slowed(Api::Direct).await, (500, 2 * SECOND));
}

#[tokio::test]
async fn a_person_who_is_flow_controlled_or_unknown_was_not_reached_in_spite_of_the_200() {
    let bench = Bench::start().await;
    let origin = Origin { webhook: None, ..bench.alone() };
    let url = format!("{}/sim/people", bench.sim.url());
    let people = async |people: serde_json::Value| {
        let answer = reqwest::Client::new().post(&url).json(&people).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    };
    people(json!({ "flowControlled": ["alice"] })).await;
    let failed = bench.send(&origin).await.unwrap_err();
    assert_eq!(failed.class, SendClass::Retryable { after: Some(SECOND) });
    people(json!({ "invalid": ["alice"] })).await;
    let failed = bench.send(&origin).await.unwrap_err();
    assert_eq!((failed.class, failed.reason), (SendClass::Permanent, Reason::ReplyPermanent));
    assert!(bench.seen().is_empty());
    people(json!({})).await;
    bench.send(&origin).await.unwrap();
    assert_eq!(bench.seen(), [("oto".to_owned(), "hello".to_owned())]);
}

#[tokio::test]
async fn what_was_written_and_not_answered_may_have_been_delivered() {
    let bench = Bench::start().await;
    let answer = |status, body| Outcome::AcceptThenAnswer { status, body };
    let table = [
        (Outcome::Reset, 0),
        (Outcome::AcceptThenReset, 1),
        (answer(504, json!({ "code": "service.timeout" })), 1),
        (answer(500, json!({ "code": "system.error" })), 1),
        (answer(502, json!("<html>bad gateway</html>")), 1),
        (answer(200, json!("<html>a page</html>")), 1),
    ];
    for (outcome, replies) in table {
        for (api, origin) in [
            ("webhook", bench.alone()),
            ("oto", Origin { webhook: None, ..bench.alone() }),
            ("group", Origin { webhook: None, ..bench.grouped() }),
        ] {
            let before = bench.seen().len();
            bench.sim.fault(Fault::new(api, outcome.clone()));
            let failed = bench.send(&origin).await.unwrap_err();
            let expected = (SendClass::Retryable { after: None }, true);
            assert_eq!((failed.class, failed.is_ambiguous), expected, "{api} {outcome:?}");
            assert!(!failed.detail.expose().contains("session="), "{}", failed.detail.expose());
            assert_eq!(bench.seen().len() - before, replies, "{api} {outcome:?}: once at most");
        }
    }
}

#[tokio::test]
async fn what_is_not_answered_in_time_may_have_been_delivered() {
    let bench = Bench::patient(3 * SECOND, str::to_owned).await;
    let calls = [
        ("webhook", bench.alone()),
        ("oto", Origin { webhook: None, ..bench.alone() }),
        ("group", Origin { webhook: None, ..bench.grouped() }),
    ];
    for (outcome, replies) in [(Outcome::Hang, 0), (Outcome::AcceptThenHang, calls.len())] {
        let sends = calls.iter().map(async |(api, origin)| {
            bench.sim.fault(Fault::new(api, outcome.clone()));
            let failed = bench.send(origin).await.unwrap_err();
            let expected = (SendClass::Retryable { after: None }, true);
            assert_eq!((failed.class, failed.is_ambiguous), expected, "{api} {outcome:?}");
        });
        join_all(sends).await;
        assert_eq!(bench.seen().len(), replies, "{outcome:?}: once at most");
    }
}

#[tokio::test]
async fn what_was_refused_was_not_delivered() {
    let bench = Bench::start().await;
    let direct = Origin { webhook: None, ..bench.alone() };
    let again = SendClass::Retryable { after: None };
    let table = [
        (Fault::preset("oto", "unavailable"), &direct, again),
        (Fault::preset("webhook", "busy"), &bench.alone(), again),
        (told("oto", 500, json!({ "code": "system.busy" })), &direct, again),
        (Fault::preset("oto", "tooLong"), &direct, SendClass::Permanent),
        (Fault::preset("oto", "ipDenied"), &direct, SendClass::Permanent),
        (told("oto", 400, json!({ "code": "some.new.code" })), &direct, SendClass::Unknown),
        (Fault::preset("oto", "quota"), &direct, SendClass::Quota),
        (Fault::preset("webhook", "webhookTooLong"), &bench.alone(), SendClass::Permanent),
        (Fault::preset("webhook", "robotStopped"), &bench.alone(), SendClass::Permanent),
    ];
    for (fault, origin, class) in table {
        let name = format!("{fault:?}");
        bench.sim.fault(fault);
        let failed = bench.send(origin).await.unwrap_err();
        assert_eq!((failed.class, failed.is_ambiguous), (class, false), "{name}");
    }
    assert!(bench.seen().is_empty());
}

#[tokio::test]
async fn a_refused_connection_delivered_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::start().await;
    let mut origin = bench.alone();
    // The cloud is gone, and with it the webhook's host; the API's token is at hand.
    bench.tokens.get(&bench.integration).await.unwrap();
    let stopped = bench.sim.stopped();
    bench.sim.stop();
    stopped.cancelled().await;
    for webhook in [origin.webhook.clone(), None] {
        origin.webhook = webhook;
        let failed =
            crate::support::wait::wait_for("the port is closed", 20 * SECOND, async || {
                bench.send(&origin).await.err().filter(|failed| !failed.is_ambiguous)
            });
        assert_eq!(failed.await.class, SendClass::Retryable { after: None });
    }
    let bench = Bench::with(|_| format!("http://{closed}")).await;
    let failed = bench.send(&Origin { webhook: None, ..bench.alone() }).await.unwrap_err();
    let expected = (SendClass::Retryable { after: None }, false);
    assert_eq!((failed.class, failed.is_ambiguous), expected, "not even a token");
}

#[tokio::test]
async fn dingtalks_own_failures_are_tried_again_whatever_their_status() {
    let bench = Bench::start().await;
    let direct = Origin { webhook: None, ..bench.alone() };
    let group = Origin { webhook: None, ..bench.grouped() };
    let table = [
        (told("webhook", 200, json!({ "errcode": 500_100 })), &bench.alone(), true),
        (told("webhook", 200, json!({ "errcode": 15 })), &bench.alone(), true),
        (told("webhook", 200, json!({ "errcode": 88 })), &bench.alone(), false),
        (told("oto", 400, json!({ "code": "system.error" })), &direct, true),
        (told("group", 400, json!({ "code": "service.error" })), &group, true),
        (told("token", 400, json!({ "code": "systemError" })), &direct, false),
        (told("token", 400, json!({ "code": "service.error" })), &direct, false),
    ];
    for (fault, origin, is_ambiguous) in table {
        let name = format!("{fault:?}");
        bench.tokens.forget(&bench.integration.id);
        bench.sim.fault(fault);
        let failed = bench.send(origin).await.unwrap_err();
        let expected = (SendClass::Retryable { after: None }, is_ambiguous);
        assert_eq!((failed.class, failed.is_ambiguous), expected, "{name}");
        bench.send(origin).await.unwrap();
    }
}

#[tokio::test]
async fn a_plain_ok_is_delivered_once() {
    let bench = Bench::start().await;
    for body in ["ok", "success", ""] {
        bench.sim.fault(done("webhook", 200, json!(body)));
        assert_eq!(bench.send(&bench.alone()).await.unwrap().route, "webhook", "{body:?}");
    }
    assert_eq!(bench.seen().len(), 3);
}

#[tokio::test]
async fn a_text_that_dingtalk_refuses_goes_by_no_other_route() {
    let bench = Bench::start().await;
    let direct = Origin { webhook: None, ..bench.alone() };
    let table = [
        (told("webhook", 200, json!({ "errcode": 430_101 })), &bench.alone()),
        (told("webhook", 200, json!({ "errcode": 460_101 })), &bench.alone()),
        (told("oto", 400, json!({ "code": "contain.notAllowed.text" })), &direct),
    ];
    for (fault, origin) in table {
        let name = format!("{fault:?}");
        bench.sim.fault(fault);
        let failed = bench.send(origin).await.unwrap_err();
        let expected = (SendClass::Permanent, Reason::ReplyContent);
        assert_eq!((failed.class, failed.reason), expected, "{name}");
    }
    assert!(bench.seen().is_empty());
}

#[tokio::test]
async fn a_reaction_counts_only_if_it_was_set_and_is_tried_three_times() {
    let bench = Bench::start().await;
    let (origin, message) = (bench.alone(), "msg-1".parse().unwrap());
    let failed = || told("emotion", 200, json!({ "success": false, "errorCode": "system.err" }));
    let react = async || bench.sender.react(&bench.integration, &origin, &message).await;
    bench.sim.fault(failed().times(2));
    react().await.unwrap();
    assert_eq!(bench.count(Kind::Reaction), 1);
    bench.sim.fault(failed().times(3));
    react().await.unwrap_err();
    assert_eq!((bench.count(Kind::Reaction), bench.count(Kind::Faulted)), (1, 5));
    bench.sim.fault(told(
        "emotion",
        403,
        json!({ "code": "Forbidden.AccessDenied.IpNotInWhiteList" }),
    ));
    react().await.unwrap_err();
    assert_eq!(bench.count(Kind::Faulted), 6, "a refusal is not tried again");
}
