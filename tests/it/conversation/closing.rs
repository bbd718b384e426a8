//! What closes a question that nobody presses: a message, the end of its session, a stop, time.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::fault::Fault;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::xpert::fault::Fault as Broken;
use serde_json::{Value, json};

use super::pressing::{OVER, asked, link, post};
use super::{card_in, card_robot, click, closed, publish};
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, xpert};
use crate::support::wait::wait_until;

const STOPPED: &str = "Stopped.";
const NEW: &str = "A new session begins with your next message.";
const ENDED: &str = "The session has ended.";

#[tokio::test]
async fn a_message_a_stop_and_an_end_close_the_card() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    card_robot(&service, &outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    // DingTalk has a bad moment: the card is closed a moment later.
    let cases = [
        ("ann", "something else", "You said: something else", "Answered by a message"),
        ("bob", "/stop", STOPPED, "Stopped"),
        ("carol", "/new", NEW, "Session ended"),
        ("dave", "/end", ENDED, "Session ended"),
    ];
    let mut calls = 0;
    for (person, text, answer, result) in cases {
        let said = outside.say(Say::direct("robot", person, "confirm it"));
        let card = card_in(&outside, &said.conversation, 0).await;
        outside.cloud.fault(Fault::preset("card", "unavailable"));
        outside.ask(Say::direct("robot", person, text), answer).await;
        closed(&outside, &card, result).await;
        calls += if text.starts_with('/') { 1 } else { 2 };
        // A client that did not see the change presses nevertheless.
        outside.cloud.click(click(&card, person, "confirm")).await.expect("within 2 s");
        outside.reply(&said.conversation, OVER).await;
        assert_eq!(outside.expert.calls().len(), calls, "{text}: a late press asks nobody");
        closed(&outside, &card, result).await;
    }
    // The end by the card itself.
    let said = outside.say(Say::direct("robot", "eve", "confirm it"));
    let card = card_in(&outside, &said.conversation, 0).await;
    let end = async || outside.cloud.click(click(&card, "eve", "end")).await.expect("within 2 s");
    let answer = end().await;
    assert_eq!(answer["cardData"]["cardParamMap"]["result"], "Session ended");
    outside.reply(&said.conversation, ENDED).await;
    closed(&outside, &card, "Session ended").await;
    assert_eq!(end().await, answer, "the same press again is answered like the first");
    // An operator's hand.
    let said = outside.say(Say::direct("robot", "frank", "confirm it"));
    let card = card_in(&outside, &said.conversation, 0).await;
    let list = "/api/conversations?integrationId=robot&q=frank";
    service.admin().list_until(list, |items| !items.is_empty()).await;
    service.admin().done("DELETE", "/api/conversations?integrationId=robot", &Value::Null).await;
    closed(&outside, &card, "Session ended").await;
    service.finish().await;
}

#[tokio::test]
async fn a_stop_ends_what_waits_for_a_decision_also_at_the_runtime() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": xpert(&outside) })).await;
    for (person, command, answer) in
        [("ann", "/stop", STOPPED), ("bob", "/new", NEW), ("carol", "/end", ENDED)]
    {
        let said = outside.say(Say::direct("robot", person, "confirm it"));
        let question = asked(&outside, &said.conversation).await;
        let paused = outside.xpert.calls().last().expect("a run").run.clone();
        outside.ask(Say::direct("robot", person, command), answer).await;
        wait_until("the paused run is cancelled", LIMIT, async || {
            outside.xpert.cancelled().contains(&paused)
        })
        .await;
        let runs = outside.xpert.calls().len();
        assert_eq!(post(&link(&question, "Confirm")).await, 410);
        outside.reply(&said.conversation, OVER).await;
        assert_eq!(outside.xpert.calls().len(), runs, "{command}: nothing is resumed");
        outside.ask(Say::direct("robot", person, "go on"), "You said: go on").await;
    }
    service.finish().await;
}

