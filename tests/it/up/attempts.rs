//! What each attempt met, as the dead letter of a turn shows it: where the expert fails, and where
//! DingTalk refuses the answer.

use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Value, json};

use super::reasons::{change, finish, is_worn_out, jetstream, published};
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::Service;
use crate::support::wait::wait_until;

/// Nobody may read it in a dead letter, though others said it.
const SECRET: &str = "TOPSECRET";

/// The only dead letter, and what its attempts met: what was tried, its number, reason and response.
async fn shown(service: &Service) -> (Value, Vec<(Value, Value, Value, String)>) {
    let admin = service.admin();
    let dead = admin.list_until("/api/dead", |items| items.len() == 1).await;
    let id = dead[0]["id"].as_str().expect("an id");
    let shown = admin.done("GET", &format!("/api/dead/{id}"), &Value::Null).await;
    assert!(!shown.to_string().contains(SECRET), "{shown}");
    let attempts = shown["failedAttempts"].as_array().expect("its attempts").iter().map(|met| {
        assert!(met["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{met}");
        let response = met["response"].as_str().expect("a text").to_owned();
        (met["tried"].clone(), met["attempt"].clone(), met["reason"].clone(), response)
    });
    let attempts = attempts.collect();
    (shown, attempts)
}

#[tokio::test]
async fn a_dead_letter_tells_what_every_attempt_to_ask_met_also_those_before_a_kill() {
    let outside = Outside::start().await;
    let mut service = published(&outside, &[]).await;
    let body = format!(
        "{{\"error\":\"no\u{7} model\",\"token\":\"{SECRET}\",\
         \"see\":\"https://hooks.example/run?session={SECRET}\"}}"
    );
    outside.expert.next(Next::Status { status: 500, retry_after: Some(3600), body });
    outside.say(Say::direct("robot", "ann", "one"));
    let body = "长".repeat(5000);
    outside.expert.next(Next::Status { status: 502, retry_after: None, body });
    change(&service, is_worn_out).await;
    service.kill().await;
    service.restart().await;
    wait_until("connected again", LIMIT, async || outside.cloud.connections("robot") == 1).await;
    outside.ask(Say::direct("robot", "ann", "two"), "You said: two").await;
    let (shown, attempts) = shown(&service).await;
    let [first, last] = attempts.as_slice() else { panic!("not two attempts: {shown}") };
    let response = r#"the runtime answered 500: {"error":"no model","token":"***","see":"https://hooks.example/run?***"}"#;
    let exhausted = json!("runtime_exhausted");
    assert_eq!(*first, (json!("ask"), json!(1), exhausted.clone(), response.to_owned()));
    assert_eq!((&last.0, &last.1, &last.2), (&json!("ask"), &json!(8), &exhausted));
    assert!(last.3.starts_with("the runtime answered 502: 长长"), "{shown}");
    assert!(last.3.chars().count() <= 400, "{shown}");
    let key = shown["conversationKey"].as_str().expect("a conversation");
    let path = format!("/api/conversations/{key}/timeline");
    let timeline = service.admin().done("GET", &path, &Value::Null).await.to_string();
    assert!(timeline.contains("no model") && !timeline.contains(SECRET), "{timeline}");
    let dead = jetstream(&service).await.get_stream("DT_DEAD").await.expect("the dead letters");
    let stored = dead.get_last_raw_message_by_subject("dt.dead.>").await.expect("the letter");
    let stored = String::from_utf8_lossy(&stored.payload).into_owned();
    assert!(stored.contains("no model") && !stored.contains(SECRET), "{stored}");
    finish(service).await;
}

#[tokio::test]
async fn a_dead_letter_tells_what_dingtalk_said_to_every_attempt_to_send() {
    let outside = Outside::start().await;
    let service = published(&outside, &[]).await;
    let busy = format!("busy, see https://oapi.dingtalk.com/robot/sendBySession?session={SECRET}");
    for body in [
        json!({ "errcode": -1, "errmsg": busy }),
        json!({ "errcode": 400_102, "errmsg": "robot stopped" }),
    ] {
        outside.cloud.fault(Fault::new("webhook", Outcome::Answer { status: 200, body }));
    }
    outside.say(Say::direct("robot", "ann", "one"));
    let (shown, attempts) = shown(&service).await;
    assert_eq!(shown["reason"], "reply_permanent", "{shown}");
    let [first, last] = attempts.as_slice() else { panic!("not two attempts: {shown}") };
    assert_eq!(
        (&first.0, &first.1, &first.2),
        (&json!("send"), &json!(1), &json!("reply_exhausted"))
    );
    assert!(first.3.starts_with("200: ") && first.3.contains("sendBySession?***"), "{shown}");
    assert_eq!((&last.0, &last.1, &last.2), (&json!("send"), &json!(2), &json!("reply_permanent")));
    assert!(last.3.contains("400102") && last.3.contains("robot stopped"), "{shown}");
    assert_eq!(shown["failedAttempts"][1]["segment"], 1, "{shown}");
    finish(service).await;
}
