//! What operators and runtimes do from outside: late answers, leases, pausing, replaying.

use std::time::Duration;

use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::protocol::webhook::Key;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::outside::{EXPERT_SECRET, Outside};
use crate::support::program::LIMIT;
use crate::support::service::{Service, callback, echo};
use crate::support::wait::{wait_for, wait_until};

/// Posts an answer as a runtime does; the status.
async fn post(outside: &Outside, url: &str, secret: &str, body: &Value) -> u16 {
    let body = body.to_string();
    let now_s = outside.now_ms() / 1000;
    let key = Key::parse(&Secret::new(secret)).expect("a secret of a runtime");
    let id = url.split('/').rev().nth(1).expect("the id of a turn");
    let request = reqwest::Client::new()
        .post(url)
        .header("webhook-id", id)
        .header("webhook-timestamp", now_s)
        .header("webhook-signature", key.sign(id, now_s, body.as_bytes()))
        .body(body);
    request.send().await.expect("reach the service").status().as_u16()
}

#[tokio::test]
async fn a_late_answer_is_cut_like_any_other_and_one_beyond_all_measure_is_refused() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_ANSWER_MAX_BYTES", "2000")]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    outside.expert.next(Next::Status { status: 202, retry_after: None, body: String::new() });
    let said = outside.say(Say::direct("robot", "ann", "later"));
    assert!(outside.expert.called(1, LIMIT).await);
    let body = outside.expert.calls()[0].body.clone();
    let url = body["replyUrl"].as_str().unwrap();
    let long = |bytes: usize| json!({ "text": "x".repeat(bytes) });
    assert_eq!(post(&outside, url, EXPERT_SECRET, &long(200_000)).await, 413);
    assert_eq!(post(&outside, url, EXPERT_SECRET, &long(60_000)).await, 204);
    let cut = wait_for("it is answered", LIMIT, async || {
        Some(outside.read_in(&said.conversation)).filter(|read| !read.is_empty())
    });
    let read = cut.await.concat();
    assert!(read.starts_with("xxx") && read.len() < 3000, "{} bytes", read.len());
    drop(service);
}

#[tokio::test]
async fn a_runtime_that_answers_202_answers_later_and_once() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    admin.publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    outside.expert.next(Next::Status { status: 202, retry_after: None, body: String::new() });
    outside.say(Say::direct("robot", "ann", "later"));
    assert!(outside.expert.called(1, LIMIT).await);
    let body = outside.expert.calls()[0].body.clone();
    let (url, turn) = (body["replyUrl"].as_str().unwrap(), body["turnId"].as_str().unwrap());
    assert_eq!(url, format!("http://{}/api/turns/{turn}/reply", service.edge));
    let answer = json!({ "text": "the late answer", "more": 1 });
    let wrong = EXPERT_SECRET.replacen("Bwc", "AAA", 1);
    assert_eq!(post(&outside, url, &wrong, &answer).await, 401);
    assert_eq!(reqwest::Client::new().post(url).send().await.unwrap().status(), 401);
    assert_eq!(post(&outside, url, EXPERT_SECRET, &json!({ "answer": 1 })).await, 400);
    let unknown = url.replace(turn, "robot.abcdefghijklmnopqrstuvwx23.42");
    assert_eq!(post(&outside, &unknown, EXPERT_SECRET, &answer).await, 401);
    let begun = Instant::now();
    assert_eq!(post(&outside, url, EXPERT_SECRET, &answer).await, 204);
    let reply = outside.ask(Say::direct("robot", "ann", "next"), "You said: next").await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let read = outside.read_in(&reply.conversation);
    assert_eq!(read, ["the late answer", "You said: next"]);
    for second in [url.to_owned(), url.replace(&service.edge, &service.console)] {
        assert_eq!(post(&outside, &second, EXPERT_SECRET, &answer).await, 409);
    }
    // An operator answers with the admin token.
    outside.expert.next(Next::Status { status: 202, retry_after: None, body: String::new() });
    outside.say(Say::direct("robot", "ann", "by hand"));
    assert!(outside.expert.called(3, LIMIT).await);
    let turn = outside.expert.calls()[2].body["turnId"].as_str().unwrap().to_owned();
    let path = format!("/api/turns/{turn}/reply");
    admin.done("POST", &path, &json!({ "text": "typed by an operator" })).await;
    outside.reply(&reply.conversation, "typed by an operator").await;
    // The timer of the wait stays until it fires: a hint about nothing.
    drop(service);
}