#[tokio::test]
async fn a_replay_whose_session_is_over_asks_without_buttons_and_leaves_no_run_waiting() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    admin.publish("expert", "robot", &json!({ "runtime": xpert(&outside) })).await;
    outside.xpert.fault(Broken::Status { status: 400, retry_after: None });
    outside.say(Say::direct("robot", "ann", "confirm it"));
    let dead = admin.list_until("/api/dead", |items| items.len() == 1).await;
    outside.ask(Say::direct("robot", "ann", "/end"), ENDED).await;
    let said = outside.ask(Say::direct("robot", "ann", "hello"), "You said: hello").await;
    admin.done("POST", "/api/dead/replay", &json!({ "ids": [dead[0]["id"]] })).await;
    let question = outside.reply(&said.conversation, "any more. Please ask again.").await;
    assert!(!question.text.contains("](http"), "{}", question.text);
    let paused = outside.xpert.calls().last().expect("a run").run.clone();
    wait_until("the paused run is cancelled", LIMIT, async || {
        outside.xpert.cancelled().contains(&paused)
    })
    .await;
    outside.ask(Say::direct("robot", "ann", "go on"), "You said: go on").await;
    service.finish().await;
}

#[tokio::test]
async fn a_stop_ends_what_an_attempt_left_running_at_the_runtime() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": xpert(&outside) })).await;
    // The run works on, but nobody can read it: twice where it was found, once where it was begun anew.
    for _ in 0..3 {
        outside.xpert.fault(Broken::ErrorAfterAccept);
    }
    outside.say(Say::direct("robot", "ann", "hang"));
    wait_until("the second attempt has failed", LIMIT, async || {
        service.metric("dt_stage_outcomes_total", "dispatch").await > 1.5
    })
    .await;
    let left = outside.xpert.calls().last().expect("a run").run.clone();
    assert_eq!(outside.xpert.cancelled(), [""; 0]);
    outside.ask(Say::direct("robot", "ann", "/stop"), STOPPED).await;
    wait_until("the run is cancelled", LIMIT, async || outside.xpert.cancelled().contains(&left))
        .await;
    outside.ask(Say::direct("robot", "ann", "go on"), "You said: go on").await;
    // The timer of the next attempt stays until it fires: a hint about nothing.
    service.idle().await;
}

#[tokio::test]
async fn a_stop_ends_a_run_that_is_being_made_at_the_runtime() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": xpert(&outside) })).await;
    outside.xpert.fault(Broken::SlowCreate { ms: 1500 });
    outside.say(Say::direct("robot", "ann", "hang"));
    wait_until("the run is asked for", LIMIT, async || outside.xpert.faults() == 0).await;
    outside.ask(Say::direct("robot", "ann", "/stop"), STOPPED).await;
    assert!(outside.xpert.called(1, LIMIT).await);
    wait_until("no run works", LIMIT, async || outside.xpert.working().is_empty()).await;
    outside.ask(Say::direct("robot", "ann", "go on"), "You said: go on").await;
    assert_eq!(outside.xpert.overlaps(), 0);
    service.finish().await;
}

#[tokio::test]
async fn a_stop_ends_a_run_whose_name_was_lost_while_its_turn_waits_for_the_next_attempt() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": xpert(&outside) })).await;
    outside.xpert.fault(Broken::LostCreate);
    outside.say(Say::direct("robot", "ann", "hang"));
    wait_until("the answer is lost", LIMIT, async || outside.xpert.faults() == 0).await;
    // Before the next attempt looks for the run.
    outside.xpert.fault(Broken::Status { status: 503, retry_after: Some(60) });
    wait_until("the second attempt has failed", LIMIT, async || {
        service.metric("dt_stage_outcomes_total", "dispatch").await > 1.5
    })
    .await;
    assert_eq!(outside.xpert.working().len(), 1);
    outside.ask(Say::direct("robot", "ann", "/stop"), STOPPED).await;
    wait_until("no run works", LIMIT, async || outside.xpert.working().is_empty()).await;
    outside.ask(Say::direct("robot", "ann", "go on"), "You said: go on").await;
    assert_eq!(outside.xpert.overlaps(), 0);
    // The timer of the next attempt stays until it fires: a hint about nothing.
    service.idle().await;
}

