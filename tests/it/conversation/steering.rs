//! Messages said into the run at work: read there or asked as the next turn, once in every case.

use std::sync::Arc;
use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::{Kind, Record};
use dingtalk_trigger::sim::xpert::fault::Fault;
use serde_json::{Value, json};

use super::publish;
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, xpert};
use crate::support::wait::wait_until;

async fn steering(outside: &Outside) -> Service {
    let service = Service::start(outside).await;
    service.stream_robot(outside, "robot").await;
    let fields = json!({ "runtime": xpert(outside), "busyPolicy": "steer" });
    service.admin().publish("expert", "robot", &fields).await;
    service
}

/// The reply in the conversation that holds all of these.
async fn answer(outside: &Outside, conversation: &str, parts: &[&str]) -> Arc<Record> {
    let found = outside.cloud.wait_for(LIMIT, |record| {
        let is_here = record.kind == Kind::Reply && record.conversation == conversation;
        is_here && parts.iter().all(|part| record.text.contains(part))
    });
    let read = outside.read_in(conversation);
    found.await.unwrap_or_else(|| panic!("no reply with {parts:?}; people read {read:?}"))
}

#[tokio::test]
async fn what_is_said_while_xpert_answers_is_read_there_and_answered_with_it() {
    let outside = Outside::start().await;
    let service = steering(&outside).await;
    let said = outside.say(Say::direct("robot", "ann", "slow 6 first"));
    assert!(outside.xpert.called(1, LIMIT).await);
    let msg_id = Some("second-1".to_owned());
    outside.say(Say { msg_id, ..Say::direct("robot", "ann", "and a second") });
    answer(&outside, &said.conversation, &["And you said: and a second"]).await;
    let call = &outside.xpert.calls()[0];
    let steered = outside.xpert.steered();
    assert_eq!((steered.len(), outside.xpert.calls().len()), (1, 1));
    let body = &steered[0].body["input"];
    assert_eq!((&body["action"], &body["mode"]), (&json!("follow_up"), &json!("steer")));
    assert_eq!(body["target"]["executionId"], call.run.as_str());
    assert_eq!(body["message"]["input"]["input"], "and a second");

    // The message is in the turn that answered it, and the next one begins behind it.
    wait_until("the trace tells the end", LIMIT, async || {
        let path = "/api/messages/robot/second-1";
        let trace = service.admin().done("GET", path, &Value::Null).await;
        trace["state"] == "delivered" && trace["attempts"][0]["state"] == "answered"
    })
    .await;
    outside.ask(Say::direct("robot", "ann", "third"), "You said: third").await;
    assert_eq!(outside.read_in(&said.conversation).len(), 2);
    assert_eq!(outside.xpert.overlaps(), 0);
    service.finish().await;
}

#[tokio::test]
async fn what_the_run_does_not_read_before_its_end_is_the_next_turn() {
    let outside = Outside::start().await;
    let service = steering(&outside).await;
    outside.xpert.fault(Fault::SteerUnread);
    let said = outside.say(Say::direct("robot", "ann", "slow 4 first"));
    assert!(outside.xpert.called(1, LIMIT).await);
    outside.say(Say::direct("robot", "ann", "second"));
    wait_until("it was offered to the run", LIMIT, async || outside.xpert.steered().len() == 1)
        .await;
    outside.reply(&said.conversation, "You said: second").await;
    let read = outside.read_in(&said.conversation);
    assert_eq!(read, ["You said: slow 4 first", "You said: second"]);
    assert_eq!((outside.xpert.calls().len(), outside.xpert.steered().len()), (2, 1));
    assert_eq!(outside.xpert.overlaps(), 0);
    service.finish().await;
}

#[tokio::test]
async fn a_killed_worker_says_nothing_into_the_run_twice() {
    let outside = Outside::start().await;
    let mut service = steering(&outside).await;
    let said = outside.say(Say::direct("robot", "ann", "slow 30 first"));
    assert!(outside.xpert.called(1, LIMIT).await);
    outside.say(Say::direct("robot", "ann", "second"));
    wait_until("it was offered to the run", LIMIT, async || outside.xpert.steered().len() == 1)
        .await;
    service.kill().await;
    service.restart().await;
    answer(&outside, &said.conversation, &["And you said: second"]).await;
    assert_eq!((outside.xpert.calls().len(), outside.xpert.steered().len()), (1, 1));
    wait_until("connected again", LIMIT, async || outside.cloud.connections("robot") == 1).await;
    outside.ask(Say::direct("robot", "ann", "third"), "You said: third").await;
    let read = outside.read_in(&said.conversation);
    assert_eq!(read.iter().filter(|text| text.contains("second")).count(), 1, "{read:?}");
    service.finish().await;
}

#[tokio::test]
async fn where_the_runtime_takes_nothing_while_it_answers_messages_wait_in_order() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    publish(&service, &outside, &json!({ "busyPolicy": "steer" })).await;
    let said = outside.say(Say::direct("robot", "ann", "slow 3 first"));
    assert!(outside.expert.called(1, LIMIT).await);
    outside.say(Say::direct("robot", "ann", "second"));
    outside.reply(&said.conversation, "You said: second").await;
    let read = outside.read_in(&said.conversation);
    assert_eq!(read, ["You said: slow 3 first", "You said: second"]);
    service.finish().await;
}

#[tokio::test]
async fn a_stop_ends_the_run_with_all_that_was_said_into_it() {
    let outside = Outside::start().await;
    let service = steering(&outside).await;
    let said = outside.say(Say::direct("robot", "ann", "hang"));
    assert!(outside.xpert.called(1, LIMIT).await);
    outside.say(Say::direct("robot", "ann", "second"));
    wait_until("it was offered to the run", LIMIT, async || outside.xpert.steered().len() == 1)
        .await;
    outside.ask(Say::direct("robot", "ann", "/stop"), "Stopped.").await;
    outside.ask(Say::direct("robot", "ann", "third"), "You said: third").await;
    assert_eq!(outside.read_in(&said.conversation), ["Stopped.", "You said: third"]);
    assert_eq!(outside.xpert.calls().len(), 2);
    tokio::time::timeout(Duration::from_secs(60), service.finish()).await.expect("it ends");
}
