//! While an answer is on its way: commands that do not wait for it, messages that do, and messages
//! that take its place.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::fault::Fault;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use dingtalk_trigger::sim::expert::Next;
use dingtalk_trigger::sim::script::{Act, End};
use serde_json::{Value, json};

use super::{publish, published};
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, xpert};
use crate::support::wait::wait_until;

/// Takes the question and never answers.
fn hang() -> Next {
    Next::Act(Act { deltas: vec![], pause: Duration::ZERO, end: End::Hang })
}

#[tokio::test]
async fn help_and_status_wait_for_nobody_and_ask_nobody() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "summaryWindowSeconds": 1 })).await;
    let help = "/help - this help";
    let said = outside.ask(Say::direct("robot", "ann", " /HELP "), help).await;
    let before = outside.ask(Say::direct("robot", "ann", "状态"), "Waiting messages: 0").await;
    assert!(before.text.contains("Expert: expert\nSession: none"), "{}", before.text);

    outside.expert.next(hang());
    outside.say(Say::direct("robot", "ann", "think"));
    assert!(outside.expert.called(1, LIMIT).await);
    outside.say(Say::direct("robot", "ann", "and this"));
    let during = outside.ask(Say::direct("robot", "ann", "/status"), "Waiting messages: 1").await;
    assert!(during.text.contains("Session: open for less than a minute"), "{}", during.text);
    assert!(during.text.contains("Now: answering"), "{}", during.text);
    outside.ask(Say::direct("robot", "ann", "/stop"), "Stopped.").await;

    // A question between two messages keeps them one turn.
    outside.say(Say::direct("robot", "ann", "a"));
    outside.say(Say::direct("robot", "ann", "/help"));
    outside.ask(Say::direct("robot", "ann", "b"), "You said: a\nb").await;
    assert_eq!(outside.expert.calls().len(), 2);
    let read = outside.read_in(&said.conversation);
    assert_eq!(read.iter().filter(|text| text.ends_with(help)).count(), 2, "{read:?}");
    service.finish().await;
}

#[tokio::test]
async fn a_message_that_waits_is_acknowledged_once_as_the_trigger_says() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let reactions = |msg_id: &str| {
        let records = outside.cloud.book().since(0, 10_000);
        records.iter().filter(|r| r.kind == Kind::Reaction && r.msg_id == msg_id).count()
    };
    outside.say(Say::direct("robot", "ann", "slow 3 first"));
    assert!(outside.expert.called(1, LIMIT).await);
    let second = outside.say(Say::direct("robot", "ann", "second"));
    wait_until("a reaction", LIMIT, async || reactions(&second.msg_id) == 1).await;
    outside.reply(&second.conversation, "You said: second").await;
    assert_eq!(reactions(&second.msg_id), 1);
    let read = outside.read_in(&second.conversation);
    assert_eq!(read, ["You said: slow 3 first", "You said: second"]);

    publish(&service, &outside, &json!({ "queuedNotice": "text" })).await;
    outside.say(Say::direct("robot", "bob", "slow 3 first"));
    assert!(outside.expert.called(3, LIMIT).await);
    let fourth = outside.ask(Say::direct("robot", "bob", "fourth"), "You said: fourth").await;
    let read = outside.read_in(&fourth.conversation);
    let waits = "Your message waits for the answer before it.";
    assert_eq!(read, [waits, "You said: slow 3 first", "You said: fourth"]);
    service.finish().await;
}

#[tokio::test]
async fn a_message_behind_a_turn_that_released_its_slot_is_acknowledged_once() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let reactions = |msg_id: &str| {
        let records = outside.cloud.book().since(0, 10_000);
        records.iter().filter(|r| r.kind == Kind::Reaction && r.msg_id == msg_id).count()
    };
    let runs = async || service.metric("dt_stage_outcomes_total", "dispatch").await;
    // The answer comes later, with and without a window; and another attempt comes later.
    for (person, window_s, status, retry_after) in
        [("ann", 0, 202, None), ("bob", 1, 202, None), ("carol", 0, 429, Some(10))]
    {
        publish(&service, &outside, &json!({ "summaryWindowSeconds": window_s })).await;
        service.idle().await;
        let before = runs().await;
        outside.expert.next(Next::Status { status, retry_after, body: String::new() });
        let said = outside.say(Say::direct("robot", person, "first"));
        wait_until("the slot is free", LIMIT, async || runs().await > before + 0.5).await;
        let turn = outside.expert.calls().last().expect("a call").body["turnId"].clone();
        let mut told = vec![];
        for text in ["second", "third"] {
            let waits = outside.say(Say::direct("robot", person, text));
            wait_until("a reaction", LIMIT, async || reactions(&waits.msg_id) == 1).await;
            told.push(waits.msg_id);
        }
        if status == 202 {
            let path = format!("/api/turns/{}/reply", turn.as_str().expect("a turn id"));
            service.admin().done("POST", &path, &json!({ "text": "late" })).await;
        }
        outside.reply(&said.conversation, "third").await;
        assert!(told.iter().all(|id| reactions(id) == 1), "{person}: acknowledged once");
        assert_eq!(reactions(&said.msg_id), 0, "{person}: the first one waits for nobody");
    }
    // The timers of the late answers stay until they fire: hints about nothing.
    service.idle().await;
}