#[tokio::test]
async fn messages_wait_while_paused_and_flow_again_in_order_within_2_s() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_WEBHOOK_RATE", "0")]).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    admin.publish("expert", "robot", &json!({ "runtime": echo() })).await;
    let first = outside.ask(Say::direct("robot", "ann", "before"), "before").await;
    let mut expected = vec!["before".to_owned()];
    for (round, path) in ["/api/integrations/robot", "/api/runtimes/expert"].into_iter().enumerate()
    {
        admin.done("POST", &format!("{path}/pause"), &Value::Null).await;
        assert_eq!(admin.done("GET", path, &Value::Null).await["paused"], true);
        let mut said = vec![];
        for number in 0..3 {
            let text = format!("{round}-{number}");
            said.push(outside.say(Say::direct("robot", "ann", &text)).msg_id);
            expected.push(text);
        }
        let trace =
            format!("/api/messages/robot/{}", said[0].replace('/', "%2F").replace('+', "%2B"));
        wait_until("the conversation is parked", LIMIT, async || {
            admin.call("GET", &trace, &Value::Null).await.1["state"] == "parked"
        })
        .await;
        assert_eq!(outside.read_in(&first.conversation).len(), 1 + 3 * round);
        let begun = Instant::now();
        admin.done("POST", &format!("{path}/resume"), &Value::Null).await;
        outside.reply(&first.conversation, &format!("{round}-2")).await;
        let took = begun.elapsed();
        println!("MEASURED {path} flows again after {took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    assert_eq!(outside.read_in(&first.conversation), expected);
    assert_eq!(admin.call("POST", "/api/integrations/none/pause", &Value::Null).await.0, 404);
    assert_eq!(admin.call("POST", "/api/runtimes/none/pause", &Value::Null).await.0, 404);
    service.finish().await;
}

#[tokio::test]
async fn a_lapsed_lease_parks_and_a_heartbeat_brings_the_expert_back() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    // Long enough for a message to cross a slow machine.
    let leased = json!({ "kind": "echo", "leaseSeconds": 5 });
    admin.publish("expert", "robot", &json!({ "runtime": leased })).await;
    let alive = outside.ask(Say::direct("robot", "ann", "alive"), "alive").await;
    wait_until("the lease runs out", LIMIT, async || {
        let shown = admin.done("GET", "/api/triggers/expert", &Value::Null).await;
        shown["runtime"]["alive"] == json!(false)
    })
    .await;
    outside.say(Say::direct("robot", "ann", "kept"));
    wait_until("ann is told that her expert is away", LIMIT, async || {
        outside.read_in(&alive.conversation).len() == 2
    })
    .await;
    let begun = Instant::now();
    admin.done("POST", "/api/runtimes/expert/heartbeat", &Value::Null).await;
    outside.reply(&alive.conversation, "kept").await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // The timer of the wait stays until it fires: a hint about nothing.
    drop(service);
}

#[tokio::test]
async fn a_replayed_turn_is_answered_once_in_the_session_of_its_time() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    admin.publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    let refusal = Next::Status { status: 400, retry_after: None, body: "no such tool".to_owned() };
    outside.expert.next(refusal);
    let said = outside.say(Say::direct("robot", "ann", "try me"));
    let dead = admin.list_until("/api/dead", |items| items.len() == 1).await;
    let item = &dead[0];
    assert_eq!(
        (&item["reason"], &item["msgIds"]),
        (&json!("runtime_permanent"), &json!([said.msg_id]))
    );
    let id = item["id"].as_str().unwrap();
    let shown = admin.done("GET", &format!("/api/dead/{id}"), &Value::Null).await;
    assert!(shown["response"].as_str().unwrap().contains("no such tool"), "{shown}");
    for _ in 0..2 {
        admin.done("POST", "/api/dead/replay", &json!({ "ids": [id] })).await;
    }
    outside.reply(&said.conversation, "You said: try me").await;
    outside.ask(Say::direct("robot", "ann", "last"), "You said: last").await;
    assert_eq!(outside.expert.calls().len(), 3);
    let calls = outside.expert.calls();
    let thread = |call: usize| &calls[call].body["session"]["threadId"];
    assert_eq!(thread(0), thread(1));
    let list = admin.done("GET", "/api/dead?state=replayed", &Value::Null).await;
    assert_eq!(list["items"][0]["id"], id);
    service.finish().await;
}
