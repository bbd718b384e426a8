//! One turn a message without a window, and merged turns with one.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::json;

use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, callback};

fn texts(outside: &Outside) -> Vec<String> {
    let calls = outside.expert.calls();
    let text = |call: &std::sync::Arc<dingtalk_trigger::sim::expert::Call>| {
        call.body["input"]["text"].as_str().unwrap_or_default().to_owned()
    };
    calls.iter().map(text).collect()
}

#[tokio::test]
async fn without_a_window_each_message_is_a_turn_in_order() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    for number in 0..8 {
        outside.say(Say::direct("robot", "ann", &format!("m{number}")));
    }
    let last = outside.ask(Say::direct("robot", "ann", "m8"), "You said: m8").await;
    let expected: Vec<_> = (0..9).map(|number| format!("m{number}")).collect();
    assert_eq!(texts(&outside), expected);
    let answers: Vec<_> = expected.iter().map(|text| format!("You said: {text}")).collect();
    assert_eq!(outside.read_in(&last.conversation), answers);
    service.finish().await;
}

#[tokio::test]
async fn messages_of_one_window_are_one_turn_and_those_during_a_run_are_the_next() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let window = json!({ "runtime": callback(&outside), "summaryWindowSeconds": 1 });
    service.admin().publish("expert", "robot", &window).await;
    let mut first = Say::direct("robot", "ann", "slow 3");
    // The newest reply context is used: this one would lead nowhere.
    first
        .extra
        .insert("sessionWebhook".to_owned(), json!(format!("{}/nowhere", outside.cloud.url())));
    outside.say(first);
    let second = outside.say(Say::direct("robot", "ann", "and more"));
    assert!(outside.expert.called(1, LIMIT).await);
    assert_eq!(texts(&outside), ["slow 3\nand more"]);
    let messages = outside.expert.calls()[0].body["input"]["messages"].clone();
    assert_eq!(messages.as_array().map(Vec::len), Some(2));
    assert_eq!(messages[1]["msgId"], second.msg_id.as_str());
    for text in ["while", "it", "runs"] {
        outside.say(Say::direct("robot", "ann", text));
    }
    outside.reply(&second.conversation, "while\nit\nruns").await;
    assert_eq!(texts(&outside), ["slow 3\nand more", "while\nit\nruns"]);
    let read = outside.read_in(&second.conversation);
    assert_eq!(read, ["You said: slow 3\nand more", "You said: while\nit\nruns"]);
    service.finish().await;
}

#[tokio::test]
async fn two_people_of_a_group_are_never_merged() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let window = json!({ "runtime": callback(&outside), "summaryWindowSeconds": 1 });
    service.admin().publish("expert", "robot", &window).await;
    for (person, text) in [("ann", "a1"), ("bob", "b1"), ("ann", "a2"), ("bob", "b2")] {
        outside.say(Say::group("robot", "cid-team", person, text));
    }
    assert!(outside.expert.called(2, Duration::from_secs(20)).await);
    let mut asked = texts(&outside);
    asked.sort();
    assert_eq!(asked, ["a1\na2", "b1\nb2"]);
    outside.reply("cid-team", "a2").await;
    outside.reply("cid-team", "b2").await;
    service.finish().await;
}