#[tokio::test]
async fn a_stop_ends_the_run_that_asked_before_it_hears_the_decision() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": xpert(&outside) })).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let question = asked(&outside, &said.conversation).await;
    let paused = outside.xpert.calls().last().expect("a run").run.clone();
    outside.xpert.fault(Broken::Hang);
    assert_eq!(post(&link(&question, "Confirm")).await, 200);
    wait_until("the expert is asked", LIMIT, async || outside.xpert.faults() == 0).await;
    outside.ask(Say::direct("robot", "ann", "/stop"), STOPPED).await;
    wait_until("the paused run is cancelled", LIMIT, async || {
        outside.xpert.cancelled() == [paused.clone()]
    })
    .await;
    assert_eq!(outside.xpert.calls().len(), 1, "nothing is resumed");
    outside.ask(Say::direct("robot", "ann", "go on"), "You said: go on").await;
    service.finish().await;
}

#[tokio::test]
async fn the_message_that_opens_a_new_session_closes_the_card_of_the_old_one() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    card_robot(&service, &outside, "robot").await;
    publish(&service, &outside, &json!({ "sessionTimeoutSeconds": 1 })).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let card = card_in(&outside, &said.conversation, 0).await;
    let thread = || outside.expert.calls().last().expect("a call").body["session"].clone();
    let first = thread();
    wait_until("a new session", LIMIT, async || {
        let before = outside.expert.calls().len();
        tokio::time::sleep(Duration::from_millis(1200)).await;
        outside.ask(Say::direct("robot", "ann", "hello"), "You said: hello").await;
        outside.expert.calls().len() > before && thread()["threadId"] != first["threadId"]
    })
    .await;
    closed(&outside, &card, "Expired").await;
    service.finish().await;
}

#[tokio::test]
async fn the_sweep_closes_the_card_of_a_session_that_has_run_out() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_SWEEP_INTERVAL", "1s")]).await;
    card_robot(&service, &outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    let said = outside.say(Say::direct("robot", "bob", "confirm it"));
    let card = card_in(&outside, &said.conversation, 0).await;
    // What is published now holds for the session that runs.
    publish(&service, &outside, &json!({ "sessionTimeoutSeconds": 1 })).await;
    closed(&outside, &card, "Expired").await;
    assert_eq!(outside.expert.calls().len(), 1);
    outside.cloud.click(click(&card, "bob", "confirm")).await.expect("within 2 s");
    outside.reply(&said.conversation, OVER).await;
    service.finish().await;
}

#[tokio::test]
async fn a_custom_action_counts_once_also_when_the_log_has_forgotten_it() {
    let outside = Outside::start().await;
    let more = [("DT_DEDUPE_WINDOW", "1s")];
    let service = Service::start_with(&outside, &more).await;
    service.http_robot(&outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    // An answer that asks for nothing: the expert may offer more all the same, once.
    let said = outside.say(Say::direct("robot", "ann", "list them"));
    outside.reply(&said.conversation, "You said: list them").await;
    let turn = outside.expert.calls()[0].body["turnId"].clone();
    let page = json!({ "actionIds": ["more"], "params": { "page": 2 } });
    let press = async || {
        super::pressing::press(&service, &outside, &turn, "ann", &page).await;
    };
    press().await;
    assert!(outside.expert.called(2, LIMIT).await);
    assert_eq!(outside.expert.calls()[1].body["action"], "more");
    wait_until("a press that the log takes again", LIMIT, async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        press().await;
        outside.read_in(&said.conversation).iter().any(|text| text == OVER)
    })
    .await;
    assert_eq!(outside.expert.calls().len(), 2, "it ran once");
    service.finish().await;
}