#[tokio::test]
async fn a_message_behind_an_answer_that_dingtalk_puts_off_is_acknowledged() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    outside.cloud.fault(Fault::preset("webhook", "tooFast"));
    outside.cloud.fault(Fault::preset("oto", "ipDenied"));
    let said = outside.say(Say::direct("robot", "ann", "first"));
    wait_until("the answer waits for another try", LIMIT, async || {
        service.metric("dt_stage_outcomes_total", "dispatch").await > 0.5
    })
    .await;
    let waits = outside.say(Say::direct("robot", "ann", "second"));
    let told = outside
        .cloud
        .wait_for(LIMIT, |record| record.kind == Kind::Reaction && record.msg_id == waits.msg_id);
    let told = told.await.expect("a reaction");
    let first = outside.reply(&said.conversation, "You said: first").await;
    assert!(told.seq < first.seq, "while it waits");
    outside.reply(&said.conversation, "You said: second").await;
    service.finish().await;
}

#[tokio::test]
async fn a_newer_message_takes_the_place_of_the_answer_under_way() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "busyPolicy": "interrupt" })).await;
    outside.expert.next(hang());
    outside.say(Say::direct("robot", "ann", "first"));
    assert!(outside.expert.called(1, LIMIT).await);
    outside.expert.next(hang());
    outside.say(Say::direct("robot", "ann", "second"));
    assert!(outside.expert.called(2, LIMIT).await);
    let said = outside.ask(Say::direct("robot", "ann", "third"), "You said: first\nsecond\nthird");
    let conversation = said.await.conversation.clone();
    outside.ask(Say::direct("robot", "ann", "later"), "You said: later").await;
    assert_eq!(outside.read_in(&conversation).len(), 2);
    let calls = outside.expert.calls();
    assert_eq!(calls.len(), 4);
    assert_ne!(calls[0].body["turnId"], calls[1].body["turnId"]);
    assert!(
        calls.iter().all(|call| {
            call.body["session"]["threadId"] == calls[0].body["session"]["threadId"]
        })
    );
    service.finish().await;
}

#[tokio::test]
async fn what_cannot_join_the_answer_under_way_is_acknowledged_under_interrupt_and_steer_too() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    outside.cloud.put_app(App::stream("shared", "app-secret"));
    let fields = json!({ "id": "shared", "mode": "stream", "scope": "group" });
    service.admin().integrate(&fields).await;
    wait_until("it is connected", LIMIT, async || outside.cloud.connections("shared") == 1).await;
    let file = json!({ "msgtype": "file", "content": { "downloadCode": "code", "fileName": "f" } });
    for (policy, group) in [("interrupt", "cid-one"), ("steer", "cid-two")] {
        let fields = json!({ "runtime": xpert(&outside), "busyPolicy": policy });
        service.admin().publish("expert", "shared", &fields).await;
        let runs = outside.xpert.calls().len() as u64;
        outside.say(Say::group("shared", group, "ann", "hang"));
        assert!(outside.xpert.called(runs + 1, LIMIT).await);
        let say = if policy == "steer" {
            Say::group("shared", group, "ann", "").content(file.clone())
        } else {
            Say::group("shared", group, "bob", "me too")
        };
        let waits = outside.say(say);
        let told = outside.cloud.wait_for(LIMIT, |record| {
            record.kind == Kind::Reaction && record.msg_id == waits.msg_id
        });
        told.await.expect("a reaction");
        outside.ask(Say::group("shared", group, "ann", "/stop"), "Stopped.").await;
        assert_eq!(outside.xpert.calls().len() as u64, runs + 1, "{policy}: it did not join");
    }
    service.finish().await;
}

#[tokio::test]
async fn people_who_are_not_listed_are_counted_and_never_answered() {
    let outside = Outside::start().await;
    let allowed = json!({ "allowSenders": ["ann"], "allowConversations": ["cid-team"] });
    let service = published(&outside, &allowed).await;
    let bob = outside.say(Say::direct("robot", "bob", "hello"));
    outside.say(Say::direct("robot", "bob", "/help"));
    outside.say(Say::group("robot", "cid-other", "ann", "hello"));
    wait_until("all are counted", LIMIT, async || {
        service.metric("dt_limit_breaches_total", "allow_list").await > 2.5
    })
    .await;
    outside.ask(Say::group("robot", "cid-team", "ann", "hello"), "You said: hello").await;
    outside.ask(Say::direct("robot", "ann", "here"), "You said: here").await;
    assert_eq!(outside.read_in(&bob.conversation), [""; 0]);
    assert_eq!(outside.expert.calls().len(), 2);
    service.finish().await;
}

#[tokio::test]
async fn a_message_with_ten_thousand_parts_is_answered_like_any_other() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let parts: Vec<_> = (0..10_000).map(|_| json!({ "text": "x" })).collect();
    let content = json!({ "msgtype": "richText", "content": { "richText": parts } });
    outside.say(Say::direct("robot", "ann", "").content(content));
    assert!(outside.expert.called(1, LIMIT).await);
    let text = outside.expert.calls()[0].body["input"]["text"].as_str().unwrap().to_owned();
    assert_eq!(text.matches('x').count(), 10_000);
    outside.ask(Say::direct("robot", "ann", "next"), "You said: next").await;
    service.finish().await;
}
